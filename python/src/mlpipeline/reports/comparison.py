"""Candidate against champion on the holdout: metrics and slices, each with its interval as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.reports import plots
from mlpipeline.reports.markup import Markup, element, join, text
from mlpipeline.reports.release import Files, Release
from mlpipeline.reports.wording import COLOURS, badge, count_words, decimal, number_words, short_digest, sign, verdict_of

MOST_SLICES = 200
PLOTTED_SLICES = 20


def models(release: Release, files: Files) -> Markup:
    """The metrics over all rows, and why each passed or not."""
    result = release.results.get("gate-model")
    heading = element("h2", "Candidate against champion")
    if result is None:
        return element("section", heading, element("p", "The model gate has not run.", class_="quiet"), class_="wide")
    rows = [row for row in _metrics(result) if not row.get("slice")]
    parts = [heading, element("p", _judged_on(result), class_="quiet")]
    if rows:
        parts.append(_metric_table(rows, result, files))
    parts.extend(
        element("p", sign(reason.verdict), " ", reason.summary, class_="line")
        for reason in result.reasons
        if not reason.check.startswith("metric.") or ".slice." in reason.check
    )
    return element("section", *parts, class_="wide")


def _metrics(result: Result) -> list[Mapping[str, Any]]:
    found = result.evidence.get("metrics")
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _judged_on(result: Result) -> str:
    evidence = result.evidence
    champion = evidence.get("champion")
    if not evidence.get("rows"):
        return result.summary
    against = "no champion yet"
    if isinstance(champion, Mapping):
        version = champion.get("model_version")
        against = f"champion is version {version}" if version else f"champion is {short_digest(champion.get('digest'))}"
    uses = evidence.get("holdout_uses")
    worn = f"; candidate number {uses} judged on these rows" if isinstance(uses, int) and uses > 1 else ""
    return f"{count_words(evidence['rows'])} rows with label {evidence.get('label', '')}; {against}{worn}"


def _metric_table(rows: Iterable[Mapping[str, Any]], result: Result, files: Files, prefix: str = "metric") -> Markup:
    head = element(
        "tr",
        *(element("th", name, class_=kind) for name, kind in (("metric", ""), ("candidate", "number"), ("champion", "number"))),
        element("th", "difference", class_="number"),
        element("th", "← worse · better →"),
        element("th", ""),
    )
    body = [_metric_row(row, result, files, f"{prefix}-{index}") for index, row in enumerate(rows, start=1)]
    return element("table", element("thead", head), element("tbody", *body), class_="metrics")


def _metric_row(row: Mapping[str, Any], result: Result, files: Files, name: str) -> Markup:
    verdict = verdict_of(row.get("verdict"))
    rules = row.get("rules")
    small = ", ".join(str(rule).replace("_", " ") for rule in rules) if isinstance(rules, list) else ""
    shown = str(row.get("slice") or row.get("name", ""))
    compared = all(isinstance(row.get(key), int | float) for key in ("difference", "low", "high"))
    better, plot = text(""), text("")
    if compared:
        difference, low, high = (float(row[key]) for key in ("difference", "low", "high"))
        better = join([f"{difference:+.4g}", element("small", f"{low:+.3g} to {high:+.3g}", class_="range")])
        margin = _margin(result, str(row.get("name", "")))
        confidence = row.get("confidence")
        described = (
            f"{shown}: better than the champion by {difference:+.4g}, between {low:+.4g} and {high:+.4g}"
            + (f" (each bound holds with {100 * float(confidence):g} %)" if isinstance(confidence, int | float) else "")
            + (f"; a loss of {margin:.4g} is allowed" if margin else "")
        )
        svg = plots.interval_plot(difference, low, high, margin=margin, colour=COLOURS[verdict], title=described)
        plot = files.plot(f"{name}.svg", svg, described, "interval")
    return element(
        "tr",
        element("th", shown, element("small", f"{small}", class_="range"), scope="row"),
        element("td", number_words(row.get("candidate")), _own_bounds(row), class_="number"),
        element("td", number_words(row.get("champion")), class_="number"),
        element("td", better, class_="number"),
        element("td", plot),
        element("td", badge(verdict)),
    )


def _own_bounds(row: Mapping[str, Any]) -> Markup:
    if "own_low" not in row:
        return text("")
    return element("small", f"{number_words(row.get('own_low'))} to {number_words(row.get('own_high'))}", class_="range")


def _margin(result: Result, metric: str) -> float | None:
    for reason in result.reasons:
        if reason.check == f"metric.{metric}.no_worse_than_champion" and isinstance(reason.numbers.get("margin"), int | float):
            return float(reason.numbers["margin"])
    return None


def slices(release: Release, files: Files) -> Markup:
    """All slices, the worst first; these have plots."""
    result = release.results.get("gate-model")
    rows = [row for row in _metrics(result) if row.get("slice")] if result is not None else []
    if not rows:
        return text("")
    order = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 3}
    rows.sort(key=lambda row: (order[verdict_of(row.get("verdict"))], decimal(row.get("difference"), 0.0)))
    head = [element("th", name) for name in ("slice", "metric")]
    head += [element("th", name, class_="number") for name in ("rows", "candidate", "champion", "difference", "between")]
    head.append(element("th", "← worse · better →" if any("low" in row for row in rows) else ""))
    body = [
        element(
            "tr",
            element("th", row["slice"], scope="row"),
            element("td", row.get("name", "")),
            element("td", count_words(row.get("rows")), class_="number"),
            element("td", number_words(row.get("candidate")), class_="number"),
            element("td", number_words(row.get("champion")), class_="number"),
            element("td", number_words(row.get("difference"), "+"), class_="number"),
            element(
                "td",
                f"{number_words(row.get('low'), '+')} to {number_words(row.get('high'), '+')}" if "low" in row else "",
                class_="number",
            ),
            element("td", _slice_plot(row, number, result, files)),
            element("td", badge(verdict_of(row.get("verdict")))),
        )
        for number, row in enumerate(rows[:MOST_SLICES], start=1)
    ]
    more = f"{len(rows) - MOST_SLICES} more are in results/gate-model.json." if len(rows) > MOST_SLICES else ""
    table = element("table", element("thead", element("tr", *head, element("th", ""))), element("tbody", *body))
    return element("section", element("h2", "Slices"), table, element("p", more, class_="quiet") if more else text(""))


def _slice_plot(row: Mapping[str, Any], number: int, result: Result | None, files: Files) -> Markup:
    known = [row.get(key) for key in ("difference", "low", "high")]
    difference, low, high = (decimal(value, 0.0) for value in known)
    if number > PLOTTED_SLICES or result is None or not all(isinstance(value, int | float) for value in known):
        return text("")
    words = f"{row['slice']}: difference {difference:+.4g}, between {low:+.4g} and {high:+.4g}"
    margin = _margin(result, str(row.get("name", "")))
    colour = COLOURS[verdict_of(row.get("verdict"))]
    return files.plot(
        f"slice-{number}.svg",
        plots.interval_plot(difference, low, high, margin=margin, colour=colour, title=words),
        words,
        "interval",
    )
