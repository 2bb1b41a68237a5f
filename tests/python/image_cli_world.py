"""A small service released as an image, on an engine or in a cluster, with the real command."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cli_world import CliWorld
from mlpipeline.core.container import ContainerImage
from mlpipeline.errors import EXIT_INCONCLUSIVE
from mlpipeline.ports import Artifact
from mlpipeline.record.result import Result
from tiny_service import Behaviour


class ImageCliWorld(CliWorld):
    """As on the local target, but what is released is an image.

    Args:
        image: The section of that name, besides its base.
        target: The section of that name; ``{port}`` in it is a free one.
        verify: More of the section of that name.
    """

    def __init__(self, folder: Path, *, stage_seconds: float, image: str = "", target: str, verify: str = "") -> None:
        super().__init__(folder, stage_seconds=stage_seconds)
        file = self.project / "mlpipeline.yaml"
        kept = [line for line in file.read_text().splitlines() if not line.startswith(("target:", "  local:"))]
        text = "\n".join(kept).replace("verify: {", f"verify: {{{verify}")
        base = f"base: 'registry.example.org/debian/python@sha256:{'0' * 64}'"
        file.write_text(f"{text}\nimage: {{{base}{image}}}\n{target.format(port=self.port)}")

    def image_of(self, bundle: Artifact) -> ContainerImage:
        """As ``package`` would make it, where this target gets its images from."""
        raise NotImplementedError

    def prepare(self, behaviour: Behaviour | None = None) -> str:
        """A run up to ``register`` whose package has an image."""
        digest = super().prepare(behaviour)
        image = self.image_of(Artifact(digest, str(self.places.bundles / digest.removeprefix("sha256:"))))
        made = {"digest": image.digest, "id": image.id, "layout": image.source, "archive": "", "reference": image.reference}
        newest = max(self.places.runs.iterdir(), key=lambda run: run.name)
        file = next(newest.rglob("package.json"))
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
