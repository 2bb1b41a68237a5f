"""The page of one release: what a reviewer needs to decide, and the evidence for it.

A folder of its own: ``index.html``, ``style.css`` and SVG plots. No script, inline style, style element or ``data:`` image,
because Jenkins' default content policy blanks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.core.judge import Judgement, Look, MetricPlan, Plan, StageEnd, TracePoint
from mlpipeline.core.lineage import Graph
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import FLOW, Run
from mlpipeline.reports import drift, model_gate, plots, rollout
from mlpipeline.reports.lineage_plot import lineage_plot
from mlpipeline.reports.markup import Markup, element, join, text

TONES = {Verdict.PASS: "pass", Verdict.FAIL: "fail", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "unsure"}
SIGNS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.ERROR: "!", Verdict.INCONCLUSIVE: "?"}
COLOURS = {Verdict.PASS: plots.GOOD, Verdict.FAIL: plots.BAD, Verdict.ERROR: plots.UNSURE, Verdict.INCONCLUSIVE: plots.UNSURE}
MOST_SLICES = 200
PLOTTED_SLICES = 20


class Recorded(msgspec.Struct, frozen=True):
    """``evidence.json`` of the run, as far as the page needs it."""

    plan: Plan
    looks: tuple[Look, ...] = ()
    ends: tuple[StageEnd, ...] = ()
    judgement: Judgement | None = None
    trace: dict[str, tuple[TracePoint, ...]] = {}


@dataclass(frozen=True)
class Release:
    """Everything the page is made of.

    Args:
        results: By verb, in the order they ran; later ones may be missing.
        recorded: What was watched in production, if anything was.
        entries: The ledger's entries of this run.
        note: Something the reader should know about the record itself, such as an unreadable file.
        attached: Names, in the report's folder, of the copies of files that the results link to, by what they are linked as.
    """

    run: Run
    results: Mapping[str, Result]
    recorded: Recorded | None = None
    entries: Sequence[Entry] = ()
    note: str = ""
    attached: Mapping[str, str] = field(default_factory=dict)
    came: Graph | None = None
    """What this run's package came of, and what came of it."""
    beside: Sequence[str] = ()
    """Names, in the report's folder, of SBOM, provenance, approvals and model card."""


@dataclass(frozen=True)
class Standing:
    """The release in big words."""

    words: str
    verdict: Verdict
    reason: str


@dataclass
class _Files:
    """The files of the folder; plots are added while the page is written."""

    content: dict[str, bytes] = field(default_factory=dict)

    def plot(self, name: str, svg: Markup, description: str, class_: str) -> Markup:
        self.content[name] = svg.encode()
        return element("img", src=name, alt=description, class_=class_)


def build(release: Release) -> dict[str, bytes]:
    """File name to content of the whole folder."""
    files = _Files()
    standing = standing_of(release)
    title = f"{release.run.service} {release.run.id}: {standing.words}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("link", rel="stylesheet", href="style.css"),
    )
    body = element(
        "body",
        element("header", *_banner(release, standing)),
        element(
            "main",
            element("div", _models(release, files), _lineage(release), class_="columns"),
            model_gate.changes(release.results.get("gate-model")),
            model_gate.checks(release.results.get("gate-model"), files.plot, _badge),
            _data(release, files),
            _production(release, files),
            _slices(release, files),
            _steps(release),
            _came(release, files),
            _ledger(release),
        ),
        element("footer", _footer(release)),
    )
    files.content["index.html"] = f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()
    files.content["style.css"] = Path(__file__).with_name("style.css").read_bytes()
    return files.content


# --- the verdict --------------------------------------------------------------------------------------------------


def standing_of(release: Release) -> Standing:
    """Where the release stands: the first step that did not pass decides, else how far it came."""
    results = release.results
    back = results.get("rollback")
    if back is not None and back.verdict is Verdict.PASS:
        return Standing("Rolled back", Verdict.FAIL, back.summary)
    for verb in FLOW:
        result = results.get(verb)
        if result is not None and result.verdict is not Verdict.PASS:
            return Standing(_stopped(result), result.verdict, _deciding(result))
    done = [verb for verb in FLOW if verb in results]
    if not done:
        return Standing("Nothing done yet", Verdict.INCONCLUSIVE, "no step of this run has a result")
    last = results[done[-1]]
    words = {"settle": "Released", "switch": "Live, not settled yet"}.get(last.verb, f"Passed up to {spoken(last.verb)}")
    verdict = Verdict.PASS if last.verb == "settle" else Verdict.INCONCLUSIVE
    if last.verb != "settle":
        return Standing(words, verdict, _deciding(last))
    proofs = [_deciding(results[verb]) for verb in ("verify", "switch") if verb in results]
    return Standing(words, verdict, "; ".join(proofs) or _deciding(last))


def _stopped(result: Result) -> str:
    if result.verb == "approve":
        return "Rejected" if result.verdict is Verdict.FAIL else "Waiting for approval"
    if result.verb == "switch":
        return "Taken back" if result.verdict is Verdict.FAIL else "No verdict in production"
    if result.verdict is Verdict.FAIL:
        return f"Stopped at {spoken(result.verb)}"
    return f"No verdict at {spoken(result.verb)}"


def _deciding(result: Result) -> str:
    first = next((reason.summary for reason in result.reasons if reason.verdict is result.verdict), "")
    return result.summary or first


def spoken(verb: str) -> str:
    """The name as typed: ``gate data`` for ``gate-data``."""
    return verb.replace("-", " ", 1) if verb.startswith("gate-") else verb


def _banner(release: Release, standing: Standing) -> list[Markup]:
    run = release.run
    parts = [
        element("p", element("strong", run.service), f" release {run.id}", class_="run"),
        element("h1", element("span", SIGNS[standing.verdict], class_="sign", aria_hidden="true"), standing.words),
        element("p", standing.reason, class_="reason"),
        *model_gate.waivers(release.results),
        element("ol", *(_step(release, verb) for verb in _flow(release)), class_="flow"),
    ]
    if release.note:
        parts.append(element("p", release.note, class_="note"))
    return [element("div", *parts, class_=f"banner {TONES[standing.verdict]}")]


def _flow(release: Release) -> tuple[str, ...]:
    """Where there is a staging environment, the package went there right before it was deployed."""
    if "staging" not in release.results:
        return FLOW
    place = FLOW.index("deploy")
    return (*FLOW[:place], "staging", *FLOW[place:])


def _step(release: Release, verb: str) -> Markup:
    result = release.results.get(verb)
    if result is None:
        return element("li", spoken(verb), class_="absent", title="not run")
    name = element("a", spoken(verb), href=f"#step-{verb}")
    return element("li", _sign(result.verdict), " ", name, class_=TONES[result.verdict])


def _sign(verdict: Verdict) -> Markup:
    return element("span", SIGNS[verdict], class_=f"sign {TONES[verdict]}", role="img", aria_label=str(verdict))


def _badge(verdict: Verdict) -> Markup:
    return element("span", f"{SIGNS[verdict]} {verdict}", class_=f"badge {TONES[verdict]}")


# --- candidate against champion -----------------------------------------------------------------------------------


def _models(release: Release, files: _Files) -> Markup:
    result = release.results.get("gate-model")
    heading = element("h2", "Candidate against champion")
    if result is None:
        return element("section", heading, element("p", "The model gate has not run.", class_="quiet"), class_="wide")
    rows = [row for row in _metrics(result) if not row.get("slice")]
    parts = [heading, element("p", _judged_on(result), class_="quiet")]
    if rows:
        parts.append(_metric_table(rows, result, files))
    parts.extend(
        element("p", _sign(reason.verdict), " ", reason.summary, class_="line")
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
    return f"{_count(evidence['rows'])} rows with label {evidence.get('label', '')}; {against}{worn}"


def _metric_table(rows: Iterable[Mapping[str, Any]], result: Result, files: _Files, prefix: str = "metric") -> Markup:
    head = element(
        "tr",
        *(element("th", name, class_=kind) for name, kind in (("metric", ""), ("candidate", "number"), ("champion", "number"))),
        element("th", "difference", class_="number"),
        element("th", "← worse · better →"),
        element("th", ""),
    )
    body = [_metric_row(row, result, files, f"{prefix}-{index}") for index, row in enumerate(rows, start=1)]
    return element("table", element("thead", head), element("tbody", *body), class_="metrics")


def _metric_row(row: Mapping[str, Any], result: Result, files: _Files, name: str) -> Markup:
    verdict = _verdict(row.get("verdict"))
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
        element("td", _number(row.get("candidate")), _own_bounds(row), class_="number"),
        element("td", _number(row.get("champion")), class_="number"),
        element("td", better, class_="number"),
        element("td", plot),
        element("td", _badge(verdict)),
    )


def _own_bounds(row: Mapping[str, Any]) -> Markup:
    if "own_low" not in row:
        return text("")
    return element("small", f"{_number(row.get('own_low'))} to {_number(row.get('own_high'))}", class_="range")


def _margin(result: Result, metric: str) -> float | None:
    for reason in result.reasons:
        if reason.check == f"metric.{metric}.no_worse_than_champion" and isinstance(reason.numbers.get("margin"), int | float):
            return float(reason.numbers["margin"])
    return None


def _verdict(value: object) -> Verdict:
    try:
        return Verdict(str(value))
    except ValueError:
        return Verdict.INCONCLUSIVE


def _slices(release: Release, files: _Files) -> Markup:
    """All slices, the worst first; these have plots."""
    result = release.results.get("gate-model")
    rows = [row for row in _metrics(result) if row.get("slice")] if result is not None else []
    if not rows:
        return text("")
    order = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 3}
    rows.sort(key=lambda row: (order[_verdict(row.get("verdict"))], _float(row.get("difference"), 0.0)))
    head = [element("th", name) for name in ("slice", "metric")]
    head += [element("th", name, class_="number") for name in ("rows", "candidate", "champion", "difference", "between")]
    head.append(element("th", "← worse · better →" if any("low" in row for row in rows) else ""))
    body = [
        element(
            "tr",
            element("th", row["slice"], scope="row"),
            element("td", row.get("name", "")),
            element("td", _count(row.get("rows")), class_="number"),
            element("td", _number(row.get("candidate")), class_="number"),
            element("td", _number(row.get("champion")), class_="number"),
            element("td", _number(row.get("difference"), "+"), class_="number"),
            element(
                "td",
                f"{_number(row.get('low'), '+')} to {_number(row.get('high'), '+')}" if "low" in row else "",
                class_="number",
            ),
            element("td", _slice_plot(row, number, result, files)),
            element("td", _badge(_verdict(row.get("verdict")))),
        )
        for number, row in enumerate(rows[:MOST_SLICES], start=1)
    ]
    more = f"{len(rows) - MOST_SLICES} more are in results/gate-model.json." if len(rows) > MOST_SLICES else ""
    table = element("table", element("thead", element("tr", *head, element("th", ""))), element("tbody", *body))
    return element("section", element("h2", "Slices"), table, element("p", more, class_="quiet") if more else text(""))


def _slice_plot(row: Mapping[str, Any], number: int, result: Result | None, files: _Files) -> Markup:
    known = [row.get(key) for key in ("difference", "low", "high")]
    difference, low, high = (_float(value, 0.0) for value in known)
    if number > PLOTTED_SLICES or result is None or not all(isinstance(value, int | float) for value in known):
        return text("")
    words = f"{row['slice']}: difference {difference:+.4g}, between {low:+.4g} and {high:+.4g}"
    margin = _margin(result, str(row.get("name", "")))
    colour = COLOURS[_verdict(row.get("verdict"))]
    return files.plot(
        f"slice-{number}.svg",
        plots.interval_plot(difference, low, high, margin=margin, colour=colour, title=words),
        words,
        "interval",
    )


# --- lineage and data ---------------------------------------------------------------------------------------------


def _lineage(release: Release) -> Markup:
    run, evidence = release.run, {verb: result.evidence for verb, result in release.results.items()}
    train, package = evidence.get("train", {}), evidence.get("package", {})
    register, deploy = evidence.get("register", {}), evidence.get("deploy", {})
    environment = train.get("environment")
    python = environment.get("python", "") if isinstance(environment, Mapping) else ""
    facts: list[tuple[str, object]] = [
        ("commit", join([element("code", run.commit[:12]), " with uncommitted changes" if run.dirty else ""])),
        ("started", run.created.replace("T", " ").replace("Z", " UTC")),
        ("because of", run.reason),
        ("requested by", run.requester),
        ("model version", register.get("version", "")),
        ("bundle", _code(package.get("digest"))),
        ("model", _code(train.get("model_digest"))),
        ("environment", join([_code(package.get("environment")), f" Python {python}" if python else ""])),
        ("colour", deploy.get("colour", "")),
        ("approved by", _approvals(evidence.get("approve", {}))),
    ]
    versions = evidence.get("gate-data", {}).get("data_version") or train.get("data_version")
    if isinstance(versions, Mapping):
        facts.extend(("data", join([path, " ", _code(digest)])) for path, digest in list(versions.items())[:6])
    rows = [part for name, value in facts if str(value) for part in (element("dt", name), element("dd", value))]
    return element("section", element("h2", "Lineage"), element("dl", *rows), class_="side")


def _came(release: Release, files: _Files) -> Markup:
    """The picture of the lineage, and the files that are said of the package."""
    if release.came is None or not release.came.edges:
        return text("")
    described = f"what run {release.run.id} came of, and what came of it"
    picture = files.plot("lineage.svg", lineage_plot(release.came, ("run", release.run.id), described), described, "lineage")
    links = join([element("a", name, href=name) for name in release.beside], ", ")
    return element(
        "section",
        element("h2", "What came of what"),
        picture,
        element("p", "Beside the package: ", links, class_="quiet") if release.beside else text(""),
    )


def _approvals(evidence: Mapping[str, object]) -> str:
    given = evidence.get("approvals")
    if not isinstance(given, list):
        return ""
    return "; ".join(
        f"{one.get('who', '?')} ({one.get('decision', '')})" + (f": {one['why']}" if one.get("why") else "")
        for one in given
        if isinstance(one, Mapping)
    )


def _code(value: object) -> Markup:
    return element("code", short_digest(value), title=value) if value else text("")


def short_digest(value: object) -> str:
    """The first twelve digits of a digest, without the name of its kind."""
    return str(value or "").rpartition(":")[2][:12]


def _data(release: Release, pictures: _Files) -> Markup:
    result = release.results.get("gate-data")
    heading = element("h2", "Data gate")
    if result is None:
        return element("section", heading, element("p", "The data gate has not run.", class_="quiet"))
    files = result.evidence.get("files")
    parts = [element("p", _sign(result.verdict), " ", result.summary, class_="line")]
    if isinstance(files, Mapping) and files:
        head = [element("th", name) for name in ("file", "path")]
        head += [element("th", name, class_="number") for name in ("rows", "columns", "expectations", "failed")]
        body = [
            element(
                "tr",
                element("th", name, scope="row"),
                element("td", element("code", facts.get("path", ""))),
                *(
                    element("td", _count(facts.get(key)), class_="number")
                    for key in ("rows", "columns", "expectations", "failed")
                ),
            )
            for name, facts in files.items()
            if isinstance(facts, Mapping)
        ]
        parts.append(element("table", element("thead", element("tr", *head)), element("tbody", *body)))
    moved = drift.drift(result, pictures.plot)
    if moved is not None:
        parts.append(moved)
    return element("section", heading, *parts)


# --- production ---------------------------------------------------------------------------------------------------


def _production(release: Release, files: _Files) -> Markup:
    heading = element("h2", "In production")
    recorded, switch = release.recorded, release.results.get("switch")
    if recorded is None or not recorded.looks:
        why = switch.summary if switch is not None else "No user traffic has met this candidate."
        return element("section", heading, element("p", why, class_="quiet"), rollout.hook_table(release.results))
    parts = [heading]
    told = [result for result in (switch, release.results.get("verify")) if result is not None]
    said = [line for one in told for line in ((one.verdict, one.summary), *((why.verdict, why.summary) for why in one.reasons))]
    parts.extend(element("p", _sign(verdict), " ", summary, class_="line") for verdict, summary in dict.fromkeys(said))
    parts.append(files.plot("traffic.svg", *_traffic_plot(recorded), "plot"))
    errors = _error_lines(recorded)
    if errors:
        parts.append(files.plot("errors.svg", *_error_plot(recorded, errors), "plot"))
    parts.append(files.plot("latency.svg", *_latency_plot(recorded), "plot"))
    for metric in recorded.plan.metrics:
        points = recorded.trace.get(metric.name, ())
        if any(point.low or point.high for point in points):
            name = f"ratio-{recorded.plan.metrics.index(metric) + 1}.svg"
            parts.append(files.plot(name, *_ratio_plot(recorded, metric, points), "plot"))
    if "verify" not in release.results:
        parts.append(_judgement_table(recorded))
    if switch is not None:
        parts.append(_stage_table(switch))
    parts.append(rollout.hook_table(release.results))
    return element("section", *parts)


def stages_of(looks: Sequence[Look]) -> list[plots.Stage]:
    """Consecutive looks of one name are one stage; each reaches to the beginning of the next."""
    found: list[tuple[str, float, float]] = []
    for look in looks:
        if found and found[-1][0] == look.stage:
            found[-1] = (look.stage, found[-1][1], look.at)
        else:
            if found:
                found[-1] = (*found[-1][:2], look.at - look.seconds)
            found.append((look.stage, look.at - look.seconds, look.at))
    return [plots.Stage(*stage) for stage in found]


def _decision(recorded: Recorded) -> tuple[float, str, str] | None:
    if recorded.judgement is None:
        return None
    times = [metric.decided_at for metric in recorded.judgement.metrics if metric.decided_at]
    if recorded.judgement.verdict is Verdict.FAIL:
        return (min(times, default=recorded.looks[-1].at), "decided: take it back", plots.BAD)
    if recorded.judgement.verdict is Verdict.PASS:
        return (recorded.looks[-1].at, "decided: pass", plots.GOOD)
    return (recorded.looks[-1].at, "no verdict", plots.UNSURE)


def _lines(recorded: Recorded, key: str, suffix: str = "", *, dashed: bool = False) -> list[plots.Line]:
    plan = recorded.plan
    lines = []
    for role, colour_name, colour in (
        ("candidate", plan.candidate, plots.CANDIDATE),
        ("champion", plan.champion, plots.CHAMPION),
    ):
        points = [
            (look.at, look.users.get(colour_name, {}).get(key, float("nan"))) for look in recorded.looks if look.seconds > 0
        ]
        lines.append(plots.Line(f"{role} ({colour_name}){suffix}", points, colour, dashed))
    return lines


def _traffic_plot(recorded: Recorded) -> tuple[Markup, str]:
    plot = plots.TimePlot(
        "Traffic",
        "requests per second (the candidate's are copies while mirrored)",
        _lines(recorded, "requests_per_second"),
        stages_of(recorded.looks),
        decided=_decision(recorded),
    )
    return plots.time_plot(plot), "Requests per second of candidate and champion over the stages of the release"


def _error_lines(recorded: Recorded) -> list[plots.Line]:
    """Errors per request in each look; none when nobody saw an error."""
    counts = [(look.at, look.counts["errors"]) for look in recorded.looks if look.seconds > 0 and "errors" in look.counts]
    if not any(seen[1] or seen[3] for _, seen in counts):
        return []
    lines = []
    for place, role, name, colour in (
        (0, "candidate", recorded.plan.candidate, plots.CANDIDATE),
        (2, "champion", recorded.plan.champion, plots.CHAMPION),
    ):
        points = [(at, seen[place + 1] / seen[place] if seen[place] else float("nan")) for at, seen in counts]
        lines.append(plots.Line(f"{role} ({name})", points, colour))
    return lines


def _error_plot(recorded: Recorded, lines: Sequence[plots.Line]) -> tuple[Markup, str]:
    stages, decided = stages_of(recorded.looks), _decision(recorded)
    plot = plots.TimePlot("Errors", "percent of requests", lines, stages, scale=100.0, decided=decided, size=(1000, 240))
    return plots.time_plot(plot), "Errors per request of candidate and champion over the stages of the release"


def _latency_plot(recorded: Recorded) -> tuple[Markup, str]:
    bounds = [metric.bound for metric in recorded.plan.metrics if metric.bound]
    plot = plots.TimePlot(
        "Latency",
        "milliseconds",
        [*_lines(recorded, "p99_seconds", " p99"), *_lines(recorded, "p50_seconds", " p50", dashed=True)],
        stages_of(recorded.looks),
        scale=1000.0,
        decided=_decision(recorded),
        limit=(bounds[0], f"objective {1000 * bounds[0]:g} ms") if bounds else None,
    )
    return plots.time_plot(
        plot
    ), "Median and 99th percentile of the latency of candidate and champion over the stages of the release"


def _ratio_plot(recorded: Recorded, metric: MetricPlan, points: Sequence[TracePoint]) -> tuple[Markup, str]:
    """Bounds far above the margin are left out, so that what decides can be seen."""
    top = 4 * metric.margin

    def line(name: str, values: Iterable[float], *, dashed: bool) -> plots.Line:
        seen = ((point.at, value if 0 < value <= top else float("nan")) for point, value in zip(points, values, strict=True))
        return plots.Line(name, list(seen), plots.CANDIDATE, dashed)

    plot = plots.TimePlot(
        f"Ratio of {metric.name}",
        "candidate to champion, with 95 % bounds for all looks",
        [
            line("estimate", (point.estimate for point in points), dashed=False),
            line("lower bound", (point.low for point in points), dashed=True),
            line("upper bound", (point.high for point in points), dashed=True),
        ],
        stages_of(recorded.looks),
        decided=_decision(recorded),
        limit=(metric.margin, f"margin {metric.margin:g}"),
        size=(1000, 240),
    )
    return plots.time_plot(
        plot
    ), f"Ratio of the candidate's rate of {metric.name} to the champion's, with its confidence sequence"


def _judgement_table(recorded: Recorded) -> Markup:
    judgement = recorded.judgement
    if judgement is None:
        return text("")
    head = [element("th", name) for name in ("measured", "")]
    body = [
        element("tr", element("td", metric.summary), element("td", _badge(_shown(metric.verdict, judgement.verdict))))
        for metric in judgement.metrics
    ]
    body += [
        element("tr", element("td", f"{name}: {summary}"), element("td", _badge(verdict)))
        for name, verdict, summary in judgement.conditions
    ]
    return element("table", element("thead", element("tr", *head)), element("tbody", *body))


def _shown(verdict: Verdict, whole: Verdict) -> Verdict:
    """While the whole release passes, a metric that shows no harm passes with it."""
    return Verdict.PASS if whole is Verdict.PASS and verdict is not Verdict.FAIL else verdict


def _stage_table(switch: Result) -> Markup:
    stages = switch.evidence.get("stages")
    if not isinstance(stages, list) or not stages:
        return text("")
    head = [element("th", name) for name in ("stage", "users to the candidate")]
    head += [element("th", name, class_="number") for name in ("took", "plan applied in", "old colour's last answer after")]
    body = []
    for stage in stages:
        if not isinstance(stage, Mapping):
            continue
        plan, moved = _mapping(stage.get("plan")), _mapping(stage.get("moved"))
        share = (
            "copies only"
            if plan.get("mirror")
            else f"{plan['share']} %"
            if plan.get("share")
            else f"{plan.get('live', '')} has all"
        )
        body.append(
            element(
                "tr",
                element("th", stage.get("name", ""), scope="row"),
                element("td", share),
                element("td", _seconds(stage.get("seconds")), class_="number"),
                element("td", _seconds(moved.get("applied_seconds")), class_="number"),
                element("td", _seconds(moved.get("old_last_seconds")), class_="number"),
                element("td", _badge(_verdict(stage.get("verdict")))),
            )
        )
    return element("table", element("thead", element("tr", *head, element("th", ""))), element("tbody", *body))


# --- every step ---------------------------------------------------------------------------------------------------


def _steps(release: Release) -> Markup:
    return element(
        "section",
        element("h2", "Every step and its reasons"),
        *(_step_detail(one, release.attached) for one in release.results.values()),
    )


def _step_detail(result: Result, attached: Mapping[str, str]) -> Markup:
    took = f"{result.started} took {_seconds(result.seconds)}" if result.started else _seconds(result.seconds)
    parts = [
        element("h3", _badge(result.verdict), " ", spoken(result.verb), " ", element("small", took)),
        element("p", result.summary),
    ]
    if result.reasons:
        parts.append(element("ul", *(_reason(reason) for reason in result.reasons), class_="reasons"))
    places = {name: _reachable(target, attached) for name, target in result.links.items()}
    links = [element("a", name, href=place) for name, place in places.items() if place]
    if links:
        parts.append(element("p", join(links, ", "), class_="quiet"))
    return element("article", *parts, id=f"step-{result.verb}")


def _reachable(target: str, attached: Mapping[str, str]) -> str:
    """Where a link leads: only to web addresses and into the report's own folder, which may be published without the rest."""
    return target if target.startswith(("http://", "https://")) else attached.get(target, "")


def _reason(reason: Reason) -> Markup:
    parts = [_sign(reason.verdict), " ", element("code", reason.check), " ", reason.summary]
    if reason.sample:
        parts.append(element("pre", join(reason.sample, "\n")))
    return element("li", *parts)


def _ledger(release: Release) -> Markup:
    if not release.entries:
        return text("")
    head = [element("th", name) for name in ("time", "event", "who", "what", "hash")]
    body = [
        element(
            "tr",
            element("td", entry.at, class_="time"),
            element("td", entry.event),
            element("td", entry.actor),
            element("td", entry.summary or ", ".join(f"{name} {short_digest(value)}" for name, value in entry.facts.items())),
            element("td", element("code", entry.hash[:12])),
        )
        for entry in release.entries
    ]
    return element(
        "section",
        element("h2", "Ledger of this run"),
        element("table", element("thead", element("tr", *head)), element("tbody", *body)),
    )


def _footer(release: Release) -> Markup:
    worker = next((result.worker for result in reversed(list(release.results.values())) if result.worker), "")
    digest = f" Configuration {short_digest(release.run.config)}." if release.run.config else ""
    return element("p", f"Made by mlpipeline {worker} from the record of run {release.run.id}.{digest}")


# --- values -------------------------------------------------------------------------------------------------------


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _float(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _number(value: object, sign: str = "") -> str:
    return format(value, f"{sign}.4g") if isinstance(value, int | float) else ""


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def _seconds(value: object) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.1f} s" if value < 120 else plots.clock(value) + " min"
