"""Images as they are run: the real locked environment on Debian's Python, served and asked.

All flavours share one lock, so that its environment is installed and unpacked once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from constant_load import ConstantLoad
from fault_world import FaultWorld
from image_parts import (
    Engine,
    container_engine,
    debian_base,
    free_port,
    layout_config,
    not_allowed,
    unpack_layers,
    until,
    write_docker_archive,
)
from mlpipeline.adapters.environment import Environments
from mlpipeline.config.sections.packaging import Image, Package
from mlpipeline.config.values import Duration
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault, Failed
from mlpipeline.record.places import Places
from mlpipeline.record.result import Result
from mlpipeline.verbs import package, rollback, train
from small_project import SmallProject
from tiny_model import COLUMNS, tiny_request

pytestmark = pytest.mark.real
LAYERS_OF_ALL = 2
"""Base and dependencies."""
REQUIREMENTS = [
    f"{name}=={version(name)}"
    for name in ("mlflow", "scikit-learn", "numpy", "pandas", "scipy", "skops", "lightgbm", "onnx", "onnxruntime")
]


def rows() -> tuple[object, object]:
    """A frame and which of its rows are late."""
    import numpy
    import pandas

    random = numpy.random.default_rng(1)
    frame = pandas.DataFrame({name: random.uniform(0, 50, 200) for name in COLUMNS})
    return frame, (frame["delay"] > 15).to_numpy()


def save_lightgbm(folder: Path) -> None:
    import mlflow.lightgbm
    from lightgbm import LGBMClassifier
    from mlflow.models import infer_signature

    frame, late = rows()
    model = LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, late)
    mlflow.lightgbm.save_model(
        model, str(folder), signature=infer_signature(frame, model.predict(frame)), pip_requirements=REQUIREMENTS
    )


def save_onnx(folder: Path) -> None:
    import mlflow.onnx
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression

    frame, late = rows()
    converted = to_onnx(LinearRegression().fit(frame, late), frame.head(1).to_numpy("float32"))  # type: ignore[attr-defined]
    inputs = Schema([ColSpec("double", name) for name in COLUMNS])
    mlflow.onnx.save_model(
        converted,
        str(folder),
        signature=ModelSignature(inputs=inputs),
        pip_requirements=REQUIREMENTS,
        save_as_external_data=False,
    )


def save_pyfunc(folder: Path) -> None:
    """A class of the project, that needs a module of the project."""
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    frame, _ = rows()
    source = folder.parent / "late_rule.py"
    source.write_text(
        "import mlflow.pyfunc\nfrom mlflow.models import set_model\n\n\n"
        "class Rule(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        from rules.limits import LATE_MINUTES\n\n"
        "        return (model_input['delay'] > LATE_MINUTES).tolist()\n\n\n"
        "set_model(Rule())\n"
    )
    signature = infer_signature(frame, [True])
    mlflow.pyfunc.save_model(str(folder), python_model=str(source), signature=signature, pip_requirements=REQUIREMENTS)


SAVERS: dict[str, Callable[[Path], None]] = {"lightgbm": save_lightgbm, "onnx": save_onnx, "pyfunc": save_pyfunc}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image")


@pytest.fixture(scope="module")
def base(place: Path) -> str:
    return debian_base(place / "base")


def packaged(place: Path, base: str, flavour: str) -> Result:
    """Trained and packaged, the image in the layout of all flavours under the name of its version."""
    image = Image(base=base, layout=str(place / "layout"), version=f"1.0.0-{flavour}")
    shutil.rmtree(place / flavour, ignore_errors=True)
    project = SmallProject(place / flavour, image=image)
    project.places = Places(project=project.folder, home=place / "home", service="tiny")
    if flavour in SAVERS:
        shutil.rmtree(project.folder / "made")
        SAVERS[flavour](project.folder / "made")
    else:
        (project.folder / "made" / "requirements.txt").write_text("\n".join(REQUIREMENTS))
    (project.folder / "rules").mkdir()
    (project.folder / "rules" / "limits.py").write_text("LATE_MINUTES = 15\n")
    project.config = msgspec.structs.replace(project.config, package=Package(include=("rules",)))
    run = project.run()
    digest = train.run(project.context(), run).evidence["model_digest"]
    project.passed(run, "gate-security", model_digest=digest)  # scans have tests of their own
    # The image brings its own environment; the one of this machine is not what is tested here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environments, "install", lambda self, lock: Path("/not/installed"))
        path = str(place / "image.tar") if flavour == "sklearn" else ""
        return package.run(project.context(), run, path)


@pytest.fixture(scope="module")
def first(place: Path, base: str) -> Result:
    return packaged(place, base, "sklearn")


@pytest.fixture(scope="module")
def root(place: Path, first: Result) -> Path:
    """Base and dependencies, unpacked."""
    if os.geteuid() != 0:
        not_allowed("run something inside of an image, which needs root")
    return unpack_layers(place / "root", place / "layout", "1.0.0-sklearn")


def asked(port: int) -> list[object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", tiny_request(3), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        predictions = json.load(answer)["predictions"]
        return list(predictions)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def started(root: Path, layout: Path, name: str, port: int) -> subprocess.Popen[bytes]:
    """The image's process as its configuration says, without an engine."""
    config = layout_config(layout, name)["config"]
    assert isinstance(config, dict)
    return subprocess.Popen(
        [
            *(shutil.which("chroot") or "/usr/sbin/chroot", f"--userspec={config['User']}", root),
            *(*config["Entrypoint"], "--port", str(port)),
        ],
        env=dict(line.split("=", 1) for line in config["Env"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def answers_of(root: Path, layout: Path, name: str) -> list[object]:
    port = free_port()
    process = started(root, layout, name, port)
    try:
        until(lambda: ready(port) or process.poll() is not None, "the image serves")
        assert process.poll() is None, process.stdout.read().decode() if process.stdout else ""
        found = asked(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        return found
    finally:
        process.kill()
        process.wait()


def test_the_image_serves_without_any_engine_as_nobody_and_writes_nothing(place: Path, root: Path) -> None:
    assert set(answers_of(root, place / "layout", "1.0.0-sklearn")) <= {"late", "punctual"}
    assert not list(root.rglob("*.pyc"))


@pytest.mark.parametrize("flavour", SAVERS)
def test_every_flavour_is_built_served_and_asked(flavour: str, place: Path, base: str, root: Path) -> None:
    import mlflow.pyfunc
    import pandas

    image = packaged(place, base, flavour).evidence["image"]
    assert isinstance(image, dict)
    titles = [layer["title"] for layer in image["layers"]]
    assert titles == ["base", "dependencies", "serving code", "project code", "model", "manifest"]
    assert image["written"] < 5_000_000, "what all flavours share is not written again"
    shutil.rmtree(root / "opt" / "mlpipeline" / "model")
    unpack_layers(root, place / "layout", f"1.0.0-{flavour}", first=LAYERS_OF_ALL)
    found = answers_of(root, place / "layout", f"1.0.0-{flavour}")
    rules = place / flavour / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(rules))
        frame = pandas.DataFrame(**json.loads(tiny_request(3))["dataframe_split"])
        wanted = mlflow.pyfunc.load_model(str(rules / "model")).predict(frame)
    if flavour == "onnx":
        assert [row["variable"] for row in found] == pytest.approx(list(wanted["variable"]))  # type: ignore[index]
    else:
        assert found == list(wanted)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with container_engine() as running:
        yield running


def test_an_engine_loads_the_archive_and_runs_the_image(first: Result, place: Path, engine: Engine) -> None:
    image = first.evidence["image"]
    assert isinstance(image, dict)
    said = engine.run("load", "--input", place / "image.tar").stdout
    name = "tiny:1.0.0-sklearn"
    assert f"Loaded image: {name}" in said
    found = json.loads(engine.run("inspect", name).stdout)[0]
    assert found["Id"] == image["id"], "the engine names it by the digest that the record names"
    assert found["Config"]["Labels"] == image["labels"]
    port = free_port()
    hard = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    container = engine.run("run", "--detach", "--network", "host", *hard, name, "--port", str(port)).stdout.strip()
    until(
        lambda: ready(port) or engine.run("inspect", "--format", "{{.State.Running}}", container).stdout.strip() != "true",
        "the container serves",
    )
    assert set(asked(port)) <= {"late", "punctual"}, engine.run("logs", container).stderr
    assert engine.run("exec", container, "id", "-u").stdout.strip() == "10001"
    engine.run("stop", "--time", "60", container)
    assert engine.run("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() == "0"


_DOCKERFILE = """
FROM mlpipeline-test-base
COPY model /served/model
COPY lib code /served/lib/
RUN test -f /served/model/MLmodel && echo built > /served/built
LABEL own=yes
USER 4711
"""


def test_an_engine_builds_the_projects_own_dockerfile_once(place: Path, base: str, engine: Engine, tmp_path: Path) -> None:
    archive = tmp_path / "base.tar"
    write_docker_archive(place / "base", archive, "mlpipeline-test-base:latest")
    engine.run("load", "--input", archive)
    image = Image(dockerfile="Dockerfile", layout="image")
    project = SmallProject(tmp_path, image=image)
    (project.folder / "Dockerfile").write_text(_DOCKERFILE)
    run = project.run()
    digest = train.run(project.context(), run).evidence["model_digest"]
    project.passed(run, "gate-security", model_digest=digest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environments, "install", lambda self, lock: Path("/not/installed"))
        patch.setenv("DOCKER_HOST", engine.host)
        first = package.run(project.context(), run)
        patch.setenv("DOCKER_HOST", "unix:///nowhere")
        assert package.run(project.context(), run) == first, "nothing changed, so no engine is needed"
        (project.folder / "Dockerfile").write_text(f"{_DOCKERFILE}RUN false\n")
        with pytest.raises(EnvironmentFault, match="no container engine"):
            package.run(project.context(), run)
        patch.setenv("DOCKER_HOST", engine.host)
        with pytest.raises(Failed, match="the Dockerfile does not build"):
            package.run(project.context(), run)
    made = first.evidence["image"]
    assert isinstance(made, dict)
    assert made["labels"]["own"] == "yes" and made["labels"]["mlpipeline.digest"] == first.evidence["digest"]
    config = layout_config(project.folder / "image")
    assert config["config"]["User"] == "4711"  # type: ignore[index]
    root = unpack_layers(tmp_path / "root", project.folder / "image", "")
    assert (root / "served" / "built").read_text() == "built\n"
    assert (root / "served" / "model" / "MLmodel").read_bytes() == (project.folder / "model" / "MLmodel").read_bytes()


def pullable(service: FaultWorld, made: Result) -> Result:
    """As if ``package`` had pushed it: on Kubernetes a reference that the nodes know."""
    image = made.evidence["image"]
    if service.kind != "kubernetes":
        return made
    from kubernetes_parts import on_nodes

    assert isinstance(image, dict)
    there = on_nodes(Path(image["layout"]), ContainerImage(digest=image["digest"], id=image["id"]), image["digest"][7:19])
    evidence = {**made.evidence, "image": {**image, "reference": there.reference}}
    return msgspec.structs.replace(made, evidence=evidence)


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_packaged_images_are_released_one_after_the_other_and_taken_back(
    kind: str, first: Result, place: Path, base: str, tmp_path: Path
) -> None:
    """What ``package`` really made, on an engine and in a cluster: a second release through the verbs and the way back, users
    asking all along. Nodes are handed the images that they would pull."""
    service = FaultWorld(kind, tmp_path, ready_timeout=Duration(300))
    try:
        made = [first, packaged(place, base, "pyfunc")]
        runs = [service.packaged(of=pullable(service, result)) for result in made]
        assert service.release(runs[0]).verdict is Verdict.PASS
        with ConstantLoad(service.address, [tiny_request(1)], rate=20, keep_alive=2, fresh=2) as load:
            assert load.wait_for("blue", 10)
            assert service.release(runs[1]).verdict is Verdict.PASS
            assert service.champion == made[1].evidence["digest"]
            assert load.wait_for("green", 10)
            assert rollback.run(service.context(), reason="complaints").verdict is Verdict.PASS
            assert load.wait_for("blue", 10, since=time.monotonic())
        assert (load.failed, load.failures) == (0, [])
        observed = service.observed()
        assert service.champion == made[0].evidence["digest"]
        assert {colour: deployed.artifact.digest for colour, deployed in observed.colours.items()} == {
            Colour.BLUE: made[0].evidence["digest"]
        }, "nothing is left of the second"
    finally:
        service.close()
