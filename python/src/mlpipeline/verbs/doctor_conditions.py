"""Whether a condition's query answers one number, where its expressions compare one: several never come to a verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlpipeline.core.conditions import ConditionPlan
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError
from mlpipeline.ports import MetricSource, Sample

_OF_SEVERAL = re.compile(r"len\(\s*result\s*\)|result\s*\[")
"""These take any number of series."""
_COLOUR = re.compile(r"\b(?:blue|green)\b")
_SHOWN = 3


def one_number(source: MetricSource, condition: ConditionPlan) -> None:
    """Raises ConfigurationError where the query answers several numbers now, whichever colour is the candidate, and nothing says
    what these mean."""
    if condition.several != "inconclusive" or "result" not in _OF_SEVERAL.sub("", f"{condition.success} {condition.failure}"):
        return
    so = f"so condition {condition.name!r} is always inconclusive"
    if _is_range(source, condition.query):
        raise ConfigurationError(
            f"the query answers all scrapes of a time, not one number, {so}",
            facts={"query": condition.query},
            likely="no function takes in its range [ ]",
            tries=("max_over_time(...) or rate(...) around it", "leave the range out: the newest value"),
        )
    several = [answer for query in _of_either(condition.query) if len(answer := source.instant(query)) > 1]
    if several:
        raise ConfigurationError(
            f"the query answers {len(several[0])} series, not one number, {so}",
            facts={"query": condition.query, "series": _listed(several[0])},
            tries=("max(...) or sum(...) around it", "several: every", "several: any"),
        )


def _is_range(source: MetricSource, query: str) -> bool:
    """Asked of Prometheus' own types: a range that holds a single scrape looks like one number."""
    try:
        source.instant(f"count({query}\n)")
    except ConfigurationError as error:
        return "range vector" in error.facts.get("said", "")
    return False


def _of_either(query: str) -> tuple[str, ...]:
    """With each colour as the candidate: before a release only the champion is there."""
    other = _COLOUR.sub(lambda match: str(Colour(match[0]).other), query)
    return tuple(dict.fromkeys((query, other)))


def _listed(samples: Sequence[Sample]) -> str:
    shown = [", ".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items())) for sample in samples[:_SHOWN]]
    return "\n".join((*(f"{{{labels}}}" for labels in shown), *(["..."] if len(samples) > _SHOWN else [])))
