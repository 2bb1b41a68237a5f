"""Our own look into model files: every format that can carry code, opened without ever running it.

It goes by content, not by name: a pickle is found whatever it is called, inside archives and behind compression too. What cannot
be read to its end is a finding, never clean.
"""

from __future__ import annotations

import bz2
import contextlib
import fnmatch
import gzip
import hashlib
import importlib
import io
import json
import lzma
import os
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import IO, Any

from mlpipeline import __version__
from mlpipeline.adapters.scanners.imports import Allowed, libraries_of
from mlpipeline.adapters.scanners.model_places import shown
from mlpipeline.adapters.scanners.opcodes import LEGACY_TORCH_MAGIC, Malformed, Seen, walk
from mlpipeline.core.findings import Finding, Level, NotRun, Scan
from mlpipeline.ports import Scanned

PICKLES = frozenset(
    {
        *(".pkl", ".pickle", ".pck", ".p", ".joblib", ".cloudpickle", ".dill", ".sav", ".pt", ".pth", ".ckpt", ".bin"),
    }
)
"""Names whose content must be a pickle, an archive or a known format, or it was not read."""
TEXTS = frozenset(
    {
        *(".txt", ".json", ".jsonl", ".yaml", ".yml", ".csv", ".tsv", ".md", ".py", ".toml", ".cfg", ".ini", ".html", ".xml"),
        *(".jinja", ".model", ".dot", ".svg", ".r", ".pmml", ".lock", ""),
    }
)
"""Names that are text or a tree model's own text; anything else in them is looked at as what it is."""
DATA = frozenset(
    {
        *(".parquet", ".feather", ".arrow", ".onnx", ".safetensors", ".gguf", ".ubj", ".cbm", ".npy", ".npz", ".png", ".jpg"),
        *(".jpeg", ".gif", ".spm", ".tflite", ".mlmodel", ".db", ".sqlite"),
    }
)
"""Formats that carry no Python code."""
DEPTH = 4
"""Archives inside archives that are opened."""
BYTES = 64 << 30
"""Unpacked bytes of one file that are read; more is a bomb."""
_BLOCK = 1 << 20
_SPOOLED = 32 << 20
_TENSORFLOW_OPS = (b"ReadFile", b"WriteFile", b"PyFunc", b"EagerPyFunc", b"PyFuncStateless", b"MatchingFiles", b"PrintV2")


class ModelFiles:
    """Implements :class:`mlpipeline.ports.Scanner`. Always there, as it needs nothing but Python."""

    name = "model_files"

    def scan(self, scanned: Scanned) -> Scan:
        """Looks into every file of the model and of what is packaged with it."""
        if scanned.model is None and not scanned.include:
            raise NotRun("there is no model")
        look = _Look(scanned)
        for root, strict in _roots(scanned):
            for file in _files(root):
                look.file(file, strict=strict)
        look.code()
        if not look.read and not look.findings:
            raise NotRun("there is no file in the model's folder")
        return Scan(
            tool="mlpipeline",
            version=__version__,
            targets=look.read,
            skipped=look.unread,
            findings=tuple(sorted(set(look.findings))),
            notes=(f"allowed besides Python's own plain types: {', '.join(sorted(look.allowed.libraries)) or 'nothing'}",),
        )


def _roots(scanned: Scanned) -> list[tuple[Path, bool]]:
    """Where to look, and whether a file of no known format is a finding there."""
    return [*([(scanned.model, True)] if scanned.model else []), *((place, False) for place in scanned.include)]


def _files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in sorted([*names, *links]))


class _Look:
    def __init__(self, scanned: Scanned) -> None:
        self.findings: list[Finding] = []
        self.read = 0
        self.unread = 0
        self.allowed = Allowed(
            libraries_of(scanned.requirements) | _own_modules(scanned), scanned.allow, by_value=scanned.allow_code_by_value
        )
        self._scanned = scanned
        self._end = monotonic() + scanned.limit_seconds
        self._data_patterns = scanned.data

    def tick(self) -> None:
        if monotonic() > self._end:
            raise NotRun(f"it did not end within {self._scanned.limit_seconds:g} s")

    def add(self, id_: str, level: Level, where: str, text: str, subject: str = "") -> None:
        self.findings.append(Finding(id_, level, where, text, subject))

    def unreadable(self, where: str, why: str) -> None:
        self.unread += 1
        self.add("unreadable", "high", where, f"could not be read to its end, so nobody knows what it does: {why}")

    def file(self, file: Path, *, strict: bool) -> None:
        self.tick()
        where = shown(file, self._scanned.project)
        try:
            if file.is_symlink() and not self._stays_inside(file, where):
                return
            if file.is_dir():
                return
            if not stat.S_ISREG(file.stat().st_mode):
                self.unreadable(where, "it is no regular file")
                return
            before = self.unread
            with file.open("rb") as content:
                self.content(content, where, file.suffix.lower(), depth=0, strict=strict and not self._is_data(file))
            self.read += self.unread == before
        except OSError as error:
            self.unreadable(where, error.strerror or type(error).__name__)

    def _stays_inside(self, link: Path, where: str) -> bool:
        target = link.resolve()
        roots = [root.resolve() for root, _ in _roots(self._scanned)]
        if any(target.is_relative_to(root) for root in roots):
            return True
        self.add(
            "link-outside", "critical", where, "a link that leaves the model's folder: what it points to is not what was judged"
        )
        return False

    def _is_data(self, file: Path) -> bool:
        root = self._scanned.model
        name = os.fsdecode(file.relative_to(root)) if root and file.is_relative_to(root) else file.name
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._data_patterns)

    def code(self) -> None:
        """What MLflow is told to import, and Python files that run with the model but that git does not know."""
        model = self._scanned.model
        if model is None:
            return
        with contextlib.suppress(OSError):
            for name in re.findall(rb"^ *loader_module: *['\"]?([^\s'\"]+)", (model / "MLmodel").read_bytes(), re.MULTILINE):
                self._loader(name.decode(errors="replace"), shown(model / "MLmodel", self._scanned.project))
        if not self._scanned.tracked:
            return
        known = {_content(file) for file in self._scanned.tracked if file.suffix == ".py"}
        for file in _files(model):
            if file.suffix == ".py" and not file.is_symlink() and file.is_file() and _content(file) not in known:
                text = "Python code that is loaded with the model, and that is in no file that git tracks"
                self.add("code-untracked", "medium", shown(file, self._scanned.project), text)

    def _loader(self, module: str, where: str) -> None:
        top = module.partition(".")[0]
        if not (module.startswith("mlflow.") or top in self.allowed.libraries or self.allowed.trust(module, "*") == "allowed"):
            text = f"it tells MLflow to import {module}, which is in none of the model's requirements nor in security.allow"
            self.add("loader-unknown", "critical", where, text, module)

    # --- by content -------------------------------------------------------------------------------------------------

    def content(self, file: IO[bytes], where: str, suffix: str, *, depth: int, strict: bool) -> None:
        """Looks at one file or one member of an archive, as everything that it could be taken for."""
        if depth > DEPTH:
            self.unreadable(where, f"archives lie more than {DEPTH} deep in each other")
            return
        head = file.read(16)
        file.seek(0)
        if head.startswith(b"\x93NUMPY"):
            self._numpy(file, where)
            return
        unpacked = _unpacker(head)
        if unpacked is not None and not _is_text(file):  # texts may begin with the same letters: "x = 1"
            self._compressed(file, where, suffix, unpacked, depth)
            return
        archive = zipfile.is_zipfile(file)
        file.seek(0)
        if archive:
            self._archive(file, where, depth)
            file.seek(0)
        pickled = self._pickle(file, where, must=suffix in PICKLES and not archive and not _known_data(head))
        if pickled or archive:
            return
        file.seek(0)
        self._other(file, where, suffix, head, strict=strict)

    def _other(self, file: IO[bytes], where: str, suffix: str, head: bytes, *, strict: bool) -> None:
        if head.startswith(b"\x89HDF\r\n\x1a\n"):
            self._hdf5(file, where)
        elif suffix == ".pb" or where.endswith("saved_model.pb"):
            self._tensorflow(file, where)
        elif suffix == ".safetensors":
            self._safetensors(file, where)
        elif suffix == ".onnx":
            self._onnx(file, where)
        elif head.startswith(b"7z\xbc\xaf\x27\x1c") or head.startswith(b"Rar!") or head[:4] == b"\x28\xb5\x2f\xfd":
            self.unreadable(where, "an archive of a kind that is not opened")
        elif _is_tar(file):
            self.unreadable(where, "a tar archive; put its files into the model's folder themselves")
        elif strict and suffix not in DATA and suffix not in PICKLES and not _is_text(file):
            if suffix in TEXTS and suffix not in {".py", ""}:
                return  # tokenizers and tree models write binary under these names, and nothing that runs
            self.unreadable(where, "a binary format that is not known; name it in security.data if it is plain data")

    def _pickle(self, file: IO[bytes], where: str, *, must: bool) -> bool:
        """Walks the file as pickles one after the other. Returns whether it is one (or one that breaks off)."""
        seen = Seen()
        try:
            walk(file, seen, joblib=True, tick=self.tick)
        except Malformed as fault:
            # Texts may begin like an import; whatever runs something needs a call.
            started = bool(seen.calls) or (bool(seen.imports) and _begins_as_pickle(file))
            if started or must:
                self._judge(seen, where)
                self.unreadable(where, f"as a pickle, {fault}")
            return started or must
        if not seen.imports and not seen.oddities and not must and not _begins_as_pickle(file):
            return False  # a text whose first letters happen to be opcodes
        self._rest(file, where, seen)
        self._judge(seen, where)
        if "joblib.numpy_pickle.NumpyArrayWrapper" in seen.imports:
            self._as_plain_pickle(file, where, seen)
        return True

    def _rest(self, file: IO[bytes], where: str, seen: Seen) -> None:
        """What follows the first pickle: more pickles, as old PyTorch files have, or nothing."""
        pickles = 1
        while True:
            place = file.tell()
            if not file.read(1):
                return
            file.seek(place)
            if seen.magic == LEGACY_TORCH_MAGIC and pickles == 5:
                return  # the raw numbers of the tensors
            try:
                walk(file, seen, joblib=True, tick=self.tick)
            except Malformed as fault:
                self.unreadable(where, f"after byte {place}, where its pickle ends, {fault}")
                return
            pickles += 1

    def _as_plain_pickle(self, file: IO[bytes], where: str, known: Seen) -> None:
        """The same file as ``pickle.load`` would take it, to which the arrays of joblib are opcodes."""
        file.seek(0)
        seen = Seen()
        with contextlib.suppress(Malformed):  # as it must be for a file of joblib's; what runs until there counts
            walk(file, seen, joblib=False, tick=self.tick)
        seen.imports = {name: one for name, one in seen.imports.items() if name not in known.imports}
        seen.oddities = []
        self._judge(seen, where)

    def _judge(self, seen: Seen, where: str) -> None:
        for one in seen.imports.values():
            self._judge_import(one.module, one.name, where, f"at byte {one.at} it imports")
        for odd in seen.oddities[:5]:
            level: Level = "low" if self.allowed.by_value else "high"
            self.add("pickle-hidden", level, where, f"at byte {odd.at} it {odd.what}, so nobody can say what it does")

    def _judge_import(self, module: str, name: str, where: str, how: str) -> None:
        full = f"{module}.{name}"
        trust = self.allowed.trust(module, name)
        if trust == "dangerous":
            self.add("pickle-dangerous", "critical", where, f"{how} {full}, which can run or load anything", full)
        elif trust == "unknown":
            text = f"{how} {full}, which is in none of the model's requirements nor in security.allow"
            self.add("pickle-unknown", "high", where, text, full)
        elif trust == "by value":
            level: Level = "low" if self.allowed.by_value else "high"
            text = (
                f"{how} {full}: a function or class of the training script or notebook is stored in the file as code, "
                "which cannot be looked through; move it into a module that the script imports (package.include), or allow it "
                "for this project: security: {allow_code_by_value: true}"
            )
            self.add("pickle-code", level, where, text, full)

    # --- containers -------------------------------------------------------------------------------------------------

    def _archive(self, file: IO[bytes], where: str, depth: int) -> None:
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if len(set(names)) != len(names):
                    self.unreadable(where, "two members of the archive have one name")
                for member in archive.infolist():
                    self._member(archive, member, f"{where}!{_printable(member.filename)}", depth)
                if where.endswith(".skops") or ("schema.json" in names and not where.endswith(".keras")):
                    self._skops(archive, where)
                if where.endswith(".keras") or "config.json" in names:
                    self._keras(archive, where)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, ValueError, KeyError) as error:
            self.unreadable(where, f"the archive is damaged or encrypted: {str(error)[:160]}")

    def _member(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, depth: int) -> None:
        if member.is_dir():
            return
        if member.file_size > BYTES:
            self.unreadable(where, f"it unpacks to {member.file_size} bytes")
            return
        with archive.open(member) as packed, tempfile.SpooledTemporaryFile(_SPOOLED) as plain:
            head = packed.read(_BLOCK)
            if member.file_size > _SPOOLED and _is_raw(head):
                return  # the numbers of a tensor, which need not be copied to be known as such
            plain.write(head)
            self._copy(packed.read, plain, len(head))
            self.content(plain, where, Path(member.filename).suffix.lower(), depth=depth + 1, strict=False)

    def _compressed(
        self, file: IO[bytes], where: str, suffix: str, unpack: Callable[[IO[bytes]], Callable[[int], bytes]], depth: int
    ) -> None:
        with tempfile.SpooledTemporaryFile(_SPOOLED) as plain:
            try:
                self._copy(unpack(file), plain)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                self.unreadable(where, f"its compression is damaged: {str(error)[:160]}")
                return
            self.content(plain, where, suffix, depth=depth + 1, strict=False)

    def _copy(self, read: Callable[[int], bytes], plain: Any, size: int = 0) -> None:
        while block := read(_BLOCK):
            size += len(block)
            if size > BYTES:
                raise ValueError(f"it unpacks to more than {BYTES} bytes")
            plain.write(block)
            self.tick()
        plain.seek(0)

    # --- formats ----------------------------------------------------------------------------------------------------

    def _numpy(self, file: IO[bytes], where: str) -> None:
        """Arrays of objects are a pickle behind the header."""
        head = file.read(12)
        size = int.from_bytes(head[8:10], "little") if head[6:7] == b"\x01" else int.from_bytes(head[8:12], "little")
        start = (10 if head[6:7] == b"\x01" else 12) + size
        file.seek(0)
        header = file.read(min(start, 1 << 20))
        if b"O" not in header[10:].replace(b"fortran_order", b""):
            return
        file.seek(start)
        if not self._pickle(file, where, must=True):
            self.unreadable(where, "an array of objects without its pickle")

    def _skops(self, archive: zipfile.ZipFile, where: str) -> None:
        schema = json.loads(archive.read("schema.json"))
        names: set[tuple[str, str]] = set()
        _walk_schema(schema, names)
        for module, name in sorted(names):
            if f"{module}.{name}" not in _SKOPS_TYPES:
                self._judge_import(module, name, where, "its schema names")

    def _keras(self, archive: zipfile.ZipFile, where: str) -> None:
        with archive.open("config.json") as member:
            text = member.read(256 << 20)
        self._keras_config(text, where)

    def _keras_config(self, text: bytes, where: str) -> None:
        for part in _keras_parts(json.loads(text)):
            module, name = str(part.get("module") or ""), str(part.get("class_name") or "")
            if name in {"Lambda", "__lambda__"} or part.get("class_name") == "function":
                self.add(
                    "keras-code", "critical", where, f"a layer of the kind {name} carries Python code that runs when it is loaded"
                )
            elif module and module.split(".", maxsplit=1)[0] not in {"keras", "keras_hub", "tensorflow", "tf_keras", "builtins"}:
                self._judge_import(module, name, where, "its configuration names")

    def _hdf5(self, file: IO[bytes], where: str) -> None:
        try:
            h5py: Any = importlib.import_module("h5py")
        except ImportError:
            self.unreadable(where, "HDF5 is only read with h5py installed beside the worker")
            return
        try:
            with h5py.File(file, "r") as content:
                config = content.attrs.get("model_config")
        except (OSError, ValueError, KeyError) as error:
            self.unreadable(where, str(error)[:160])
            return
        if config is not None:
            self._keras_config(config if isinstance(config, bytes) else str(config).encode(), where)

    def _tensorflow(self, file: IO[bytes], where: str) -> None:
        """Names of operations stand in the graph as they are; some read and write files or call Python."""
        tail = b""
        found = set()
        while block := file.read(_BLOCK):
            self.tick()
            text = tail + block
            found |= {name for name in _TENSORFLOW_OPS if name in text}
            tail = text[-32:]
        for name in sorted(found):
            self.add("tensorflow-operation", "high", where, f"the graph has the operation {name.decode()}")

    def _safetensors(self, file: IO[bytes], where: str) -> None:
        size = int.from_bytes(file.read(8), "little")
        try:
            if size > 100_000_000 or type(json.loads(file.read(size))) is not dict:
                raise ValueError
        except ValueError:
            self.unreadable(where, "it is not what safetensors writes")

    def _onnx(self, file: IO[bytes], where: str) -> None:
        """Weights outside of the file are named by a path, which must stay in the folder."""
        while block := file.read(_BLOCK):
            self.tick()
            if b"location" in block and b"../" in block:
                self.add("onnx-path", "high", where, "it names weights outside of its own folder")
                return


_SKOPS_TYPES = frozenset({"builtins.NoneType", "builtins.type", "builtins.str", "builtins.method"})


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """All objects of a JSON document, however deep."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(one.values())
            yield one


def _walk_schema(node: Any, names: set[tuple[str, str]]) -> None:
    for one in _objects(node):
        module, name = one.get("__module__"), one.get("__class__")
        if isinstance(module, str) and isinstance(name, str):
            names.add((module, name))


def _keras_parts(node: Any) -> Iterator[dict[str, Any]]:
    return (one for one in _objects(node) if "class_name" in one)


def _content(file: Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""


def _own_modules(scanned: Scanned) -> frozenset[str]:
    """Top-level modules of the project's own code, which lies in the repository or beside the model as readable text."""
    folders = [*([scanned.model / "code"] if scanned.model else []), *scanned.include]
    names = set()
    for place in folders:
        inside = [place] if place.is_file() else [*place.iterdir(), place] if place.is_dir() else []
        names |= {one.stem for one in inside if one.suffix == ".py" or (one.is_dir() and any(one.glob("*.py")))}
    for file in scanned.tracked:
        if file.suffix == ".py":
            parts = file.relative_to(scanned.project).parts if file.is_relative_to(scanned.project) else ()
            start = 1 if parts[:1] == ("src",) else 0
            names |= {Path(part).stem for part in parts[start : start + 1]}
    return frozenset(name for name in names if name.isidentifier() and name not in {"os", "sys"})


def _unpacker(head: bytes) -> Callable[[IO[bytes]], Callable[[int], bytes]] | None:
    if head.startswith(b"\x1f\x8b"):
        return lambda file: gzip.GzipFile(fileobj=file, mode="rb").read
    if head.startswith(b"BZh"):
        return lambda file: bz2.BZ2File(file).read
    if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        return lambda file: lzma.LZMAFile(file).read
    if head[:1] == b"\x78" and len(head) > 1 and (head[0] * 256 + head[1]) % 31 == 0:
        return _inflating
    return None


def _inflating(file: IO[bytes]) -> Callable[[int], bytes]:
    """Reads what zlib compressed, as joblib writes it, in bounded pieces."""
    inflate = zlib.decompressobj()
    waiting = b""

    def read(limit: int) -> bytes:
        nonlocal waiting
        while not inflate.eof:
            waiting = waiting or file.read(_BLOCK)
            if not waiting:
                raise EOFError("it ends too early")
            piece = inflate.decompress(waiting, limit)
            waiting = inflate.unconsumed_tail
            if piece:
                return piece
        return b""

    return read


def _is_raw(head: bytes) -> bool:
    """Whether a long member begins as nothing that anybody would open: neither an archive nor a pickle."""
    if _unpacker(head) is not None or head.startswith((b"\x93NUMPY", b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!")) or _known_data(head):
        return False
    seen = Seen()
    file = io.BytesIO(head)
    try:
        walk(file, seen, joblib=False)
    except Malformed:
        return not seen.calls and not seen.imports and file.tell() < len(head) // 2
    return False


def _known_data(head: bytes) -> bool:
    return head.startswith((b"\x89HDF\r\n\x1a\n", b"GGUF", b"TFL3", b"PAR1", b"ARROW1"))


def _begins_as_pickle(file: IO[bytes]) -> bool:
    place = file.tell()
    file.seek(0)
    head = file.read(2)
    file.seek(place)
    return head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}


def _is_tar(file: IO[bytes]) -> bool:
    file.seek(257)
    magic = file.read(5)
    file.seek(0)
    return magic == b"ustar"


def _is_text(file: IO[bytes]) -> bool:
    file.seek(0)
    head = file.read(_BLOCK)
    file.seek(0)
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4
    return True


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
