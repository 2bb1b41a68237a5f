"""``stop``: the service's processes end and users get no answer any more; ledger, bundles and reports stay."""

from __future__ import annotations

from mlpipeline.record.journal import Journal
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.history import standing
from mlpipeline.verbs.holding import held


def run(context: Context) -> str:
    """Ends everything of the service on this target and notes it in the ledger, once; returns what to tell.

    Raises:
        Held: A release is going on; its holder is named.
    """
    service = context.config.service
    with held(context, None, "stop"):
        context.world.target().shutdown()
        if standing(context.ledger.read()) is not None:
            context.note("stopped", summary="all processes of the service were ended by hand")
        if Journal(context.places.journal).read().champion is None:
            return f"{service}: stopped; it has no champion that could be brought back."
    return f"{service}: stopped. `mlpipeline rollback` brings the champion back; a release needs it running."
