"""The command line of the serving process."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpipeline.serving.answers import KEEP, KEY

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """Everything the process is told at its start.

    Args:
        model: Folder of the MLflow model.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one and names it in the first log line.
        service: Label of all metrics.
        colour: Label of all metrics: ``blue`` or ``green``.
        model_version: Label of all metrics; empty when the model was never registered.
        digest: The bundle's digest, for ``mlpipeline_model_info``.
        threads: Predictions computed at once.
        queue: Requests that may wait for a thread; one more is answered with 503 at once.
        drain_timeout: Seconds that requests in flight get after SIGTERM.
        time_limit: Seconds that one request may take, waiting included; later it is answered with 504.
        body_limit: Largest request body in bytes; a larger one is answered with 413.
        warm_up_rows: So many rows are scored at once before the process is ready, so that the largest request to come finds its
            memory taken and its kernels compiled; 0: only the model's input example.
        when_full: Status of what the queue has no place for: 503, which counts as the server's failure, or 429.
        log_requests: Whether every scoring request is a line of the log.
        sample_file: Where a sample of requests is kept; none: nowhere.
        sample_share: Of the answered requests.
        sample_bytes: What the sample may take on the disk.
        keep_answers: How many answers are kept to be compared; from ``MLPIPELINE_KEEP_ANSWERS``, so that starting an older
            bundle with it does no harm.
        answers_key: Whoever posts it is told them; from ``MLPIPELINE_ANSWERS_KEY``.
    """

    model: Path
    host: str = "127.0.0.1"
    port: int = 0
    service: str = ""
    colour: str = ""
    model_version: str = ""
    digest: str = ""
    threads: int = 4
    queue: int = 128
    drain_timeout: float = 30.0
    time_limit: float = 60.0
    body_limit: int = 64 * MEBIBYTE
    warm_up_rows: int = 0
    keep_answers: int = 0
    answers_key: str = ""
    when_full: int = 503
    log_requests: bool = False
    sample_file: Path | None = None
    sample_share: float = 0.0
    sample_bytes: int = 64 * MEBIBYTE


OPTIONS = "MLPIPELINE_SERVING"
"""Environment variable with a JSON object of settings by name. What the command line says goes over it, and what this version
does not know is passed over, so that a bundle of any age starts under a worker of any age."""
_FROM_OPTIONS: dict[str, tuple[type, ...]] = {
    "queue": (int,),
    "time_limit": (int, float),
    "body_limit": (int,),
    "when_full": (int,),
    "log_requests": (bool,),
    "sample_file": (str,),
    "sample_share": (int, float),
    "sample_bytes": (int,),
}


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Reads the command line. Ends the process with exit code 2 and a message when it is wrong."""
    parser = argparse.ArgumentParser(prog="mlpipeline.serving", description="Serves an MLflow model with metrics.")
    parser.add_argument("--model", type=Path, required=True, help="folder of the MLflow model")
    parser.add_argument("--host", default=Settings.host)
    parser.add_argument("--port", type=int, default=Settings.port, help="0 takes a free one")
    parser.add_argument("--service", default=Settings.service)
    parser.add_argument("--colour", default=Settings.colour)
    parser.add_argument("--model-version", default=Settings.model_version)
    parser.add_argument("--digest", default=Settings.digest)
    parser.add_argument("--threads", type=_at_least_one, default=Settings.threads, help="predictions computed at once")
    parser.add_argument("--queue", type=_not_negative, default=Settings.queue, help="requests that may wait for a thread")
    parser.add_argument("--drain-timeout", type=_seconds, default=Settings.drain_timeout, help="seconds after SIGTERM")
    parser.add_argument("--time-limit", type=_seconds, default=Settings.time_limit, help="seconds for one request")
    parser.add_argument("--body-limit", type=_at_least_one, default=Settings.body_limit, help="bytes of one request body")
    parser.add_argument("--warm-up-rows", type=_not_negative, default=Settings.warm_up_rows, help="rows of the largest request")
    parser.add_argument("--when-full", type=int, choices=(429, 503), default=Settings.when_full, help="status of a full queue")
    parser.add_argument("--log-requests", action="store_true", help="a line for every scoring request")
    parser.add_argument("--sample-file", type=Path, help="keep a sample of requests and answers here")
    parser.add_argument("--sample-share", type=_share, default=Settings.sample_share, help="of the answered requests, 0 to 1")
    parser.add_argument("--sample-bytes", type=_at_least_one, default=Settings.sample_bytes, help="of the sample on the disk")
    parser.set_defaults(**_options(parser))
    kept, key = os.environ.get(KEEP, ""), os.environ.get(KEY, "")
    return Settings(**vars(parser.parse_args(arguments)), keep_answers=int(kept) if kept.isdigit() else 0, answers_key=key)


def _options(parser: argparse.ArgumentParser) -> dict[str, object]:
    text = os.environ.get(OPTIONS, "") or "{}"
    try:
        given = json.loads(text)
        if not isinstance(given, dict):
            raise ValueError("no object")
    except ValueError as fault:
        parser.error(f"{OPTIONS} is no JSON object: {fault}")
    found: dict[str, object] = {}
    for name, value in given.items():
        if name not in _FROM_OPTIONS:
            continue
        if type(value) not in _FROM_OPTIONS[name]:
            parser.error(f"{OPTIONS}: {name} cannot be {value!r}")
        found[name] = Path(value) if name == "sample_file" else value
    return found


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, not {text}")
    return number


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return number


def _not_negative(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be seconds, not {text}")
    return number
