"""A small service released on containers with the real command."""

from __future__ import annotations

from pathlib import Path

from docker_parts import own_engine, router_image, service_image
from image_cli_world import ImageCliWorld
from mlpipeline.core.container import ContainerImage
from mlpipeline.ports import Artifact

_TARGET = """
target:
  kind: docker
  docker:
    port: {{port}}
    engine: {engine}
    router_image: '{router}'
    threads: 1
"""


class DockerCliWorld(ImageCliWorld):
    """Where it runs is an engine."""

    def __init__(self, folder: Path) -> None:
        self.engine = own_engine()
        target = _TARGET.format(engine=self.engine.host, router=router_image())
        super().__init__(folder, stage_seconds=2.0, target=target)

    def image_of(self, bundle: Artifact) -> ContainerImage:
        """In a layout as ``package`` writes it."""
        return service_image(self.engine.folder / "layout", bundle)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def roles(self) -> set[str]:
        """Of all containers that there are."""
        return {name.rpartition("-")[2] for name in self.engine.containers()}
