"""A small service released on containers with the real command."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cli_world import CliWorld
from docker_parts import own_engine, router_image, service_image
from mlpipeline.errors import EXIT_INCONCLUSIVE
from mlpipeline.ports import Artifact
from mlpipeline.record.result import Result
from tiny_service import Behaviour

_IMAGE = f"image: {{base: 'registry.example.org/debian/python@sha256:{'0' * 64}'}}\n"
_TARGET = "target:\n  kind: docker\n  docker: {{port: {port}, engine: {engine}, router_image: '{router}', threads: 1}}\n"


class DockerCliWorld(CliWorld):
    """As on the local target, but what is released is an image, and where it runs an engine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, stage_seconds=2.0)
        self.engine = own_engine()
        file = self.project / "mlpipeline.yaml"
        kept = [line for line in file.read_text().splitlines() if not line.startswith(("target:", "  local:"))]
        target = _TARGET.format(port=self.port, engine=self.engine.host, router=router_image())
        file.write_text("\n".join(kept) + "\n" + _IMAGE + target)

    def prepare(self, behaviour: Behaviour | None = None) -> str:
        """The package has an image, in a layout as ``package`` writes it."""
        digest = super().prepare(behaviour)
        bundle = self.places.bundles / digest.removeprefix("sha256:")
        image = service_image(self.engine.folder / "layout", Artifact(digest, str(bundle)))
        made = {"digest": image.digest, "id": image.id, "layout": image.source, "archive": "", "reference": ""}
        (run,) = [one for one in self.places.runs.iterdir() if one.name == max(two.name for two in self.places.runs.iterdir())]
        file = next(file for file in run.rglob("package.json"))
        result = msgspec.json.decode(file.read_bytes(), type=Result)
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(result, evidence={**result.evidence, "image": made})))
        return digest

    def release(self) -> None:
        """A starved Prometheus may miss stages as short as these; ``run`` goes on then."""
        for _ in range(3):
            worker = self.start("run")
            if worker.ended() != EXIT_INCONCLUSIVE:
                break
        assert worker.process.returncode == 0, worker.told

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def roles(self) -> set[str]:
        """Of all containers that there are."""
        return {name.rpartition("-")[2] for name in self.engine.containers()}
