"""Content-addressed bundles: a model with everything that runs it, named by the digest of its contents.

A bundle is a folder ``bundles/<hex digest>/`` with ``manifest.json``, which lists every other file with its SHA-256, size and
mode. The digest is that of the manifest's bytes. Nothing in it depends on when, where or by whom it was made.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.files import sync_all, sync_folder, write_atomically, write_blocks

MANIFEST = "manifest.json"
SCHEMA = 1
_BLOCK_BYTES = 1 << 20
_YOUNG_SECONDS = 2.0
_ABANDONED_SECONDS = 24 * 3600.0
_BYTECODE = frozenset({"__pycache__", ".ipynb_checkpoints"})


class File(msgspec.Struct, frozen=True, order=True):
    """One file of a bundle. ``path`` is relative, with slashes; ``sha256`` is hex; ``mode`` is ``0644`` or ``0755``."""

    path: str
    sha256: str
    size: int
    mode: str


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle is made of, sorted by path. ``lock`` is the digest of ``requirements.lock``, ``python`` like ``3.11``."""

    files: tuple[File, ...]
    lock: str
    python: str
    schema: int = SCHEMA

    def encoded(self) -> bytes:
        """The canonical bytes: sorted keys, no spaces."""
        return msgspec.json.encode(self, order="sorted") + b"\n"

    @property
    def digest(self) -> str:
        """``sha256:...``, the identity of the bundle."""
        return f"sha256:{hashlib.sha256(self.encoded()).hexdigest()}"

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file.size for file in self.files)

    def part(self, folder: str) -> str:
        """What :func:`folder_digest` says of one folder of the bundle, taken from the list, not from the files."""
        inside = {file.path.removeprefix(f"{folder}/"): file.sha256 for file in self.files if file.path.startswith(f"{folder}/")}
        return _listed(inside)


class Built(msgspec.Struct, frozen=True):
    """A bundle in its place. ``made`` is false when it stood there already."""

    path: Path
    manifest: Manifest
    made: bool


class Digests:
    """SHA-256 of files, remembered by path, size, times and inode, so that an unchanged file is not read again.

    A file younger than two seconds is not remembered: it could still change within the same tick of the file system's clock.

    Args:
        memory: The file they are kept in.
        others: Who is asked besides.
    """

    def __init__(self, memory: Path, others: Digests | None = None) -> None:
        self._memory = memory
        self._others = others
        self._known: dict[str, tuple[str, str]] = {}
        if memory.is_file():
            with contextlib.suppress(msgspec.DecodeError):
                self._known = msgspec.json.decode(memory.read_bytes(), type=dict[str, tuple[str, str]])
        self._used: dict[str, tuple[str, str]] = {}

    def known(self, file: Path) -> str:
        """The remembered digest (hex), or an empty text when the file has to be read."""
        state = _state(file.stat())
        remembered, digest = self._known.get(str(file), ("", ""))
        if remembered != state:
            digest = self._others.known(file) if self._others else ""
        if digest:
            self._known[str(file)] = self._used[str(file)] = (state, digest)
        return digest

    def of(self, file: Path) -> str:
        """The digest (hex), read only when the file is not remembered."""
        return self.known(file) or self._read(file)

    def remember(self, file: Path, digest: str, before: os.stat_result, *, ours: bool = False) -> None:
        """Keeps the digest of a file that was read completely since ``before``, unless it changed or is young.

        A file that is ``ours`` is written once and never again, so its age does not matter.
        """
        settled = ours or time.time() - max(before.st_mtime, before.st_ctime) > _YOUNG_SECONDS
        if settled and _state(before) == _state(file.stat()):
            self._known[str(file)] = self._used[str(file)] = (_state(before), digest)

    def save(self) -> None:
        """Writes the memory; what was not asked for since the start is forgotten."""
        write_atomically(self._memory, msgspec.json.encode(self._used, order="sorted"))

    def _read(self, file: Path) -> str:
        before = file.stat()
        with file.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        self.remember(file, digest, before)
        return digest


class Watcher(Protocol):
    """Sees what is copied into a bundle, file by file in the order of their paths."""

    def begin(self, path: str) -> None: ...

    def update(self, block: bytes) -> None: ...

    def end(self, sha256: str) -> None: ...


def files_under(folder: Path, prefix: str, *, within: Path | None = None) -> dict[str, Path]:
    """Files to put into a bundle: path inside it to file, sorted, bytecode and the like left out.

    A link is followed: its content goes in, under the link's name. ``folder`` may be a single file.

    Args:
        within: Where links may lead to; the folder itself unless given.

    Raises ConfigurationError when there is nothing, for a name that is not UTF-8, a link that leads out, in circles or nowhere,
    and for what is no file.
    """
    if folder.is_file():
        return {_utf8(prefix, folder): folder}
    found = dict(sorted(_walk(folder, prefix, (within or folder).resolve())))
    if not found:
        raise ConfigurationError("there is nothing to put into the bundle", facts={"folder": folder})
    return found


def _walk(folder: Path, prefix: str, within: Path) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            place = Path(entry.path)
            if entry.name in _BYTECODE or entry.name.endswith(".pyc"):
                continue
            path = _utf8(f"{prefix}/{entry.name}" if prefix else entry.name, place)
            if entry.is_symlink():
                _check_link(place, within)
            if entry.is_dir():
                yield from _walk(place, path, within)
            elif entry.is_file():
                yield path, place
            else:
                raise ConfigurationError(
                    "this is neither a file nor a folder, and cannot be packaged", facts={"path": place}, tries=(f"rm {place}",)
                )


def _check_link(link: Path, within: Path) -> None:
    """Otherwise a package would hold what happens to lie on this machine, such as a key, or never end."""
    target = link.readlink()
    try:
        leads = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(
            "a link leads nowhere, so what it stands for cannot be packaged",
            facts={"link": link, "target": target},
            tries=("remove the link", "put the file itself there"),
        ) from error
    if not leads.is_relative_to(within):
        raise ConfigurationError(
            "a link leads out of the folder, so another file may stand behind it on the next machine",
            facts={"link": link, "target": leads, "folder": within},
            likely="the model was saved with a link, or DVC links files to its cache",
            tries=("copy the file itself there", "dvc config cache.type reflink,copy && dvc checkout --relink"),
        )
    if link.parent.resolve().is_relative_to(leads):
        raise ConfigurationError("a link leads in circles", facts={"link": link, "target": leads}, tries=("remove the link",))


def _utf8(path: str, file: Path) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            "a file name is not UTF-8 text, so it has no name that is the same everywhere",
            facts={"file": ascii(str(file)), "bytes": repr(os.fsencode(file.name))},
            tries=("give the file another name, where it is written",),
        ) from error
    return path


def folder_digest(folder: Path, digests: Digests) -> str:
    """``sha256:...`` over names and contents of all files of the folder, wherever it lies."""
    return _listed({path: digests.of(file) for path, file in files_under(folder, "").items()})


def build(
    bundles: Path,
    sources: Mapping[str, Path],
    texts: Mapping[str, str],
    *,
    lock: str,
    python: str,
    digests: Digests,
    watchers: Mapping[str, Watcher] | None = None,
) -> Built:
    """Puts files and texts (path inside the bundle to source) together, or finds the bundle that has exactly them.

    Each file is read once: its digest is taken while it is copied. The bundle appears under its name by one rename. A bundle
    of this name with missing or changed files is replaced.

    Args:
        watchers: By the first folder of the path: who sees the files of that folder when they are copied, all or none.

    Raises EnvironmentFault when the disk is full, having left nothing behind, or when a source changed while it was read.
    """
    try:
        bundles.mkdir(parents=True, exist_ok=True)
        _sweep(bundles)
        known = {path: digests.known(file) for path, file in sources.items()}
        if all(known.values()):
            manifest = _manifest(known, sources, texts, lock, python)
            place = _place(bundles, manifest)
            if place.is_dir() and not broken_files(place, digests):
                return Built(place, manifest, made=False)
        return _copy(bundles, sources, texts, lock=lock, python=python, digests=digests, watchers=watchers or {})
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(bundles, sources) from error
        if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
            raise EnvironmentFault(
                "a file for the bundle could not be read or written",
                facts={"file": error.filename, "system": error.strerror},
                likely="something else changes the project's files at the same time, or they belong to another user",
            ) from error
        raise


def load(bundle: Path) -> Manifest:
    """The manifest of a bundle. Raises EnvironmentFault when it is missing or not the one the folder is named after."""
    file = bundle / MANIFEST
    if not bundle.is_dir():
        raise EnvironmentFault(
            "the bundle is not there any more",
            facts={"missing": bundle},
            likely="somebody removed it; a restart, a rollback and a comparison need it",
            tries=("restore the folder from a backup", "mlpipeline package    # in the checkout and the run it was made from"),
        )
    try:
        content = file.read_bytes()
        manifest = msgspec.json.decode(content, type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise EnvironmentFault(
            "this is not a bundle", facts={"folder": bundle, "found": error}, tries=("mlpipeline package",)
        ) from error
    if hashlib.sha256(content).hexdigest() != bundle.name:
        raise _changed(bundle, [MANIFEST])
    return manifest


def verify(bundle: Path) -> Manifest:
    """Reads every file of the bundle and compares it with the manifest. Raises EnvironmentFault when anything differs."""
    manifest = load(bundle)
    with tempfile.TemporaryDirectory() as folder:
        broken = broken_files(bundle, Digests(Path(folder, "none")))
    if broken:
        raise _changed(bundle, broken)
    return manifest


def broken_files(bundle: Path, digests: Digests) -> list[str]:
    """Names of files that are missing, changed or too many. Files that ``digests`` remembers are not read again."""
    try:
        manifest = load(bundle)
    except EnvironmentFault:
        return [MANIFEST]
    broken = []
    for file in manifest.files:
        place = bundle / file.path
        intact = place.is_file() and place.stat().st_size == file.size and _mode(place) == file.mode
        if not intact or digests.of(place) != file.sha256:
            broken.append(file.path)
    # Python writes bytecode beside the modules it imports; it is never read into a digest.
    extra = set(files_under(bundle, "")) - {file.path for file in manifest.files} - {MANIFEST}
    return broken + sorted(extra)


def _listed(hashes: Mapping[str, str]) -> str:
    lines = (f"{digest}  {path}\n" for path, digest in sorted(hashes.items()))
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _manifest(
    hashes: Mapping[str, str], sources: Mapping[str, Path], texts: Mapping[str, str], lock: str, python: str
) -> Manifest:
    files = [File(path, hashes[path], file.stat().st_size, _mode(file)) for path, file in sources.items()]
    for path, text in texts.items():
        content = text.encode()
        files.append(File(path, hashlib.sha256(content).hexdigest(), len(content), "0644"))
    return Manifest(files=tuple(sorted(files)), lock=lock, python=python)


def _copy(
    bundles: Path,
    sources: Mapping[str, Path],
    texts: Mapping[str, str],
    *,
    lock: str,
    python: str,
    digests: Digests,
    watchers: Mapping[str, Watcher],
) -> Built:
    temporary = Path(tempfile.mkdtemp(dir=bundles, prefix=".new-"))
    try:
        hashes = {
            path: _watched_copy(file, temporary / path, digests, path, watchers.get(path.partition("/")[0]))
            for path, file in sorted(sources.items())
        }
        for path, text in texts.items():
            _write(temporary / path, text.encode())
        manifest = _manifest(hashes, sources, texts, lock, python)
        wrong = [file.path for file in manifest.files if (temporary / file.path).stat().st_size != file.size]
        if wrong:
            raise EnvironmentFault("a file changed while it was packaged", facts={"file": wrong[0]}, tries=("run it again",))
        _write(temporary / MANIFEST, manifest.encoded())
        inside = list(temporary.rglob("*"))
        sync_all([path for path in inside if path.is_file() and path.stat().st_size <= _BLOCK_BYTES])
        folders = [temporary, *(path for path in inside if path.is_dir())]
        for folder in folders:
            folder.chmod(0o755)
        sync_all(folders)
        place = _place(bundles, manifest)
        made = _move(temporary, place, digests)
        for listed in manifest.files if made else ():
            digests.remember(place / listed.path, listed.sha256, (place / listed.path).stat(), ours=True)
        return Built(place, manifest, made)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, place: Path, digests: Digests) -> bool:
    """Gives the finished folder its name; false when an intact bundle stands there already."""
    try:
        temporary.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not broken_files(place, digests):
            return False
        place.rename(temporary.with_name(f"{temporary.name}-broken"))
        temporary.rename(place)
        shutil.rmtree(temporary.with_name(f"{temporary.name}-broken"), ignore_errors=True)
    sync_folder(place.parent)
    return True


def _watched_copy(source: Path, target: Path, digests: Digests, path: str, watcher: Watcher | None) -> str:
    if watcher is None:
        return _copy_file(source, target, digests)
    watcher.begin(path)
    digest = _copy_file(source, target, digests, watcher.update)
    watcher.end(digest)
    return digest


def _copy_file(source: Path, target: Path, digests: Digests, *consumers: Callable[[bytes], object]) -> str:
    """Copies and returns the digest of exactly the bytes that were written.

    It is taken meanwhile, unless it is remembered and the file stays as it was, down to the time of its last change, to the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as reader, target.open("xb") as writer:
        before = os.fstat(reader.fileno())
        known = digests.known(source)
        os.fchmod(writer.fileno(), int(_mode(source), 8))
        looks = consumers if known else (digest.update, *consumers)
        if before.st_size <= _BLOCK_BYTES:
            _write_small(reader.read(), writer, looks)
        else:
            write_blocks(iter(lambda: reader.read(_BLOCK_BYTES), b""), writer, *looks)
    if known:
        if _state(before) != _state(source.stat()):
            raise EnvironmentFault("a file changed while it was packaged", facts={"file": source}, tries=("run it again",))
        return known
    digests.remember(source, digest.hexdigest(), before)
    return digest.hexdigest()


def _write_small(content: bytes, writer: BinaryIO, looks: Sequence[Callable[[bytes], object]]) -> None:
    """Small files get to the disk together, once all of them are written: one by one they take as long as a large one."""
    for look in looks:
        look(content)
    writer.write(content)


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as writer:
        writer.write(content)
        os.fchmod(writer.fileno(), 0o644)


def _mode(file: Path) -> str:
    """Only whether it can be executed; the rest depends on who made the file."""
    return "0755" if file.stat().st_mode & stat.S_IXUSR else "0644"


def _state(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_dev}"


def _place(bundles: Path, manifest: Manifest) -> Path:
    return bundles / manifest.digest.removeprefix("sha256:")


def _sweep(bundles: Path) -> None:
    """Removes what killed builds left, once nobody can be writing there any more."""
    for folder in _abandoned(bundles):
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned(bundles: Path) -> Iterator[Path]:
    for folder in bundles.glob(".new-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                yield folder


def _full(bundles: Path, sources: Mapping[str, Path]) -> EnvironmentFault:
    needed = sum(file.stat().st_size for file in sources.values())
    free = shutil.disk_usage(bundles).free if bundles.is_dir() else 0
    return EnvironmentFault(
        "the disk is full, the bundle was not written and nothing of it was left behind",
        facts={"folder": bundles, "needed": f"{needed / 1e6:.1f} MB", "free": f"{free / 1e6:.1f} MB"},
        tries=(f"free some space: df -h {bundles}", "keep the state on a larger disk: MLPIPELINE_HOME=/path"),
    )


def _changed(bundle: Path, broken: list[str]) -> EnvironmentFault:
    return EnvironmentFault(
        "the bundle was changed after it was packaged",
        facts={"bundle": bundle, "files": ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")},
        likely="someone edited a file, or the disk lost data",
        tries=("mlpipeline package",),
    )
