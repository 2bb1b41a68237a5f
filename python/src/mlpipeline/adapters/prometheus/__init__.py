"""Prometheus and what speaks its query API (Thanos, Mimir, VictoriaMetrics)."""

from mlpipeline.adapters.prometheus.source import PrometheusSource

__all__ = ["PrometheusSource"]
