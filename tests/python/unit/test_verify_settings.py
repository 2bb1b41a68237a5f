"""Settings of verify that make no sense together are told when the file is read."""

from __future__ import annotations

import msgspec
import pytest

from mlpipeline.config.combinations import problems
from mlpipeline.config.model import Config
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.target import Target
from mlpipeline.config.sections.training import Train
from mlpipeline.config.sections.verification import (
    AccuracyRule,
    Condition,
    DisagreementRule,
    PrometheusLogin,
    PrometheusTls,
    ScoredMetric,
    ScoreRule,
    VerdictExport,
    Verify,
)
from mlpipeline.config.values import Duration

GOOD = ScoredMetric("errors", 'failures{colour="{{colour}}"}')


def found(verify: Verify) -> list[str]:
    return [problem.what for problem in problems(Config(service="iris", train=Train(command="true"), verify=verify))]


def test_a_score_of_one_metric_needs_no_groups() -> None:
    assert found(Verify(score=ScoreRule(metrics=(GOOD,)))) == []


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (ScoreRule(metrics=(msgspec.structs.replace(GOOD, group="x"),), groups={"x": 60.0}), "total 60, not 100"),
        (ScoreRule(metrics=(GOOD, GOOD)), "two metrics named"),
        (ScoreRule(metrics=(GOOD,), marginal_at=99.0), "marginal"),
        (ScoreRule(groups={"x": 100.0}), "groups but no metrics"),
        (ScoreRule(metrics=(ScoredMetric("all", "sum(failures)"),)), "does not name {{colour}}"),
    ],
)
def test_a_score_that_would_mean_nothing_is_a_configuration_error(score: ScoreRule, words: str) -> None:
    (problem,) = found(Verify(score=score))
    assert words in problem


@pytest.mark.parametrize(
    ("verify", "words"),
    [
        (Verify(login=PrometheusLogin(password="$WORD")), "a password but no user"),
        (Verify(tls=PrometheusTls(key="own.key")), "a key but no certificate"),
        (Verify(accuracy=AccuracyRule(enabled=True, wrong_query='x{colour="{{colour}}"}')), "needs both"),
        (
            Verify(accuracy=AccuracyRule(enabled=True, wrong_query="x", labelled_query='y{colour="{{colour}}"}')),
            "wrong_query does not name {{colour}}",
        ),
        (Verify(accuracy=AccuracyRule(enabled=True)), "needs either"),
        (Verify(export=VerdictExport(textfile="verdict.txt")), "end in .prom"),
        (Verify(export=VerdictExport(pushgateway="pushgateway:9091")), "not an address"),
    ],
)
def test_ways_to_a_prometheus_that_lead_nowhere(verify: Verify, words: str) -> None:
    (problem,) = found(verify)
    assert words in problem


def test_a_login_in_the_address_is_refused_and_not_told() -> None:
    for address in ("http://reader:SECRET1@prometheus:9090", "reader:SECRET1@prometheus"):
        (problem,) = found(Verify(prometheus=address))
        assert "verify.login" in problem
        assert "SECRET1" not in problem


def test_answers_can_only_be_compared_where_requests_are_copied() -> None:
    verify = Verify(disagreement=DisagreementRule(enabled=True))
    for kind in ("local", "docker", "kubernetes"):
        for seconds, told in ((0, True), (60, False)):
            whole = Config(
                service="iris",
                train=Train(command="true"),
                verify=verify,
                rollout=Rollout(mirror=Duration(seconds)),
                target=Target(kind=kind),  # type: ignore[arg-type]
            )
            assert any(problem.way[:2] == ("verify", "disagreement") for problem in problems(whole)) is told
    assert found(verify) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"success": "result < 1", "count": 3, "failure_limit": 3}, "forgive 3 measurements and 3 are made"),
        ({"success": "result < 1", "failure_limit": 1}, "forgive 1 measurement and 1 is made"),
        ({"success": "result < 1", "count": 1, "inconclusive_limit": 1}, "would pass whatever is measured"),
        ({"success": "result < 1", "count": 3, "inconclusive_limit": 3}, "would pass whatever is measured"),
        ({"success": "result < 1", "count": 3, "failure_limit": 2, "inconclusive_limit": 1}, "would pass whatever is measured"),
        ({"success": "result < 1", "count": 3, "failure_limit": 1, "inconclusive_limit": 1}, ""),
        ({"success": "result < 1", "interval": Duration(5), "failure_limit": 1, "inconclusive_limit": 9}, ""),
        ({"success": "result < 1", "interval": Duration(0)}, "interval must be more than 0"),
        ({"success": "result < 1", "interval": Duration(0), "count": 1}, ""),
        ({"success": "1 < 2"}, "never looks at result"),
        ({"success": "result < 1", "failure": "0.5 < 0.4"}, "never looks at result"),
        ({"success": "len(result) == 1"}, ""),
        ({"failure": "result[1] > 0.95 || results > 1"}, "'results' is not known"),
        ({"failure": "result[1e999] > 1"}, "names no series"),
    ],
)
def test_a_condition_that_can_only_pass_or_cannot_be_computed_is_refused(fields: dict[str, object], words: str) -> None:
    said = found(Verify(conditions=(Condition("drift", "drift", **fields),)))  # type: ignore[arg-type]
    assert bool(said) is bool(words)
    assert words in "".join(said)
