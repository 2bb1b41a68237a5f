"""``gate security``: nothing is loaded, packaged or served before it was looked at.

All scanners run side by side, each with its own time limit. What they found, what was accepted by whom, and which of them did
not run stands in the result; policy decides what it means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from mlpipeline.core.findings import NotRun
from mlpipeline.core.security import Accepted
from mlpipeline.core.verdict import Verdict, failing_first
from mlpipeline.errors import ConfigurationError, Failed, MlpipelineError
from mlpipeline.ports import Scanned, Scanner
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.reports.junit import junit
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.scanning import Outcome, accepted_in, evidence_of, outcome_of, reason_of, rule_of, sarif_of, surroundings

VERB = "gate-security"
FOLDER = "security"


def run(context: Context, run: Run, *, scanners: Sequence[Scanner] | None = None) -> Result:
    """Runs every scanner that is not off and judges what they found.

    Args:
        scanners: Which there are; by default all of ``adapters/scanners``.

    Raises ConfigurationError when the model of this run is not there.
    """
    started = context.clock.monotonic()
    scanned, digest = _scanned(context, run)
    accepted = accepted_in(context)
    today = context.clock.now().date()
    if scanners is None:
        from mlpipeline.adapters.scanners import SCANNERS

        scanners = SCANNERS
    rules = {scanner.name: rule_of(context, scanner.name) for scanner in scanners}
    chosen = [scanner for scanner in scanners if rules[scanner.name].policy != "off"]
    with ThreadPoolExecutor(max(1, len(chosen))) as pool:
        outcomes = list(pool.map(lambda one: outcome_of(one, rules[one.name], scanned, accepted, today), chosen))
    off = [scanner.name for scanner in scanners if rules[scanner.name].policy == "off"]
    reasons = [*(reason_of(one) for one in outcomes), *(_lapsed(one, today) for one in accepted if today > one.expires)]
    reasons.sort(key=lambda reason: failing_first(reason.verdict))
    if not reasons:
        reasons = [Reason("security", Verdict.PASS, "every scanner is off")]
    evidence = {
        "model_digest": digest,
        "scanners": {**{one.name: evidence_of(one) for one in outcomes}, **{name: {"policy": "off"} for name in off}},
    }
    links = {"sarif": f"{FOLDER}/findings.sarif", "junit": f"{FOLDER}/junit.xml"}
    result = Result(
        verb=VERB,
        service=context.config.service,
        run=run.id,
        verdict=reasons[0].verdict,
        summary=reasons[0].summary,
        reasons=tuple(reasons),
    )
    folder = context.runs.folder(run.id) / FOLDER
    write_atomically(folder / "findings.sarif", sarif_of(outcomes))
    write_atomically(folder / "junit.xml", junit(result))
    return context.finish(run, VERB, started, reasons, summary=_summary(reasons, outcomes, off), evidence=evidence, links=links)


def require(context: Context, run: Run) -> None:
    """Makes sure that what is packaged passed this gate, running it when that was not done for this model.

    Raises Failed when it does not pass.
    """
    trained = context.runs.result(run.id, "train")
    wanted = trained.evidence.get("model_digest", "") if trained is not None else ""
    result = context.runs.result(run.id, VERB)
    if result is None or result.evidence.get("model_digest") != wanted:
        context.console.say("gate security: was not run for this model yet")
        result = globals()["run"](context, run)
    if result.verdict is not Verdict.PASS:
        raise Failed(
            "what would be packaged did not pass gate security",
            facts={"run": run.id, "gate security": result.summary},
            tries=("mlpipeline gate security", "read security/findings.sarif in the run's folder"),
        )


# --- what is looked at ------------------------------------------------------------------------------------------------


def _scanned(context: Context, run: Run) -> tuple[Scanned, str]:
    from mlpipeline.adapters.scanners.tracked import tracked_files
    from mlpipeline.verbs.train import model_folder

    context.needed(run, "train", VERB)
    model = model_folder(context)
    if not model.is_dir():
        raise ConfigurationError("the trained model is not there any more", facts={"missing": model}, tries=("mlpipeline train",))
    security = context.config.security
    project = context.project.resolve()
    asks_tracked = "off" not in {security.secrets.policy} or security.code.policy != "off"
    try:
        tracked = tracked_files(project, surroundings(context)) if asks_tracked else ()
    except NotRun as error:
        context.console.say(f"gate security: the tracked files are not known: {error}")
        tracked = ()
    image, image_digest = _image(context, run) if security.image.policy != "off" else ("", "")
    scanned = Scanned(
        project=project,
        model=project / context.config.train.model,
        include=tuple(place for name in context.config.package.include if (place := project / name).exists()),
        tracked=tracked,
        requirements=_lines(project / context.config.train.model / "requirements.txt"),
        locked=_locked(context) if security.dependencies.policy != "off" else (),
        image=image,
        image_digest=image_digest,
        allow=security.allow,
        allow_code_by_value=security.allow_code_by_value,
        data=security.data,
        database=project / security.database if security.database else None,
        environment=surroundings(context),
    )
    return scanned, _digest(context, model)


def _digest(context: Context, model: Path) -> str:
    """Of what is looked at now, which may not be what was trained; empty where files cannot be read, which is a finding."""
    from mlpipeline.adapters.bundle import Digests, folder_digest

    digests = Digests(context.places.work / "digests-model.json")
    try:
        digest = folder_digest(model, digests)
        digests.save()
    except (OSError, MlpipelineError):
        return ""
    return digest


def _lines(file: Path) -> tuple[str, ...]:
    try:
        return tuple(file.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()  # nothing is allowed then; package says what is wrong with the file


def _locked(context: Context) -> tuple[str, ...]:
    """The lock that ``package`` will use, resolved now; none when that does not work, which the scanner then tells."""
    from mlpipeline.adapters.environment import Environments
    from mlpipeline.verbs.package import python_version, requirements, wheelhouse
    from mlpipeline.verbs.train import model_folder

    model = model_folder(context)
    try:
        lock = Environments(context.places, wheelhouse(context)).lock(requirements(context, model), python=python_version(model))
    except MlpipelineError as error:
        context.console.say(f"gate security: the requirements could not be locked: {error.what}")
        return ()
    return tuple(lock.text.splitlines())


def _image(context: Context, run: Run) -> tuple[str, str]:
    """Where ``package`` says its image is, and the digest; empty before it made one."""
    packaged = context.runs.result(run.id, "package")
    known = packaged.evidence.get("image") if packaged is not None else None
    if not isinstance(known, Mapping):
        return "", ""
    places = (str(known.get(kind) or "").partition(", ")[0] for kind in ("layout", "archive", "reference"))
    return next(filter(None, places), ""), str(known.get("digest", ""))


# --- judging ----------------------------------------------------------------------------------------------------------


def _lapsed(one: Accepted, today: date) -> Reason:
    place = f" in {one.where}" if one.where else ""
    return Reason(
        f"security.ignore.{one.id}",
        Verdict.FAIL,
        f"the ignore of {one.id}{place} by {one.person} expired on {one.expires.isoformat()} (today is {today.isoformat()}): "
        "take it out, or decide anew and give it another day",
    )


def _summary(reasons: Sequence[Reason], outcomes: Sequence[Outcome], off: Sequence[str]) -> str:
    failed = [reason for reason in reasons if reason.verdict is Verdict.FAIL]
    if failed:
        return failed[0].summary if len(failed) == 1 else f"{len(failed)} security checks failed: {failed[0].summary}"
    ran = [one.name for one in outcomes if one.scan is not None]
    idle = [one.name for one in outcomes if one.scan is None]
    told = sum(len(one.judged.told) for one in outcomes)
    ignored = sum(len(one.judged.ignored) for one in outcomes)
    parts = [f"nothing that stops a release found by {', '.join(ran)}" if ran else "nothing was looked at"]
    if told:
        parts.append(f"{told} lesser findings")
    if ignored:
        parts.append(f"{ignored} ignored by name")
    if idle or off:
        parts.append(f"not run: {', '.join([*idle, *off])}")
    return "; ".join(parts)
