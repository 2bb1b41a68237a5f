"""The docker target: green and blue as containers of one host behind an Envoy container."""

from mlpipeline.adapters.docker.target import DockerTarget

__all__ = ["DockerTarget"]
