"""``doctor gpu``: are the leased devices fit for a training? Needs no project, for it is asked before the checkout."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mlpipeline import __version__
from mlpipeline.adapters.gpu import Nvml, chosen
from mlpipeline.adapters.gpu.nvml import devices_of
from mlpipeline.clock import iso
from mlpipeline.core.gpu import bytes_of, judge
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason, Result

VERB = "doctor-gpu"


def run(
    project: Path,
    environment: Mapping[str, str],
    *,
    devices: str = "",
    count: int = 1,
    memory: str = "0",
    meter: str = "",
    metered: str = "",
) -> Result:
    """Looks at every device once. A device that is unfit is an error of the machine (exit 3): another one may do.

    Args:
        meter: When they are fit, a meter is started that keeps its numbers in this folder until ``metered`` ends it.
        metered: Looks at nothing: ends the meter of this folder and says what was used.
        devices: Numbers or UUIDs; empty: as MLPIPELINE_GPUS or CUDA_VISIBLE_DEVICES says, else all.
        count: How many are needed.
        memory: Free on each, such as ``16GiB``.

    Raises EnvironmentFault without a driver, ConfigurationError for a device that this machine does not have.
    """
    del project
    started, at = time.monotonic(), datetime.now(UTC)
    if metered:
        return _metered(Path(metered), started, at)
    try:
        needed = bytes_of(memory)
    except ValueError as error:
        raise ConfigurationError(f"--memory: {error}", tries=("--memory 16GiB",)) from error
    with Nvml() as nvml:
        driver = nvml.driver
        found = nvml.devices(devices_of(devices) if devices else chosen(environment))
    findings = judge(found, count=count, memory_bytes=needed)
    verdict = worst(finding.verdict for finding in findings)
    findings.sort(key=lambda finding: finding.verdict is Verdict.PASS)
    if meter and verdict is Verdict.PASS:
        from mlpipeline.adapters.gpu import sampler

        sampler.begin(Path(meter), tuple(device.uuid or str(device.index) for device in found), environment)
    return Result(
        verb=VERB,
        service="",
        run="",
        verdict=verdict,
        summary=findings[0].summary if verdict is not Verdict.PASS else f"{len(found)} GPUs are fit, driver {driver}",
        reasons=tuple(Reason(check=one.check, verdict=one.verdict, summary=one.summary) for one in findings),
        evidence={
            "driver": driver,
            "devices": msgspec.to_builtins(found),
            **energy([device.energy_joules for device in found]),
            "memory_used_bytes": max((one.memory_total_bytes - one.memory_free_bytes for one in found), default=0),
        },
        started=iso(at),
        seconds=round(time.monotonic() - started, 3),
        worker=__version__,
    )


def _metered(folder: Path, started: float, at: datetime) -> Result:
    """What was used is told whatever it is; that nobody metered it is inconclusive."""
    from mlpipeline.adapters.gpu import sampler

    use = sampler.end(folder)
    if use is None:
        reason = Reason(
            "gpu.use", Verdict.INCONCLUSIVE, f"there is no meter in {folder}: what the GPUs were used for is not known"
        )
    else:
        joules = "" if use.energy_joules is None else f", {use.energy_joules:.0f} J"
        trouble = f" ({use.trouble})" if use.trouble else ""
        highest = use.peak_memory_bytes / 2**30
        said = f"{use.held_seconds:.0f} GPU seconds, {use.busy_seconds:.0f} of them busy, at most {highest:.1f} GiB"
        reason = Reason("gpu.use", Verdict.INCONCLUSIVE if use.trouble else Verdict.PASS, f"{said}{joules}{trouble}")
    return Result(
        verb=VERB,
        service="",
        run="",
        verdict=reason.verdict,
        summary=reason.summary,
        reasons=(reason,),
        evidence={"use": msgspec.to_builtins(use)} if use else {},
        started=iso(at),
        seconds=round(time.monotonic() - started, 3),
        worker=__version__,
    )


def energy(joules: list[float | None]) -> dict[str, float]:
    """The meters' sum, where every device has one: the difference of two looks is what was used between them."""
    known = [one for one in joules if one is not None]
    return {"energy_joules": sum(known)} if known and len(known) == len(joules) else {}
