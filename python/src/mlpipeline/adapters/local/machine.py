"""Under its former name: see :mod:`mlpipeline.hosting.machine`."""

from mlpipeline.hosting.machine import free_port, require_free

__all__ = ["free_port", "require_free"]
