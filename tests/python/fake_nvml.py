"""A stand-in for ``pynvml``: its functions, its errors, and devices whose values tests set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):  # the library's own names
    pass


class NVMLError_NoPermission(NVMLError):
    pass


class NVMLError_InvalidArgument(NVMLError):
    pass


class NVMLError_NotFound(NVMLError):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    def __str__(self) -> str:
        return "NVML Shared Library Not Found"


class NVMLError_GpuIsLost(NVMLError):
    pass


class Card(SimpleNamespace):
    """One device. ``None`` means that this kind does not support the question."""

    def __init__(self, **changed: Any) -> None:
        usual = {"free": 70 << 30, "total": 80 << 30, "pids": [], "ecc": 0, "throttle": 0x1, "millijoules": 1_000_000, "busy": 50}
        super().__init__(**{**usual, **changed})
        self.lost = False


class FakeNvml:
    """Passed where the real module would be."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    NVMLError_NoPermission = NVMLError_NoPermission
    NVMLError_InvalidArgument = NVMLError_InvalidArgument
    NVMLError_NotFound = NVMLError_NotFound
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def __init__(self, *cards: Card, driver: bool = True) -> None:
        self.cards = list(cards)
        self.driver = driver
        self.open = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError_LibraryNotFound
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"570.86"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        if index >= len(self.cards):
            raise NVMLError_InvalidArgument
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:
        for index, card in enumerate(self.cards):
            if uuid == f"GPU-{index}":
                return card
        raise NVMLError_NotFound

    def nvmlDeviceGetIndex(self, card: Card) -> int:
        return self.cards.index(card)

    def nvmlDeviceGetUUID(self, card: Card) -> str:
        return f"GPU-{self.cards.index(card)}"

    def nvmlDeviceGetName(self, card: Card) -> str:
        return "H100"

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> SimpleNamespace:
        if card.lost:
            raise NVMLError_GpuIsLost
        return SimpleNamespace(free=card.free, total=card.total, used=card.total - card.free)

    def nvmlDeviceGetTotalEnergyConsumption(self, card: Card) -> int:
        return self._told(card.millijoules)

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._told(card.busy), memory=0)

    def nvmlDeviceGetComputeRunningProcesses(self, card: Card) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self._told(card.pids)]

    def nvmlDeviceGetTotalEccErrors(self, card: Card, _kind: int, _counter: int) -> int:
        return self._told(card.ecc)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, card: Card) -> int:
        return self._told(card.throttle)

    def _told(self, value: Any) -> Any:
        if value is None:
            raise NVMLError_NotSupported
        return value
