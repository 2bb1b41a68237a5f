"""Each value comes from the strongest layer that sets it, and says which one that was."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.config.layers import Layer
from mlpipeline.config.load import load
from mlpipeline.errors import ConfigurationError

FILE = "service: churn\ntrain:\n  command: dvc repro\nverify:\n  timeout: 20s\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mlpipeline.yaml").write_text(FILE)
    return tmp_path


@pytest.fixture
def library(tmp_path: Path) -> Path:
    file = tmp_path / "library.yaml"
    file.write_text("verify:\n  interval: 4s\n  timeout: 9s\n  min_requests: 70\n")
    return file


def test_each_layer_beats_the_one_below(project: Path, library: Path) -> None:
    environment = {"MLPIPELINE__VERIFY__MIN_REQUESTS": "80", "MLPIPELINE__VERIFY__FALSE_ALARM": "0.02"}
    loaded = load(project, overrides=["verify.false_alarm=0.03"], environment=environment, defaults=library)
    verify = loaded.config.verify
    assert (verify.interval, verify.timeout, verify.min_requests, verify.false_alarm) == (4, 20, 80, 0.03)
    layers = {
        name: loaded.origins[f"verify.{name}"].layer
        for name in ("interval", "timeout", "min_requests", "false_alarm", "prometheus")
    }
    assert layers == {
        "interval": Layer.LIBRARY,
        "timeout": Layer.FILE,
        "min_requests": Layer.ENVIRONMENT,
        "false_alarm": Layer.COMMAND_LINE,
        "prometheus": Layer.BUILT_IN,
    }
    assert loaded.origins["verify.timeout"].where == "mlpipeline.yaml:5"
    assert loaded.origins["verify.min_requests"].where == "$MLPIPELINE__VERIFY__MIN_REQUESTS"


def test_the_library_file_may_come_from_the_environment(project: Path, library: Path) -> None:
    assert load(project, environment={"MLPIPELINE_DEFAULTS": str(library)}).config.verify.interval == 4


def test_a_missing_library_file_is_an_error(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="defaults does not exist"):
        load(project, environment={"MLPIPELINE_DEFAULTS": "/nowhere.yaml"})


def test_lists_replace_and_sections_merge(project: Path) -> None:
    loaded = load(
        project, overrides=["rollout.steps=[5]", "verify.headers.a=b"], environment={"MLPIPELINE__ROLLOUT__STEPS": "[20, 40]"}
    )
    assert loaded.config.rollout.steps == (5,)
    assert loaded.config.verify.timeout == 20
    assert loaded.config.verify.headers == {"a": "b"}


def test_an_unknown_variable_is_an_error_with_the_nearest_key(project: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(project, environment={"MLPIPELINE__VERIFY__INTERVALL": "5s"})
    said = caught.value.render()
    assert "$MLPIPELINE__VERIFY__INTERVALL" in said
    assert "nearest   verify.interval" in said


def test_an_unknown_setting_is_an_error(project: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(project, overrides=["verfy.interval=5s"])
    said = caught.value.render()
    assert "--set verfy.interval" in said
    assert "verify" in said


@pytest.mark.parametrize("setting", ["verify.interval", "=5", ""])
def test_a_setting_without_a_value_is_an_error(project: Path, setting: str) -> None:
    with pytest.raises(ConfigurationError, match="--set wants a key and a value"):
        load(project, overrides=[setting])


def test_a_setting_of_a_text_stays_text(project: Path) -> None:
    config = load(project, overrides=["gate.positive=1", "train.command=python train.py: all"]).config
    assert config.gate.positive == "1"
    assert config.train.command == "python train.py: all"


def test_the_arguments_file_is_weaker_than_a_setting(project: Path) -> None:
    overlay = {"verify": {"interval": "7s", "timeout": "8s"}}
    config = load(project, overlay=overlay, overrides=["verify.interval=6s"]).config
    assert (config.verify.interval, config.verify.timeout) == (6, 8)


def test_a_value_under_a_value_is_refused(project: Path) -> None:
    with pytest.raises(ConfigurationError):
        load(project, overrides=["verify.interval.seconds=5"])


def test_every_value_has_an_origin(project: Path) -> None:
    from mlpipeline.config.load import leaves
    from mlpipeline.config.shape import dotted

    loaded = load(project)
    assert {dotted(way) for way, _ in leaves(loaded.config)} == set(loaded.origins)
