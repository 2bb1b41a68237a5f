"""The page of one release: what a reviewer needs to decide, and the evidence for it.

A folder of its own: ``index.html``, ``style.css`` and SVG plots. No script, inline style, style element or ``data:`` image,
because Jenkins' default content policy blanks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import FLOW
from mlpipeline.reports import model_gate
from mlpipeline.reports.comparison import models, slices
from mlpipeline.reports.markup import Markup, element, join, text
from mlpipeline.reports.origin import came_of, data, lineage
from mlpipeline.reports.production import production, watched
from mlpipeline.reports.release import Files, Release, Standing, spoken, standing_of
from mlpipeline.reports.wording import SIGNS, TONES, badge, seconds_words, short_digest, sign


def build(release: Release) -> dict[str, bytes]:
    """File name to content of the whole folder."""
    files = Files()
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
            element("div", models(release, files), lineage(release), class_="columns"),
            model_gate.changes(release.results.get("gate-model")),
            model_gate.checks(release.results.get("gate-model"), files.plot),
            data(release, files),
            production(release, files),
            watched(release, files),
            slices(release, files),
            _steps(release),
            came_of(release, files),
            _ledger(release),
        ),
        element("footer", _footer(release)),
    )
    files.content["index.html"] = f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()
    files.content["style.css"] = Path(__file__).with_name("style.css").read_bytes()
    return files.content


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
    return element("li", sign(result.verdict), " ", name, class_=TONES[result.verdict])


def _steps(release: Release) -> Markup:
    return element(
        "section",
        element("h2", "Every step and its reasons"),
        *(_step_detail(one, release.attached) for one in release.results.values()),
    )


def _step_detail(result: Result, attached: Mapping[str, str]) -> Markup:
    took = f"{result.started} took {seconds_words(result.seconds)}" if result.started else seconds_words(result.seconds)
    parts = [
        element("h3", badge(result.verdict), " ", spoken(result.verb), " ", element("small", took)),
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
    parts = [sign(reason.verdict), " ", element("code", reason.check), " ", reason.summary]
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
