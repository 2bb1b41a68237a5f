"""The tiny service and Envoy as images on the nodes of a real cluster, and a world of pods for the contract suite."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import tarfile
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from docker_parts import envoy_image, service_image
from image_parts import answers_at, blob, until
from kubernetes_cluster import cluster, kubeconfig, load, own_namespace
from mlpipeline.adapters.kubernetes import KubernetesTarget
from mlpipeline.adapters.kubernetes.api import Cluster, Object
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.config.values import Duration
from mlpipeline.core import container as labels
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.image import INDEX_TYPE, MANIFEST_TYPE, Descriptor
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.ports import Artifact
from mlpipeline.record.places import Places
from tiny_service import Behaviour, make_bundle

REPOSITORY = "registry.test/contract"
"""Exists nowhere: nodes are handed what they would pull from there."""


@functools.cache
def folder() -> Path:
    """Of this test session."""
    place = tempfile.TemporaryDirectory(prefix="kubernetes-parts-")
    atexit.register(place.cleanup)
    return Path(place.name)


@functools.cache
def shared_namespace() -> str:
    """Of this test session; its services have names of their own."""
    stack = contextlib.ExitStack()
    name = stack.enter_context(own_namespace())
    atexit.register(stack.close)  # only now: the client removes its certificates at the end too, and the last comes first
    return name


@functools.cache
def _on_nodes() -> set[str]:
    """Digests of blobs that were handed over."""
    return set()


_one_at_a_time = threading.RLock()


def on_nodes(layout: Path, image: ContainerImage, tag: str) -> ContainerImage:
    """Hands an image of a layout to the nodes, once, with those of its layers that they do not have yet."""
    with _one_at_a_time:
        if image.digest not in _on_nodes():
            load(_archive(layout, image, f"{REPOSITORY}:{tag}"))
    return msgspec.structs.replace(image, reference=f"{REPOSITORY}@{image.digest}")


def _archive(layout: Path, image: ContainerImage, name: str) -> Path:
    content = blob(layout, image.digest)
    found = msgspec.json.decode(content)
    mine = Descriptor(MANIFEST_TYPE, image.digest, len(content), {"io.containerd.image.name": name})
    index = msgspec.json.encode({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [mine]})
    archive = folder() / "image.tar"
    with tarfile.open(archive, "w") as packed:
        for path, text in (("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'), ("index.json", index)):
            info = tarfile.TarInfo(path)
            info.size = len(text)
            packed.addfile(info, io.BytesIO(text))
        for digest in (image.digest, *(part["digest"] for part in (found["config"], *found["layers"]))):
            if digest not in _on_nodes():
                packed.add(layout / "blobs" / "sha256" / digest.removeprefix("sha256:"), f"blobs/sha256/{digest[7:]}")
                _on_nodes().add(digest)
    return archive


@functools.cache
def router_image() -> str:
    """Envoy on the nodes; returns what ``target.kubernetes.router_image`` says of it."""
    kubeconfig()
    layout = folder() / "layout"
    return on_nodes(layout, envoy_image(layout), "envoy").reference


def reachable(address: str) -> str:
    """A new Service is known to the nodes within a second or so, and answers nobody before."""
    parts = urlsplit(address)
    until(lambda: answers_at(str(parts.hostname), parts.port or 80), "the Service of users is known to the nodes")
    return address


class KubernetesWorld:
    """Pods behind Envoy pods, on a cluster that tests of this session share.

    Args:
        folder: Of this test alone.
        settings: Besides kubeconfig, namespace, image and short time-outs.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        image = router_image()
        self._folder = folder
        self.service = f"c{uuid.uuid4().hex[:8]}"
        chosen = {
            "kubeconfig": kubeconfig(),
            "namespace": shared_namespace(),
            "router_image": image,
            "router_replicas": 1,
            "ready_timeout": Duration(90),
            "drain_timeout": Duration(5),
            **settings,
        }
        self.settings = Kubernetes(**chosen)  # type: ignore[arg-type]
        self.places = Places(project=folder, home=folder / "home", service=self.service)
        self.cluster: Cluster = cluster(self.settings.namespace)

    @property
    def address(self) -> str:
        """Users start when they can."""
        return reachable(self.target().address)

    @property
    def router_files(self) -> Path:
        """There are none on this machine."""
        return self._folder / "nothing"

    def target(self, fence: Callable[[], int | None] | None = None) -> KubernetesTarget:
        return KubernetesTarget(self.service, self.settings, SystemClock(), {}, fence=fence)

    def artifact(self, behaviour: Behaviour) -> Artifact:
        bundle = make_bundle(self._folder / "bundles", behaviour)
        layout = folder() / "layout"
        with _one_at_a_time:
            image = on_nodes(layout, service_image(layout, bundle), bundle.digest[7:19])
        return Artifact(bundle.digest, "/bundles/of/the/test", bundle.model_version, run="one", image=image)

    def kill_colour(self, colour: Colour) -> None:
        self.kill(str(colour))

    def kill_router(self) -> None:
        self.kill("router")

    def kill(self, role: str) -> None:
        """As a person would: the cluster does not bring it back."""
        self.cluster.patch("Deployment", Names(self.service).of(role), {"spec": {"replicas": 0}})
        self._end(role)
        until(lambda: not self.pods(role), f"{role} has ended")

    def pods(self, role: str = "") -> list[Object]:
        chosen = {labels.SERVICE: self.service, **({labels.ROLE: role} if role else {})}
        return self.cluster.listed("Pod", labels=chosen)

    def _end(self, role: str = "") -> None:
        for pod in self.pods(role):
            self.cluster.delete("Pod", pod["metadata"]["name"], grace_seconds=0)

    def close(self) -> None:
        for kind in ("Deployment", "PodDisruptionBudget", "Service", "ConfigMap", "Lease"):
            for found in self.cluster.listed(kind, labels={labels.SERVICE: self.service}):
                self.cluster.delete(kind, found["metadata"]["name"])
        self._end()  # whatever is left goes with the namespace


class LiveWorlds:
    """Services with blue serving users and green beside it, made while the test before runs: what takes long is waiting."""

    def __init__(self) -> None:
        self._makers = ThreadPoolExecutor(1)
        self._coming: deque[Future[KubernetesWorld]] = deque()
        atexit.register(self._makers.shutdown, wait=False, cancel_futures=True)

    def take(self) -> KubernetesWorld:
        """The next one; and the one after it is begun."""
        router_image()
        while len(self._coming) < 2:
            self._coming.append(self._makers.submit(self._made, folder() / uuid.uuid4().hex))
        return self._coming.popleft().result()

    def _made(self, place: Path) -> KubernetesWorld:
        world = KubernetesWorld(place)
        target = world.target()
        target.deploy(Colour.BLUE, world.artifact(Behaviour("one")))
        target.route(TrafficPlan.all_to(Colour.BLUE))
        target.deploy(Colour.GREEN, world.artifact(Behaviour("two")))
        return world


@functools.cache
def live_worlds() -> LiveWorlds:
    """Of this test session."""
    return LiveWorlds()
