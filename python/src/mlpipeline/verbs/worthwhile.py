"""What would make a training in vain: asked by ``run``, and by ``train --check`` before GPUs are waited for."""

from __future__ import annotations

from mlpipeline import __version__
from mlpipeline.clock import iso
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context


def check(context: Context, run: Run) -> Result:
    """Trains nothing and records nothing when the training may go ahead.

    Raises what each of the others raises: Failed for a source that was taken back, ConfigurationError while another release
    is in progress, EnvironmentFault when the champion cannot be seen.
    """
    at, started = context.clock.now(), context.clock.monotonic()
    refuse_another(context, run)
    refuse_taken_back(context, run)
    refuse_unseen_champion(context)
    reason = Reason("train.worthwhile", Verdict.PASS, "nothing that is known now would keep a trained model from being released")
    return Result(
        verb="train",
        service=context.config.service,
        run=run.id,
        verdict=reason.verdict,
        summary=reason.summary,
        reasons=(reason,),
        started=iso(at),
        seconds=round(context.clock.monotonic() - started, 3),
        worker=__version__,
    )


def refuse_another(context: Context, run: Run) -> None:
    """Now, not after hours of training. Only looks, so it needs no token."""
    from mlpipeline.verbs.deploy import refuse_another as begun
    from mlpipeline.verbs.releasing import Releasing

    begun(Releasing(context, token=0), run)


def refuse_unseen_champion(context: Context) -> None:
    """As ``gate model`` does, which would ask only after the training."""
    if context.config.gate.holdout:
        from mlpipeline.verbs.gate_model import champion_of

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
