"""mlpipeline.yaml is read strictly: every mistake is told with its line, the nearest key and an example."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.config.durations import parse_duration, written_duration
from mlpipeline.config.load import digest, load
from mlpipeline.errors import ConfigurationError

SMALLEST = "service: churn\ntrain:\n  command: dvc repro\n"


def refused(folder: Path, text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    (folder / "mlpipeline.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(folder)
    assert caught.value.exit_code == 2
    return caught.value.render()


def accepted(folder: Path, text: str):
    (folder / "mlpipeline.yaml").write_text(text)
    return load(folder).config


def test_the_smallest_file_has_three_lines(tmp_path: Path) -> None:
    config = accepted(tmp_path, SMALLEST)
    assert config.service == "churn"
    assert config.rollout.steps == (10, 50)


def test_an_unknown_key_is_named_with_line_nearest_key_and_example(tmp_path: Path) -> None:
    said = refused(tmp_path, SMALLEST + "verify:\n  intervall: 5s\n")
    assert "unknown key verify.intervall" in said
    assert "mlpipeline.yaml:5" in said
    assert "nearest  verify.interval" in said
    assert "interval: 30s" in said


def test_an_unknown_key_in_a_list_entry_is_found_on_its_own_line(tmp_path: Path) -> None:
    text = SMALLEST + "verify:\n  conditions:\n    - name: a\n      query: b\n      succes: result < 1\n"
    said = refused(tmp_path, text)
    assert "verify.conditions[0].succes" in said
    assert "mlpipeline.yaml:8" in said
    assert "success" in said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("verify:\n  interval: soon\n", ["mlpipeline.yaml:5", "length of time", "'soon'", "interval: 30s"]),
        ("target:\n  local:\n    port: http\n", ["mlpipeline.yaml:6", "a whole number", "'http'"]),
        ("target:\n  local:\n    port: 70000\n", ["mlpipeline.yaml:6", "at most 65535", "70000"]),
        ("rollout:\n  steps: 10\n", ["mlpipeline.yaml:5", "a list", "number 10"]),
        ("rollout:\n  steps: [10, ten]\n", ["rollout.steps[1]", "'ten'"]),
        ("approval:\n  required: yes\n", ["true or false", "nearest  true"]),
        ("approval:\n  unattended: procede\n", ["hold or proceed or reject", "nearest  proceed"]),
        ("train: fast\n", ["stands there twice", "mlpipeline.yaml:4", "mlpipeline.yaml:2"]),
        ("data: [a]\n", ["data must be a section", "found    a list"]),
        ("verify:\n  headers: {a: 1}\n", ["verify.headers.a must be text", "number 1"]),
        ("verify:\n  timeout: -3\n", ["length of time"]),
        ("verify:\n  timeout: .inf\n", ["length of time"]),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(tmp_path: Path, lines: str, words: list[str]) -> None:
    said = refused(tmp_path, SMALLEST + lines)
    for word in words:
        assert word in said, said


def test_missing_keys_are_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "service: churn\n")
    assert "train is missing" in said
    assert "command: dvc repro" in said


def test_one_slip_of_the_pen_gives_one_message(tmp_path: Path) -> None:
    said = refused(tmp_path, "service: churn\ntrain:\n  comand: dvc repro\n")
    assert "unknown key train.comand" in said
    assert "missing" not in said


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, SMALLEST + "verify:\n  intervall: 5s\nrollout:\n  stepps: [10]\n")
    assert "verify.intervall" in said
    assert "mlpipeline.yaml:7: unknown key rollout.stepps" in said


def test_an_upper_case_service_is_refused_with_the_rule(tmp_path: Path) -> None:
    said = refused(tmp_path, SMALLEST.replace("churn", "Churn Model"))
    assert "lower-case letters, digits and dashes" in said
    assert "mlpipeline.yaml:1" in said


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_says_so(tmp_path: Path, text: str) -> None:
    assert "is empty" in refused(tmp_path, text)


def test_a_tab_is_called_a_tab(tmp_path: Path) -> None:
    said = refused(tmp_path, "service: churn\ntrain:\n\tcommand: dvc repro\n")
    assert "a tab stands in the indentation" in said
    assert "mlpipeline.yaml:3" in said


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    said = refused(tmp_path, b"service: churn\n# caf\xe9\n")
    assert "not UTF-8" in said
    assert "mlpipeline.yaml:2" in said
    assert "0xe9" in said


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    said = refused(tmp_path, "service: churn\ntrain: {command: x\nverify: {}\n")
    assert "not valid YAML" in said
    assert "mlpipeline.yaml:" in said


def test_a_list_or_a_word_is_no_configuration(tmp_path: Path) -> None:
    assert "not a list of keys and values" in refused(tmp_path, "- service\n")
    assert "not a list of keys and values" in refused(tmp_path, "churn\n")


def test_several_documents_are_refused(tmp_path: Path) -> None:
    assert "several YAML documents" in refused(tmp_path, SMALLEST + "---\nservice: other\n")


def test_tags_are_refused(tmp_path: Path) -> None:
    assert "tags" in refused(tmp_path, SMALLEST + "data: !!python/object:os.system {}\n")


def test_an_alias_that_contains_itself_is_refused(tmp_path: Path) -> None:
    assert "contains itself" in refused(tmp_path, SMALLEST + "data: &a\n  files: *a\n")


def test_a_missing_file_names_the_folder_above_that_has_one(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text(SMALLEST)
    inner = tmp_path / "src"
    inner.mkdir()
    with pytest.raises(ConfigurationError, match=r"there is no mlpipeline\.yaml") as caught:
        load(inner)
    assert f"--project {tmp_path}" in caught.value.render()


def test_a_heading_whose_lines_are_commented_out_means_the_defaults(tmp_path: Path) -> None:
    assert accepted(tmp_path, SMALLEST + "gate:\n  # holdout: x\n").gate.holdout == ""


def test_words_are_not_guessed_into_booleans_or_times(tmp_path: Path) -> None:
    config = accepted(
        tmp_path, SMALLEST + "gate:\n  holdout: a.csv\n  label: no\n  positive: on\n  metrics: [{metric: f1, at_least: 1e-1}]\n"
    )
    assert (config.gate.label, config.gate.positive) == ("no", "on")
    assert config.gate.metrics[0].at_least == 0.1


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("gate:\n  holdout: a.csv\n  label: y\n  metrics: [{metric: f1}]\n", "has no rule"),
        ("gate:\n  holdout: a.csv\n  metrics: [{metric: f1, at_least: 1}]\n", "gate.label does not say"),
        ("gate:\n  metrics: [{metric: f1, at_least: 1, slices: [a]}]\n", "gate.holdout names no rows"),
        ("gate:\n  holdout: a.csv\n  label: y\n", "no metric to judge by"),
        ("gate:\n  holdout: a.csv\n  label: y\n  metrics: [{metric: roc_auk, at_least: 1}]\n", "nearest  roc_auc"),
        ("gate:\n  holdout: a.csv\n  label: y\n  metrics: [{metric: f1, at_least: 0.9, at_most: 0.1}]\n", "above at_most"),
        ("gate:\n  holdout: a.csv\n  label: y\n  metrics: [{metric: f1, at_least: .nan}]\n", "finite"),
        ("gate:\n  holdout: a.csv\n  label: y\n  metrics: [{metric: r2, at_least: 2}]\n", "r2 is at most 1"),
        ("gate:\n  holdout: a.csv\n  label: y\n  metrics: [{metric: mae, at_most: -1}]\n", "mae is at least 0"),
        (
            "nightly: {accuracy: {labels: a.csv, predictions: b.csv, metric: mae, at_most: 1}}\n",
            "needs one file with both columns",
        ),
        ("verify:\n  conditions: [{name: a, query: b}]\n", "neither success nor failure"),
        ("verify:\n  conditions: [{name: a, query: b, success: c}, {name: a, query: b, success: c}]\n", "have the name"),
        (
            "verify:\n  conditions: [{name: a, query: b, success: result < 1, count: 3, failure_limit: 3}]\n",
            "forgive 3 measurements and 3 are made",
        ),
        ("verify:\n  interval: 0\n", "more than 0"),
        ("verify:\n  errors: {enabled: false}\n  latency: {enabled: false}\n", "nothing to look at"),
        ("rollout:\n  steps: [50, 10]\n", "must grow"),
        ("rollout:\n  steps: [10, 10]\n", "must grow"),
        ("rollout:\n  mirror: 0\n  steps: []\n  control: 0\n", "at the same time"),
        ("rollout:\n  mirror: 0\n  steps: []\n  bake: 0\n", "at the same time"),
        ("rollout:\n  step: 0\n", "could not be judged"),
        ("approval:\n  quorum: 2\n", "nobody is asked"),
        ("data:\n  files: {a: {path: b, expect: [{column: c}]}}\n", "has no rule"),
        ("data:\n  files: {a: {path: b, expect: [{not_null: true}]}}\n", "names no column"),
        ("data:\n  files: {a: {path: b, expect: [{column: c, between: [5, 1]}]}}\n", "wrong way round"),
        ("data:\n  files: {a: {path: b, columns: {c: int}}}\n", "unknown type"),
        ("data:\n  files: {a: {path: b, extra_columns: fail}}\n", "no columns are listed"),
        ("data:\n  files: {a: {path: b, freshness: {within: 1d, now: today}}}\n", "not an ISO time"),
        ("train: {command: x, timeout: 0}\n", "stands there twice"),
        ("gate:\n  resamples: 99999999999999999999999999\n", "at most 1000000"),
        (f"gate:\n  resamples: {'9' * 5000}\n", "gate.resamples"),
        ("verify:\n  interval: 99999999999999999d\n", "a hundred years"),
        ("verify:\n  errors: {tolerate: .nan}\n", "must be a number"),
        ("data:\n  files: {a: {path: b, expect: [{column: c, between: [.nan, 1]}]}}\n", "finite"),
        ('data:\n  files: {a: {path: "b\\0c"}}\n', "NUL character"),
    ],
)
def test_impossible_combinations_are_refused(tmp_path: Path, lines: str, words: str) -> None:
    said = refused(tmp_path, SMALLEST + lines)
    assert words in said, said
    assert "mlpipeline.yaml:" in said


def test_mirror_or_a_controlled_bake_is_enough_of_a_control(tmp_path: Path) -> None:
    accepted(tmp_path, SMALLEST + "rollout:\n  steps: []\n")
    accepted(tmp_path, SMALLEST + "rollout:\n  mirror: 0\n  steps: []\n")


def test_a_bake_without_control_is_allowed_but_noted(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text(SMALLEST + "rollout:\n  control: 0\n")
    assert any("rollout.control is 0" in note for note in load(tmp_path).warnings)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("40d", 3456000), (7, 7), ("1.5h", 5400), ("12", 12)],
)
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["5 minutes", "", "-5s", -1, True, None, "1h30m", float("nan"), float("inf"), [1]])
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="length of time"):
        parse_duration(written)


@pytest.mark.parametrize("seconds", [0, 0.25, 1, 30, 90, 3600, 86400 * 40, 1.5])
def test_a_written_duration_reads_back_the_same(seconds: float) -> None:
    assert parse_duration(written_duration(seconds)) == pytest.approx(seconds)


def test_the_digest_follows_values_not_layers(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text(SMALLEST)
    plain = digest(load(tmp_path).config)
    assert digest(load(tmp_path, overrides=["verify.interval=2s"]).config) == plain
    assert digest(load(tmp_path, overrides=["verify.interval=3s"]).config) != plain
