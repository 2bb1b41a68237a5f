from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mlpipeline.adapters.mlflow import MlflowRegistry, check_reachable
from mlpipeline.config.sections.records import Tracking
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.places import Places
from mlpipeline.verbs import register, train
from small_project import SmallProject
from tiny_model import save_tiny_model

pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's migrations take seconds; they run once."""
    places = Places(project=Path(), home=tmp_path_factory.mktemp("mlflow"), service="tiny")
    assert MlflowRegistry(Tracking(), places).version("none", "candidate") is None
    return places.tracking / "mlflow.db"


@pytest.fixture
def places(tmp_path: Path, empty_database: Path) -> Places:
    places = Places(project=tmp_path, home=tmp_path / "home", service="tiny")
    places.tracking.mkdir(parents=True)
    shutil.copy(empty_database, places.tracking / "mlflow.db")
    return places


@pytest.fixture
def registry(places: Places) -> MlflowRegistry:
    return MlflowRegistry(Tracking(), places)


TAGS = {"mlpipeline.run": "r1", "mlpipeline.digest": "sha256:aa", "mlpipeline.commit": "c0ffee"}


def test_version_carries_tags_model_metrics_and_parameters(registry: MlflowRegistry, places: Places, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    made = registry.register("tiny", model, TAGS, {"auc": 0.75}, {"forest.trees": "10"})
    assert made.version == "1" and made.aliases == ()
    assert made.tags.items() >= TAGS.items()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{places.tracking}/mlflow.db", f"sqlite:///{places.tracking}/mlflow.db")
    version = client.get_model_version("tiny", "1")
    run = client.get_run(version.run_id)
    assert run.data.metrics == {"auc": 0.75} and run.data.params == {"forest.trees": "10"}
    assert version.current_stage in (None, "None"), "stages are never used"
    files = {item.path for item in client.list_artifacts(version.run_id, "model")}
    assert "model/MLmodel" in files
    assert str(places.tracking) in run.info.artifact_uri


def test_registering_again_finds_the_version_and_another_run_makes_one(registry: MlflowRegistry, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    one = registry.register("tiny", model, TAGS, {}, {})
    assert registry.register("tiny", model, TAGS, {}, {}) == one
    other = registry.register("tiny", model, {**TAGS, "mlpipeline.run": "r2"}, {}, {})
    assert other.version == "2"


def test_training_is_logged_once_and_its_run_becomes_the_versions(registry: MlflowRegistry, tmp_path: Path) -> None:
    tags = {"mlpipeline.run": "r1", "mlpipeline.model": "sha256:bb"}
    logged = registry.log_training(tags, {"auc": 0.7}, {"seed": "1"})
    assert registry.log_training(tags, {"auc": 0.7}, {"seed": "1"}) == logged
    registry.register("tiny", save_tiny_model(tmp_path / "model"), {**TAGS, **tags}, {"auc": 0.7}, {"seed": "1"})
    assert registry._client().get_model_version("tiny", "1").run_id == logged


def test_more_values_than_one_request_takes_and_odd_names_are_logged(registry: MlflowRegistry) -> None:
    metrics = {f"m/{index}@5": float(index) for index in range(250)}
    logged = registry.log_training(TAGS, metrics, {"long": "x" * 10_000})
    run = registry._client().get_run(logged)
    assert len(run.data.metrics) == 250 and run.data.metrics["m/7_5"] == 7.0


def test_aliases_move_and_go_and_versions_are_tagged(registry: MlflowRegistry, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    for run in ("r1", "r2"):
        registry.register("tiny", model, {**TAGS, "mlpipeline.run": run}, {}, {})
    registry.set_alias("tiny", "candidate", "1")
    registry.set_alias("tiny", "champion", "1")
    registry.set_alias("tiny", "candidate", "2")
    first, second = registry.version("tiny", "champion"), registry.version("tiny", "2")
    assert first is not None and (first.version, first.aliases) == ("1", ("champion",))
    assert second is not None and second.aliases == ("candidate",)
    registry.delete_alias("tiny", "champion")
    registry.delete_alias("tiny", "champion")
    assert registry.version("tiny", "champion") is None
    assert registry.version("tiny", "3") is None and registry.version("absent", "1") is None
    registry.tag("tiny", "1", {"mlpipeline.quarantined": "slow"})
    tagged = registry.version("tiny", "1")
    assert tagged is not None and tagged.tags["mlpipeline.quarantined"] == "slow"


def test_worker_killed_while_the_database_is_made_leaves_no_broken_one(tmp_path: Path) -> None:
    places = Places(project=tmp_path, home=tmp_path / "home", service="tiny")
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from mlpipeline.adapters.mlflow import MlflowRegistry\n"
        "from mlpipeline.config.model import Tracking\n"
        "from mlpipeline.record.places import Places\n"
        f"MlflowRegistry(Tracking(), Places(Path(), Path({str(places.home)!r}), 'tiny')).version('a', '1')\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    unfinished, finished = places.tracking / ".mlflow.db.new", places.tracking / "mlflow.db"
    deadline = time.monotonic() + 120
    while not unfinished.exists() and not finished.exists() and worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert MlflowRegistry(Tracking(), places).version("tiny", "1") is None
    assert not unfinished.exists()


def test_unusable_database_names_it_and_what_to_try(places: Places) -> None:
    (places.tracking / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(EnvironmentFault, match="MLflow could not") as caught:
        MlflowRegistry(Tracking(), places).version("tiny", "1")
    assert "mlflow.db" in caught.value.facts["server"]


def test_verb_registers_once_and_names_the_candidate(tmp_path: Path, places: Places, registry: MlflowRegistry) -> None:
    project = SmallProject(tmp_path, registry)
    run = project.run()
    train.run(project.context(), run)
    project.passed(run, "package", digest="sha256:dd", path=str(project.folder / "model").removesuffix("/model"))
    result = register.run(project.context(), run)
    assert result.evidence == {"name": "tiny", "version": "1"}
    assert register.run(project.context(), run) == result
    version = registry.version("tiny", "candidate")
    assert version is not None and version.version == "1"
    assert version.tags["mlpipeline.commit"] == run.commit
    assert version.tags["mlpipeline.digest"] == "sha256:dd"
    assert version.tags["mlpipeline.run"] == run.id
    assert version.tags["mlpipeline.data_version"] == "{}"
    assert version.tags["mlpipeline.record"] == str(project.context().runs.folder(run.id))
    registry.delete_alias("tiny", "candidate")
    register.run(project.context(), run)
    assert registry.version("tiny", "candidate") is not None, "a lost alias is set again"


def test_register_needs_a_package(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    run = project.run()
    project.passed(run, "train")
    with pytest.raises(ConfigurationError, match="register needs package"):
        register.run(project.context(), run)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "there"), [(200, True), (401, True), (404, True), (500, False), (503, False)])
def test_server_is_there_when_it_answers_whatever_its_gateway_says(server: ThreadingHTTPServer, status: int, there: bool) -> None:
    uri = f"http://user:secret@127.0.0.1:{server.server_port}/{status}"
    if there:
        check_reachable(uri)
        return
    with pytest.raises(EnvironmentFault, match="does not answer") as caught:
        check_reachable(uri)
    assert str(status) in caught.value.facts["answer"]
    assert "secret" not in caught.value.render()


def test_hanging_server_is_told_in_time() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(EnvironmentFault, match="does not answer") as caught:
            check_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", limit_seconds=0.3)
        assert "timed out" in caught.value.facts["answer"]


def test_folder_as_tracking_address_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not the address"):
        check_reachable("./mlruns")


def test_looking_does_not_import_mlflow() -> None:
    code = (
        "import sys, mlpipeline.verbs.register, mlpipeline.verbs.train, mlpipeline.verbs.package\n"
        "print([name for name in ('mlflow', 'yaml', 'uv', 'requests') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert printed.stdout.strip() == "[]"
