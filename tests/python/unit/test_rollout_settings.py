"""Rollouts as they are configured: what makes no sense as a whole is told with key, file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.config.load import load
from mlpipeline.config.model import Config
from mlpipeline.config.rollout_plan import cohorts, copying, stages
from mlpipeline.errors import ConfigurationError

MINIMAL = "service: churn\ntrain:\n  command: dvc repro\n"


def read(folder: Path, text: str) -> Config:
    (folder / "mlpipeline.yaml").write_text(MINIMAL + text)
    return load(folder).config


def names(config: Config) -> list[str]:
    return [stage.name for stage in stages(config.rollout)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["mirror", "step-10", "step-50", "bake"]),
        ("rollout: {strategy: canary, steps: [5, 25]}", ["mirror", "step-5", "step-25", "bake"]),
        ("rollout: {strategy: linear, increment: 25}", ["mirror", "step-25", "step-50", "step-75", "bake"]),
        ("rollout: {strategy: linear, increment: 50, mirror: 0, bake: 0}", ["step-50"]),
        ("rollout: {strategy: shadow_then_switch, mirror: 5m}", ["mirror", "bake"]),
        ("rollout: {strategy: all_at_once, control: 5}", ["bake"]),
    ],
)
def test_each_strategy_has_its_stages(tmp_path: Path, text: str, expected: list[str]) -> None:
    config = read(tmp_path, text)
    assert names(config) == expected
    assert copying(config.rollout) == sum(stage.seconds for stage in stages(config.rollout) if stage.mirror)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rollout:\n  strategy: blue_green\n", ["rollout.strategy", "mlpipeline.yaml:5"]),
        ("rollout:\n  strategy: linear\n  increment: 30\n", ["do not add up to 100 %", "mlpipeline.yaml:6", "increment: 25"]),
        ("rollout:\n  strategy: linear\n  steps: [10]\n", ["does not look at steps", "mlpipeline.yaml:6", "canary"]),
        ("rollout:\n  strategy: linear\n  step: 0\n", ["rollout.step is 0", "mlpipeline.yaml:6"]),
        ("rollout:\n  strategy: all_at_once\n  mirror: 30s\n", ["does not look at mirror", "mlpipeline.yaml:6"]),
        ("rollout:\n  strategy: all_at_once\n  control: 0\n", ["never has candidate and champion", "mlpipeline.yaml:4"]),
        ("rollout:\n  strategy: shadow_then_switch\n  mirror: 0\n", ["mirror is 0", "mlpipeline.yaml:6"]),
        ("rollout:\n  strategy: canary\n  steps: []\n", ["at least one step", "mlpipeline.yaml:6"]),
        ("rollout:\n  steps: [50, 10]\n", ["must grow from step to step", "mlpipeline.yaml:5", "[10, 50]"]),
        ("rollout:\n  steps: [10, 10]\n", ["must grow from step to step", "mlpipeline.yaml:5"]),
        ("rollout:\n  steps: [0, 10]\n", ["rollout.steps[0]", "mlpipeline.yaml:5", "at least 1"]),
        ("rollout:\n  steps: [10, 100]\n", ["rollout.steps[1]", "at most 99"]),
        ("rollout:\n  steps: [10, 95]\n", ["weights must rise", "mlpipeline.yaml:5", "control: 5"]),
        ("rollout:\n  bake: 0\n  control: 20\n", ["bake is 0", "mlpipeline.yaml:6"]),
        ("rollout:\n  control: 51\n", ["rollout.control", "at most 50"]),
        ("rollout:\n  timeout: 2m\n", ["wait for 150 s together", "mlpipeline.yaml:5", "timeout: 150s"]),
        (
            "rollout:\n  timeout: 200s\n  hooks:\n    each_step: {command: 'true', timeout: 20s}\n",
            ["80 s of hooks", "230 s together", "mlpipeline.yaml:5"],
        ),
        (
            "rollout:\n  hooks:\n    each_step: {command: a, url: 'http://b/'}\n",
            ["both a command and a url", "mlpipeline.yaml:6"],
        ),
        ("rollout:\n  hooks:\n    each_step: {url: 'ftp://b/'}\n", ["no address of http", "mlpipeline.yaml:6"]),
        ("rollout:\n  hooks:\n    each_step: {command: a, timeout: 0}\n", ["no time to answer in", "mlpipeline.yaml:6"]),
        ("rollout:\n  hooks:\n    each_step: {command: [1]}\n", ["rollout.hooks.each_step.command", "mlpipeline.yaml:6"]),
        ("rollout:\n  hooks:\n    every_step: {command: a}\n", ["rollout.hooks.every_step", "each_step"]),
        ("rollout:\n  replay: {requests: 10}\n", ["nothing would be there to replay", "mlpipeline.yaml:5"]),
        ("verify:\n  errors: {enabled: false}\n  latency: {enabled: false}\n", ["nothing to look at", "mlpipeline.yaml:4"]),
    ],
)
def test_a_rollout_that_cannot_be_done_is_told_by_key_and_line(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, text)
    said = refused.value.render()
    assert [word for word in words if word not in said] == [], said


def test_conditions_that_only_look_on_are_no_alarms(tmp_path: Path) -> None:
    condition = "{name: a, query: up, success: 'result > 0', dry_run: true}"
    off = "verify:\n  errors: {enabled: false}\n  latency: {enabled: false}\n"
    with pytest.raises(ConfigurationError, match="nothing to look at"):
        read(tmp_path, f"{off}  conditions: [{condition}]\n")
    assert read(tmp_path, f"{off}  conditions: [{condition.replace('true', 'false')}]\n")


def test_defaults_are_what_they_were(tmp_path: Path) -> None:
    rollout = read(tmp_path, "").rollout
    assert (rollout.strategy, rollout.timeout, dict(rollout.cohorts), rollout.replay.requests) == ("canary", 0, {}, 0)


@pytest.mark.parametrize(
    ("cohort", "words"),
    [
        ("{value: a}", "neither a header nor a cookie"),
        ("{value: a, header: x-a, cookie: b}", "both a header and a cookie"),
        ("{value: a, header: 'x a'}", "no name of a header"),
        ("{value: a, header: ':path'}", "no name of a header"),
        ("{value: a, header: Cookie}", "the router itself"),
        ("{value: a, header: x-envoy-force-trace}", "the router itself"),
        ("{value: 'a;b', cookie: c}", "no value that a cookie can have"),
        ("{value: 'a b', cookie: c}", "no value that a cookie can have"),
        ("{value: '', header: x-a}", "no value that a header can have"),
        ('{value: "a\\nb", header: x-a}', "no value that a header can have"),
        ("{value: ' a', header: x-a}", "no value that a header can have"),
        ("{value: a, header: x-a, to: green}", "candidate or champion"),
        ("{header: x-a}", "value is missing"),
    ],
)
def test_a_cohort_that_no_request_could_belong_to_is_refused(tmp_path: Path, cohort: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, f"rollout:\n  cohorts:\n    beta: {cohort}\n")
    said = refused.value.render()
    assert words in said and "mlpipeline.yaml:" in said


def test_the_same_users_in_two_cohorts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="are the same users"):
        read(tmp_path, "rollout:\n  cohorts:\n    a: {header: X-A, value: b}\n    b: {header: x-a, value: b, to: champion}\n")


def test_cohorts_keep_their_order_and_headers_lose_their_case(tmp_path: Path) -> None:
    text = "rollout:\n  cohorts:\n    vip: {cookie: Plan, value: gold, to: champion}\n    beta: {header: X-Cohort, value: Beta}\n"
    found = cohorts(read(tmp_path, text).rollout)
    assert [(one.name, one.header, one.cookie, one.value, one.to) for one in found] == [
        ("vip", "", "Plan", "gold", "champion"),
        ("beta", "x-cohort", "", "Beta", "candidate"),
    ]
