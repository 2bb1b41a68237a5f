"""The staging section: what it has of production, what it has not, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.config.load import Loaded, load
from mlpipeline.config.staging_layer import staged
from mlpipeline.errors import ConfigurationError

MINIMAL = """service: churn
train: {command: dvc repro}
target: {local: {port: 8080, threads: 3, drain_timeout: 7s}}
deploy: {golden: {file: golden.jsonl, absolute: 0.5}}
rollout: {strategy: linear, increment: 25, smoke: ask.json, cohorts: {beta: {header: x-a, value: b}}}
verify: {interval: 5s, errors: {margin: 3}, conditions: [{name: up, query: up, success: result > 0}]}
approval: {required: true}
"""


def read(folder: Path, staging: str, above: str = MINIMAL) -> Loaded:
    (folder / "mlpipeline.yaml").write_text(f"{above}staging:\n{staging}")
    return load(folder)


def test_staging_is_production_but_for_what_it_says_and_for_users(tmp_path: Path) -> None:
    loaded = read(tmp_path, "  target: {local: {port: 18080}}\n  deploy: {golden: {relative: 0.1}}\n")
    made = staged(loaded.config)
    assert made.service == "churn-staging"
    assert (made.target.local.port, made.target.local.threads, made.target.local.drain_timeout) == (18080, 3, 7)
    assert (made.deploy.golden.file, made.deploy.golden.absolute, made.deploy.golden.relative) == ("golden.jsonl", 0.5, 0.1)
    assert (made.rollout.strategy, made.rollout.bake, made.rollout.smoke, dict(made.rollout.cohorts)) == (
        "all_at_once",
        0,
        "ask.json",
        {},
    )
    assert not made.verify.errors.enabled and made.verify.errors.margin == 3 and made.verify.conditions
    assert not made.approval.required and made.staging is None
    assert loaded.config.target.local.port == 8080 and loaded.config.verify.errors.enabled
    assert loaded.origins["staging.target.local.threads"].where == "mlpipeline.yaml:3"
    assert loaded.origins["staging.target.local.port"].where == "mlpipeline.yaml:9"
    assert loaded.origins["staging.rollout.strategy"].layer == "built-in default"


def test_no_section_no_staging(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text(MINIMAL)
    assert load(tmp_path).config.staging is None


def test_a_bake_there_watches_its_conditions(tmp_path: Path) -> None:
    loaded = read(tmp_path, "  target: {local: {port: 18080}}\n  rollout: {bake: 10s, control: 10}\n")
    assert staged(loaded.config).rollout.bake == 10


@pytest.mark.parametrize(
    ("staging", "words"),
    [
        ("  deploy: {}\n", ["port 8080, where production's users come", "mlpipeline.yaml:3"]),
        ("  target: {local: {port: 8080}}\n", ["port 8080", "mlpipeline.yaml:9", "port: 8081"]),
        ("  target: {local: {port: 18080}}\n  deploy: {golden: {file: ''}}\n", ["verify nothing", "mlpipeline.yaml:8"]),
        (
            "  target: {local: {port: 18080}}\n  rollout: {bake: 9s}\n  verify: {conditions: []}\n",
            ["in staging: errors and latency are off", "nothing to look at"],
        ),
        (
            "  target: {local: {port: 18080}}\n  rollout: {strategy: linear, increment: 30, mirror: 0}\n",
            ["in staging: equal steps of 30 %", "mlpipeline.yaml:10"],
        ),
        (
            "  target: {local: {port: 18080}}\n  rollout: {steps: [1]}\n",
            ["in staging: the strategy all_at_once does not look at steps"],
        ),
        ("  target: {local: {prt: 1}}\n", ["unknown key staging.target.local.prt", "mlpipeline.yaml:9"]),
        ("  targets: {}\n", ["unknown key staging.targets", "staging.target"]),
    ],
)
def test_a_staging_that_could_not_be_is_told_by_key_and_line(tmp_path: Path, staging: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, staging)
    said = refused.value.render()
    assert [word for word in words if word not in said] == [], said


def test_a_name_that_would_be_too_long_is_told(tmp_path: Path) -> None:
    long = MINIMAL.replace("churn", "c" * 60)
    with pytest.raises(ConfigurationError, match="longer than 63 characters"):
        read(tmp_path, "  target: {local: {port: 18080}}\n", long)
