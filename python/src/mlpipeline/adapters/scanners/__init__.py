"""The scanners of the security gate. One file each, and one line here; every client is imported on first use."""

from __future__ import annotations

from mlpipeline.adapters.scanners.code import Code
from mlpipeline.adapters.scanners.dependencies import Dependencies
from mlpipeline.adapters.scanners.image import Image
from mlpipeline.adapters.scanners.model_files import ModelFiles
from mlpipeline.adapters.scanners.modelscan import Modelscan
from mlpipeline.adapters.scanners.picklescan import Picklescan
from mlpipeline.adapters.scanners.secrets import Secrets
from mlpipeline.adapters.scanners.skops import Skops
from mlpipeline.ports import Scanner

SCANNERS: tuple[Scanner, ...] = (
    ModelFiles(),
    Skops(),
    Picklescan(),
    Modelscan(),
    Secrets(),
    Code(),
    Dependencies(),
    Image(),
)
"""All of them, by the names they have under ``security:``."""

__all__ = ["SCANNERS"]
