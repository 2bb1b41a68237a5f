from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from image_builder import built, write_wheel
from image_parts import RegistryServer, layout_config, layout_manifest, not_allowed, registry_server, small_base
from mlpipeline.adapters import bundle as bundles
from mlpipeline.adapters.environment import Environments, Lock
from mlpipeline.adapters.oci import blobs
from mlpipeline.adapters.oci import registry as protocol
from mlpipeline.config.sections.packaging import Image
from mlpipeline.config.sections.security import Ignore, ScannerRule
from mlpipeline.core import provenance as words
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.record.attestations import PROVENANCE
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
    configured(project, tmp_path, version="1.4.0", labels={"team": "fraud"}, gpus=2, warm_up_rows=512)
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
    assert inner["Entrypoint"][-2:] == ["--warm-up-rows", "512"] and "NVIDIA_VISIBLE_DEVICES=all" in inner["Env"]
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


def as_nobody() -> list[str]:
    """Runs what follows as another user, who may read what root may: an interpreter can lie in root's home."""
    if os.geteuid() != 0:
        return []
    may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *may_read]


def test_another_commit_of_the_same_model_is_another_image_of_the_same_layers(project: SmallProject, tmp_path: Path) -> None:
    configured(project, tmp_path, layout="image")
    one = packaged(project, trained(project)).evidence["image"]
    (project.folder / "params.yaml").write_text("seed: 2\n")
    project.git("commit", "--quiet", "--all", "-m", "second")
    two = packaged(project, trained(project, "r2")).evidence["image"]
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["digest"] != two["digest"] and one["layers"] == two["layers"]
    assert two["written"] < 20_000


def test_copy_of_the_project_elsewhere_later_and_with_another_mask_is_the_same_image(
    project: SmallProject, tmp_path: Path
) -> None:
    configured(project, tmp_path)
    one = packaged(project, trained(project)).evidence["image"]
    locks = project.places.home / "locks"
    before = os.umask(0o077)
    try:
        project.copied(tmp_path / "else" / "where")
        project.folder = tmp_path / "else" / "where"
        project.places = msgspec.structs.replace(project.places, project=project.folder, home=tmp_path / "other-home")
        shutil.copytree(locks, project.places.home / "locks")
        two = packaged(project, trained(project, "r2")).evidence["image"]
    finally:
        os.umask(before)
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["digest"] == two["digest"] and one["id"] == two["id"]


@pytest.mark.real
def test_another_user_in_another_zone_with_other_settings_makes_the_same_image(tmp_path: Path) -> None:
    """With uv itself, from a wheelhouse: programs of wheels, their modes and their RECORD included."""
    with tempfile.TemporaryDirectory() as name:  # a folder that other users can reach
        place = Path(name)
        place.chmod(0o755)
        for wheel in ("alpha", "beta"):
            write_wheel(place / "wheels", wheel)
        (place / "model").mkdir()
        (place / "model" / "MLmodel").write_text("flavors: {}\n")
        (place / "model" / "ä weights.bin").write_bytes(b"w" * 3_000_000)
        base = small_base(place / "base")
        mine = built(place / "model", place / "wheels", base, tmp_path / "mine")
        theirs = place / "theirs" / "much" / "deeper"
        theirs.mkdir(parents=True)
        copy = shutil.copytree(place / "model", theirs / "copied", copy_function=shutil.copyfile)
        nobody = 65534 if os.geteuid() == 0 else os.geteuid()
        for file in (theirs, copy, *copy.iterdir()):
            os.chown(file, nobody, nobody if os.geteuid() == 0 else -1)
        done = subprocess.run(
            [*as_nobody(), sys.executable, Path(__file__).parents[1] / "image_builder.py", copy, place / "wheels", base, theirs],
            env={
                **{"PATH": os.environ["PATH"], "HOME": str(theirs), "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"},
                **{"UV_CACHE_DIR": str(theirs / "cache"), "PYTHONPATH": str(Path(__file__).parents[1]), "USER": "somebody"},
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            umask=0o077,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["image"] == mine


@pytest.mark.real
def test_a_registry_that_dies_in_the_middle_of_a_push_publishes_nothing_and_the_next_push_goes_on(
    project: SmallProject, tmp_path: Path, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_PAUSE_SECONDS", 0.01)
    configured(project, tmp_path, repository=f"{registry.host}/team/tiny")
    (project.folder / "made" / "weights.bin").write_bytes(os.urandom(3_000_000))
    run = trained(project)
    real, died = blobs.TarBlob.blocks, threading.Event()

    def dying(self: blobs.TarBlob, start: int = 0) -> Iterator[bytes]:
        sent = 0
        for block in real(self, start):
            sent += len(block)
            if sent > 1_000_000 and not died.is_set():
                registry.stop()
                died.set()
            yield block

    monkeypatch.setattr(blobs.TarBlob, "blocks", dying)
    with pytest.raises(EnvironmentFault, match="cannot be reached, or broke off"):
        packaged(project, run)
    assert died.is_set() and project.context().runs.result(run.id, "package") is None
    registry.start()
    assert not list((registry.folder / "data").rglob("_manifests/tags/*")), "no tag names half an image"
    before = registry.written()
    image = packaged(project, run).evidence["image"]
    assert isinstance(image, dict)
    assert 3_000_000 < image["sent"] < image["bytes"], "what had arrived before is not sent again"
    assert registry.written() > before


def test_a_full_disk_leaves_neither_half_a_layer_nor_a_name_for_it(
    project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(project, tmp_path, layout="image", archive="image.tar")
    run = trained(project)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(blobs, "_copy_within", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(EnvironmentFault, match="disk is full, the image was not written"):
            packaged(project, run)
    assert not (project.folder / "image" / "index.json").exists() and not (project.folder / "image.tar").exists()
    assert not [path for path in (project.folder / "image").rglob("*") if path.is_file()], "nor the layers that came before it"
    assert packaged(project, run).verdict is Verdict.PASS


@pytest.mark.real
def test_a_disk_that_is_really_full(project: SmallProject, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=False).returncode:
        not_allowed("mount a small disk")
    try:
        (project.folder / "made" / "weights.bin").write_bytes(os.urandom(3_000_000))
        configured(project, tmp_path, archive=str(small / "image.tar"))
        with pytest.raises(EnvironmentFault, match="disk is full"):
            packaged(project, trained(project))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.real
def test_a_model_larger_than_the_memory_is_packaged_and_pushed(tmp_path: Path) -> None:
    """In a process that may not have half as much memory as the model is large."""
    with registry_server(tmp_path / "registry") as registry:
        script = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from image_builder import built\n"
            "from mlpipeline.adapters.oci import blobs, layers, registry\n"
            "from mlpipeline.core.image import Descriptor, Entry, LAYER_TYPE, repository\n"
            "place = Path(sys.argv[1])\n"
            "print(built(place / 'model', place / 'wheels', sys.argv[2], place / 'scratch'))\n"
            "(bundle,) = (place / 'scratch/home/bundles').iterdir()\n"
            "file = bundle / 'model/weights.bin'\n"
            "_, blob = layers.layer(place / 'i', [Entry('w', size=file.stat().st_size, sha256='0', source=str(file))], 'w')\n"
            "print(registry.Registry(repository(sys.argv[3]), os.environ).push_blob(blob))\n"
            "blobs.put(place / 'out', blob)\n"
        )
        for wheel in ("alpha", "beta"):
            write_wheel(tmp_path / "wheels", wheel)
        (tmp_path / "model").mkdir()
        with (tmp_path / "model" / "weights.bin").open("wb") as weights:
            weights.truncate(600 << 20)
        limit = 280 << 20

        def little_memory() -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path, small_base(tmp_path / "base"), f"{registry.host}/team/tiny"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "UV_CONCURRENT_INSTALLS": "1"},
            preexec_fn=little_memory,
            capture_output=True,
            text=True,
            check=False,
        )
        digest, sent = done.stdout.split() or ("", "0")
        assert digest.startswith("sha256:"), done.stderr
        assert int(sent) > 600 << 20


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("oci:base", "not pinned by its digest"),
        (f"oci:nowhere@sha256:{'0' * 64}", "there is no OCI layout"),
        (f"docker-archive:nowhere.tar@sha256:{'0' * 64}", "archive of the base image is missing"),
        (f"churn@sha256:{'0' * 64}", "not the name of a repository"),
        (f"127.0.0.1:9/a/b@sha256:{'0' * 64}", "cannot be reached"),
    ],
)
def test_a_base_that_cannot_be_built_on(
    project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, message: str
) -> None:
    monkeypatch.setattr(protocol, "_PAUSE_SECONDS", 0.01)
    configured(project, tmp_path, base=base)
    with pytest.raises((ConfigurationError, EnvironmentFault), match=message):
        packaged(project, trained(project))
    assert not (project.folder / ".mlpipeline" / "image").exists()


def test_a_base_that_was_tampered_with_or_has_no_python_is_refused(project: SmallProject, tmp_path: Path) -> None:
    run = trained(project)
    configured(project, tmp_path, base=small_base(tmp_path / "old", python="3.9"))
    with pytest.raises(ConfigurationError, match=r"no Python 3\.1"):
        packaged(project, run)
    base = small_base(tmp_path / "tampered", {"etc/motd": "hello\n"})
    largest = max((tmp_path / "tampered" / "blobs" / "sha256").iterdir(), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes().replace(b"hello", b"hullo"))
    configured(project, tmp_path, base=base)
    with pytest.raises(EnvironmentFault, match="not what its digest says"):
        packaged(project, run)


def test_a_base_from_a_registry_is_brought_once_and_its_layers_are_taken_over_there(
    project: SmallProject, tmp_path: Path, registry: RegistryServer
) -> None:
    configured(project, tmp_path, repository=f"{registry.host}/debian/python")
    run = trained(project)
    pushed = packaged(project, run).evidence["image"]
    assert isinstance(pushed, dict)
    # An image is as good a base as any: it has an interpreter, and several layers.
    shutil.rmtree(project.places.images)
    configured(project, tmp_path, base=pushed["reference"], repository=f"{registry.host}/team/tiny")
    image = packaged(project, run).evidence["image"]
    assert isinstance(image, dict)
    assert len(image["layers"]) == 2 * len(pushed["layers"]) - 1
    assert image["sent"] < 20_000, "the registry has all layers already"
    assert image["labels"]["org.opencontainers.image.base.name"] == f"{registry.host}/debian/python"
    gets = [line for line in registry.requests("GET") if "/debian/python/" in line]
    packaged(project, run)
    assert [line for line in registry.requests("GET") if "/debian/python/" in line] == gets


def test_an_unpinned_base_is_named_with_what_would_pin_it(
    project: SmallProject, tmp_path: Path, registry: RegistryServer
) -> None:
    configured(project, tmp_path, repository=f"{registry.host}/debian/python", version="3.11.2")
    run = trained(project)
    pushed = packaged(project, run).evidence["image"]
    assert isinstance(pushed, dict)
    configured(project, tmp_path, base=f"{registry.host}/debian/python:3.11.2")
    with pytest.raises(ConfigurationError, match="not pinned") as caught:
        packaged(project, run)
    assert pushed["reference"] in caught.value.render()


def test_a_folder_with_something_else_is_left_alone(project: SmallProject, tmp_path: Path) -> None:
    configured(project, tmp_path, layout="train.py")
    run = trained(project)
    with pytest.raises((ConfigurationError, EnvironmentFault)):
        packaged(project, run)
    configured(project, tmp_path, layout="made")
    with pytest.raises(ConfigurationError, match="holds something else"):
        packaged(project, run)


def test_an_image_is_asked_for_with_nothing_to_build_it_on(project: SmallProject) -> None:
    with pytest.raises(ConfigurationError, match="needs to know what the image is built on"):
        packaged(project, trained(project), "image.tar")


@pytest.mark.parametrize("clock", [-400, 400], ids=["files are older", "files are from the future"])
def test_a_clock_that_is_wrong_changes_nothing(project: SmallProject, tmp_path: Path, clock: int) -> None:
    configured(project, tmp_path)
    one = packaged(project, trained(project)).evidence["image"]
    for file in (project.folder / "made").rglob("*"):
        os.utime(file, (file.stat().st_atime + clock * 86400, file.stat().st_mtime + clock * 86400))
    two = packaged(project, trained(project, "r2")).evidence["image"]
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["digest"] == two["digest"]


def scanner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, found: str) -> None:
    """A stand-in for trivy that finds this in the image, and says how many images it was shown."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    said = {
        "Results": [
            {
                "Packages": [{"Name": "libc6"}],
                "Vulnerabilities": [
                    {"VulnerabilityID": found, "Severity": "CRITICAL", "PkgName": "libc6", "InstalledVersion": "2"}
                ]
                if found
                else [],
            }
        ]
    }
    trivy = folder / "trivy"
    trivy.write_text(f"#!/bin/sh\ncp \"$9/index.json\" {folder}/index.json || exit 1\ncat <<'END'\n{json.dumps(said)}\nEND\n")
    trivy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def scanning(project: SmallProject, **security: object) -> None:
    known = msgspec.structs.replace(project.config.security, image=ScannerRule(not_run="fail"), **security)
    project.config = msgspec.structs.replace(project.config, security=known)


def test_an_image_with_a_finding_is_published_nowhere_until_a_person_accepts_it(
    project: SmallProject, registry: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(project, tmp_path, repository=f"{registry.host}/team/tiny")
    run = trained(project)
    scanner(tmp_path, monkeypatch, found="CVE-2026-1")
    scanning(project)
    with pytest.raises(Failed, match="not published") as stopped:
        packaged(project, run)
    assert "CVE-2026-1 (critical) in libc6==2" in str(stopped.value.facts["gate image"])
    assert not list((registry.folder / "data").glob("docker/registry/v2/repositories/*"))
    assert not list(project.places.attestations.glob("*"))

    scanning(project, ignore=(Ignore(id="CVE-2026-1", reason="not reached", person="mara", expires="2999-01-01"),))
    result = packaged(project, run)
    made = result.evidence["image"]
    assert isinstance(made, dict)
    looked = project.context().runs.result(run.id, "gate-image")
    assert looked is not None and looked.verdict is Verdict.PASS and looked.evidence["image_digest"] == made["digest"]
    shown = json.loads((tmp_path / "bin" / "index.json").read_text())
    assert [one["digest"] for one in shown["manifests"]] == [made["digest"]]
    assert not list(project.places.images.glob(".scanned-*"))


def test_a_look_that_finds_the_same_again_leaves_all_as_it_is(
    project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(project, tmp_path)
    run = trained(project)
    scanner(tmp_path, monkeypatch, found="")
    scanning(project)
    first = packaged(project, run)
    signed = {file: file.read_bytes() for file in project.places.attestations.rglob("*.json")}
    assert packaged(project, run) == first
    assert {file: file.read_bytes() for file in project.places.attestations.rglob("*.json")} == signed
    (provenance,) = (content for file, content in signed.items() if file.name == PROVENANCE)
    stated = words.byproducts(words.opened(provenance)[1])
    assert stated["gate-image"].annotations["verdict"] == "pass"


def test_an_image_that_nobody_could_look_into_is_not_called_clean(
    project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(project, tmp_path)
    run = trained(project)
    scanner(tmp_path, monkeypatch, found="")
    (tmp_path / "bin" / "trivy").write_text("#!/bin/sh\necho 'database download error' >&2\nexit 1\n")
    scanning(project)
    with pytest.raises(Failed) as stopped:
        packaged(project, run)
    assert "not run, and not_run is fail: trivy ended with 1: database download error" in str(stopped.value.facts["gate image"])
