"""The bill of materials is valid CycloneDX, the same bytes each time, and says what is in the package."""

from __future__ import annotations

import json
import sysconfig
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from fakes import FakeWorld
from mlpipeline.adapters.cyclonedx import environment_bom, locked, site_packages
from mlpipeline.core.model_card import Told, card
from mlpipeline.core.sbom import Metric, Modelled, bill, described_digest, measured, text_columns
from mlpipeline.reports.card_page import card_page

INSTALLED = Path(sysconfig.get_paths()["purelib"])
NAMES = ("numpy", "pandas", "scikit-learn", "joblib", "msgspec")
LOCK = "# python 3.11 on linux-x86_64\n" + "".join(
    f"{name}=={version(name)} \\\n    --hash=sha256:{digit * 64} \\\n    --hash=sha256:{'f' * 64}\n"
    for name, digit in zip(NAMES, "01234", strict=True)
)
MODEL = Modelled(
    service="churn",
    digest=f"sha256:{'a' * 64}",
    commit="c" * 40,
    made="2026-03-01T03:00:00Z",
    worker="0.1.0",
    model=f"sha256:{'b' * 64}",
    python="3.11",
    flavour="mlflow.sklearn",
    inputs=("distance: double", "origin: string"),
    outputs=("tensor of str",),
    data={"rows.csv": f"md5:{'1' * 32}", "parts": f"md5:{'2' * 32}.dir", "odd": "yesterday"},
    holdout=f"sha256:{'3' * 64}",
    params={"trees": "10"},
    metrics=(Metric("roc_auc", 0.9), Metric("roc_auc: gain over the champion", 0.02, "origin=JFK", 0.01, 0.03)),
    champion=f"sha256:{'9' * 64}",
)


@pytest.fixture(scope="module")
def made() -> bytes:
    return bill(MODEL, environment_bom(LOCK, INSTALLED))


def test_it_keeps_the_schema(made: bytes) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made.decode()) is None


def test_a_bare_model_keeps_the_schema_too() -> None:
    bare = Modelled(service="churn", digest=f"sha256:{'a' * 64}", commit="c" * 40, made="2026-03-01T03:00:00Z", worker="0.1.0")
    content = bill(bare, environment_bom("", None))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None


def test_the_same_package_has_the_same_bytes_and_another_one_another_number(made: bytes) -> None:
    assert bill(MODEL, environment_bom(LOCK, INSTALLED)) == made
    shuffled = "\n".join([LOCK.splitlines()[0], *reversed(LOCK.replace("\\\n", " ").splitlines()[1:])])
    assert bill(MODEL, environment_bom(shuffled, INSTALLED)) == made
    other = bill(msgspec.structs.replace(MODEL, commit="d" * 40), environment_bom(LOCK, INSTALLED))
    assert json.loads(other)["serialNumber"] != json.loads(made)["serialNumber"]
    assert json.loads(made)["metadata"]["timestamp"] == "2026-03-01T03:00:00Z"


def test_environment_has_names_hashes_licences_and_what_needs_what(made: bytes) -> None:
    document = json.loads(made)
    libraries = {one["name"]: one for one in document["components"] if one["type"] == "library"}
    assert set(libraries) == set(NAMES)
    numpy = libraries["numpy"]
    assert numpy["purl"] == f"pkg:pypi/numpy@{version('numpy')}"
    assert numpy["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}, {"alg": "SHA-256", "content": "f" * 64}]
    assert all("licenses" in libraries[name] for name in ("numpy", "pandas", "joblib"))
    needs = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert f"pkg:pypi/numpy@{version('numpy')}" in needs[libraries["pandas"]["bom-ref"]]
    assert set(needs[libraries["scikit-learn"]["bom-ref"]]) == {libraries[name]["bom-ref"] for name in ("joblib", "numpy")}


def test_model_has_its_data_and_how_it_did(made: bytes) -> None:
    document = json.loads(made)
    model = document["metadata"]["component"]
    assert (model["type"], model["hashes"]) == ("machine-learning-model", [{"alg": "SHA-256", "content": "a" * 64}])
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "roc_auc", "value": "0.9", "slice": "all rows"},
        {
            "type": "roc_auc: gain over the champion",
            "value": "0.02",
            "slice": "origin=JFK",
            "confidenceInterval": {"lowerBound": "0.01", "upperBound": "0.03"},
        },
    ]
    data = {one["name"]: one for one in document["components"] if one["type"] == "data"}
    assert data["rows.csv"]["hashes"] == [{"alg": "MD5", "content": "1" * 32}]
    assert data["parts"]["hashes"] == [{"alg": "MD5", "content": "2" * 32}]
    assert data["odd"]["version"] == "yesterday"
    assert data["holdout"]["hashes"] == [{"alg": "SHA-256", "content": "3" * 64}]
    references = [one["ref"] for one in model["modelCard"]["modelParameters"]["datasets"]]
    assert set(references) == {one["bom-ref"] for one in data.values()}
    assert described_digest(made) == MODEL.digest


def test_licences_are_not_guessed_when_nothing_is_installed() -> None:
    components = environment_bom(LOCK, None)["components"]
    assert [one["name"] for one in components] == sorted(NAMES)
    assert not any("licenses" in one for one in components)


def test_lines_of_a_lock() -> None:
    text = (
        "# python 3.11\nPy_YAML==6.0 ; sys_platform == 'linux' \\\n  --hash=sha256:"
        + "a" * 64
        + "\nuvicorn[standard]==1.2\n-e .\n"
    )
    assert [(one.name, one.version, len(one.hashes)) for one in locked(text)] == [("py-yaml", "6.0", 1), ("uvicorn", "1.2", 0)]


def test_site_packages_of_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    assert site_packages(tmp_path / "bin" / "python") is None
    (tmp_path / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    assert site_packages(tmp_path / "bin" / "python") == tmp_path / "lib" / "python3.11" / "site-packages"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"metadata":{"component":{"hashes":[]}}}', b"\xff"])
def test_anything_else_is_no_bill(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a bill of materials"):
        described_digest(content)


def test_numbers_of_the_record() -> None:
    trained = {"metrics": {"auc": 0.75}}
    judged = {"metrics": [{"name": "mae", "candidate": 2, "difference": -0.5, "low": -1.0, "high": 0.1}, {"name": "odd"}]}
    assert measured(trained, judged) == (
        Metric("training: auc", 0.75),
        Metric("mae", 2.0),
        Metric("mae: gain over the champion", -0.5, "", -1.0, 0.1),
    )
    assert text_columns('[{"type": "double", "name": "x"}, {"type": "tensor", "tensor-spec": {"dtype": "str"}}]') == (
        "x: double",
        "tensor of str",
    )
    assert text_columns("{") == text_columns("") == text_columns("{}") == ()


def test_card_says_all_of_it_and_nothing_ends_a_table() -> None:
    gates = (("gate-data", "pass", "41 checks"), ("gate-model", "pass", "a | b\n<script>"))
    text = card(Told(MODEL, run="r1", requester="ada", gates=gates, words="For *trips*."))
    assert "# Model card: churn" in text
    assert "For *trips*." in text
    assert "| roc_auc: gain over the champion | origin=JFK | 0.02 | 0.01 to 0.03 |" in text
    assert "| gate-model | pass | a \\| b &lt;script&gt; |" in text
    assert "| trees | 10 |" in text
    assert f"| rows.csv | md5:{'1' * 32} |" in text
    page = card_page(Told(MODEL, run="r1", gates=gates)).decode()
    assert "<td>a | b\n&lt;script&gt;</td>" in page
    assert "<script" not in page and "style=" not in page


def test_an_environment_is_read_once_per_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed model alone must not cost the reading of a hundred distributions again."""
    from mlpipeline.verbs import attesting
    from mlpipeline.verbs.attesting import Packaged

    context = FakeWorld(tmp_path).context()
    digest = f"sha256:{'e' * 64}"
    interpreter = str(Path(sysconfig.get_paths()["scripts"]) / "python")
    packaged = Packaged(digest=MODEL.digest, path="", lock_digest=digest, lock=LOCK, python="3.11", interpreter=interpreter)
    first = attesting._environment(context, packaged)
    monkeypatch.setattr("mlpipeline.adapters.cyclonedx.environment_bom", lambda *_: pytest.fail("read again"))
    assert attesting._environment(context, packaged) == first
    assert [one["name"] for one in first["components"]] == sorted(NAMES)
