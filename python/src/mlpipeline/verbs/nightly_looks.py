"""The three looks of a night: the newest data, the champion's predictions, and how right they were."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.config.sections.night import DataDrift, Decay
from mlpipeline.core.drift import Outcome, Shift, drifted, drifting, shifts, stability_index
from mlpipeline.core.proportions import DifferenceInterval
from mlpipeline.core.release import Standing
from mlpipeline.core.sequential import Tick
from mlpipeline.core.sketch import Sketch
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError
from mlpipeline.record.result import Number
from mlpipeline.verbs import data_reference, live_windows
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.duckdb.labels import LabelFiles

_SHOWN = 5
_DECAY_CONFIDENCE = 0.99


class Found(msgspec.Struct, frozen=True):
    """What one look came to.

    Args:
        summary: One line with the numbers that decided it.
        sample: Columns, classes or error details, the worst first.
    """

    outcome: Outcome
    summary: str
    numbers: dict[str, Number] = {}
    sample: tuple[str, ...] = ()


def looks(context: Context, champion: Standing) -> dict[str, Found]:
    """Everything that is configured, by kind. A look that breaks is ``unknown`` and says why; the others are made."""
    nightly = context.config.nightly
    asked: dict[str, Callable[[Context, Standing], Found]] = {}
    if nightly.data.file:
        asked["data"] = data
    if nightly.live.enabled:
        asked["live"] = live
    if nightly.accuracy.query or nightly.accuracy.labels:
        asked["accuracy"] = accuracy
    found: dict[str, Found] = {}
    for place, (kind, look) in enumerate(asked.items()):
        context.console.progress(f"nightly: {kind}", place, len(asked))
        try:
            found[kind] = look(context, champion)
        except MlpipelineError as error:
            details = tuple(error.render().splitlines()[1:])
            found[kind] = Found(Outcome.UNKNOWN, f"{kind} could not be looked at: {error.what}", sample=details)
    return found


_FALSE_ALARMS = 0.001
"""Probability that any column of a night counts as drifted by chance alone."""


def data(context: Context, champion: Standing) -> Found:
    """The newest data against what the champion was trained on.

    Raises ConfigurationError or EnvironmentFault when either file cannot be had.
    """
    from mlpipeline.adapters.duckdb.profile import compare

    rule = context.config.nightly.data
    profile = compare(_reference(context, rule, champion), context.project / rule.file)
    numbers: dict[str, Number] = {"rows_before": profile.rows[0], "rows_now": profile.rows[1]}
    if min(profile.rows) < rule.min_rows:
        few = f"data: {profile.rows[1]} rows now and {profile.rows[0]} before, {rule.min_rows} needed to tell"
        return Found(Outcome.UNKNOWN, f"{few} (nightly.data.min_rows)", numbers)
    if not profile.now and not profile.only_before:
        return Found(Outcome.UNKNOWN, "data: the two files share no column that can be compared", numbers)
    return _moved(rule, profile.only_before, _unlike(profile.before, profile.now), shifts(profile.before, profile.now), numbers)


def _unlike(before: Mapping[str, Sketch], now: Mapping[str, Sketch]) -> list[str]:
    """Columns of numbers that became text, or the other way around; one of missing values alone is of any kind."""
    return [name for name, one in now.items() if one.kind != before[name].kind and one.present and before[name].present]


def _moved(
    rule: DataDrift, gone: Sequence[str], unlike: Sequence[str], found: Sequence[Shift], numbers: Mapping[str, Number]
) -> Found:
    index = {one.column: one.distances.get("psi", 0.0) for one in found}
    sure = {one.column for one in drifting(found, false_alarms=_FALSE_ALARMS, effect=0.0)}
    worst = sorted(index, key=lambda name: -index[name])
    moved = [*gone, *unlike, *(name for name in worst if index[name] >= rule.limit and name in sure)]
    total = len(index) + len(gone) + len(unlike)
    enough = len(moved) >= max(1, math.ceil(rule.share * total))
    told = [*(f"{name} is gone" for name in gone), *(f"{name} changed its kind" for name in unlike)]
    named = ", ".join([*told, *(f"{name} {index[name]:.2f}" for name in worst)][:_SHOWN])
    return Found(
        Outcome.DRIFTED if enough else Outcome.STEADY,
        f"data: {len(moved)} of {total} columns drifted (stability index at least {rule.limit:g}): {named}",
        {**numbers, "columns": total, "drifted": len(moved), **{f"index {name}": round(index[name], 4) for name in worst}},
        tuple(f"{name}: {index[name]:.3f}" for name in worst[:_SHOWN]),
    )


def live(context: Context, champion: Standing) -> Found:
    """The champion's predictions of the last window against its own before. Raises EnvironmentFault without a Prometheus."""
    rule = context.config.nightly.live
    window, before = f"[{int(rule.window)}s]", f"[{int(rule.before)}s] offset {int(rule.window)}s"
    moment = next((one.value for one in context.world.metrics(_prometheus(context)).instant("vector(time())")), None)
    new, asked = (_predictions(context, champion, span, moment) for span in (window, before))
    old = _longer(asked, _kept(context, champion, new))
    totals = (_rows(new), _rows(old))
    numbers: dict[str, Number] = {"predictions_now": totals[0], "predictions_before": totals[1]}
    if min(totals) < rule.min_predictions:
        return Found(
            Outcome.UNKNOWN,
            f"live: {totals[0]} predictions now and {totals[1]} before, {rule.min_predictions} needed to tell "
            "(nightly.live.min_predictions)",
            numbers,
        )
    shares = _shares(old), _shares(new)
    bins = sorted({*shares[0], *shares[1]})
    before_counts, counts = (
        [total * side.get(name, 0.0) for name in bins] for side, total in zip(shares, reversed(totals), strict=True)
    )
    index = stability_index(before_counts, counts)
    moved = sorted(bins, key=lambda name: -abs(shares[1].get(name, 0.0) - shares[0].get(name, 0.0)))[:_SHOWN]
    shift = live_windows.furthest(old, new)
    return Found(
        Outcome.DRIFTED if drifted(before_counts, counts, rule.limit) else Outcome.STEADY,
        f"live: the predictions' stability index is {index:.2f}, limit {rule.limit:g}",
        {**numbers, "index": round(index, 4), "limit": rule.limit, **({"effect": round(shift.effect, 4)} if shift else {})},
        tuple(f"{name}: {shares[0].get(name, 0.0):.1%} before, {shares[1].get(name, 0.0):.1%} now" for name in moved),
    )


def _kept(context: Context, champion: Standing, new: Mapping[str, Sketch]) -> dict[str, Sketch]:
    """What earlier nights kept of the same model; this one is kept for the next."""
    rule, digest = context.config.nightly.live, champion.version.digest
    reach = float(rule.window) + float(rule.before)
    found = live_windows.before(context, digest, seconds=float(rule.window), until=reach)
    live_windows.keep(context, digest, new, seconds=float(rule.window), until=reach)
    return found


def _longer(asked: Mapping[str, Sketch], kept: Mapping[str, Sketch]) -> Mapping[str, Sketch]:
    """Of two summaries of the same time, the one that saw more: a Prometheus may remember two days of a week."""
    return kept if _rows(kept) > _rows(asked) else asked


def _rows(window: Mapping[str, Sketch]) -> int:
    return sum(sketch.rows for sketch in window.values())


def _shares(window: Mapping[str, Sketch]) -> dict[str, float]:
    """Share of all predictions by class, and by bucket of numbers."""
    total = max(1, _rows(window))
    found: dict[str, float] = {}
    for sketch in window.values():
        bounds = (*(f"up to {edge:g}" for edge in sketch.edges), "up to +Inf")
        counts = sketch.values if sketch.kind == "category" else dict(zip(bounds, sketch.counts, strict=True))
        named = "class " if sketch.kind == "category" else ""
        found |= {f"{named}{name}": times / total for name, times in counts.items()}
    return found


def accuracy(context: Context, champion: Standing) -> Found:
    """How right the champion is. Raises ConfigurationError or EnvironmentFault when that cannot be asked."""
    rule = context.config.nightly.accuracy
    if rule.drop is not None:
        return _decayed(context, rule, rule.drop, champion)
    value, rows = _measured(context, rule, champion)
    numbers: dict[str, Number] = {"value": value, "rows": rows} if rows else {"value": value}
    name = rule.metric if rule.labels else "the query"
    if rule.labels and rows < rule.min_rows:
        few = f"accuracy: {rows} rows have their truth, {rule.min_rows} needed to tell (nightly.accuracy.min_rows)"
        return Found(Outcome.UNKNOWN, few, numbers if rows else {"rows": 0})
    if not math.isfinite(value):
        return Found(Outcome.UNKNOWN, f"accuracy: {name} answered {value}, which is no number")
    low = rule.at_least is not None and value < rule.at_least
    high = rule.at_most is not None and value > rule.at_most
    limits = [f"at least {rule.at_least:g}"] if rule.at_least is not None else []
    limits += [f"at most {rule.at_most:g}"] if rule.at_most is not None else []
    over = f" over {rows} rows" if rows else ""
    return Found(
        Outcome.DRIFTED if low or high else Outcome.STEADY,
        f"accuracy: {name} is {value:.4g}{over}, {' and '.join(limits)} wanted",
        numbers,
    )


def _decayed(context: Context, rule: Decay, drop: float, champion: Standing) -> Found:
    """The champion's newest answers against its own earlier ones, by their labels."""
    from mlpipeline.adapters.duckdb.labels import labelled, newest

    wanted = _label_files(context, rule)
    last = newest(context.project, wanted)
    since = (last or 0.0) - rule.recent
    version = champion.version.model_version
    rows, wrong = labelled(context.project, wanted, since=since).get(version, (0, 0))
    old_rows, old_wrong = labelled(context.project, wanted, until=since).get(version, (0, 0))
    numbers: dict[str, Number] = {"rows": rows, "wrong": wrong, "rows_before": old_rows, "wrong_before": old_wrong}
    if min(rows, old_rows) < rule.min_rows:
        few = f"accuracy: {rows} recent and {old_rows} earlier answers of version {version} have their truth"
        return Found(Outcome.UNKNOWN, f"{few}, {rule.min_rows} of each needed to tell (nightly.accuracy.min_rows)", numbers)
    difference = DifferenceInterval(_DECAY_CONFIDENCE)
    difference.add(Tick(rows, wrong, old_rows, old_wrong))
    low, high = difference.interval
    return Found(
        Outcome.DRIFTED if low > 0 and difference.estimate >= drop else Outcome.STEADY,
        f"accuracy: version {version} was wrong in {wrong / rows:.2%} of {rows} recent answers, in {old_wrong / old_rows:.2%} of "
        f"{old_rows} before; growth {difference.estimate:.2%}, {_DECAY_CONFIDENCE:.0%} interval {low:.2%} to {high:.2%}; "
        f"{drop:.2%} is decay",
        {**numbers, "growth": round(difference.estimate, 6), "low": round(low, 6), "high": round(high, 6)},
    )


def _label_files(context: Context, rule: Decay) -> LabelFiles:
    from mlpipeline.adapters.duckdb.labels import LabelFiles

    return LabelFiles(
        predictions=rule.predictions or rule.labels,
        labels=rule.labels if rule.predictions else "",
        predictions_table=rule.predictions_table if rule.predictions else rule.labels_table,
        labels_table=rule.labels_table,
        request=rule.request,
        group=rule.version,
        prediction=rule.prediction,
        truth=rule.truth,
        time=rule.time,
        environment=context.environment,
    )


def _measured(context: Context, rule: Decay, champion: Standing) -> tuple[float, int]:
    if rule.predictions or "://" in rule.labels:
        from mlpipeline.adapters.duckdb.labels import labelled

        wanted = msgspec.structs.replace(_label_files(context, rule), time="")
        rows, wrong = labelled(context.project, wanted).get(champion.version.model_version, (0, 0))
        return (1 - wrong / rows if rows else math.nan), rows
    if rule.labels:
        from mlpipeline.adapters.duckdb.profile import agreement

        return agreement(context.project / rule.labels, rule.truth, rule.prediction, rule.metric)
    query = rule.query.replace("{{service}}", context.config.service).replace("{{version}}", champion.version.model_version)
    answers = context.world.metrics(_prometheus(context)).instant(query)
    if len(answers) != 1:
        raise EnvironmentFault(
            f"the query of nightly.accuracy has {len(answers)} answers, and one is needed",
            facts={"query": query},
            likely="nothing reports the accuracy at present" if not answers else "the query needs a sum or an average",
        )
    return answers[0].value, 0


def _predictions(context: Context, champion: Standing, span: str, at: float | None) -> dict[str, Sketch]:
    """How often each class was predicted and each bucket of numbers hit, of the champion's own user requests.

    Args:
        at: One moment for all queries, so that none sees a scrape that another does not.
    """
    labels = f'{{service="{context.config.service}",model_version="{champion.version.model_version}",traffic="live"}}'
    source = context.world.metrics(_prometheus(context))
    classes = source.instant(f"sum by (label) (increase(mlpipeline_predictions_total{labels}{span}))", at)
    buckets = source.instant(f"sum by (le) (increase(mlpipeline_prediction_value_bucket{labels}{span}))", at)
    return live_windows.summed_up(
        {one.labels.get("label", ""): one.value for one in classes}, {float(one.labels["le"]): one.value for one in buckets}
    )


def _prometheus(context: Context) -> str:
    return context.config.verify.prometheus or context.world.target().monitoring()


def _reference(context: Context, rule: DataDrift, champion: Standing) -> dict[str, Sketch]:
    """Summaries of what the champion was trained on: the file as configured, or as it was in its commit, kept from then on."""
    from mlpipeline.adapters.duckdb.profile import summed_up

    if rule.reference:
        return summed_up(context.project / rule.reference, rule.columns)
    entry = next(iter(context.config.data.files.values()), None)
    if entry is None:
        raise ConfigurationError(
            "there is nothing to compare the newest data with",
            facts={"key": "nightly.data.reference"},
            likely="data.files is empty",
            tries=("name the data the champion was trained on: nightly.data.reference",),
        )
    commit = data_reference.commit_of(context, champion.version, tries=(_NAME_IT,))
    kept = data_reference.cached(context, commit, entry.path, *rule.columns)
    known = data_reference.summaries(kept, rule.columns)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="mlpipeline-nightly-") as folder:
        found = summed_up(data_reference.at_commit(context, entry.path, commit, Path(folder)), rule.columns)
    data_reference.keep(kept, found)
    return found


_NAME_IT = "name the data it was trained on: nightly.data.reference"
