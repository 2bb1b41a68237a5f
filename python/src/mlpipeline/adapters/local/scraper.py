"""Under its former name: see :mod:`mlpipeline.hosting.scraper`."""

from mlpipeline.hosting.scraper import HOST, find_prometheus

__all__ = ["HOST", "find_prometheus"]
