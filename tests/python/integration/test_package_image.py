from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from image_parts import RegistryServer, layout_config, layout_manifest, registry_server, small_base
from mlpipeline.adapters import bundle as bundles
from mlpipeline.adapters.environment import Environments, Lock
from mlpipeline.config.model import Image
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import package, train
from small_project import SmallProject


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """Its environment is one small file; other tests install the real one."""

    def unpack(self: Environments, lock: Lock, folder: Path) -> Path:
        site = folder / "lib" / f"python{lock.python}" / "site-packages"
        site.mkdir(parents=True)
        (folder / "bin").mkdir()
        (site / "one.py").write_text("ONE = 1\n")
        (site / "__pycache__").mkdir()
        (site / "__pycache__" / "one.cpython-311.pyc").write_bytes(b"never the same")
        return site

    monkeypatch.setattr(Environments, "install", lambda self, lock: Path("/not/installed"))
    monkeypatch.setattr(Environments, "unpack", unpack)
    monkeypatch.setattr(bundles, "_YOUNG_SECONDS", -1.0)
    return SmallProject(tmp_path)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    with registry_server(tmp_path / "registry") as server:
        yield server


def configured(project: SmallProject, tmp_path: Path, **image: object) -> None:
    base = image.pop("base", None) or small_base(tmp_path / "base")
    project.config = msgspec.structs.replace(project.config, image=Image(base=str(base), **image))  # type: ignore[arg-type]


def trained(project: SmallProject, name: str = "r1") -> Run:
    run = project.run(name)
    digest = train.run(project.context(), run).evidence["model_digest"]
    project.passed(run, "gate-security", model_digest=digest)  # scans have tests of their own
    return run


def packaged(project: SmallProject, run: Run, image: str = "") -> Result:
    return package.run(project.context(), run, image)


def test_the_image_is_layers_of_base_dependencies_code_model_and_manifest(project: SmallProject, tmp_path: Path) -> None:
    configured(project, tmp_path, version="1.4.0", labels={"team": "fraud"}, gpus=2)
    run = trained(project)
    result = packaged(project, run)
    made = result.evidence["image"]
    assert result.verdict is Verdict.PASS and isinstance(made, dict)
    layout = project.folder / ".mlpipeline" / "image"
    found = layout_manifest(layout)
    assert found["digest"] == made["digest"]
    assert [layer["title"] for layer in made["layers"]] == ["base", "dependencies", "serving code", "model", "manifest"]
    config = layout_config(layout)
    inner = config["config"]
    assert isinstance(inner, dict)
    assert inner["User"] == "10001:10001"
    assert inner["Entrypoint"][:5] == [
        *("/opt/mlpipeline/environment/bin/python", "-m", "mlpipeline.serving", "--model", "/opt/mlpipeline/model")
    ]
    assert config["created"] == "1970-01-01T00:00:00Z"
    labels = inner["Labels"]
    assert labels["org.opencontainers.image.revision"] == run.commit == labels["mlpipeline.commit"]
    assert labels["org.opencontainers.image.version"] == "1.4.0"
    assert labels["mlpipeline.digest"] == result.evidence["digest"] and labels["mlpipeline.run"].startswith(run.commit[:7])
    assert "mlpipeline.data_version" in labels and labels["team"] == "fraud" and labels["mlpipeline.gpus"] == "2"
    assert found["annotations_of_index"] == {"mlpipeline.run": "r1", "org.opencontainers.image.ref.name": "1.4.0"}


def test_unchanged_pushes_nothing_and_a_changed_model_pushes_its_layer_alone(
    project: SmallProject, tmp_path: Path, registry: RegistryServer
) -> None:
    configured(project, tmp_path, repository=f"{registry.host}/team/tiny")
    run = trained(project)
    first = packaged(project, run)
    again = packaged(project, run)
    assert again == first
    (project.folder / "made" / "weights.bin").write_bytes(b"w" * 1_000_000)
    run = trained(project, "r2")
    second = packaged(project, run)
    one, two = first.evidence["image"], second.evidence["image"]
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["digest"] != two["digest"]
    changed = {layer["title"] for layer in two["layers"]} - {"base"}
    same = {layer["title"] for layer in two["layers"] if layer in one["layers"]}
    assert same == {"base", "dependencies", "serving code"} and changed > same - {"base"}
    model = next(layer["bytes"] for layer in two["layers"] if layer["title"] == "model")
    assert model <= two["sent"] <= model * 1.03
