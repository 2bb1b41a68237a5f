"""Reading devices. What one kind of GPU does not support is left out, never taken for zero."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlpipeline.core.gpu import Device
from mlpipeline.errors import ConfigurationError, EnvironmentFault

VARIABLES = ("MLPIPELINE_GPUS", "CUDA_VISIBLE_DEVICES")
_THROTTLING = {0x08: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "power brake"}
"""Bits of nvmlClocksEventReasons that tell of a fault; the others are idleness, settings and the ordinary power cap."""


def chosen(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """The devices this call may use, as MLPIPELINE_GPUS or CUDA_VISIBLE_DEVICES names them; ``None`` when neither is set."""
    for name in VARIABLES:
        if name in environment:
            return devices_of(environment[name])
    return None


def devices_of(text: str) -> tuple[str, ...]:
    """Numbers and UUIDs of a comma list. As in CUDA, the first one below 0 ends the list."""
    found: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part.startswith("-"):
            break
        if part:
            found.append(part)
    return tuple(found)


class Nvml:
    """The library, loaded while the block lasts.

    Raises EnvironmentFault when it, the driver or a device does not answer, ConfigurationError for a device that is not there.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library
        self._handles: dict[str, Any] = {}

    def __enter__(self) -> Nvml:
        self._library = self._library or _imported()
        self._do("the NVIDIA driver does not answer", self._library.nvmlInit)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(self._library.NVMLError):
            self._library.nvmlShutdown()

    @property
    def driver(self) -> str:
        return _text(self._do("the NVIDIA driver does not tell its version", self._library.nvmlSystemGetDriverVersion))

    def devices(self, names: tuple[str, ...] | None) -> list[Device]:
        """These devices, or all of the machine, at this moment."""
        if names is None:
            count = self._do("the GPUs cannot be counted", self._library.nvmlDeviceGetCount)
            names = tuple(str(number) for number in range(count))
        return [self.device(name) for name in names]

    def device(self, name: str) -> Device:
        """One device by number or UUID (``GPU-...``, ``MIG-...``)."""
        nvml, handle = self._library, self._handle(name)
        memory = self._do(f"GPU {name} does not tell its memory", nvml.nvmlDeviceGetMemoryInfo, handle)
        energy = self._maybe(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        busy = self._maybe(nvml.nvmlDeviceGetUtilizationRates, handle)
        running = self._maybe(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        return Device(
            index=int(self._maybe(nvml.nvmlDeviceGetIndex, handle) or 0),
            uuid=_text(self._maybe(nvml.nvmlDeviceGetUUID, handle) or ""),
            name=_text(self._maybe(nvml.nvmlDeviceGetName, handle) or "unknown"),
            memory_free_bytes=int(memory.free),
            memory_total_bytes=int(memory.total),
            processes=tuple(sorted(int(one.pid) for one in running if not _ours(int(one.pid)))),
            ecc_uncorrected=self._maybe(
                nvml.nvmlDeviceGetTotalEccErrors, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            ),
            throttling=self._throttling(handle),
            energy_joules=None if energy is None else energy / 1000,
            busy_percent=None if busy is None else int(busy.gpu),
        )

    def _throttling(self, handle: Any) -> tuple[str, ...]:
        bits = self._maybe(self._library.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
        return tuple(text for bit, text in _THROTTLING.items() if bits & bit)

    def _handle(self, name: str) -> Any:
        if name in self._handles:
            return self._handles[name]
        nvml = self._library
        try:
            found = nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
        except (nvml.NVMLError_InvalidArgument, nvml.NVMLError_NotFound) as error:
            raise ConfigurationError(
                f"this machine has no GPU {name}",
                facts={"machine": os.uname().nodename},
                likely="the lockable resource names a device of another machine",
                tries=("nvidia-smi -L", "look at the resource's property DEVICE in Jenkins"),
            ) from error
        except nvml.NVMLError as error:
            raise _fault(f"GPU {name} does not answer", error) from error
        self._handles[name] = found
        return found

    def _do(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._library.NVMLError as error:
            raise _fault(what, error) from error

    def _maybe(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Nothing where this kind of device, or this user, is not told."""
        nvml = self._library
        try:
            return call(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission, nvml.NVMLError_InvalidArgument):
            return None
        except nvml.NVMLError as error:
            raise _fault("a GPU does not answer", error) from error


def _imported() -> Any:
    try:
        import pynvml
    except ImportError as error:
        raise EnvironmentFault(
            "the GPUs cannot be checked: the package nvidia-ml-py is not installed",
            facts={"machine": os.uname().nodename},
            likely="the worker was installed without its GPU part",
            tries=("pip install nvidia-ml-py (or mlpipeline[gpu])",),
        ) from error
    return pynvml


def _fault(what: str, error: Exception) -> EnvironmentFault:
    kind = type(error).__name__
    likely = {
        "NVMLError_LibraryNotFound": "this machine has no NVIDIA driver",
        "NVMLError_DriverNotLoaded": "the driver's kernel module is not loaded",
        "NVMLError_LibRmVersionMismatch": "the driver was updated and the machine not restarted",
        "NVMLError_GpuIsLost": "the GPU fell off the bus; the machine has to be restarted",
        "NVMLError_NoPermission": "this user may not use the device files under /dev/nvidia*",
    }.get(kind, "")
    return EnvironmentFault(
        what,
        facts={"machine": os.uname().nodename, "NVML": f"{kind}: {error}"},
        likely=likely,
        tries=("nvidia-smi", "run on an agent with a GPU: its label, see docs/how-to/gpu-agents.md"),
    )


def _ours(pid: int) -> bool:
    """Whether the process is this one or below it; a process that is gone or hidden is not ours."""
    seen = 0
    while pid > 1 and seen < 64:
        if pid == os.getpid():
            return True
        pid, seen = _parent(pid), seen + 1
    return False


def _parent(pid: int) -> int:
    try:
        # The program's name may hold blanks and brackets; what follows the last one does not.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
