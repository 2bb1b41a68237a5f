"""Metric packs: what each serving runtime calls its requests, errors, latencies and faults. One file each.

A new pack is a module here with a ``PACK``, and its name in ``PACKS``.
"""

from __future__ import annotations

import importlib

from mlpipeline.packs.shape import Pack

PACKS = {
    "serving": "serving",
    "envoy": "envoy",
    "kserve": "kserve",
    "triton": "triton",
    "vllm": "vllm",
    "mlserver": "mlserver",
    "tf-serving": "tf_serving",
    "dcgm": "dcgm",
}
"""Name in ``verify.pack`` to module."""


def find(name: str) -> Pack:
    """The pack of this name; only its own module is imported. Raises KeyError for an unknown one."""
    pack = importlib.import_module(f"mlpipeline.packs.{PACKS[name]}").PACK
    assert isinstance(pack, Pack)  # noqa: S101 - every module of this package has one
    return pack
