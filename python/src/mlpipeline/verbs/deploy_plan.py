"""``deploy --plan``: what a deployment would change of what lives, field by field, and whose fields these are."""

from __future__ import annotations

from mlpipeline.core.release import Version, live_colour
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.ports import Changing
from mlpipeline.record.journal import Journal
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.releasing import artifact, seen


def planned(context: Context, run: Run, version: Version) -> Result:
    """Asks the target, which asks the cluster. No lease, no entry of the ledger, no result of the run.

    Raises:
        ConfigurationError: The target cannot tell before it does it.
    """
    target = context.world.target()
    if not isinstance(target, Changing):
        raise ConfigurationError(
            f"target.kind is {context.config.target.kind}, which has nothing to compare a deployment with",
            likely="only a cluster keeps fields of others beside ours, and can say beforehand what an apply would do",
            tries=("mlpipeline status", "mlpipeline deploy"),
        )
    state = Journal(context.places.journal).read()
    live = live_colour(state, seen(target.observe()))
    colour = state.release.colour if state.release is not None else live.other if live is not None else Colour.BLUE
    changes = target.changes(colour, artifact(version))
    foreign = sum(change.foreign for change in changes)
    summary = f"{len(changes)} change{'' if len(changes) == 1 else 's'} in {colour}, nothing was done"
    if foreign:
        summary += f"; {foreign} of fields that others manage"
    reasons = [
        Reason("deploy.plan", Verdict.PASS, summary),
        *(Reason("deploy.change", Verdict.PASS, str(one)) for one in changes),
    ]
    rows = [
        {"object": one.what, "field": one.field, "before": one.before, "after": one.after, "managed_by": one.owners}
        for one in changes
    ]
    return Result(
        verb="deploy",
        service=context.config.service,
        run=run.id,
        verdict=Verdict.PASS,
        summary=summary,
        reasons=tuple(reasons),
        evidence={"plan": True, "colour": str(colour), "digest": version.digest, "changes": rows},
    )
