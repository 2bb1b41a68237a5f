"""Conditions and the score of a release: their queries with the names of this release, and what conditions measure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlpipeline.config.model import Config
from mlpipeline.config.sections.verification import Condition
from mlpipeline.core.conditions import UNTIL_THE_END, ConditionPlan, ConditionState, Measurement
from mlpipeline.core.promql import newest_scrape_query, reach, selectors
from mlpipeline.core.traffic import Colour
from mlpipeline.core.weighted_score import ScorePlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.packs import find
from mlpipeline.packs.shape import PackCondition
from mlpipeline.ports import MetricSource
from mlpipeline.verbs.looking import Roles, queries

_USUAL_INTERVAL = 10.0
"""Seconds, where only ``count`` is given."""


def conditions(config: Config, roles: Roles) -> tuple[ConditionPlan, ...]:
    """The project's conditions, then those of the metric pack whose names it does not use."""
    own = config.verify.conditions
    taken = {condition.name for condition in own}
    packed = [condition for condition in find(config.verify.pack).conditions if condition.name not in taken]
    wanted: list[Condition | PackCondition] = [*own, *packed]
    names = {"service": config.service, "candidate": str(roles.candidate), "champion": str(roles.champion)}
    return tuple(_condition(condition, names) for condition in wanted)


def asked(config: Config) -> tuple[str, ...]:
    """Every query that a release would be judged by, as if green were the candidate: for checks before there is one."""
    roles = Roles(candidate=Colour.GREEN, champion=Colour.BLUE)
    plan = score_of(config, roles)
    scored = (query for metric in plan.metrics for query in metric.queries) if plan else ()
    selectors = queries(config.service, config.verify.pack, predictions=config.verify.predictions.enabled).values()
    accuracy = config.verify.accuracy
    counted = (accuracy.labelled_query, accuracy.wrong_query) if accuracy.enabled and accuracy.wrong_query else ()
    late = (query.replace("{{service}}", config.service).replace("{{colour}}", str(roles.candidate)) for query in counted)
    return (*selectors, *(condition.query for condition in conditions(config, roles)), *scored, *late)


def score_of(config: Config, roles: Roles) -> ScorePlan | None:
    """None where no score is configured."""
    if not config.verify.score.metrics:
        return None
    from mlpipeline.config.score_plan import score_plan

    return score_plan(config.verify.score, config.service, str(roles.candidate), str(roles.champion))


def measured(source: MetricSource, states: Mapping[str, ConditionState], at: float) -> dict[str, Measurement]:
    """What the conditions that are due answer now."""
    found = {}
    for name, state in states.items():
        state.start(at)
        if state.due(at):
            try:
                samples = source.instant(state.plan.query)
                age = _age(source, state.plan) if samples else 0.0
                found[name] = Measurement(tuple(repr(sample.value) for sample in samples), age=age)
            except (EnvironmentFault, ConfigurationError) as error:
                found[name] = Measurement(error=error.what)
    return found


def _age(source: MetricSource, plan: ConditionPlan) -> float:
    """Seconds since the newest scrape of what the condition reads, of the selector that is oldest.

    A rate over five minutes answers for five minutes after the last scrape, so the answer itself does not tell.
    Selectors without any series are left out: many queries read errors that never happened.
    """
    if plan.stale == "ignore":
        return 0.0
    within = reach(plan.query)
    found = (source.instant(newest_scrape_query(selector, within)) for selector in selectors(plan.query))
    return round(max((newest.at - newest.value for answer in found for newest in answer), default=0.0), 3)


def _condition(condition: Condition | PackCondition, names: dict[str, str]) -> ConditionPlan:
    query = condition.query
    for name, value in names.items():
        query = query.replace("{{" + name + "}}", value)
    given = condition.interval is not None
    fields: dict[str, object] = {
        **msgspec.structs.asdict(condition),
        "query": query,
        "interval": condition.interval if given else _USUAL_INTERVAL,
        "count": condition.count or (UNTIL_THE_END if given else 1),
    }
    # Plain numbers: a Duration is a float of the configuration's own and has no place in a record.
    return msgspec.convert(
        {name: float(field) if isinstance(field, float) else field for name, field in fields.items()}, ConditionPlan
    )
