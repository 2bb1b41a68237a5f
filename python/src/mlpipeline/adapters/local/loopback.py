"""Under its former name: see :mod:`mlpipeline.hosting.loopback`."""

from mlpipeline.hosting.loopback import ask

__all__ = ["ask"]
