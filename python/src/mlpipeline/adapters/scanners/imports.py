"""Which names a model file may import: an allow-list from the model's own requirements, and what no prefix may open.

A library that is allowed is not allowed whole: most of them carry functions that run or load whatever they are given.
"""

from __future__ import annotations

import _compat_pickle
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Trust = Literal["allowed", "by value", "unknown", "dangerous"]

SAFE = frozenset(
    {
        *(
            f"builtins.{name}"
            for name in (
                *("object", "set", "frozenset", "list", "dict", "tuple", "bytearray", "bytes", "int", "float", "complex", "str"),
                *(
                    "bool",
                    "slice",
                    "range",
                    "type",
                    "Ellipsis",
                    "NotImplemented",
                    "Exception",
                    "ValueError",
                    "KeyError",
                    "TypeError",
                ),
            )
        ),
        *("collections.OrderedDict", "collections.defaultdict", "collections.deque", "collections.Counter"),
        *("copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__", "_codecs.encode"),
        *("datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone"),
        *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "functools.partial", "array._array_reconstructor"),
        *("random.Random", "re._compile", "types.SimpleNamespace", "zoneinfo.ZoneInfo._unpickle"),
        *(f"pathlib.{kind}{name}" for kind in ("", "Posix", "Windows") for name in ("Path",)),
        *("pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath"),
        "joblib.numpy_pickle.NumpyArrayWrapper",
    }
)
"""Names of Python itself (and of joblib's file format) that make plain values."""

IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "imbalanced-learn": "imblearn",
    "opencv-python": "cv2",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pytorch-lightning": "pytorch_lightning",
    "tensorflow-cpu": "tensorflow",
    "pyyaml": "yaml",
    "python-dateutil": "dateutil",
    "sentence-transformers": "sentence_transformers",
}
"""What a distribution is imported as, where that is not its own name."""

NEEDED = {
    "sklearn": ("numpy", "scipy"),
    "scipy": ("numpy",),
    "pandas": ("numpy", "pyarrow", "pytz", "dateutil"),
    "xgboost": ("numpy", "scipy"),
    "lightgbm": ("numpy", "scipy"),
    "catboost": ("numpy", "scipy", "pandas"),
    "statsmodels": ("numpy", "scipy", "pandas", "patsy"),
    "imblearn": ("numpy", "scipy", "sklearn"),
    "torch": ("numpy",),
    "torchvision": ("torch", "numpy"),
    "transformers": ("tokenizers", "numpy"),
    "skops": ("sklearn", "numpy", "scipy"),
    "mlflow": ("numpy", "pandas", "scipy", "sklearn"),
}
"""What these libraries themselves need and pickle."""

_RUNNING = frozenset(sys.stdlib_module_names) | {
    *("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel", "uv", "ensurepip", "pytest", "_pytest", "IPython"),
    *("requests", "urllib3", "httpx", "aiohttp", "paramiko", "fabric", "pexpect", "psutil", "docker", "kubernetes", "git", "sh"),
    *("dill", "cloudpickle", "jsonpickle", "torch_package", "numexpr", "yaml", "jinja2", "py", "invoke", "plumbum", "__main__"),
}
"""Modules whose names no prefix may open; the standard library is open by ``SAFE`` alone."""

_PARTS = frozenset(
    {
        *("testing", "_testing", "tests", "test", "conftest", "f2py", "distutils", "hub", "cpp_extension", "collect_env"),
        *("bottleneck", "_inductor", "_dynamo", "serialization", "package", "npyio", "_npyio_impl", "ctypeslib", "_ctypeslib"),
        *(
            "pickle",
            "pickle_compat",
            "computation",
            "memory",
            "externals",
            "cli",
            "command",
            "commands",
            "__main__",
            "subprocess",
        ),
        *("process", "process_utils", "processes", "launcher", "_build_utils", "build_utils", "elastic", "datasets", "parallel"),
        *(
            "cloudpickle_wrapper",
            "executor",
            "loky",
            "openml",
            "jit",
            "_config_module",
            "datapipes",
            "symbolic_shapes",
            "_pytesttester",
        ),
    }
)
"""Parts of libraries that run, fetch or unpickle what they are given."""

_FUNCTION = re.compile(
    r"_*(eval|exec|compile|open|load|unpickle|read|run|system|popen|spawn|call|check_|import|getattr|setattr|delattr|save|dump|write|"
    r"download|fetch|urlopen|urlretrieve|memmap|fromfile|from_file|from_pickle|genfromtxt|subprocess|shell|install|remove|unlink|"
    r"rmtree|getlincoef|apply_function|lazy|locate|resolve|entry|main|cmd|command|query|to_)"
)
_CLASSES = frozenset(
    {
        *("Popen", "DataSource", "FunctionType", "CodeType", "LambdaType", "ModuleType", "FileIO", "FileHandler", "Memory"),
        *("InteractiveInterpreter", "GuardBuilder", "PackageImporter", "Unpickler", "Pickler", "ConfigModule", "ShapeEnv"),
    }
)
_PLAIN_FUNCTIONS = frozenset({"pandas._libs.internals._unpickle_block"})
"""Harmless names that look like the others."""
_MLFLOW = frozenset({"mlflow.pyfunc", "mlflow.types", "mlflow.models"})
"""The parts of MLflow whose classes models are made of; all of it stands in every model's requirements."""
_CYTHON = re.compile(r"__pyx_unpickle_\w+")


@dataclass(frozen=True)
class Allowed:
    """What a model file may import.

    Args:
        libraries: Top-level names of the model's own requirements and of the project's own code.
        named: Full names or prefixes of them that the configuration allows besides, whatever they are.
        by_value: Whether code that is stored inside the file, instead of being imported, is allowed.
    """

    libraries: frozenset[str]
    named: tuple[str, ...] = ()
    by_value: bool = False

    def trust(self, module: str, name: str) -> Trust:
        """What is known of a name that a file imports."""
        full = f"{module}.{name}"
        if any(full == one or full.startswith(f"{one}.") for one in self.named):
            return "allowed"
        today = _compat_pickle.NAME_MAPPING.get((module, name), (_compat_pickle.IMPORT_MAPPING.get(module, module), name))
        return self._trust(*today)

    def _trust(self, module: str, name: str) -> Trust:
        if f"{module}.{name}" in SAFE:
            return "allowed"
        parts = module.split(".")
        if parts[0] == "cloudpickle" and parts[-1].startswith("cloudpickle"):
            return "by value"
        if parts[0] in _RUNNING:
            return "dangerous"
        if parts[0] == "joblib" or (name == "*" and parts[0] in self.libraries):
            return "allowed" if name == "*" and parts[0] in self.libraries else "dangerous"
        if _dangerous(parts, name):
            return "dangerous"
        return "allowed" if parts[0] in self.libraries else "unknown"


def libraries_of(requirements: Iterable[str]) -> frozenset[str]:
    """Top-level import names of requirement lines, and of what these libraries themselves pickle."""
    found: set[str] = set()
    waiting = [_import_name(line) for line in requirements]
    while waiting:
        name = waiting.pop()
        if name and name not in found:
            found.add(name)
            waiting.extend(NEEDED.get(name, ()))
    return frozenset(found - _RUNNING)


def _import_name(line: str) -> str:
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    if found is None:
        return ""
    name = re.sub(r"[-_.]+", "-", found.group(1)).lower()
    return IMPORT_NAMES.get(name, name.replace("-", "_"))


def _dangerous(parts: list[str], name: str) -> bool:
    """Whether a name inside a library could run, fetch or load something, or is a way to another module."""
    full = ".".join([*parts, name])
    if full in _PLAIN_FUNCTIONS or (_CYTHON.fullmatch(name) and parts[0] in {"numpy", "sklearn", "scipy", "pandas"}):
        return False
    *way, last = name.split(".")
    if any(not step[:1].isupper() for step in (*way, last if way else "A")):
        return True  # an attribute that is no nested class: the way to what the library itself imported
    if parts[0] == "mlflow" and (".".join(parts[:2]) not in _MLFLOW or not last[:1].isupper()):
        return True
    if _PARTS.intersection(parts) or last in _CLASSES:
        return True
    if last in sys.stdlib_module_names and not last[:1].isupper() and last not in _ALSO_FUNCTIONS:
        return True
    return bool(not last[:1].isupper() and _FUNCTION.match(last.lower()))


_ALSO_FUNCTIONS = frozenset({"array", "copy", "random", "select", "time", "statistics"})
"""Names of modules that libraries give to harmless functions of their own."""
