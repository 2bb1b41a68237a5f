"""Verifications that cannot judge as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlpipeline.config.model import Config
from mlpipeline.config.rollout_plan import copying
from mlpipeline.config.sections.verification import Condition, ScoreRule, Verify
from mlpipeline.config.shape import Problem
from mlpipeline.config.text import Way


def problems(config: Config) -> Iterator[Problem]:
    verify = config.verify
    for name in ("interval", "timeout"):
        if not getattr(verify, name):
            yield Problem(("verify", name), f"verify.{name} must be more than 0", example=f"verify:\n  {name}: 2s")
    if "@" in verify.prometheus:
        yield Problem(
            ("verify", "prometheus"),
            "verify.prometheus carries a user or a password, which whatever names the address would tell; "
            "they belong into verify.login",
            example='verify:\n  prometheus: "http://prometheus:9090"\n  login: {user: reader, password: $PROMETHEUS_PASSWORD}',
        )
    elif verify.prometheus and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", verify.prometheus):
        yield Problem(
            ("verify", "prometheus"),
            f"verify.prometheus is not an address of http or https: {verify.prometheus!r}",
            example='verify:\n  prometheus: "http://prometheus:9090"',
        )
    yield from _answers(config)
    yield from _prometheus(verify)
    yield from _score(verify.score)
    decisive = any(not condition.dry_run for condition in verify.conditions)
    if not (verify.errors.enabled or verify.latency.enabled or decisive or verify.score.metrics):
        yield Problem(
            ("verify",),
            "errors and latency are off and there are no conditions"
            f"{' but dry runs' if verify.conditions else ''} and no score: verification would have nothing to look at",
            example="verify:\n  errors:\n    enabled: true",
        )
    seen: set[str] = set()
    for index, condition in enumerate(verify.conditions):
        way: Way = ("verify", "conditions", index)
        yield from _condition(way, condition)
        if condition.name in seen:
            yield Problem((*way, "name"), f"two conditions have the name {condition.name!r}", example="name: another-one")
        seen.add(condition.name)


def _answers(config: Config) -> Iterator[Problem]:
    """What is compared of the answers themselves."""
    verify = config.verify
    if verify.predictions.enabled and verify.pack != "serving":
        yield Problem(
            ("verify", "predictions", "enabled"),
            f"the pack {verify.pack} does not know what its runtime predicts",
            example="verify:\n  pack: serving",
        )
    if verify.predictions.margin <= verify.predictions.effect:
        yield Problem(
            ("verify", "predictions", "margin"),
            "margin must be more than effect",
            example="predictions: {effect: 1.25, margin: 2}",
        )
    if verify.disagreement.enabled and not copying(config.rollout):
        yield Problem(
            ("verify", "disagreement", "enabled"),
            "answers are compared while requests are copied, and this rollout copies none (rollout.mirror)",
            example="rollout:\n  mirror: 60s",
        )
    accuracy = verify.accuracy
    if accuracy.enabled and bool(accuracy.wrong_query) != bool(accuracy.labelled_query):
        yield Problem(
            ("verify", "accuracy"),
            "verify.accuracy needs both labelled_query and wrong_query",
            example='labelled_query: sum(labelled_total{colour="{{colour}}"})',
        )
    elif accuracy.enabled and bool(accuracy.wrong_query) == bool(accuracy.predictions):
        yield Problem(
            ("verify", "accuracy"),
            "verify.accuracy needs either predictions, with labels, or labelled_query and wrong_query",
            example="accuracy:\n  predictions: answers/*.parquet\n  labels: labels.parquet",
        )
    for name in ("labelled_query", "wrong_query") if accuracy.enabled else ():
        query = getattr(accuracy, name)
        if query and "{{colour}}" not in query:
            yield Problem(
                ("verify", "accuracy", name),
                f"verify.accuracy.{name} does not name {{{{colour}}}}, so candidate and champion would get the same answer",
                example=f'{name}: sum(labelled_total{{colour="{{{{colour}}}}"}})',
            )


def _prometheus(verify: Verify) -> Iterator[Problem]:
    """The ways to it and from us."""
    export = verify.export
    if export.textfile and not export.textfile.endswith(".prom"):
        yield Problem(
            ("verify", "export", "textfile"),
            f"node_exporter reads only files that end in .prom, not {export.textfile!r}",
            example="export: {textfile: /var/lib/node_exporter/mlpipeline.prom}",
        )
    if export.pushgateway and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", export.pushgateway):
        yield Problem(
            ("verify", "export", "pushgateway"),
            f"verify.export.pushgateway is not an address of http or https: {export.pushgateway!r}",
            example='export: {pushgateway: "http://pushgateway:9091"}',
        )
    if verify.login.password and not verify.login.user:
        yield Problem(
            ("verify", "login"), "verify.login has a password but no user", example="login: {user: me, password: $WORD}"
        )
    if verify.tls.key and not verify.tls.certificate:
        yield Problem(
            ("verify", "tls"), "verify.tls has a key but no certificate", example="tls: {certificate: me.pem, key: me.key}"
        )


def _condition(way: Way, condition: Condition) -> Iterator[Problem]:
    if not condition.success and not condition.failure:
        yield Problem(
            way,
            f"the condition {condition.name!r} has neither success nor failure, so its answer would mean nothing",
            example=f"- name: {condition.name}\n  query: ...\n  success: result < 0.01",
        )
    for key in ("success", "failure"):
        if fault := _expression_fault(getattr(condition, key)):
            yield Problem((*way, key), f"the condition {condition.name!r}: {fault}", example=f"{key}: result < 0.01")
    count = 1 if condition.count is None and condition.interval is None else condition.count
    forgiven = condition.failure_limit + condition.inconclusive_limit
    if count is not None and forgiven >= count:
        key = "failure_limit" if condition.failure_limit else "inconclusive_limit"
        yield Problem(
            (*way, key),
            f"the condition {condition.name!r} would pass whatever is measured: its limits forgive {forgiven} "
            f"measurement{'s' if forgiven > 1 else ''} and {count} {'are' if count > 1 else 'is'} made",
            example=f"count: {forgiven + 1}",
        )
    if condition.interval is not None and not condition.interval and count != 1:
        yield Problem((*way, "interval"), "interval must be more than 0 where more than one is measured", example="interval: 10s")


def _expression_fault(expression: str) -> str:
    if not expression:
        return ""
    from mlpipeline.core.conditions import check_expression

    try:
        check_expression(expression)
    except ValueError as error:
        return str(error)
    return ""


def _score(rule: ScoreRule) -> Iterator[Problem]:
    if not rule.metrics:
        if rule.groups:
            yield Problem(
                ("verify", "score", "groups"), "the score has groups but no metrics", example="metrics:\n- name: errors"
            )
        return
    from mlpipeline.config.score_plan import score_plan
    from mlpipeline.core.weighted_score import check

    try:
        check(score_plan(rule, "service", "candidate", "champion"))
    except ValueError as error:
        yield Problem(("verify", "score"), str(error), example="groups: {errors: 60, latency: 40}")
    for index, metric in enumerate(rule.metrics):
        if "{{colour}}" not in metric.query:
            yield Problem(
                ("verify", "score", "metrics", index, "query"),
                f"the query of {metric.name!r} does not name {{{{colour}}}}, so candidate and champion would get the same answer",
                example='query: sum(rate(failures_total{colour="{{colour}}"}[1m]))',
            )
