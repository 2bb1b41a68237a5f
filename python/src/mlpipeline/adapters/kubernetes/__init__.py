"""The kubernetes target: green and blue as Deployments of one namespace, behind a router of choice."""

from mlpipeline.adapters.kubernetes.target import KubernetesTarget

__all__ = ["KubernetesTarget"]
