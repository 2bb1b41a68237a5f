"""What a training took from its GPUs: time, memory at its highest, energy."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from mlpipeline.adapters.gpu.nvml import Nvml, chosen
from mlpipeline.core.gpu import Device
from mlpipeline.errors import MlpipelineError

_PATIENCE_SECONDS = 30.0
"""A driver that hangs must not keep the result of a training."""


class GpuUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was measured between begin and end.

    Args:
        devices: UUIDs.
        held_seconds: GPU seconds: devices times the time they were held.
        busy_seconds: The part of it in which something ran on them, from the samples.
        peak_memory_bytes: Memory in use at its highest, of the fullest device.
        energy_joules: Of all devices; absent when a device does not meter it.
        samples: How many looks this rests on.
        trouble: Why it is incomplete.
    """

    devices: tuple[str, ...]
    held_seconds: float
    busy_seconds: float = 0.0
    peak_memory_bytes: int = 0
    energy_joules: float | None = None
    samples: int = 0
    trouble: str = ""


class Meter:
    """Samples in a thread while the block lasts; afterwards :attr:`use` says what was found.

    Measures only when MLPIPELINE_GPUS or CUDA_VISIBLE_DEVICES names devices, and never stops a training: what goes wrong is
    told in ``use.trouble``.

    Args:
        every: Seconds between samples.
    """

    def __init__(self, environment: Mapping[str, str], *, every: float = 1.0, library: Any = None) -> None:
        self._names = chosen(environment)
        self._every = every
        self._library = library
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = _Seen()
        self._trouble = ""
        self._looked = threading.Event()
        self.use: GpuUse | None = None

    def __enter__(self) -> Meter:
        if self._names:
            self._thread = threading.Thread(target=self._watch, name="gpu-meter", daemon=True)
            self._began = time.monotonic()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join(_PATIENCE_SECONDS)
            if self._thread.is_alive():
                self._trouble = "the NVIDIA driver hangs"
            self.use = self._summed(time.monotonic() - self._began)

    def first(self, patience: float) -> None:
        """Waits for the first look, or for what keeps it from being made.

        Args:
            patience: Seconds.
        """
        if self._thread is not None:
            self._looked.wait(patience)

    def so_far(self) -> GpuUse | None:
        """As ``use`` would be if the block ended now; nothing when no device is named."""
        return None if self._thread is None else self._summed(time.monotonic() - self._began)

    def _watch(self) -> None:
        try:
            with Nvml(self._library) as nvml:
                while True:
                    last = self._over.is_set()
                    self._seen.add(time.monotonic(), nvml.devices(self._names))
                    self._looked.set()
                    if last:
                        return
                    self._over.wait(self._every)
        except MlpipelineError as error:
            self._trouble = error.what
        finally:
            self._looked.set()

    def _summed(self, seconds: float) -> GpuUse:
        names, seen = self._names or (), self._seen
        if not seen.looks:
            return GpuUse(devices=names, held_seconds=round(seconds * len(names), 3), trouble=self._trouble)
        return GpuUse(
            devices=tuple(device.uuid for device in seen.first),
            held_seconds=round(seconds * len(seen.first), 3),
            busy_seconds=round(seen.busy_seconds, 3),
            peak_memory_bytes=seen.peak_memory_bytes,
            energy_joules=seen.energy(),
            samples=seen.looks,
            trouble=self._trouble,
        )


class _Seen:
    """What all looks so far add up to, so that a week of them takes no more memory than one."""

    def __init__(self) -> None:
        self.looks = 0
        self.first: list[Device] = []
        self.busy_seconds = 0.0
        self.peak_memory_bytes = 0
        self._last: list[Device] = []
        self._at = 0.0

    def add(self, at: float, devices: list[Device]) -> None:
        if self.looks:
            self.busy_seconds += sum((at - self._at) * (device.busy_percent or 0) / 100 for device in devices)
        used = [device.memory_total_bytes - device.memory_free_bytes for device in devices]
        self.peak_memory_bytes = max(self.peak_memory_bytes, *used) if used else self.peak_memory_bytes
        self.first = self.first or devices
        self._last, self._at = devices, at
        self.looks += 1

    def energy(self) -> float | None:
        """Joules, where every device has a meter."""
        metered = [(one.energy_joules, other.energy_joules) for one, other in zip(self.first, self._last, strict=True)]
        spent = [after - before for before, after in metered if before is not None and after is not None]
        return sum(spent) if len(spent) == len(self.first) else None
