"""``stop``: the service's processes end and users get no answer any more; ledger, bundles and reports stay."""

from __future__ import annotations

from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held


def run(context: Context) -> str:
    """Ends everything of the service on this target and notes it in the ledger; returns what to tell.

    Raises:
        Held: A release is going on; its holder is named.
    """
    with held(context, None, "stop"):
        context.world.target().shutdown()
        context.note("stopped", summary="all processes of the service were ended by hand")
    return f"{context.config.service}: stopped. `mlpipeline rollback` brings the champion back; a release needs it running."
