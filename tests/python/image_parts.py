"""Real parts for tests of images: a base of Debian's own packages, a registry, a container engine. See tools/setup_images.sh."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from mlpipeline.adapters.oci.blobs import FileBlob, TarBlob, measured
from mlpipeline.adapters.oci.image import Image
from mlpipeline.adapters.oci.layout import write_archive, write_layout
from mlpipeline.core.image import CONFIG_TYPE, EPOCH, LAYER_TYPE, Descriptor, Entry, Layer, encoded, manifest, with_folders
from mlpipeline.hosting.machine import free_port

TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "images"
ROOT = TOOLS / "root"
PROGRAMS = TOOLS / "programs" / "usr"
DEADLINE_SECONDS = 120.0


def need(*parts: Path) -> None:
    missing = [part for part in parts if not part.exists()]
    if missing:
        pytest.skip(f"missing: {missing[0].name}; run tools/setup_images.sh")


def not_allowed(what: str) -> NoReturn:
    """Skips, and so fails under CI: this user of this machine may not do what the test needs."""
    pytest.skip(f"this machine does not let us {what}")


def small_base(folder: Path, files: Mapping[str, str] | None = None, *, python: str = "3.11") -> str:
    """A base in an OCI layout with no more than the name of an interpreter; returns what ``image.base`` says of it."""
    texts = {f"usr/bin/python{python}": "#!/bin/false\n", **(files or {})}
    source = folder.with_name(f"{folder.name}-files")
    entries = []
    for path, text in texts.items():
        file = source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        entries.append(file_entry(path, file, 0o755))
    return _written(folder, entries)


def debian_files() -> list[Entry]:
    """Python 3.11 of Debian and what it needs."""
    need(ROOT)
    entries = [Entry("bin/sh", kind="link", mode=0o777, target="dash")]
    for place, folders, files in os.walk(ROOT):
        for name in files + folders:
            file = Path(place, name)
            path, mode = str(file.relative_to(ROOT)), file.lstat().st_mode & 0o7777
            if file.is_symlink():
                entries.append(Entry(path, kind="link", mode=0o777, target=str(file.readlink())))
            elif file.is_dir():
                entries.append(Entry(path, kind="folder", mode=mode))
            else:
                entries.append(file_entry(path, file, mode))
    return entries


def file_entry(path: str, file: Path, mode: int) -> Entry:
    """A file as it is to stand in a layer."""
    return Entry(
        path, mode=mode, size=file.stat().st_size, sha256=hashlib.sha256(file.read_bytes()).hexdigest(), source=str(file)
    )


def debian_base(folder: Path) -> str:
    """The base that images really run on."""
    return _written(folder, debian_files())


def _written(folder: Path, entries: list[Entry]) -> str:
    listed = with_folders(entries)
    digest, size = measured(listed)
    layer = Layer(Descriptor(LAYER_TYPE, digest, size), digest, "base")
    config = encoded(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": EPOCH,
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["sh"], "User": "0:0"},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
            "history": [{"created": EPOCH, "created_by": "debian"}],
        }
    )
    image = Image(config, manifest(config, [layer.descriptor], {}), (layer,), (TarBlob(layer.descriptor, listed),))
    write_layout(image, folder, "base", {})
    return f"oci:{folder}@{image.digest}"


class RegistryServer:
    """Debian's ``docker-registry`` on a free port of this machine, its storage in a folder."""

    def __init__(self, folder: Path, *, more: str = "") -> None:
        need(PROGRAMS / "bin" / "docker-registry")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = folder / "log"
        self._config = folder / "config.yml"
        self._config.write_text(
            f"version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {folder / 'data'}}}\n"
            f"  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{self.port}\n  secret: test\n{more}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "bin" / "docker-registry", "serve", self._config], stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: answers(self.port), "the registry answers")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def written(self) -> int:
        """Bytes of all blobs that were ever taken."""
        return sum(file.stat().st_size for file in (self.folder / "data").rglob("data") if file.is_file())

    def requests(self, method: str) -> list[str]:
        """Lines of the access log with this method."""
        return [line for line in self.log.read_text().splitlines() if f'"{method} /v2/' in line]


@contextlib.contextmanager
def registry_server(folder: Path, *, more: str = "") -> Iterator[RegistryServer]:
    server = RegistryServer(folder, more=more)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Engine:
    """``dockerd`` with everything of its own: storage, state, socket. It never touches the machine's network."""

    def __init__(self) -> None:
        need(PROGRAMS / "sbin" / "dockerd")
        if os.geteuid() != 0:
            not_allowed("start a container engine, which needs root")
        self.folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/var/tmp"))
        self.host = f"unix://{self.folder}/socket"
        self.environment = {
            **os.environ,
            "DOCKER_HOST": self.host,
            "PATH": f"{PROGRAMS}/bin:{PROGRAMS}/sbin:{os.environ['PATH']}",
        }
        log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                *(PROGRAMS / "sbin" / "dockerd", "--host", self.host, "--data-root", self.folder / "data"),
                *("--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid"),
                *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
            ],
            env=self.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def started(self) -> bool:
        def over() -> bool:
            return self._process.poll() is not None or self.run("version", check=False).returncode == 0

        until(over, "the engine answers")
        return self._process.poll() is None

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [PROGRAMS / "bin" / "docker", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"docker {arguments}: {done.stderr}")
        return done

    def stop(self) -> None:
        if self._process.poll() is None:
            names = self.run("ps", "--all", "--quiet", check=False).stdout.split()
            if names:
                self.run("rm", "--force", *names, check=False)
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # The engine leaves its network namespaces mounted.
        places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in sorted((place for place in places if place.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def container_engine() -> Iterator[Engine]:
    """A running engine; where the machine allows none, the test is skipped with what the engine said."""
    engine = Engine()
    try:
        if not engine.started():
            not_allowed(f"start a container engine: {(engine.folder / 'log').read_text()[-300:]}")
        yield engine
    finally:
        engine.stop()


def layout_manifest(folder: Path, name: str = "") -> dict[str, object]:
    """The manifest of the image of this name in a layout, or of the only one."""
    index = msgspec.json.decode((folder / "index.json").read_bytes())
    (entry,) = [entry for entry in index["manifests"] if name in ("", entry["annotations"]["org.opencontainers.image.ref.name"])]
    found = msgspec.json.decode(blob(folder, entry["digest"]))
    return {**found, "digest": entry["digest"], "annotations_of_index": entry["annotations"]}


def layout_config(folder: Path, name: str = "") -> dict[str, object]:
    config = layout_manifest(folder, name)["config"]
    assert isinstance(config, dict)
    assert config["mediaType"] == CONFIG_TYPE
    return msgspec.json.decode(blob(folder, config["digest"]))  # type: ignore[no-any-return]


def blob(folder: Path, digest: str) -> bytes:
    return (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def write_docker_archive(layout: Path, file: Path, tag: str) -> None:
    """The one image of a layout as ``docker load`` reads it."""
    found = layout_manifest(layout)
    layers, config = found["layers"], found["config"]
    assert isinstance(layers, list)
    assert isinstance(config, dict)
    content = blob(layout, config["digest"])
    contents = msgspec.json.decode(content)["rootfs"]["diff_ids"]
    described = [msgspec.convert(layer, Descriptor) for layer in layers]
    image = Image(
        content,
        b"{}",
        tuple(Layer(one, diff_id) for one, diff_id in zip(described, contents, strict=True)),
        tuple(FileBlob(one, layout / "blobs" / "sha256" / one.digest.removeprefix("sha256:")) for one in described),
    )
    write_archive(image, file, tag)


def unpack_layers(folder: Path, layout: Path, name: str, *, first: int = 0) -> Path:
    """Layers of a layout's image, one over the other, from the given one on."""
    import tarfile

    folder.mkdir(parents=True, exist_ok=True)
    layers = layout_manifest(layout, name)["layers"]
    assert isinstance(layers, list)
    for layer in layers[first:]:
        with tarfile.open(layout / "blobs" / "sha256" / layer["digest"].removeprefix("sha256:")) as tar:
            tar.extractall(folder, filter="fully_trusted")
    return folder


def answers(port: int) -> bool:
    return answers_at("127.0.0.1", port)


def answers_at(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)
