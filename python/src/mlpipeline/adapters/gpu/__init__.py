"""NVIDIA GPUs through NVML, the driver's own management library (the optional package ``nvidia-ml-py``)."""

from __future__ import annotations

from mlpipeline.adapters.gpu.meter import GpuUse, Meter
from mlpipeline.adapters.gpu.nvml import Nvml, chosen

__all__ = ["GpuUse", "Meter", "Nvml", "chosen"]
