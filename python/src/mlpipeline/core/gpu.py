"""What may be wrong with a GPU before a training, as far as its driver says; and sizes as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from mlpipeline.core.verdict import Verdict

_UNITS = {
    "": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|)")
GIB = 1 << 30


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """One GPU at one moment. What the device does not tell is absent.

    Args:
        index: Its number by PCI bus, which is CUDA's own order only with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.
        processes: Process ids that compute on it and do not belong to this call.
        ecc_uncorrected: Memory errors since the driver was loaded that could not be corrected.
        throttling: Why its clocks are held down, where the reason is a fault (heat, power brake) and not idleness.
        energy_joules: Since the driver was loaded.
    """

    index: int
    uuid: str
    name: str
    memory_free_bytes: int
    memory_total_bytes: int
    processes: tuple[int, ...] = ()
    ecc_uncorrected: int | None = None
    throttling: tuple[str, ...] = ()
    energy_joules: float | None = None
    busy_percent: int | None = None


class Finding(msgspec.Struct, frozen=True):
    """One check of one device."""

    check: str
    verdict: Verdict
    summary: str


def bytes_of(size: str) -> int:
    """``16GiB`` in bytes. Raises ValueError for anything else."""
    found = _SIZE.fullmatch(size.strip())
    if found is None:
        raise ValueError(f"expected a size such as 16GiB or 512MiB, not {size!r}")
    return round(float(found[1]) * _UNITS[found[2]])


def judge(devices: Sequence[Device], *, count: int, memory_bytes: int) -> list[Finding]:
    """Every check of every device; a finding that is no pass makes the device unfit for a training."""
    findings = [_enough(len(devices), count)]
    for device in devices:
        findings += _of_device(device, memory_bytes)
    return findings


def _enough(found: int, count: int) -> Finding:
    text = f"{found} GPU{'' if found == 1 else 's'} may be used"
    short = found < max(count, 1)
    return Finding(
        "gpu.count", Verdict.ERROR if short else Verdict.PASS, f"{text}, but {max(count, 1)} needed" if short else text
    )


def _of_device(device: Device, memory_bytes: int) -> list[Finding]:
    who = f"GPU {device.index} ({device.name})"
    free = f"{device.memory_free_bytes / GIB:.1f} of {device.memory_total_bytes / GIB:.1f} GiB free"
    problems = {
        "memory": f"only {free}, {memory_bytes / GIB:.1f} GiB needed" if device.memory_free_bytes < memory_bytes else "",
        "processes": f"others compute on it: process {', '.join(map(str, device.processes))}" if device.processes else "",
        "ecc": f"{device.ecc_uncorrected} uncorrected memory errors since the driver was loaded"
        if device.ecc_uncorrected
        else "",
        "throttling": f"its clocks are held down: {', '.join(device.throttling)}" if device.throttling else "",
    }
    found = [
        Finding(f"gpu.{device.index}.{name}", Verdict.ERROR, f"{who}: {problem}") for name, problem in problems.items() if problem
    ]
    return found or [Finding(f"gpu.{device.index}", Verdict.PASS, f"{who}: {free}")]
