"""The form of container images: names, layers, configurations and manifests as bytes that depend on nothing but their content.

Follows the OCI image format 1.0. Nothing here reads or writes: files are named, others stream them.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
_OCI_TYPE_OF = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER_TYPE}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
}
LAYER_TYPES = (LAYER_TYPE, f"{LAYER_TYPE}+gzip", f"{LAYER_TYPE}+zstd", *_OCI_TYPE_OF)
REF_NAME = "org.opencontainers.image.ref.name"
EPOCH = "1970-01-01T00:00:00Z"
"""The time of everything in an image: when it was built is no part of it."""

ROOT = "opt/mlpipeline"
"""Where a bundle lies in an image, as it does in its folder."""
ENVIRONMENT = f"{ROOT}/environment"
USER = "10001:10001"
"""Who the serving process is: nobody that any base knows, and not root."""
PORT = 8080
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Descriptor(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}, omit_defaults=True):
    """What a manifest says of one blob: type, ``sha256:...``, bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}


class Layer(msgspec.Struct, frozen=True):
    """One layer. ``content`` is the digest of the uncompressed tar, which the configuration lists."""

    descriptor: Descriptor
    content: str
    title: str = ""


class Entry(msgspec.Struct, frozen=True, order=True):
    """One thing in a layer, owned by root, its times 0.

    Args:
        path: Relative to the root of the image, with slashes, without one at its end.
        kind: ``file``, ``folder`` or ``link``.
        mode: Permission bits.
        size: Bytes of a file.
        sha256: Of a file's content, hex.
        target: Of a link.
        source: Where the file is read from; no part of its identity.
    """

    path: str
    kind: str = "file"
    mode: int = 0o644
    size: int = 0
    sha256: str = ""
    target: str = ""
    source: str = ""


class Repository(msgspec.Struct, frozen=True):
    """Where images lie in a registry: ``host[:port]`` and a name."""

    host: str
    name: str

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


def is_digest(text: str) -> bool:
    """Whether this is ``sha256:`` and 64 hex digits."""
    return _DIGEST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether a registry takes this as a tag."""
    return _TAG.fullmatch(text) is not None


def repository(text: str) -> Repository:
    """Reads ``host[:port]/name``. Raises ValueError: a host is always named, none is assumed."""
    found = _REPOSITORY.fullmatch(text)
    if found is None or not (set(".:[") & set(found["host"]) or found["host"] == "localhost"):
        raise ValueError(f"{text!r} is not the name of a repository, such as registry.example.org/team/churn")
    return Repository(found["host"], found["name"])


def pinned(text: str) -> tuple[str, str]:
    """Splits ``name@sha256:...``. Raises ValueError when there is no digest: a name alone means another image tomorrow."""
    name, _, digest = text.rpartition("@")
    if not name or not is_digest(digest):
        raise ValueError(f"{text!r} does not end in @sha256: and 64 hex digits")
    return name, digest


def digest_of(content: bytes) -> str:
    """``sha256:...``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def encoded(value: object) -> bytes:
    """The canonical bytes: sorted keys, no spaces."""
    return msgspec.json.encode(value, order="sorted")


def with_folders(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries and the folders that lead to them, sorted by path."""
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        for parent in list(PurePosixPath(path).parents)[:-1]:
            found.setdefault(str(parent), Entry(str(parent), kind="folder", mode=0o755))
    return tuple(found[path] for path in sorted(found))


def header(entry: Entry) -> bytes:
    """The tar header of an entry, with what long names and sizes need in front of it."""
    info = tarfile.TarInfo(entry.path)
    info.mode = entry.mode
    info.size = entry.size
    info.type = {"file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}[entry.kind]
    info.linkname = entry.target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """What follows a file's content in a tar."""
    return bytes(-size % _BLOCK)


def tar_end() -> bytes:
    """What ends a tar."""
    return _END


def tar_size(entries: Iterable[Entry]) -> int:
    """Bytes of the layer."""
    return sum(len(header(entry)) + entry.size + len(padding(entry.size)) for entry in entries) + len(_END)


def recipe(entries: Iterable[Entry]) -> str:
    """The identity of a layer's content, known without reading it: ``sha256:...`` over names, modes and digests."""
    listed = [(entry.path, entry.kind, entry.mode, entry.size, entry.sha256, entry.target) for entry in entries]
    return digest_of(encoded(["tar-1", listed]))


def oci_layer_type(media_type: str) -> str:
    """The OCI name of a layer's type. Raises ValueError for one that cannot be served again, such as a foreign layer."""
    if media_type not in LAYER_TYPES:
        raise ValueError(f"layers of type {media_type} cannot be copied")
    return _OCI_TYPE_OF.get(media_type, media_type)


def interpreter_path(names: Iterable[str], python: str) -> str:
    """The interpreter among the paths of an image, such as ``/usr/bin/python3.11``; empty when there is none."""
    wanted = (f"usr/local/bin/python{python}", f"usr/bin/python{python}", f"bin/python{python}", f"opt/python/bin/python{python}")
    there = {name.removeprefix("./").removeprefix("/") for name in names}
    return next((f"/{path}" for path in wanted if path in there), "")


class Serving(msgspec.Struct, frozen=True):
    """What the configuration of an image says about its process.

    Args:
        arguments: After ``--model``; a container's own arguments come behind them and win.
        python: Major and minor version, such as ``3.11``.
        environment: Variables besides the fixed ones.
    """

    arguments: tuple[str, ...]
    python: str
    environment: Mapping[str, str] = {}


def configuration(
    base: Mapping[str, object], layers: Sequence[Layer], serving: Serving, labels: Mapping[str, str], *, platform: str
) -> bytes:
    """The image's configuration: that of its base, with the serving process as what starts, and who it is not: root."""
    under = base.get("config")
    config = dict(under) if isinstance(under, dict) else {}
    inherited = config.get("Env")
    variables = dict(str(line).partition("=")[::2] for line in inherited) if isinstance(inherited, list) else {}
    variables.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    variables |= {
        "HOME": "/tmp",  # noqa: S108 - the only place of a read-only container that libraries may write to
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"/{ROOT}/lib:/{ROOT}/code",
        "PYTHONUNBUFFERED": "1",
        **serving.environment,
    }
    rootfs = base.get("rootfs")
    below = list(rootfs.get("diff_ids", ())) if isinstance(rootfs, dict) else []
    inherited_labels = config.get("Labels")
    config |= {
        "Env": [f"{name}={value}" for name, value in sorted(variables.items())],
        "Entrypoint": [
            *(f"/{ENVIRONMENT}/bin/python", "-m", "mlpipeline.serving", "--model", f"/{ROOT}/model"),
            *serving.arguments,
        ],
        "Cmd": [],
        "User": USER,
        "WorkingDir": "/",
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": {**(inherited_labels if isinstance(inherited_labels, dict) else {}), **labels},
    }
    for name in ("Healthcheck", "OnBuild", "Volumes", "Image", "Hostname"):
        config.pop(name, None)
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    image: dict[str, object] = {
        "architecture": architecture,
        "os": system,
        "created": EPOCH,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [*below, *(layer.content for layer in layers)]},
        "history": _history(base, len(below), layers),
    }
    if variant:
        image["variant"] = variant
    return encoded(image)


def _history(base: Mapping[str, object], below: int, layers: Sequence[Layer]) -> list[dict[str, object]]:
    """As many lines with a layer as there are layers; a base that does not keep this rule gets lines of ours."""
    given = base.get("history")
    told = [dict(line) for line in given if isinstance(line, dict)] if isinstance(given, list) else []
    if sum(1 for line in told if not line.get("empty_layer")) != below:
        told = [{"created": EPOCH, "created_by": "base"} for _ in range(below)]
    return [*told, *({"created": EPOCH, "created_by": f"mlpipeline: {layer.title}"} for layer in layers)]


def manifest(config: bytes, layers: Sequence[Descriptor], annotations: Mapping[str, str]) -> bytes:
    """The manifest, whose digest is the image's name."""
    return encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": Descriptor(CONFIG_TYPE, digest_of(config), len(config)),
            "layers": list(layers),
            **({"annotations": dict(annotations)} if annotations else {}),
        }
    )


def image_tag(version: str, commit: str) -> str:
    """The tag: the version (``+`` is not allowed in a tag) or, without one, the commit."""
    return version.replace("+", "_") if version else f"git-{commit[:12]}"
