"""The local target: green and blue as processes behind a real Envoy, watched by a Prometheus of their own."""

from mlpipeline.adapters.local.target import LocalTarget

__all__ = ["LocalTarget"]
