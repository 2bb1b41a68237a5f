"""A bounded sample of requests and answers in a file: to be replayed, and to be joined with labels that arrive late.

Off unless asked for. Lines are JSON: request id, time, body, answer. A thread of its own writes them; when it cannot keep up, or
the disk is full, samples are lost and requests are not.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import random
import threading
import time
from pathlib import Path
from typing import BinaryIO

from mlpipeline.serving.logs import Log

WAITING = 256
"""Samples that may wait to be written."""
LARGEST = 256 * 1024
"""Bytes of the largest body or answer that is kept."""


class Samples:
    """Keeps a share of what was answered in ``file``, and what came before that in ``file`` with ``.1``.

    Args:
        file: Where; readable by its owner alone, as requests may be about people.
        share: Of the answered requests, drawn at random.
        limit: Bytes of both files together.
        log: Told once when writing ends for good.
    """

    def __init__(self, file: Path, share: float, limit: int, log: Log) -> None:
        self._file = file
        self._share = share
        self._limit = limit // 2
        self._log = log
        self._waiting: queue.Queue[dict[str, object] | None] = queue.Queue(WAITING)
        self._draw = random.Random()  # noqa: S311 - a sample, not a secret
        self._dropped = 0
        self._broken = False
        self._thread = threading.Thread(target=self._write_all, name="samples", daemon=True)
        self._thread.start()

    def offer(self, *, request_id: bytes, traffic: str, content_type: str, body: bytes, answer: bytes) -> None:
        """Maybe keeps this one; never waits."""
        if self._broken or self._draw.random() >= self._share:
            return
        if max(len(body), len(answer)) > LARGEST:
            self._dropped += 1
            return
        sample: dict[str, object] = {
            "time": round(time.time(), 3),
            "request_id": request_id.decode("latin-1"),
            "traffic": traffic,
            "content_type": content_type,
            **_text("body", body),
            **_text("answer", answer),
        }
        if self._dropped:
            sample["left_out_before"] = self._dropped
        try:
            self._waiting.put_nowait(sample)
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Writes what waits; a second at most."""
        try:
            self._waiting.put(None, timeout=0.5)
        except queue.Full:
            return
        self._thread.join(timeout=0.5)

    def _write_all(self) -> None:
        try:
            stream = self._open()
            while (sample := self._waiting.get()) is not None:
                stream.write(json.dumps(sample).encode() + b"\n")
                if self._waiting.empty():
                    stream.flush()
                if stream.tell() >= self._limit:
                    stream.close()
                    # One rename: whoever reads finds whole files under both names at any moment.
                    os.replace(self._file, f"{self._file}.1")
                    stream = self._open()
            stream.close()
        except OSError as fault:
            self._broken = True
            self._log.event("sampling ended", file=str(self._file), message=str(fault))

    def _open(self) -> BinaryIO:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _text(name: str, content: bytes) -> dict[str, object]:
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}
