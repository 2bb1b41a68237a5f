"""Data versions: the hashes DVC knows files by, read and computed without importing DVC.

DVC's files are small YAML documents with a stable format, and importing DVC takes the better part of a second. The hash
of a file is its MD5; that of a folder is the MD5 of the JSON list of its files' hashes, with ``.dir`` at its end.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.errors import ConfigurationError

_CHUNK = 1 << 20


class Tracked(msgspec.Struct, frozen=True):
    """An output that DVC tracks.

    Args:
        path: Absolute path of the file or folder.
        hash: The recorded hash; empty for text hashes of DVC 2, which depend on line ends, and for imports without one.
        target: What to give ``dvc pull``, relative to the project.
        source: The ``.dvc`` or ``dvc.lock`` file it stands in.
    """

    path: Path
    hash: str
    target: str
    source: Path


def repository(project: Path) -> Path | None:
    """The root of the DVC repository the project lies in, if any."""
    return next((folder for folder in (project, *project.parents) if (folder / ".dvc").is_dir()), None)


def tracked(project: Path, root: Path) -> list[Tracked]:
    """All outputs recorded in the project's ``.dvc`` and ``dvc.lock`` files. Raises ConfigurationError for a broken one."""
    found: list[Tracked] = []
    for file in _dvc_files(root):
        document = _load(file)
        if file.name == "dvc.lock":
            stages, recipe = document.get("stages", {}), _load(file.with_name("dvc.yaml"))
            for name, stage in stages.items():
                folder = file.parent / _working_folder(recipe, name)
                found.extend(_outputs(stage, folder, project, file))
        else:
            found.extend(_outputs(document, file.parent / str(document.get("wdir", ".")), project, file))
    return found


def covering(path: Path, outputs: list[Tracked]) -> Tracked | None:
    """The output that is the path or a folder above it."""
    wanted = _absolute(path)
    return next((output for output in outputs if wanted == output.path or output.path in wanted.parents), None)


def inside(path: Path, outputs: list[Tracked]) -> list[Tracked]:
    """The outputs that lie in a folder."""
    folder = _absolute(path)
    return [output for output in outputs if folder in output.path.parents]


def md5(path: Path) -> str:
    """DVC's hash of what lies there now: a file's MD5, or that of a folder's listing followed by ``.dir``."""
    if path.is_file():
        return _hash_file(path, "md5")
    entries = [{"md5": _hash_file(file, "md5"), "relpath": file.relative_to(path).as_posix()} for file in _files(path)]
    listing = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"


def sha256(path: Path, files: tuple[Path, ...]) -> str:
    """The version of data that DVC does not track: the file's SHA-256, or that of the names and hashes of several."""
    if path.is_file():
        return _hash_file(path, "sha256")
    lines = "".join(f"{_hash_file(file, 'sha256')}  {os.path.relpath(file, path.parent)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def default_remote(root: Path) -> str:
    """The name of the default remote by DVC's own order (local, repository, user, system); empty when none is set."""
    home = Path(os.environ.get("XDG_CONFIG_HOME", "") or Path.home() / ".config")
    for file in (root / ".dvc" / "config.local", root / ".dvc" / "config", home / "dvc" / "config", Path("/etc/xdg/dvc/config")):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise ConfigurationError("DVC's configuration cannot be read", facts={"file": file, "found": error}) from error
        if name := parser.get("core", "remote", fallback="").strip():
            return name
    return ""


def _absolute(path: Path) -> Path:
    """Without ``..``, and with links as they are, because DVC checks data out as links where it is told to."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _dvc_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in {"node_modules", "__pycache__"})
        for name in sorted(names):
            if name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc"):
                yield Path(folder) / name


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    import yaml

    try:
        loaded = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise ConfigurationError("a file of DVC is not valid YAML", facts={"file": file, "found": error}) from error
    if loaded is not None and not isinstance(loaded, dict):
        raise ConfigurationError("a file of DVC does not hold a mapping", facts={"file": file})
    return loaded or {}


def _working_folder(recipe: Mapping[str, Any], stage: str) -> str:
    """Of a stage in ``dvc.yaml``; stages made by ``foreach`` or ``matrix`` are called ``name@item`` in the lock."""
    stages = recipe.get("stages") or {}
    entry = stages.get(stage) or stages.get(stage.partition("@")[0]) or {}
    return str((entry.get("do") or entry).get("wdir", "."))


def _outputs(entry: Mapping[str, Any], folder: Path, project: Path, source: Path) -> Iterator[Tracked]:
    for output in entry.get("outs") or ():
        path = _absolute(folder / str(output["path"]))
        exact = output.get("hash") == "md5" or str(output.get("md5", "")).endswith(".dir")
        yield Tracked(path, str(output.get("md5", "")) if exact else "", os.path.relpath(path, project), source)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())


def _hash_file(file: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
