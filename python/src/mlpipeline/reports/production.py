"""What was watched, by a release or by ``verify`` alone: traffic, errors, latency, the verdict of each metric, the stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlpipeline.core.judge import Look, MetricPlan, TracePoint
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.reports import plots, rollout
from mlpipeline.reports.markup import Markup, element, text
from mlpipeline.reports.release import Files, Recorded, Release
from mlpipeline.reports.wording import badge, mapping, seconds_words, sign, verdict_of


def production(release: Release, files: Files) -> Markup:
    """What production showed, or why there is nothing to show."""
    heading = element("h2", "In production")
    recorded, switch = release.recorded, release.results.get("switch")
    if recorded is None or not recorded.looks:
        if switch is None and release.watched is not None and release.watched.looks:
            return text("")
        why = switch.summary if switch is not None else "No user traffic has met this candidate."
        return element("section", heading, element("p", why, class_="quiet"), rollout.hook_table(release.results))
    verify = None if release.verified_alone else release.results.get("verify")
    told = [result for result in (switch, verify) if result is not None]
    parts = [heading, *_watched(recorded, told, files)]
    if switch is not None:
        parts.append(_stage_table(switch))
    parts.append(rollout.hook_table(release.results))
    return element("section", *parts)


def watched(release: Release, files: Files) -> Markup:
    """What the verb ``verify`` saw on its own; nothing where it watched nothing."""
    recorded = release.watched
    if recorded is None or not recorded.looks:
        return text("")
    told = [release.results["verify"]] if release.verified_alone else []
    return element("section", element("h2", "Watched by verify"), *_watched(recorded, told, files, "verify-"))


def _watched(recorded: Recorded, told: Sequence[Result], files: Files, prefix: str = "") -> list[Markup]:
    said = [line for one in told for line in ((one.verdict, one.summary), *((why.verdict, why.summary) for why in one.reasons))]
    parts = [element("p", sign(verdict), " ", summary, class_="line") for verdict, summary in dict.fromkeys(said)]
    parts.append(files.plot(f"{prefix}traffic.svg", *_traffic_plot(recorded), "plot"))
    errors = _error_lines(recorded)
    if errors:
        parts.append(files.plot(f"{prefix}errors.svg", *_error_plot(recorded, errors), "plot"))
    parts.append(files.plot(f"{prefix}latency.svg", *_latency_plot(recorded), "plot"))
    for metric in recorded.plan.metrics:
        points = recorded.trace.get(metric.name, ())
        if any(point.low or point.high for point in points):
            name = f"{prefix}ratio-{recorded.plan.metrics.index(metric) + 1}.svg"
            parts.append(files.plot(name, *_ratio_plot(recorded, metric, points), "plot"))
    if not any(one.verb == "verify" for one in told):
        parts.append(_judgement_table(recorded))
    return parts


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
        element("tr", element("td", metric.summary), element("td", badge(_shown(metric.verdict, judgement.verdict))))
        for metric in judgement.metrics
    ]
    body += [
        element("tr", element("td", f"{name}: {summary}"), element("td", badge(verdict)))
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
        plan, moved = mapping(stage.get("plan")), mapping(stage.get("moved"))
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
                element("td", seconds_words(stage.get("seconds")), class_="number"),
                element("td", seconds_words(moved.get("applied_seconds")), class_="number"),
                element("td", seconds_words(moved.get("old_last_seconds")), class_="number"),
                element("td", badge(verdict_of(stage.get("verdict")))),
            )
        )
    return element("table", element("thead", element("tr", *head, element("th", ""))), element("tbody", *body))
