"""Where the release came from: commit, data, environment, approvals, and what came of what."""

from __future__ import annotations

from collections.abc import Mapping

from mlpipeline.reports import drift
from mlpipeline.reports.lineage_plot import lineage_plot
from mlpipeline.reports.markup import Markup, element, join, text
from mlpipeline.reports.release import Files, Release
from mlpipeline.reports.wording import count_words, digest_code, sign


def lineage(release: Release) -> Markup:
    """What went into the release, as short facts for the first screen."""
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
        ("bundle", digest_code(package.get("digest"))),
        ("model", digest_code(train.get("model_digest"))),
        ("environment", join([digest_code(package.get("environment")), f" Python {python}" if python else ""])),
        ("colour", deploy.get("colour", "")),
        ("approved by", _approvals(evidence.get("approve", {}))),
    ]
    versions = evidence.get("gate-data", {}).get("data_version") or train.get("data_version")
    if isinstance(versions, Mapping):
        facts.extend(("data", join([path, " ", digest_code(digest)])) for path, digest in list(versions.items())[:6])
    rows = [part for name, value in facts if str(value) for part in (element("dt", name), element("dd", value))]
    return element("section", element("h2", "Lineage"), element("dl", *rows), class_="side")


def came_of(release: Release, files: Files) -> Markup:
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


def data(release: Release, pictures: Files) -> Markup:
    """The data gate: each file with its counts, and what drifted."""
    result = release.results.get("gate-data")
    heading = element("h2", "Data gate")
    if result is None:
        return element("section", heading, element("p", "The data gate has not run.", class_="quiet"))
    files = result.evidence.get("files")
    parts = [element("p", sign(result.verdict), " ", result.summary, class_="line")]
    if isinstance(files, Mapping) and files:
        head = [element("th", name) for name in ("file", "path")]
        head += [element("th", name, class_="number") for name in ("rows", "columns", "expectations", "failed")]
        body = [
            element(
                "tr",
                element("th", name, scope="row"),
                element("td", element("code", facts.get("path", ""))),
                *(
                    element("td", count_words(facts.get(key)), class_="number")
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
