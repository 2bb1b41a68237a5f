"""Parts of the page about the model gate: waivers, what changed since the champion, agreed conditions, fairness, importance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlpipeline.record.result import Result
from mlpipeline.reports import plots
from mlpipeline.reports.markup import Markup, element, text
from mlpipeline.reports.wording import COLOURS, badge, decimal, verdict_of

MOST_ROWS = 30
Plot = Callable[[str, Markup, str, str], Markup]
"""Adds a picture to the page's folder: file name, drawing, description, class."""
NUMBERS = ("estimate", "gap", "labels of rows")


def waivers(results: Mapping[str, Result]) -> list[Markup]:
    """What was waived, for the first screen: nobody may have to look for it."""
    parts: list[Markup] = []
    for result in results.values():
        parts.extend(_waiver(waiver) for waiver in _listed(result.evidence.get("waivers")))
        parts.extend(
            element("p", element("strong", "Expired waiver: "), reason.summary, class_="note waiver")
            for reason in result.reasons
            if reason.check.startswith("waiver.")
        )
    return parts


def _waiver(waiver: Mapping[str, Any]) -> Markup:
    return element(
        "p",
        element("strong", "Waived: "),
        element("code", waiver.get("checked", waiver.get("check", ""))),
        f" by {waiver.get('who', '')} until {waiver.get('until', '')}: {waiver.get('why', '')}. ",
        f"Without the waiver: {waiver.get('was', 'fail')}, {waiver.get('summary', '')}",
        class_="note waiver",
    )


def changes(result: Result | None) -> Markup:
    """What is different from what users are on now."""
    rows = _listed(result.evidence.get("changes")) if result is not None else []
    if not rows:
        return text("")
    body = [
        element(
            "tr",
            element("th", row.get("what", ""), scope="row"),
            element("td", element("code", row.get("champion", ""))),
            element("td", element("code", row.get("candidate", ""))),
        )
        for row in rows[:MOST_ROWS]
    ]
    more = f"{len(rows) - MOST_ROWS} more are in results/gate-model.json" if len(rows) > MOST_ROWS else ""
    return element(
        "section",
        element("h2", "What changed since the champion"),
        _table(("", "champion", "candidate"), body),
        element("p", more, class_="quiet") if more else text(""),
    )


def checks(result: Result | None, plot: Plot) -> Markup:
    """Conditions, fairness, importance and behaviour, each with its bounds as a picture."""
    if result is None:
        return text("")
    parts = [
        _conditions(result, plot),
        _fairness(result, plot),
        _importance(result, plot),
        _behaviour(result),
    ]
    parts = [part for part in parts if part]
    return element("section", element("h2", "Further checks of the model"), *parts) if parts else text("")


def _conditions(result: Result, plot: Plot) -> Markup:
    rows = _listed(result.evidence.get("conditions"))
    if not rows:
        return text("")
    body = []
    for number, row in enumerate(rows, start=1):
        low, high, estimate = (decimal(row.get(key), 0.0) for key in ("low", "high", "estimate"))
        words = f"{row.get('clause', '')}: {estimate:.4g}, between {low:.4g} and {high:.4g}"
        picture = plots.range_plot(estimate, low, high, limit=None, colour=_colour(row), title=words)
        body.append(
            element(
                "tr",
                element("th", row.get("clause", ""), scope="row"),
                element("td", f"{estimate:.4g}", element("small", f"{low:.4g} to {high:.4g}", class_="range"), class_="number"),
                element("td", plot(f"condition-{number}.svg", picture, words, "interval")),
                element("td", f"{row.get('labels', 0):,} of {row.get('rows', 0):,}", class_="number"),
                element("td", badge(verdict_of(row.get("verdict")))),
            )
        )
    return _titled("Agreed conditions", ("clause", "estimate", "", "labels of rows", ""), body)


def _fairness(result: Result, plot: Plot) -> Markup:
    rows = _listed(result.evidence.get("fairness"))
    if not rows:
        return text("")
    body = []
    for number, row in enumerate(rows, start=1):
        low, high, gap, limit = (decimal(row.get(key), 0.0) for key in ("low", "high", "gap", "limit"))
        name = str(row.get("measure", "")).replace("_", " ")
        words = f"{name} by {row.get('by', '')}: gap {gap:.4g}, between {low:.4g} and {high:.4g}, limit {limit:.4g}"
        picture = plots.range_plot(gap, low, high, limit=limit, colour=_colour(row), title=words)
        body.append(
            element(
                "tr",
                element(
                    "th", name, element("small", f"by {row.get('by', '')}, at most {limit:.4g}", class_="range"), scope="row"
                ),
                element("td", f"{row.get('most', '')} and {row.get('least', '')}"),
                element("td", f"{gap:.4g}", element("small", f"{low:.3g} to {high:.3g}", class_="range"), class_="number"),
                element("td", plot(f"fairness-{number}.svg", picture, words, "interval")),
                element("td", badge(verdict_of(row.get("verdict")))),
            )
        )
    return _titled("Fairness", ("measure", "largest difference", "gap", "", ""), body)


def _importance(result: Result, plot: Plot) -> Markup:
    told = result.evidence.get("importance")
    rows = _listed(told.get("columns")) if isinstance(told, Mapping) else []
    if not isinstance(told, Mapping) or not rows:
        return text("")
    shares = [(str(row.get("name", "")), decimal(row.get("share"), 0.0)) for row in rows[:15]]
    words = "Share of what is lost without each column: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)
    picture = plots.bar_plot(shares, title=words)
    return element(
        "div",
        element("h3", f"What {told.get('metric', '')} rests on"),
        plot("importance.svg", picture, words, "bars"),
    )


def _behaviour(result: Result) -> Markup:
    rows = _listed(result.evidence.get("behaviour"))
    if not rows:
        return text("")
    body = [
        element(
            "tr",
            element("th", row.get("name", ""), scope="row"),
            element("td", row.get("kind", "")),
            element("td", row.get("summary", "")),
            element("td", badge(verdict_of(row.get("verdict")))),
        )
        for row in rows
    ]
    return _titled("Behaviour", ("test", "kind", "came out", ""), body)


def _titled(title: str, heads: Sequence[str], body: Sequence[Markup]) -> Markup:
    return element("div", element("h3", title), _table(heads, body))


def _table(heads: Sequence[str], body: Sequence[Markup]) -> Markup:
    head = element("tr", *(element("th", name, class_="number" if name in NUMBERS else "") for name in heads))
    return element("table", element("thead", head), element("tbody", *body), class_="metrics")


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _colour(row: Mapping[str, Any]) -> str:
    return COLOURS[verdict_of(row.get("verdict"))]
