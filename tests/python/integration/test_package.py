from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from mlpipeline.adapters import bundle as bundles
from mlpipeline.adapters.bundle import verify
from mlpipeline.adapters.environment import Environments, python_for
from mlpipeline.config.sections.packaging import Package
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.places import Places
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import package, train
from small_project import SmallProject


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    return SmallProject(tmp_path)


@pytest.fixture
def no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the bundle itself; one test below really installs and loads the model."""
    monkeypatch.setattr(Environments, "install", lambda self, lock: Path("/not/installed"))


def trained(project: SmallProject) -> Run:
    run = project.run()
    train.run(project.context(), run)
    return run


def packaged(project: SmallProject, run: Run) -> Result:
    return package.run(project.context(), run)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mode) for file in folder.rglob("*") if file.is_file()
    }


@pytest.mark.real
def test_bundle_holds_all_that_runs_the_model_and_its_environment_loads_it(project: SmallProject) -> None:
    result = packaged(project, trained(project))
    evidence = result.evidence
    bundle = Path(str(evidence["path"]))
    manifest = verify(bundle)
    assert result.verdict is Verdict.PASS
    assert evidence["digest"] == manifest.digest and evidence["environment"] == manifest.lock
    assert evidence["files"] == len(manifest.files) and evidence["bytes"] == manifest.bytes
    names = {file.path for file in manifest.files}
    assert {"model/MLmodel", "lib/mlpipeline/__init__.py", "lib/mlpipeline/serving/__main__.py", "requirements.lock"} <= names
    interpreter = python_for(project.places, bundle)
    assert interpreter == project.places.environments / str(evidence["environment"]).removeprefix("sha256:") / "bin" / "python"
    code = (
        "import mlpipeline.serving.__main__, mlflow.pyfunc, sys\n"
        "mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(mlpipeline.__file__)"
    )
    loaded = subprocess.run(
        [interpreter, "-c", code, bundle / "model"],
        env={"PYTHONPATH": f"{bundle}/lib:{bundle}/code", "PATH": os.defpath, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.strip() == str(bundle / "lib" / "mlpipeline" / "__init__.py"), loaded.stderr


@pytest.mark.usefixtures("no_installation")
def test_copy_of_the_project_elsewhere_and_later_gives_the_same_bytes(project: SmallProject, tmp_path: Path) -> None:
    run = trained(project)
    one = Path(str(packaged(project, run).evidence["path"]))
    elsewhere = tmp_path / "other" / "place"
    project.copied(elsewhere)
    other = tmp_path / "other-home"
    (other).mkdir()
    (project.places.home / "locks").rename(other / "locks")
    project.folder = elsewhere
    project.places = Places(project=elsewhere, home=other, service="tiny")
    two = Path(str(packaged(project, run).evidence["path"]))
    assert one != two and one.name == two.name
    assert contents(one) == contents(two)


@pytest.mark.usefixtures("no_installation")
def test_second_packaging_of_unchanged_inputs_does_no_work(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "_YOUNG_SECONDS", -1.0)
    run = trained(project)
    first = packaged(project, run)
    entries = len(project.context().ledger.read())
    monkeypatch.setattr(bundles, "_copy", lambda *_, **__: pytest.fail("copied again"))
    monkeypatch.setattr(bundles.Digests, "_read", lambda *_: pytest.fail("read again"))
    assert packaged(project, run) == first
    assert len(project.context().ledger.read()) == entries


@pytest.mark.usefixtures("no_installation")
def test_a_bundle_that_is_made_again_is_the_one_that_was_registered(project: SmallProject) -> None:
    """Otherwise a damaged and mended bundle would go live under no version of the registry."""
    run = trained(project)
    first = packaged(project, run)
    context = project.context()
    context.finish(run, "register", 0.0, [Reason("register", Verdict.PASS, "version 1")], evidence={"version": "1"})
    shutil.rmtree(str(first.evidence["path"]))
    assert packaged(project, run).evidence["digest"] == first.evidence["digest"]
    assert context.runs.result(run.id, "register") is not None


@pytest.mark.usefixtures("no_installation")
def test_included_code_is_placed_under_code(project: SmallProject) -> None:
    (project.folder / "features").mkdir()
    (project.folder / "features" / "late.py").write_text("LATE = 30\n")
    project.config = msgspec.structs.replace(project.config, package=Package(include=("features",)))
    bundle = Path(str(packaged(project, trained(project)).evidence["path"]))
    assert (bundle / "code" / "features" / "late.py").read_text() == "LATE = 30\n"


@pytest.mark.usefixtures("no_installation")
@pytest.mark.parametrize("name", ["absent", "../outside", "/etc/hostname"])
def test_included_path_must_be_in_the_project(project: SmallProject, name: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("")
    project.config = msgspec.structs.replace(project.config, package=Package(include=(name,)))
    with pytest.raises(ConfigurationError, match="not in the project"):
        packaged(project, trained(project))


@pytest.mark.usefixtures("no_installation")
def test_full_disk_leaves_nothing_and_the_next_try_works(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    run, real = trained(project), bundles._copy_file

    def full(source: Path, target: Path, digests: bundles.Digests) -> str:
        if target.name == "MLmodel":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return real(source, target, digests)

    monkeypatch.setattr(bundles, "_copy_file", full)
    with pytest.raises(EnvironmentFault, match="disk is full"):
        packaged(project, run)
    assert list(project.places.bundles.iterdir()) == []
    assert project.context().runs.result(run.id, "package") is None
    monkeypatch.setattr(bundles, "_copy_file", real)
    assert packaged(project, run).verdict is Verdict.PASS


@pytest.mark.usefixtures("no_installation")
def test_model_that_changed_since_its_training_is_not_shipped(project: SmallProject) -> None:
    run = trained(project)
    with (project.folder / "model" / "MLmodel").open("a") as file:
        file.write("}edited\n")
    with pytest.raises(ConfigurationError, match="not the one that was trained"):
        packaged(project, run)


def test_packaging_needs_a_training(project: SmallProject) -> None:
    with pytest.raises(ConfigurationError, match="package needs train"):
        packaged(project, project.run())


def test_vanished_model_is_told(project: SmallProject) -> None:
    run = trained(project)
    (project.folder / "model").rename(project.folder / "gone")
    with pytest.raises(ConfigurationError, match="not there any more"):
        packaged(project, run)


def test_missing_requirements_are_told(project: SmallProject) -> None:
    run = trained(project)
    project.config = msgspec.structs.replace(project.config, package=Package(requirements="serving.txt"))
    with pytest.raises(ConfigurationError, match="requirements are missing"):
        packaged(project, run)
