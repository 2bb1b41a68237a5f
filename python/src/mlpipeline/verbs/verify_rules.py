"""What a release is judged by, fixed before its first look: which metrics, how calibrated, which conditions and score."""

from __future__ import annotations

import msgspec

from mlpipeline.config.model import Config
from mlpipeline.core.blocks import BLOCK_SECONDS
from mlpipeline.core.conditions import ConditionState, check_expression
from mlpipeline.core.disagreement import DisagreementPlan
from mlpipeline.core.judge import RULES, MetricPlan, Plan
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs.late_labels import NAME as ACCURACY
from mlpipeline.verbs.looking import PREDICTIONS, VALUES, Reader, Roles, Scrapes
from mlpipeline.verbs.verify_conditions import conditions, score_of


class NothingPredicted(ConfigurationError):
    """There is no distribution yet that a candidate's could be compared with."""


class Rules:
    """Of one release.

    Args:
        run: Id of the run that releases.
        reader: Knows what is counted, and the champion's past.
    """

    def __init__(self, config: Config, run: str, roles: Roles, reader: Reader) -> None:
        self._config, self._run, self._roles, self._reader = config, run, roles, reader
        self._settings = config.verify

    def check(self) -> None:
        """Raises ConfigurationError where nothing would be looked at, and for a condition that cannot be read."""
        settings, planned = self._settings, conditions(self._config, self._roles)
        errors = settings.errors.enabled and self._reader.counts("errors")
        latency = settings.latency.enabled and self._reader.counts("latency")
        if not (errors or latency or settings.score.metrics or any(not condition.dry_run for condition in planned)):
            raise ConfigurationError(
                "nothing is verified: errors and latency are off or not counted, no condition counts and there is no score",
                facts={"key": "verify", "pack": settings.pack},
                tries=("verify.errors.enabled: true", "a condition under verify.conditions"),
            )
        for condition in planned:
            try:
                ConditionState(condition)
                for expression in (condition.success, condition.failure):
                    if expression:
                        check_expression(expression)
            except ValueError as error:
                raise ConfigurationError(
                    str(error), facts={"key": f"verify.conditions, {condition.name}"}, tries=("success: result < 0.01",)
                ) from error

    def planned(self, now: float) -> Plan:
        """The plan at this moment (Unix seconds), calibrated on what the champion did before it."""
        scrapes = self._reader.scrapes(now)
        metrics = []
        errors, latency = self._settings.errors, self._settings.latency
        if errors.enabled and self._reader.counts("errors"):
            source = self._reader.error_source(scrapes)
            metrics.append(MetricPlan("errors", "answered with 5xx or not at all", source, errors.tolerate, errors.margin))
        if latency.enabled and self._reader.counts("latency"):
            bound = self._reader.bound(scrapes, latency.objective)
            moved = (
                "" if bound == latency.objective else f" (the bucket bound nearest to the objective of {latency.objective:g} s)"
            )
            metrics.append(
                MetricPlan(
                    "latency", f"slower than {bound:g} s{moved}", self._reader.main, latency.tolerate, latency.margin, bound=bound
                )
            )
        metrics.extend(self._distribution(scrapes))
        calibrated = [
            msgspec.structs.replace(metric, calibration=self._reader.calibration(metric, now, BLOCK_SECONDS))
            for metric in metrics
        ]
        accuracy = self._settings.accuracy
        if accuracy.enabled:
            event = "answered wrongly, as their labels say"
            calibrated.append(MetricPlan(ACCURACY, event, "labels", accuracy.tolerate, accuracy.margin, late=True))
        return Plan(
            service=self._config.service,
            run=self._run,
            candidate=self._roles.candidate,
            champion=self._roles.champion,
            false_alarm=self._settings.false_alarm,
            interval=float(self._settings.interval),
            min_requests=self._settings.min_requests,
            metrics=tuple(calibrated),
            conditions=conditions(self._config, self._roles),
            queries=self._reader.queries,
            score=score_of(self._config, self._roles),
            disagreement=_disagreement(self._config),
            rules=RULES,
        )

    def same(self, plan: Plan) -> bool:
        """Whether evidence of this plan may be continued."""
        settings = self._settings
        named = (("errors", settings.errors), ("latency", settings.latency), (ACCURACY, settings.accuracy))
        rules = {name: rule for name, rule in named if rule.enabled}
        known = {metric.name: (metric.tolerate, metric.margin) for metric in plan.metrics if not metric.label}
        classes = {(metric.effect, metric.margin) for metric in plan.metrics if metric.label}
        predictions = {(settings.predictions.effect, settings.predictions.margin)} if settings.predictions.enabled else set()
        return (
            plan.run == self._run
            and (plan.candidate, plan.champion) == (self._roles.candidate, self._roles.champion)
            and (plan.false_alarm, plan.min_requests) == (settings.false_alarm, settings.min_requests)
            and known == {name: (rule.tolerate, rule.margin) for name, rule in rules.items()}
            and plan.conditions == conditions(self._config, self._roles)
            and plan.score == score_of(self._config, self._roles)
            and classes == predictions
            and plan.disagreement == _disagreement(self._config)
            and plan.queries == self._reader.queries
            and plan.rules == RULES
        )

    def _distribution(self, scrapes: dict[str, Scrapes]) -> list[MetricPlan]:
        rule = self._settings.predictions
        if not rule.enabled:
            return []
        classes, bounds = self._reader.classes(scrapes), self._reader.value_bounds(scrapes)
        if not classes and not bounds:
            raise NothingPredicted(
                "the champion has predicted no class and no number yet, so no distribution can be compared",
                facts={"query": self._reader.queries[PREDICTIONS]},
                likely="nothing has been asked of it since it started, or it answers one and the same number",
                tries=("verify.predictions.enabled: false",),
            )
        of_classes = [
            MetricPlan(f"predictions.{label}", f"predicted as {label}", PREDICTIONS, 0.0, rule.margin, rule.effect, label=label)
            for label in classes
        ]
        of_numbers = [
            MetricPlan(
                f"predictions.above-{bound:g}",
                f"predicted above {bound:g}",
                VALUES,
                0.0,
                rule.margin,
                rule.effect,
                bound=bound,
                label=f"above {bound:g}",
            )
            for bound in bounds
        ]
        return [*of_classes, *of_numbers]


def _disagreement(config: Config) -> DisagreementPlan | None:
    rule = config.verify.disagreement
    return DisagreementPlan(rule.allowed, rule.tolerance) if rule.enabled else None
