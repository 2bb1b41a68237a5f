"""A judgement as Prometheus' text exposition (version 0.0.4), for dashboards and alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import log10

from mlpipeline.core.judge import Judgement, Plan
from mlpipeline.core.verdict import Verdict

_Sample = tuple[Mapping[str, str], float]


def exposition(plan: Plan, judgement: Judgement, at: float, looks: int) -> str:
    """Verdict, evidence and distance to the threshold, with the label ``service`` and, where it is of one, ``metric``.

    Distances are in powers of ten: 2 at the beginning with the default budget, 0 at the rollback. A ratio without an upper
    bound is ``+Inf``.

    Args:
        at: Unix seconds of the newest look; 0 before the first.
        looks: How many there were.
    """
    return "".join(_family(name, about, samples) for name, about, samples in _families(plan, judgement, at, looks))


def _families(plan: Plan, judgement: Judgement, at: float, looks: int) -> Iterator[tuple[str, str, list[_Sample]]]:
    own = {"service": plan.service}
    release = {**own, "run": plan.run, "candidate": plan.candidate, "champion": plan.champion}
    of = {metric.name: {**own, "metric": metric.name} for metric in judgement.metrics}
    yield "info", "Which release is judged.", [(release, 1)]
    yield (
        "verdict",
        "1 for the verdict over the whole release so far, 0 for the others.",
        [({**own, "verdict": str(verdict)}, float(verdict is judgement.verdict)) for verdict in Verdict],
    )
    yield "evidence", "E-value against: the candidate does no harm.", [(own, judgement.evidence)]
    yield "threshold", "E-value at which the release is taken back.", [(own, judgement.threshold)]
    distance = _distance(judgement.evidence, judgement.threshold)
    yield "distance", "Powers of ten between the evidence and the threshold.", [(own, distance)]
    yield "looks", "Looks taken in so far.", [(own, looks)]
    yield "last_look_timestamp_seconds", "When both colours were last read.", [(own, at)]
    metrics = judgement.metrics
    yield "metric_evidence", "E-value of one metric.", [(of[metric.name], metric.evidence) for metric in metrics]
    yield (
        "metric_distance",
        "Powers of ten between the evidence of one metric and the threshold.",
        [(of[metric.name], _distance(metric.evidence, metric.threshold)) for metric in metrics],
    )
    yield "metric_ratio", "Candidate's rate over champion's.", [(of[metric.name], metric.ratio) for metric in metrics]
    yield "metric_ratio_low", "Lower end of its confidence sequence.", [(of[metric.name], metric.low) for metric in metrics]
    yield (
        "metric_ratio_high",
        "Upper end of its confidence sequence.",
        [(of[metric.name], metric.high or float("inf")) for metric in metrics],
    )
    yield (
        "condition_verdict",
        "1 for the verdict of a condition so far, 0 for the others.",
        [
            ({**own, "condition": name, "verdict": str(verdict)}, float(verdict is found))
            for name, found, _ in judgement.conditions
            for verdict in Verdict
        ],
    )
    if judgement.score is not None:
        yield "score_points", "Points of the score, of 100.", [(own, judgement.score.points)]


def _distance(evidence: float, threshold: float) -> float:
    return round(max(0.0, log10(threshold) - log10(max(evidence, 1e-300))), 4)


def _family(name: str, about: str, samples: Iterable[_Sample]) -> str:
    lines = [f"mlpipeline_verify_{name}{{{_labels(labels)}}} {_number(value)}\n" for labels, value in samples]
    head = f"# HELP mlpipeline_verify_{name} {about}\n# TYPE mlpipeline_verify_{name} gauge\n"
    return head + "".join(lines) if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:.12g}"
