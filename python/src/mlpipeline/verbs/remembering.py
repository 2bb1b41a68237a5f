"""What a verb that belongs to no run leaves behind: its result in the checkout, and a ledger entry when it says something new."""

from __future__ import annotations

import contextlib

from mlpipeline.errors import MlpipelineError
from mlpipeline.record.files import write_atomically
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Result
from mlpipeline.record.run import encode
from mlpipeline.verbs.context import Context


def remember(context: Context, result: Result) -> None:
    """Keeps the result and adds a ledger entry, unless one since the last decision says the same.

    A disk that takes neither, or a broken ledger, is no reason to leave the question unanswered.
    """
    keep(context, result)
    look = Entry(seq=0, at="", service=result.service, event=result.verb, summary=result.summary, actor=context.actor)
    with contextlib.suppress(OSError, MlpipelineError):
        if not context.ledger.told(look):
            context.note(result.verb, verdict=str(result.verdict), summary=result.summary)


def keep(context: Context, result: Result) -> None:
    """Writes ``.mlpipeline/results/<verb>.json``, unless it says this already or the checkout cannot be written."""
    file, content = context.places.shown(result.verb), encode(result)
    with contextlib.suppress(OSError):
        if not file.is_file() or file.read_bytes() != content:
            write_atomically(file, content)
