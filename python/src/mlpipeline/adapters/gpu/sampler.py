"""A meter in a process of its own, for work that the worker does not start itself: the body of ``mlGpu``.

``begin`` starts it, ``end`` stops it and says what it found. Between the two lies nothing but a folder, so that a restart of
Jenkins loses nothing. What it knows is written down every few seconds: a meter that was killed leaves numbers, too. It ends by
itself when its folder is gone or its time is over.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.adapters.gpu.meter import GpuUse, Meter
from mlpipeline.errors import EnvironmentFault

LONGEST_SECONDS = 7 * 24 * 3600.0
"""A body whose Jenkins is gone for good is metered no longer than this."""
_PATIENCE_SECONDS = 20.0
_BEAT_SECONDS = 0.1
_WRITE_SECONDS = 2.0


class _Kept(msgspec.Struct, frozen=True):
    use: GpuUse
    over: bool


def begin(folder: Path, devices: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Starts a meter of these devices and waits for its first numbers.

    Raises EnvironmentFault when the folder cannot be written or the meter does not come up.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("use.json", "stop"):
            (folder / name).unlink(missing_ok=True)
        log = (folder / "meter.log").open("wb")
    except OSError as error:
        raise EnvironmentFault("the GPU meter has no place to write to", facts={"folder": folder, "found": error}) from error
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlpipeline.adapters.gpu.sampler", str(folder)],
            env={**environment, "MLPIPELINE_GPUS": ",".join(devices)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _kept(folder) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise EnvironmentFault(
                "the GPU meter does not come up",
                facts={"log": folder / "meter.log", "last lines": (folder / "meter.log").read_text(errors="replace")[-500:]},
            )
        time.sleep(_BEAT_SECONDS)


def end(folder: Path) -> GpuUse | None:
    """Stops the meter; what it found, as far as it came. Nothing when there is no meter."""
    if _kept(folder) is None:
        return None
    (folder / "stop").touch()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (kept := _kept(folder)) is not None and not kept.over:
        if time.monotonic() > deadline:
            trouble = kept.use.trouble or "the meter was killed; numbers are those until then"
            return msgspec.structs.replace(kept.use, trouble=trouble)
        time.sleep(_BEAT_SECONDS)
    return kept.use if kept else None


def _kept(folder: Path) -> _Kept | None:
    try:
        return msgspec.json.decode((folder / "use.json").read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None


def _write(folder: Path, use: GpuUse | None, *, over: bool) -> None:
    if use is not None:
        fresh = folder / "use.json.new"
        fresh.write_bytes(msgspec.json.encode(_Kept(use, over)))
        fresh.replace(folder / "use.json")


def main(folder: Path, environment: Mapping[str, str]) -> None:
    """Meters until it is told to stop, its folder is gone, or its time is over."""
    began = written = time.monotonic()
    with Meter(environment) as meter:
        meter.first(_PATIENCE_SECONDS)
        while time.monotonic() - began < LONGEST_SECONDS:
            _write(folder, meter.so_far(), over=False)
            written = time.monotonic()
            while time.monotonic() - written < _WRITE_SECONDS:
                if not folder.is_dir():
                    return
                if (folder / "stop").exists():
                    break
                time.sleep(_BEAT_SECONDS)
            else:
                continue
            break
    _write(folder, meter.use, over=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ)
