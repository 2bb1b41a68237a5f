"""The look into model files: what runs code is found however it hides, what cannot be read is never clean, and models are."""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib
import io
import json
import lzma
import operator
import os
import pickle
import subprocess
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlpipeline.adapters.scanners.imports import Allowed, libraries_of
from mlpipeline.adapters.scanners.model_files import ModelFiles
from mlpipeline.core.findings import NotRun, Scan
from mlpipeline.ports import Scanned

REQUIREMENTS = ("scikit-learn==1.6.0", "mlflow==3.17.2", "numpy", "pandas>=2", "cloudpickle")


class Reduced:
    """Pickles as a call of this function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def look(folder: Path, **more: Any) -> Scan:
    return ModelFiles().scan(Scanned(project=folder.parent, model=folder, requirements=REQUIREMENTS, **more))


def ids(scan: Scan) -> set[str]:
    return {finding.id for finding in scan.findings}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


EVIL: dict[str, object] = {
    "a system call": Reduced(os.system, "true"),
    "importlib": Reduced(importlib.import_module, "os"),
    "getattr of importlib": Reduced(getattr, Reduced(importlib.import_module, "os"), "system"),
    "eval": Reduced(eval, "1"),
    "a partial of a system call": functools.partial(os.system, "true"),
    "operator": operator.methodcaller("system", "true"),
    "subprocess": Reduced(subprocess.check_output, "true"),
    "nested in data": {"weights": [1.0, 2.0, {"deep": (Reduced(os.system, "true"),)}]},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", EVIL)
def test_a_pickle_that_runs_something_is_found_in_every_protocol(model: Path, name: str, protocol: int) -> None:
    (model / "model.pkl").write_bytes(pickle.dumps(EVIL[name], protocol))
    assert any(finding.level == "critical" for finding in look(model).findings)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda plain: lzma.compress(plain, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
    "zip": lambda plain: zipped({"inner.bin": plain}),
    "zip in zip": lambda plain: zipped({"inner.zip": zipped({"archive/data.pkl": plain})}),
    "gzip in zip": lambda plain: zipped({"inner.gz": gzip.compress(plain)}),
}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "weights.dat", "notes.txt", "README"])
def test_it_is_found_whatever_it_is_called_and_packed_in(model: Path, name: str, packing: str) -> None:
    (model / name).write_bytes(PACKED[packing](pickle.dumps(EVIL["importlib"])))
    found = [finding for finding in look(model).findings if finding.id == "pickle-dangerous"]
    assert found
    assert found[0].where.startswith(f"model/{name}")
    assert found[0].subject == "importlib.import_module"


def test_a_name_that_is_put_together_on_the_stack_and_in_the_memo_is_known(model: Path) -> None:
    """As fault finders do it that look for a string right before the opcode."""
    by_memo = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R."
    (model / "model.pkl").write_bytes(by_memo)
    assert {finding.subject for finding in look(model).findings} == {"os.system"}


def test_a_name_that_cannot_be_known_is_a_finding(model: Path) -> None:
    """The module's name comes out of a call, so only the unpickler would learn it."""
    computed = b"\x80\x04cbuiltins\nstr\n\x8c\x02os\x85R\x8c\x06system\x93\x8c\x04true\x85R."
    (model / "model.pkl").write_bytes(computed)
    assert "pickle-hidden" in ids(look(model))


def test_an_attribute_of_an_allowed_module_is_no_way_around(model: Path) -> None:
    for number, (module, name) in enumerate(
        [("numpy", "f2py.os.system"), ("sklearn.base", "os"), ("numpy.testing._private.utils", "runstring"), ("numpy", "load")]
    ):
        (model / f"{number}.pkl").write_bytes(b"\x80\x04" + _text(module) + _text(name) + b"\x93.")
    found = look(model).findings
    assert {finding.where for finding in found if finding.level == "critical"} == {f"model/{n}.pkl" for n in range(4)}


def _text(word: str) -> bytes:
    return b"\x8c" + bytes([len(word)]) + word.encode()


def test_what_is_in_no_requirement_is_a_finding_until_it_is_allowed_by_name(model: Path) -> None:
    (model / "model.pkl").write_bytes(b"\x80\x04" + _text("mylib.layers") + _text("Dense") + b"\x93.")
    assert ids(look(model)) == {"pickle-unknown"}
    assert not look(model, allow=("mylib",)).findings
    assert look(model, allow=("mylibrary", "my")).findings


def test_the_extension_registry_and_writes_into_imports_are_findings(model: Path) -> None:
    (model / "registry.pkl").write_bytes(b"\x80\x04\x82\x01.")
    (model / "patch.pkl").write_bytes(b"\x80\x04" + _text("numpy") + _text("ndarray") + b"\x93}" + _text("x") + b"K\x01sb.")
    assert {finding.where for finding in look(model).findings if finding.id == "pickle-hidden"} == {
        "model/registry.pkl",
        "model/patch.pkl",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.pkl", pickle.dumps(list(range(100)))[:-4]),
        ("junk.pkl", b"hello there"),
        ("empty.pkl", b""),
        ("trailing.pkl", pickle.dumps([1, 2]) + b"\xff\xfe\x00"),
        ("damaged.zip", flipped(zipped({"a": os.urandom(90)}), 60)),
        ("cut.gz", gzip.compress(b"0" * 1000, mtime=0)[:-12]),
        ("weights.xyz", bytes(range(256)) * 4),
        ("model.7z", b"7z\xbc\xaf\x27\x1c" + b"\0" * 40),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 600),
    ],
)
def test_what_cannot_be_read_is_never_clean(model: Path, name: str, content: bytes) -> None:
    (model / name).write_bytes(content)
    scan = look(model)
    assert "unreadable" in ids(scan)
    assert scan.skipped


@pytest.mark.parametrize(
    "text",
    [
        "catboost\nnumpy\nR\n",
        "class\nname\nb.",
        "(a\nb\nc\n",
        ".\n",
        "I1\n",
        "x = 1",
        "x^2",
        "BZhello",
        "conda\nforge\n0\n",
        "\x82\x01 and more",
    ],
)
def test_a_text_that_begins_like_opcodes_is_a_text(model: Path, text: str) -> None:
    (model / "vocabulary.txt").write_text(text, "latin-1")
    assert not look(model).findings


def test_code_before_a_broken_end_is_told_too(model: Path) -> None:
    """It has run by the time the unpickler fails."""
    (model / "model.pkl").write_bytes(pickle.dumps(EVIL["a system call"])[:-1] + b"\xff")
    assert ids(look(model)) == {"pickle-dangerous", "unreadable"}


def test_a_second_pickle_behind_the_first_is_walked_too(model: Path) -> None:
    (model / "model.pkl").write_bytes(pickle.dumps([1]) + pickle.dumps(EVIL["importlib"]))
    assert "pickle-dangerous" in ids(look(model))


def test_opcodes_in_the_raw_numbers_of_a_joblib_file_are_walked_as_pickle_would(model: Path) -> None:
    """joblib skips them; ``pickle.load`` of the same file runs them."""
    import joblib
    import numpy

    attack = b"." + b"\x80\x04" + _text("os") + _text("system") + b"\x93" + _text("true") + b"\x85R."
    direct = pickle.dumps(EVIL["a system call"])[2:]
    for number, payload in enumerate((attack[1:], direct)):
        array = numpy.frombuffer(payload.ljust(64, b"."), dtype="uint8")
        joblib.dump({"weights": array}, model / f"{number}.joblib")
    dangerous = {finding.where for finding in look(model).findings if finding.id == "pickle-dangerous"}
    # With joblib's padding byte in front the walk may rightly break off before; it must never call such a file unread.
    assert dangerous <= {"model/0.joblib", "model/1.joblib"}
    assert "unreadable" not in ids(look(model))


def test_links_that_leave_the_folder_and_special_files_are_findings(model: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.pkl").write_bytes(pickle.dumps(1))
    (model / "weights.pkl").symlink_to("../outside.pkl")
    (model / "code").symlink_to("/etc")
    os.mkfifo(model / "pipe")
    found = {(finding.id, finding.where) for finding in look(model).findings}
    assert found == {
        ("link-outside", "model/weights.pkl"),
        ("link-outside", "model/code"),
        ("unreadable", "model/pipe"),
    }


def test_a_name_that_is_no_text_is_told_in_printable_letters(model: Path) -> None:
    name = os.fsdecode(b"we\xffights.pkl")
    (model / name).write_bytes(pickle.dumps(EVIL["eval"]))
    where = {finding.where for finding in look(model).findings}
    assert where == {"model/we\\udcffights.pkl"}
    json.dumps(sorted(where)).encode()


def test_arrays_of_objects_are_pickles(model: Path) -> None:
    import numpy

    objects = numpy.array([EVIL["importlib"]], dtype=object)
    numpy.save(model / "o.npy", objects, allow_pickle=True)
    numpy.savez(model / "o.npz", a=objects)
    numpy.save(model / "plain.npy", numpy.arange(10.0))
    found = {finding.where for finding in look(model).findings if finding.id == "pickle-dangerous"}
    assert found == {"model/o.npy", "model/o.npz!a.npy"}


def test_an_old_and_a_new_file_of_pytorch_are_read_to_their_end(model: Path) -> None:
    state = OrderedDict(weight=[1.0])
    magic = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, ["0"])]
    (model / "old.pt").write_bytes(b"".join(magic) + os.urandom(512))
    (model / "new.pt").write_bytes(
        zipped({"m/data.pkl": pickle.dumps(state, 2), "m/data/0": os.urandom(512), "m/version": b"3\n"})
    )
    assert not look(model).findings
    (model / "new.pt").write_bytes(zipped({"m/data.pkl": pickle.dumps(EVIL["eval"], 2), "m/data/0": b"", "m/version": b"3\n"}))
    assert ids(look(model)) == {"pickle-dangerous"}


def test_keras_layers_with_code_and_foreign_classes_are_findings(model: Path) -> None:
    plain = {"class_name": "Sequential", "config": {"layers": [{"module": "keras.layers", "class_name": "Dense", "config": {}}]}}
    (model / "m.keras").write_bytes(zipped({"config.json": json.dumps(plain).encode(), "metadata.json": b"{}"}))
    assert not look(model).findings
    plain["config"]["layers"].append({"module": "keras.layers", "class_name": "Lambda", "config": {}})  # type: ignore[index]
    plain["config"]["layers"].append({"module": "os", "class_name": "system", "config": {}})  # type: ignore[index]
    (model / "m.keras").write_bytes(zipped({"config.json": json.dumps(plain).encode(), "metadata.json": b"{}"}))
    assert ids(look(model)) == {"keras-code", "pickle-dangerous"}


def test_code_by_value_is_a_finding_that_one_line_of_the_configuration_allows(model: Path) -> None:
    import cloudpickle

    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Own:\n    def predict(self, rows): return rows", namespace)
    (model / "python_model.pkl").write_bytes(cloudpickle.dumps(namespace["Own"]()))
    strict = look(model)
    assert "pickle-code" in ids(strict)
    assert {finding.level for finding in strict.findings} == {"high"}
    assert {finding.level for finding in look(model, allow_code_by_value=True).findings} == {"low"}


def test_the_models_of_scikit_learn_are_clean_in_all_their_formats(model: Path) -> None:
    import cloudpickle
    import joblib
    import numpy
    import pandas
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

    frame = pandas.DataFrame({"a": numpy.arange(60.0), "kind": ["x", "y", "z"] * 20})
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["kind"]), ("log", FunctionTransformer(numpy.log1p), ["a"])])
    forest = make_pipeline(columns, RandomForestRegressor(3)).fit(frame, frame["a"])
    boosted = HistGradientBoostingClassifier(max_iter=3).fit(frame[["a"]], frame["kind"])
    for name, made in (("forest", forest), ("boosted", boosted)):
        (model / f"{name}.pkl").write_bytes(pickle.dumps(made))
        (model / f"{name}-cloud.pkl").write_bytes(cloudpickle.dumps(made))
        joblib.dump(made, model / f"{name}.joblib")
        for packing in ("z", "gz", "bz2", "xz"):
            joblib.dump(made, model / f"{name}.joblib.{packing}", compress=3)
    (model / "frame.pkl").write_bytes(pickle.dumps(frame))
    scan = look(model)
    assert not scan.findings
    assert scan.skipped == 0
    assert scan.targets == 2 * 7 + 2


def test_what_is_not_python_at_all_is_clean(model: Path) -> None:
    (model / "model.onnx").write_bytes(b"\x08\x07" + os.urandom(200))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    (model / "booster.txt").write_text("tree\nversion=v4\n")
    (model / "vocab.json").write_text("{}")
    (model / "spiece.model").write_bytes(b"\n\x0e\x08\x00" + bytes(range(200)))
    assert not look(model).findings
    (model / "model.safetensors").write_bytes(b"\xff" * 64)
    assert ids(look(model)) == {"unreadable"}


def test_data_of_a_format_of_ones_own_is_declared_by_pattern(model: Path) -> None:
    (model / "index.faiss").write_bytes(bytes(range(128, 256)) * 3)
    assert ids(look(model)) == {"unreadable"}
    assert not look(model, data=("*.faiss",)).findings


def test_declared_data_that_is_a_pickle_is_looked_into_all_the_same(model: Path) -> None:
    (model / "index.faiss").write_bytes(pickle.dumps(EVIL["eval"]))
    assert ids(look(model, data=("*",))) == {"pickle-dangerous"}


def test_a_skops_file_is_judged_by_the_types_it_names(model: Path) -> None:
    def schema(module: str, name: str) -> bytes:
        node = {"__class__": name, "__module__": module, "__loader__": "ObjectNode", "content": {}}
        return json.dumps({"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": [node]}).encode()

    (model / "model.skops").write_bytes(zipped({"schema.json": schema("sklearn.linear_model._base", "LinearRegression")}))
    assert not look(model).findings
    (model / "model.skops").write_bytes(zipped({"schema.json": schema("os", "system")}))
    assert ids(look(model)) == {"pickle-dangerous"}


@pytest.mark.parametrize(
    ("loader", "found"),
    [("mlflow.sklearn", False), ("mlflow.pyfunc.model", False), ("os", True), ("evil.loader", True), ("own_loader", False)],
)
def test_what_mlflow_is_told_to_import_must_be_known(model: Path, loader: str, found: bool) -> None:
    """The loader's module is imported, and its function called, before anything of the model is read."""
    (model / "MLmodel").write_text(f"flavors:\n  python_function:\n    loader_module: {loader}\n")
    own = model.parent / "own_loader.py"
    own.write_text("")
    assert ids(look(model, tracked=(own,))) == ({"loader-unknown"} if found else set())


def test_code_beside_the_model_that_git_does_not_know_is_told(model: Path) -> None:
    (model / "code").mkdir()
    (model / "code" / "known.py").write_text("x = 1\n")
    (model / "code" / "stranger.py").write_text("import os\n")
    tracked = model.parent / "known.py"
    tracked.write_text("x = 1\n")
    found = look(model, tracked=(tracked,)).findings
    assert [(one.id, one.level, one.where) for one in found] == [("code-untracked", "medium", "model/code/stranger.py")]


def test_long_members_of_an_archive_are_known_without_a_copy(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipeline.adapters.scanners.model_files._SPOOLED", 1000)
    raw = b"\x3f\x80" * 5000
    evil = pickle.dumps([0] * 5000 + [EVIL["eval"]])
    (model / "m.pt").write_bytes(zipped({"m/data.pkl": pickle.dumps([1]), "m/data/0": raw, "m/version": b"3"}))
    assert not look(model).findings
    (model / "m.pt").write_bytes(zipped({"m/data.pkl": pickle.dumps([1]), "m/data/0": evil, "m/version": b"3"}))
    assert ids(look(model)) == {"pickle-dangerous"}


def test_a_look_that_takes_too_long_has_not_run(model: Path) -> None:
    (model / "model.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(NotRun, match="did not end within 0 s"):
        look(model, limit_seconds=0.0)


def test_a_model_folder_that_is_a_link_is_looked_into(model: Path) -> None:
    elsewhere = model.rename(model.parent.parent / f"{model.parent.name}-elsewhere")
    model.symlink_to(elsewhere)
    assert look(model).targets == 1
    (elsewhere / "model.pkl").write_bytes(pickle.dumps(EVIL["importlib"]))
    assert ids(look(model)) == {"pickle-dangerous"}


def test_an_empty_folder_is_no_clean_scan(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(NotRun, match="no file"):
        look(tmp_path / "model")


def test_no_model_is_no_clean_scan(tmp_path: Path) -> None:
    with pytest.raises(NotRun, match="no model"):
        ModelFiles().scan(Scanned(project=tmp_path))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("scikit-learn==1.6.0", "sklearn"),
        ("xgboost[extra]>=2 ; python_version>'3'", "xgboost"),
        ("Pillow", "PIL"),
        ("some_Lib.x~=1", "some_lib_x"),
    ],
)
def test_requirements_become_the_names_they_are_imported_by(line: str, name: str) -> None:
    assert name in libraries_of([line])


def test_a_requirement_never_opens_what_runs_things() -> None:
    allowed = Allowed(libraries_of(["pip", "requests", "dill", "os", "subprocess", "numpy", "-r other.txt", "git+https://x/y"]))
    assert not allowed.libraries & {"pip", "requests", "dill", "os", "subprocess"}
    assert allowed.trust("pip._internal", "main") == "dangerous"
    assert allowed.trust("__builtin__", "eval") == "dangerous"
    assert allowed.trust("commands", "getoutput") == "dangerous"
