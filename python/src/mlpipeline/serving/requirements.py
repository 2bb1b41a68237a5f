"""What the serving process needs in the model's environment besides the model's own requirements."""

from __future__ import annotations

REQUIREMENTS: tuple[str, ...] = (
    "httptools>=0.6",
    "mlflow>=3",
    "numpy>=1.26",
    "pandas>=2.2",
    "prometheus-client>=0.21",
    "uvicorn>=0.34",
    "uvloop>=0.21",
)
"""Requirement specifiers (PEP 508). A model that pins one of these wins over the open bound here."""
