"""Locked Python environments, through uv.

Requirements become a lock: every distribution pinned, with hashes, without the addresses they came from. A lock becomes an
environment, once per machine. Both are cached by the digest of what they were made from.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError
from mlpipeline.record.files import write_atomically
from mlpipeline.record.places import Places

_MARKER = ".mlpipeline-complete"
_LIMIT_SECONDS = 1800.0
_LOCK_NAME = "requirements.lock"
_UV_NOTE = "uv_cache.json"
"""When a wheel of a wheelhouse was written on this machine, as uv notes it beside what it installed."""
_KEPT_MARK = "# locked for sha256:"


class Lock(msgspec.Struct, frozen=True):
    """A requirements file in which everything is pinned and hashed.

    Args:
        text: What is installed; its first line names the Python version and the platform it holds for.
        digest: ``sha256:...`` of the text.
    """

    text: str
    digest: str

    @property
    def python(self) -> str:
        """The Python version, such as ``3.11``."""
        return self.text.splitlines()[0].split()[2]


class Environments:
    """Locks and environments of one state folder.

    Args:
        places: Where they are kept.
        wheelhouse: Folder of wheels that is used instead of any index.
    """

    def __init__(self, places: Places, wheelhouse: Path | None = None) -> None:
        self._environments = places.environments
        self._locks = places.environments.parent / "locks"
        self._wheelhouse = wheelhouse

    def lock(self, requirements: Sequence[str], *, python: str, kept: Path | None = None) -> Lock:
        """Resolves the requirements (lines of requirements files) for a Python version such as ``3.11``.

        The same input was locked before on this machine: the same lock, without a question to any index.

        Args:
            kept: A file of the project that keeps the lock for every machine and day. It is written when there is none, or when
                it was made for other requirements.

        Raises ConfigurationError when they contradict each other, EnvironmentFault when the index cannot be reached.
        """
        wanted = "".join(f"{line}\n" for line in sorted({line.strip() for line in requirements if line.strip()}))
        header = f"# python {python} on {sys.platform}-{platform.machine()}\n"
        if kept is not None:
            mark = f"{_KEPT_MARK}{hashlib.sha256((header + wanted).encode()).hexdigest()}\n"
            if (text := _kept_text(kept, mark)) is not None:
                return _lock_of(text)
            lock = self.lock(requirements, python=python)
            write_atomically(kept, (lock.text + mark).encode())
            kept.chmod(0o644)
            return lock
        key = hashlib.sha256((header + wanted + self._wheels()).encode()).hexdigest()
        known = self._locks / f"{key}.txt"
        if known.is_file():
            return _lock_of(known.read_text())
        with _alone(self._locks / f".{key}.lock"):
            source = self._locks / f"{key}.in"
            write_atomically(source, wanted.encode())
            text = header + self._resolve(source, python)
            write_atomically(known, text.encode())
        return _lock_of(text)

    def install(self, lock: Lock) -> Path:
        """The interpreter of the environment with exactly this lock, installed if it is not there.

        Safe against other installers of the same lock and against its own death: an environment counts only once its marker
        is written. Raises EnvironmentFault when the wheels cannot be had.
        """
        folder = self._environments / lock.digest.removeprefix("sha256:")
        interpreter = folder / "bin" / "python"
        if (folder / _MARKER).is_file() and interpreter.exists():
            return interpreter
        with _alone(self._environments / f".{folder.name}.lock") as handle:
            if (folder / _MARKER).is_file() and interpreter.exists():
                return interpreter
            if folder.exists():
                shutil.rmtree(folder)
            try:
                self._fill(folder, interpreter, lock, handle)
            except MlpipelineError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            write_atomically(folder / _MARKER, f"{lock.digest}\n".encode())
        return interpreter

    def unpack(self, lock: Lock, folder: Path) -> Path:
        """Installs the lock into a new folder, from wheels alone, in a way that depends on nothing but the lock: no bytecode, no
        path of this machine in any file. Returns its ``site-packages``; what the wheels bring as programs lies in ``bin/``.

        Raises ConfigurationError when something of it exists only as source: what is compiled here is another thing elsewhere.
        """
        _uv(
            ["venv", "--relocatable", "--python", _interpreter(lock.python), str(folder)],
            "the environment could not be made",
        )
        site = folder / "lib" / f"python{lock.python}" / "site-packages"
        of_uv = [*(folder / "bin").iterdir(), *site.iterdir()]
        listed = folder / _LOCK_NAME
        write_atomically(listed, lock.text.encode())
        _uv(
            [
                *("pip", "sync", "--require-hashes", "--only-binary", ":all:", "--link-mode", "copy", "--no-compile-bytecode"),
                *("--python", str(folder / "bin" / "python"), *self._offline(), str(listed)),
            ],
            "the locked requirements could not be installed from wheels",
        )
        for file in of_uv:
            file.unlink(missing_ok=True)
        for noted in site.glob(f"*.dist-info/{_UV_NOTE}"):
            _take_out(noted)
        return site

    def _fill(self, folder: Path, interpreter: Path, lock: Lock, handle: int) -> None:
        _uv(["venv", "--python", _interpreter(lock.python), str(folder)], "the environment could not be made", handle=handle)
        file = folder / _LOCK_NAME
        write_atomically(file, lock.text.encode())
        _uv(
            ["pip", "sync", "--require-hashes", "--python", str(interpreter), *self._offline(), str(file)],
            "the locked requirements could not be installed",
            handle=handle,
        )
        _compile(interpreter)

    def _resolve(self, source: Path, python: str) -> str:
        return _uv(
            [
                *("pip", "compile", "--generate-hashes", "--no-header", "--no-annotate"),
                *("--no-emit-index-url", "--no-emit-find-links", "--python-version", python),
                *self._offline(),
                str(source),
            ],
            "the requirements of the model could not be locked",
        )

    def _offline(self) -> list[str]:
        return ["--no-index", "--find-links", str(self._wheelhouse)] if self._wheelhouse else []

    def _wheels(self) -> str:
        if self._wheelhouse is None:
            return ""
        if not self._wheelhouse.is_dir():
            raise ConfigurationError(
                "the wheelhouse is not a folder", facts={"package.wheelhouse": self._wheelhouse}, tries=("mlpipeline config",)
            )
        files = sorted(file for file in self._wheelhouse.iterdir() if file.is_file())
        return "".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n" for file in files)


def _take_out(noted: Path) -> None:
    """Removes a file of a distribution, and its line in the list of its files."""
    listed = noted.parent / "RECORD"
    lines = listed.read_text("utf-8").splitlines(keepends=True)
    listed.write_text("".join(line for line in lines if not line.startswith(f"{noted.parent.name}/{noted.name},")), "utf-8")
    noted.unlink()


def _kept_text(file: Path, mark: str) -> str | None:
    """The lock in a project's file, None when it is there for other requirements, or not at all."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "the project's lock cannot be read", facts={"package.lock": file, "found": error}, tries=(f"rm {file}",)
        ) from error
    return text.removesuffix(mark) if text.endswith(mark) else None


def python_for(places: Places, bundle: Path, *, wheelhouse: Path | None = None) -> Path:
    """The interpreter that runs this bundle, its environment installed if it is not there.

    Raises EnvironmentFault when the bundle carries no lock or its wheels cannot be had.
    """
    file = bundle / _LOCK_NAME
    if not file.is_file():
        raise EnvironmentFault(
            "the bundle carries no lock of its environment", facts={"missing": file}, tries=("mlpipeline package",)
        )
    return Environments(places, wheelhouse).install(_lock_of(file.read_text()))


def fingerprint(environment: dict[str, str], folder: Path, *, limit_seconds: float = 30.0) -> dict[str, str]:
    """Version of the ``python`` on this PATH, what is installed there (``name==version``, one space between) and a digest of it:
    ``{"python", "fingerprint", "packages"}``.

    Empty without a Python, or when it does not answer in time: a project need not be written in Python.
    """
    path = environment.get("PATH", os.defpath)
    interpreter = shutil.which("python", path=path) or shutil.which("python3", path=path)
    if interpreter is None:
        return {}
    try:
        answer = subprocess.run(
            [interpreter, "-c", _LIST_DISTRIBUTIONS],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    version, _, installed = answer.stdout.partition("\n")
    return {
        "python": version,
        "fingerprint": f"sha256:{hashlib.sha256(installed.encode()).hexdigest()}",
        "packages": " ".join(installed.split()),
    }


_LIST_DISTRIBUTIONS = """
import platform
from importlib.metadata import distributions
print(platform.python_version())
print("\\n".join(sorted({f"{found.name}=={found.version}".lower() for found in distributions() if found.name})))
"""


def _compile(interpreter: Path) -> None:
    """Imports what every serving process imports, once, so that its bytecode is there.

    Starts are several times faster with it (15 s became 5 s on two busy cores), and processes that serve write none. All of the
    environment would be a minute's work for modules that nobody imports. Only time is lost when it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [str(interpreter), "-c", _IMPORT_FOR_SERVING],
            cwd="/",
            env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )


_IMPORT_FOR_SERVING = """
import importlib
for name in ("mlflow.pyfunc", "mlflow.pyfunc.scoring_server", "mlflow.sklearn", "uvicorn", "uvloop", "httptools",
             "prometheus_client", "pandas", "sklearn.ensemble", "sklearn.pipeline", "sklearn.compose"):
    try:
        importlib.import_module(name)
    except Exception:
        pass
"""


def _lock_of(text: str) -> Lock:
    return Lock(text=text, digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def _interpreter(python: str) -> str:
    """The worker's own base interpreter when it has the version, else the version for uv to look up on this machine."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return str(Path(sys.base_prefix) / "bin" / f"python{own}") if python == own else python


def _uv(arguments: Sequence[str], what: str, *, handle: int | None = None) -> str:
    """Runs uv and returns its standard output.

    ``handle`` is a lock that uv shall hold too: a worker that is killed leaves uv behind, and nobody may touch the folder
    before that has ended.
    """
    from uv import find_uv_bin

    environment = {
        **{name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}},
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": os.environ.get("UV_PYTHON_DOWNLOADS", "never"),
    }
    try:
        done = subprocess.run(
            [find_uv_bin(), "--quiet", *arguments],
            cwd="/",  # the settings of the user and the machine hold, those of a project that happens to be here do not
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
            pass_fds=() if handle is None else (handle,),
        )
    except FileNotFoundError as error:
        raise EnvironmentFault("uv is not installed beside the worker", tries=("pip install uv",)) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFault(f"{what}: no answer within {_LIMIT_SECONDS:.0f} s", facts={"uv": " ".join(arguments)}) from error
    if done.returncode != 0:
        raise _uv_error(what, done.stderr)
    return done.stdout


def _uv_error(what: str, said: str) -> MlpipelineError:
    facts = {"uv said": "\n".join(said.strip().splitlines()[-12:])}
    if os.strerror(errno.ENOSPC) in said:
        return EnvironmentFault(f"{what}: the disk is full", facts=facts, tries=("free some space", "df -h"))
    if "no usable wheels" in said or "only-binary" in said or "--no-build" in said:
        return ConfigurationError(
            f"{what}: something exists only as source, and what is compiled here is another thing elsewhere",
            facts=facts,
            likely="a package without wheels, or none for this Python and machine",
            tries=(
                "pip wheel NAME --wheel-dir wheels    # once, then package.wheelhouse: wheels",
                "another version, with wheels",
            ),
        )
    if "No solution found" in said or "unsatisfiable" in said or "Couldn't parse requirement" in said:
        return ConfigurationError(
            what,
            facts=facts,
            likely="the model's requirements contradict each other or those of the serving process, or name what does not exist",
            tries=("correct the requirements.txt in the model's folder, or name another one in package.requirements",),
        )
    if "Invalid version request" in said or "No interpreter found" in said:
        return EnvironmentFault(
            what,
            facts=facts,
            likely="the model was saved with a Python that this machine does not have",
            tries=("install that Python", "train with the Python that is here"),
        )
    return EnvironmentFault(
        what,
        facts=facts,
        likely="the package index cannot be reached",
        tries=("run it again", "give a folder of wheels: package.wheelhouse"),
    )


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[int]:
    """Holds the lock file, waiting for whoever holds it; freed when the last holder dies, however it dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise EnvironmentFault("another worker does not finish its environment", facts={"lock": lock}) from error
                time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)
