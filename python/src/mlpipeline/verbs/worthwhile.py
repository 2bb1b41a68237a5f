"""What would make a training in vain: asked by ``run``, and by ``gate data --release`` before GPUs are waited for."""

from __future__ import annotations

import msgspec

from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import Failed
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context


def judged(context: Context, run: Run, gate: Result) -> Result:
    """The passed result of the data gate, or one that fails because this source was taken back; the record then says that its
    training was not begun, and why. Another release that is in progress is no reason: by the end of the training it is over.

    Raises EnvironmentFault when the champion cannot be seen.
    """
    from mlpipeline.verbs.run import note_broken

    started = context.clock.monotonic()
    try:
        refuse_taken_back(context, run)
        refuse_unseen_champion(context)
    except Failed as failure:
        note_broken(context, run, "train", started, failure)
        reason = Reason("gate-data.release", Verdict.FAIL, failure.what, sample=tuple(failure.render().splitlines()[1:]))
        reasons = (reason, *gate.reasons)
        return msgspec.structs.replace(gate, verdict=reason.verdict, summary=reason.summary, reasons=reasons)
    return gate


def refuse_another(context: Context, run: Run) -> None:
    """Now, not after hours of training. Only looks, so it needs no token."""
    from mlpipeline.verbs.deploy import refuse_another as begun
    from mlpipeline.verbs.releasing import Releasing

    begun(Releasing(context, token=0), run)


def refuse_unseen_champion(context: Context) -> None:
    """As ``gate model`` does, which would ask only after the training."""
    if context.config.gate.holdout:
        from mlpipeline.verbs.model_subjects import champion_of

        champion_of(context)


def refuse_taken_back(context: Context, run: Run) -> None:
    """As ``deploy`` does, as far as it is known before the training: commit and data version."""
    from mlpipeline.record.journal import Journal
    from mlpipeline.verbs.deploy import taken_back_before
    from mlpipeline.verbs.releasing import fingerprint

    gate = context.runs.result(run.id, "gate-data")
    if run.dirty or gate is None:
        return
    data = fingerprint(gate.evidence.get("data_version", {}))
    for digest, barred in Journal(context.places.journal).read().quarantined.items():
        if barred.source is not None and (barred.source.commit, barred.source.data) == (run.commit, data):
            raise taken_back_before(digest, barred, person=f"mlpipeline deploy --run {barred.run} --allow-quarantined")
