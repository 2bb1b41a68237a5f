"""The data gate on real files, with a real DVC repository and the real Great Expectations."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_gate_world import context_of
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run, encode
from mlpipeline.verbs import gate_data


def gate(project: Path, files: dict[str, object], **data: object) -> Result:
    context = context_of(project, {"files": files, **data})
    return gate_data.run(context, Run("20260301-000000-1a2b3c4", "flights", "1a2b3c4", "2026-03-01T00:00:00Z"))


def reason(result: Result, check: str) -> Reason:
    return next(found for found in result.reasons if found.check == check)


GOOD = "id,delay,carrier,at\n1,5,AA,2026-02-27T10:00:00\n2,NA,UA,2026-02-28T10:00:00\n3,90,AA,2026-02-28T12:00:00\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(GOOD)
    return tmp_path


def test_nothing_configured_passes_and_says_so(tmp_path: Path) -> None:
    result = gate(tmp_path, {})
    assert result.verdict is Verdict.PASS
    assert result.summary == "no data files configured"


def test_good_data_passes_with_its_version_in_the_record(project: Path) -> None:
    result = gate(
        project,
        {
            "train": {
                "path": "train.csv",
                "columns": {"id": "integer", "delay": "integer", "carrier": "string", "at": "timestamp"},
                "extra_columns": "fail",
                "expect": [
                    {"column": "id", "not_null": True, "unique": True},
                    {"column": "delay", "between": [0, 100], "type": "integer"},
                ],
                "freshness": {"column": "at", "within": 86400},
            }
        },
    )
    assert result.verdict is Verdict.PASS, result.reasons
    assert result.evidence["files"]["train"] == {  # type: ignore[index]
        **{"path": "train.csv", "rows": 3, "columns": 4, "expectations": 3, "failed": 0, "engine": "duckdb"}
    }
    assert result.evidence["data_version"]["train.csv"].startswith("sha256:")  # type: ignore[index]
    assert b": null" not in encode(result)


def test_failing_rows_are_counted_and_sampled_and_come_first(project: Path) -> None:
    result = gate(
        project,
        {"train": {"path": "train.csv", "expect": [{"column": "id", "not_null": True}, {"column": "delay", "between": [0, 60]}]}},
    )
    assert result.verdict is Verdict.FAIL
    first = result.reasons[0]
    assert first.check == "data.train.expect_column_values_to_be_between.delay"
    assert first.numbers == {"rows": 3, "missing": 1, "unexpected": 1}
    assert first.sample == ("90 (1x)",)
    assert result.evidence["files"]["train"]["failed"] == 1  # type: ignore[index]


def test_a_missing_column_fails_and_names_the_nearest(project: Path) -> None:
    result = gate(project, {"train": {"path": "train.csv", "expect": [{"column": "delai", "not_null": True}]}})
    assert result.verdict is Verdict.FAIL
    assert "column delai is missing; did you mean delay?" in result.reasons[0].summary


def test_the_schema_is_checked(project: Path) -> None:
    columns = {"id": "string", "tail": "string"}
    result = gate(project, {"train": {"path": "train.csv", "columns": columns, "extra_columns": "fail"}})
    failed = {found.check for found in result.reasons if found.verdict is Verdict.FAIL}
    assert failed == {"data.train.column.id", "data.train.column.tail", "data.train.extra_columns"}


def test_old_data_fails(project: Path) -> None:
    fresh = {"column": "at", "within": 3600}
    result = gate(project, {"train": {"path": "train.csv", "freshness": fresh}})
    assert reason(result, "data.train.freshness").verdict is Verdict.FAIL
    result = gate(project, {"train": {"path": "train.csv", "freshness": {**fresh, "now": "2026-02-28T12:30:00"}}})
    assert reason(result, "data.train.freshness").verdict is Verdict.PASS
    os.utime(project / "train.csv", (0, 0))
    result = gate(project, {"train": {"path": "train.csv", "freshness": {"within": 3600}}})
    assert reason(result, "data.train.freshness").verdict is Verdict.FAIL


def test_data_from_the_future_is_not_fresh(project: Path) -> None:
    """A wrong unit or clock would pass for ever."""
    rule = {"column": "at", "within": 3600, "now": "2026-02-26T00:00:00"}
    result = gate(project, {"train": {"path": "train.csv", "freshness": rule}})
    assert reason(result, "data.train.freshness").verdict is Verdict.FAIL
    assert "in the future" in reason(result, "data.train.freshness").summary


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty (zero bytes)"),
        (b"id,delay\n", "has no rows"),
        (b"id,delay\n1,2\n3\n4,5\n", "train.csv:3"),
        (b"id,delay\n1,2\n3,4,5\n", "3 fields, but the header has 2"),
        (b"id,delay\n" + b"1,2\n" * 30000 + b"7\n", "train.csv:30002"),
        (b"id,name\n1,a\n2,caf\xe9\n", "not UTF-8 text"),
        (b"id,name\n1,a\n2,caf\xe9\n", "train.csv:3"),
        ("id,name\n1,a\n".encode("utf-16"), "not UTF-8 text"),
        (b"\0" * 4096, "not UTF-8 text"),
        (b"id,delay,id\n1,2,3\n", "the same name: id"),
    ],
)
def test_bad_csv_fails_naming_file_and_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    result = gate(tmp_path, {"train": {"path": "train.csv", "expect": [{"column": "id", "not_null": True}]}})
    assert result.verdict is Verdict.FAIL
    assert says in result.reasons[0].summary
    assert "train.csv" in result.reasons[0].summary


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(GOOD.encode(), mtime=0)[:-12], gzip.compress(GOOD.encode(), mtime=0)[:40]]
)
def test_damaged_compressed_csv_fails_naming_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.csv.gz").write_bytes(content)
    result = gate(tmp_path, {"train": {"path": "train.csv.gz"}})
    assert result.verdict is Verdict.FAIL
    assert "cut off or damaged" in result.summary
    assert "train.csv.gz" in result.summary


def test_text_late_in_a_column_of_numbers_is_found_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,delay\n" + "1,2\n" * 30000 + "2,late\n")
    result = gate(tmp_path, {"train": {"path": "train.csv", "columns": {"delay": "number"}}})
    assert result.reasons[0].summary == "train: column delay holds string values, wanted number"


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_parquet_fails_naming_the_file(tmp_path: Path, keep: float) -> None:
    whole = parquet(tmp_path / "train.parquet", list(range(5000))).read_bytes()
    (tmp_path / "train.parquet").write_bytes(whole[: int(len(whole) * keep)])
    result = gate(tmp_path, {"train": {"path": "train.parquet"}})
    assert result.verdict is Verdict.FAIL
    assert "train.parquet" in result.summary


def parquet(path: Path, numbers: list[int]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"id": numbers}), path)
    return path


@pytest.mark.parametrize("path", ["parts", "parts/*.parquet", "{here}/parts/*.parquet"])
def test_folders_and_globs_are_one_table(tmp_path: Path, path: str) -> None:
    parquet(tmp_path / "parts" / "a.parquet", [1, 2])
    parquet(tmp_path / "parts" / "b.parquet", [2, 3])
    configured = path.replace("{here}", str(tmp_path))
    result = gate(tmp_path, {"train": {"path": configured, "expect": [{"column": "id", "unique": True}]}})
    assert result.reasons[0].numbers == {"rows": 4, "missing": 0, "unexpected": 2}


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such data file"):
        gate(tmp_path, {"train": {"path": "nowhere.csv"}})


def test_an_unknown_expectation_names_the_nearest(project: Path) -> None:
    entry = {"type": "expect_column_values_to_be_betwen", "kwargs": {"column": "id"}}
    (project / "suite.json").write_text(json.dumps({"name": "s", "expectations": [entry]}))
    with pytest.raises(ConfigurationError) as caught:
        gate(project, {"train": {"path": "train.csv", "suite": "suite.json"}})
    assert caught.value.facts["nearest"] == "expect_column_values_to_be_between"


def _suite(project: Path) -> None:
    """A suite written by the library itself, with one expectation that only the library answers."""
    import great_expectations as gx

    gx.get_context(mode="ephemeral")
    suite = gx.ExpectationSuite(name="flights")
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeBetween(column="delay", min_value=0, max_value=60, mostly=0.4))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeInSet(column="carrier", value_set=["AA"]))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeIncreasing(column="id"))
    (project / "suite.json").write_text(json.dumps(suite.to_json_dict()))


@pytest.mark.real
def test_both_engines_give_the_same_verdicts_on_a_suite_of_the_library(project: Path) -> None:
    _suite(project)
    files: dict[str, object] = {"train": {"path": "train.csv", "suite": "suite.json"}}
    mixed, whole = gate(project, files), gate(project, files, engine="gx")
    assert mixed.evidence["files"]["train"]["engine"] == "duckdb+gx"  # type: ignore[index]
    assert whole.evidence["files"]["train"]["engine"] == "gx"  # type: ignore[index]
    same = [{found.check: (found.verdict, found.numbers) for found in result.reasons} for result in (mixed, whole)]
    assert same[0] == same[1]
    assert mixed.reasons[0].check == "data.train.expect_column_values_to_be_in_set.carrier"
    assert mixed.reasons[0].sample == ("UA (1x)",)


def test_every_known_expectation_exists_in_the_library() -> None:
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    from mlpipeline.core.expectations import KNOWN

    assert set(list_registered_expectation_implementations()) >= KNOWN


def test_the_arguments_of_every_expectation_are_those_of_the_library() -> None:
    from great_expectations.expectations.registry import get_expectation_impl

    from mlpipeline.core.expectation_arguments import ARGUMENTS, COMMON

    for kind, known in ARGUMENTS.items():
        fields = get_expectation_impl(kind).__fields__
        assert known.required | known.optional == set(fields) - COMMON - {"library_metadata"}, kind
        assert known.required >= {name for name, field in fields.items() if field.required}, kind


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"kwargs": {"column": "id", "min_valu": 1}}, "takes no 'min_valu'"),
        ({"kwargs": {"column": "id", "min_value": 1, "mostley": 1}}, "takes no 'mostley'"),
        ({"kwarg": {"column": "id"}}, "no key 'kwarg'"),
        ({"kwargs": {"column": "id", "min_value": 1}, "catch": 1}, "no key 'catch'"),
    ],
)
def test_a_misspelt_argument_is_refused_and_the_nearest_named(project: Path, entry: dict[str, object], says: str) -> None:
    suite = {"name": "s", "expectations": [{"type": "expect_column_values_to_be_between", **entry}]}
    (project / "suite.json").write_text(json.dumps(suite))
    with pytest.raises(ConfigurationError, match=says):
        gate(project, {"train": {"path": "train.csv", "suite": "suite.json"}})


def _parquet(file: Path, names: list[str], columns: list[list[object]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(values) for values in columns], names=names), file)


@pytest.mark.parametrize(("names", "says"), [(["a", "a"], "the same name: a"), (["a", "A"], "the same name: A and a")])
def test_two_columns_of_one_name_are_refused_in_parquet_too(tmp_path: Path, names: list[str], says: str) -> None:
    _parquet(tmp_path / "t.parquet", names, [[1], [2]])
    assert says in gate(tmp_path, {"t": {"path": "t.parquet"}}).summary


def test_nested_columns_are_no_duplicates_of_others(tmp_path: Path) -> None:
    _parquet(tmp_path / "t.parquet", ["l", "m", "element"], [[[1, 2]], [{"l": 1, "element": 2}], ["x"]])
    assert gate(tmp_path, {"t": {"path": "t.parquet", "expect": [{"column": "l", "not_null": True}]}}).verdict is Verdict.PASS


def test_whole_numbers_beyond_doubles_are_compared_exactly(tmp_path: Path) -> None:
    _parquet(tmp_path / "t.parquet", ["n"], [[2**53, 2**53 + 1, 2**62]])
    found = gate(
        tmp_path, {"t": {"path": "t.parquet", "expect": [{"column": "n", "between": [None, float(2**53)], "unique": True}]}}
    )
    assert reason(found, "data.t.expect_column_values_to_be_between.n").numbers["unexpected"] == 2
    assert reason(found, "data.t.expect_column_values_to_be_unique.n").verdict is Verdict.PASS


def test_infinite_and_missing_values_are_told_apart(tmp_path: Path) -> None:
    infinite, nan = float("inf"), float("nan")
    _parquet(tmp_path / "t.parquet", ["x", "y"], [[infinite, -infinite, nan], [nan, None, nan]])
    expect = [
        {"column": "x", "between": [-1, 1], "mean_between": [-1, 1]},
        {"column": "y", "not_null": True, "mean_between": [0, 1]},
    ]
    found = gate(tmp_path, {"t": {"path": "t.parquet", "expect": expect}})
    assert reason(found, "data.t.expect_column_values_to_be_between.x").numbers == {"rows": 3, "missing": 1, "unexpected": 2}
    for column in "xy":
        assert reason(found, f"data.t.expect_column_mean_to_be_between.{column}").verdict is Verdict.FAIL
    assert reason(found, "data.t.expect_column_values_to_not_be_null.y").numbers["unexpected"] == 3


def test_times_with_zones_are_compared_as_moments_and_mixed_forms_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at,day\n2026-01-01T10:00:00+02:00,2026-01-02\n2026-01-01T09:00:00Z,02/01/2026\n")
    suite = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "at", "max_value": "2026-01-01T08:30:00Z"}},
        {"type": "expect_column_values_to_match_strftime_format", "kwargs": {"column": "day", "strftime_format": "%Y-%m-%d"}},
        {"type": "expect_column_values_to_be_dateutil_parseable", "kwargs": {"column": "day"}},
    ]
    (tmp_path / "suite.json").write_text(json.dumps({"name": "s", "expectations": suite}))
    found = gate(tmp_path, {"t": {"path": "t.csv", "suite": "suite.json"}})
    assert reason(found, "data.t.expect_column_values_to_be_between.at").numbers["unexpected"] == 1
    mixed = reason(found, "data.t.expect_column_values_to_match_strftime_format.day")
    assert (mixed.numbers["unexpected"], mixed.sample) == (1, ("02/01/2026 (1x)",))
    assert reason(found, "data.t.expect_column_values_to_be_dateutil_parseable.day").verdict is Verdict.PASS


def test_a_quote_that_never_ends_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,2\n3,"4')
    found = gate(tmp_path, {"t": {"path": "t.csv"}})
    assert "never ends" in found.summary
    assert "t.csv:3" in found.summary


_SMALL_SPARK = {"spark.master": "local[1]", "spark.sql.shuffle.partitions": "1", "spark.default.parallelism": "1"}


@pytest.mark.real
def test_the_spark_engine_of_the_library_decides_alike(tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("missing: Java; run tools/setup_java.sh")
    _parquet(tmp_path / "t.parquet", ["n", "s"], [[1, 2, None, 9], ["a", "b", None, "zz"]])
    expect = [{"column": "n", "between": [0, 5], "not_null": True}, {"column": "s", "in_set": ["a", "b"]}]
    files: dict[str, object] = {"t": {"path": "t.parquet", "expect": expect}}
    spark = gate(tmp_path, files, engine="spark", spark=_SMALL_SPARK)
    assert spark.evidence["files"]["t"]["engine"] == "spark"  # type: ignore[index]
    told = [{one.check: (one.verdict, one.numbers) for one in result.reasons} for result in (spark, gate(tmp_path, files))]
    assert told[0] == told[1]


def dvc(project: Path, *arguments: str) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "--quiet"], cwd=project, env=environment, check=True)


@pytest.fixture
def versioned(tmp_path: Path) -> Path:
    """A DVC repository with a local remote that has a file and a folder."""
    project = tmp_path / "project"
    (project / "parts").mkdir(parents=True)
    (project / "train.csv").write_text(GOOD)
    (project / "parts" / "b.csv").write_text(GOOD)
    (project / "parts" / "a.csv").write_text(GOOD + "4,1,AA,2026-02-28T12:00:00\n")
    dvc(project, "init", "--no-scm")
    dvc(project, "add", "train.csv", "parts")
    dvc(project, "remote", "add", "-d", "store", str(tmp_path / "store"))
    dvc(project, "push")
    return project


@pytest.mark.real
def test_dvc_versions_are_recorded_and_missing_data_is_pulled(versioned: Path) -> None:
    files: dict[str, object] = {"train": {"path": "train.csv"}, "parts": {"path": "parts"}, "one": {"path": "parts/a.csv"}}
    shutil.rmtree(versioned / ".dvc" / "cache")
    shutil.rmtree(versioned / "parts")
    (versioned / "train.csv").unlink()
    result = gate(versioned, files)
    assert result.verdict is Verdict.PASS
    recorded = {name: (versioned / f"{name}.dvc").read_text() for name in ("train.csv", "parts")}
    versions = result.evidence["data_version"]
    for name, text in recorded.items():
        kind, digest = versions[name].split(":")  # type: ignore[index]
        assert kind == "md5"
        assert f"md5: {digest}" in text
    assert versions["parts/a.csv"].startswith("md5:")  # type: ignore[index]

    (versioned / "train.csv").write_text(GOOD + "5,1,AA,2026-02-28T12:00:00\n")
    changed = gate(versioned, files, pull="never")
    assert changed.evidence["data_version"]["train.csv"] != versions["train.csv"]  # type: ignore[index]
    assert "differs from what train.csv.dvc records" in reason(changed, "data.train.version").summary


@pytest.mark.real
def test_data_that_cannot_be_pulled_is_a_clear_error(versioned: Path) -> None:
    files: dict[str, object] = {"train": {"path": "train.csv"}}
    (versioned / "train.csv").write_text("id\n9\n")
    with pytest.raises(ConfigurationError, match="dvc pull would overwrite it"):
        gate(versioned, files)
    assert (versioned / "train.csv").read_text() == "id\n9\n"
    shutil.rmtree(versioned / ".dvc" / "cache")
    (versioned / "train.csv").unlink()
    shutil.rmtree(versioned.parent / "store")
    with pytest.raises(EnvironmentFault, match="dvc pull did not bring the data") as caught:
        gate(versioned, files)
    assert caught.value.facts["remote"] == "store"
    assert "failed to pull data" in caught.value.facts["dvc"]
    (versioned / ".dvc" / "config").write_text("")
    with pytest.raises(ConfigurationError, match="no default remote to pull it from"):
        gate(versioned, files)
    with pytest.raises(ConfigurationError, match="no default remote"):
        gate(versioned, files, pull="always")


def test_hashes_of_pipeline_outputs_are_read_from_the_lock(tmp_path: Path) -> None:
    from mlpipeline.adapters.dvc import tracked

    (tmp_path / ".dvc").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.csv").write_text(GOOD)
    digest = tracked.md5(tmp_path / "work" / "train.csv")
    (tmp_path / "dvc.yaml").write_text("stages:\n  make:\n    wdir: work\n    cmd: 'true'\n    outs: [train.csv]\n")
    (tmp_path / "dvc.lock").write_text(
        f"stages:\n  make:\n    cmd: 'true'\n    outs:\n    - path: train.csv\n      hash: md5\n      md5: {digest}\n"
    )
    result = gate(tmp_path, {"train": {"path": "work/train.csv"}})
    assert result.evidence["data_version"] == {"work/train.csv": f"md5:{digest}"}
    assert "data.train.version" not in {found.check for found in result.reasons}


def test_the_fast_path_imports_no_heavy_client(project: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from mlpipeline.adapters.duckdb import engine, files\n"
        "from mlpipeline.adapters.dvc import tracked\n"
        "from mlpipeline.core import expectations\n"
        "from mlpipeline.verbs import gate_data\n"
        "assert 'duckdb' not in sys.modules\n"
        "table = files.open_table(files.find(Path(sys.argv[1]), 'train.csv'), 'train.csv')\n"
        "check = expectations.check('expect_column_values_to_be_between', {'column': 'delay', 'min_value': 50}, source='')\n"
        "assert engine.answer(table, [check], 3)[0].sample == (('5', 1),)\n"
        "heavy = {'pandas', 'numpy', 'pyarrow', 'great_expectations', 'dvc', 'mlflow', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, str(project)], check=True)
