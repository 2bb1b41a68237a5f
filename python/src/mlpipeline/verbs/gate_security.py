"""``gate security``: nothing is loaded, packaged or served before it was looked at.

All scanners run side by side, each with its own time limit. What they found, what was accepted by whom, and which of them did
not run stands in the result; policy decides what it means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import msgspec

from mlpipeline.config.sections.security import ScannerRule
from mlpipeline.core.findings import Finding, NothingToDo, NotRun, Scan
from mlpipeline.core.security import Accepted, Judged, Rule, judge, judge_not_run, judge_nothing
from mlpipeline.core.verdict import Verdict, failing_first
from mlpipeline.errors import ConfigurationError, Failed, MlpipelineError
from mlpipeline.ports import Scanned, Scanner
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.reports.junit import junit
from mlpipeline.reports.sarif import Suppressed, sarif
from mlpipeline.verbs.context import Context

VERB = "gate-security"
FOLDER = "security"
_TOLD = 20
"""Findings that a reason shows; all of them stand in the SARIF file."""
_KEPT = 200
"""Findings of one scanner that the evidence carries."""


class _Outcome(msgspec.Struct, frozen=True):
    """What became of one scanner."""

    name: str
    rule: ScannerRule
    judged: Judged
    scan: Scan | None = None
    why: str = ""


def run(context: Context, run: Run, *, scanners: Sequence[Scanner] | None = None) -> Result:
    """Runs every scanner that is not off and judges what they found.

    Args:
        scanners: Which there are; by default all of ``adapters/scanners``.

    Raises ConfigurationError when the model of this run is not there.
    """
    started = context.clock.monotonic()
    scanned, digest = _scanned(context, run)
    accepted = _accepted(context)
    today = context.clock.now().date()
    if scanners is None:
        from mlpipeline.adapters.scanners import SCANNERS

        scanners = SCANNERS
    rules = {scanner.name: _rule(context, scanner.name) for scanner in scanners}
    chosen = [scanner for scanner in scanners if rules[scanner.name].policy != "off"]
    with ThreadPoolExecutor(max(1, len(chosen))) as pool:
        outcomes = list(pool.map(lambda one: _outcome(one, rules[one.name], scanned, accepted, today), chosen))
    off = [scanner.name for scanner in scanners if rules[scanner.name].policy == "off"]
    reasons = [*(_reason(one) for one in outcomes), *(_lapsed(one, today) for one in accepted if today > one.expires)]
    reasons.sort(key=lambda reason: failing_first(reason.verdict))
    if not reasons:
        reasons = [Reason("security", Verdict.PASS, "every scanner is off")]
    evidence = {
        "model_digest": digest,
        "scanners": {**{one.name: _evidence(one) for one in outcomes}, **{name: {"policy": "off"} for name in off}},
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
    write_atomically(folder / "findings.sarif", _sarif(outcomes))
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
        tracked = tracked_files(project, context.environment or _surroundings()) if asks_tracked else ()
    except NotRun as error:
        context.console.say(f"gate security: the tracked files are not known: {error}")
        tracked = ()
    scanned = Scanned(
        project=project,
        model=project / context.config.train.model,
        include=tuple(place for name in context.config.package.include if (place := project / name).exists()),
        tracked=tracked,
        requirements=_lines(project / context.config.train.model / "requirements.txt"),
        locked=_locked(context) if security.dependencies.policy != "off" else (),
        image=_image(context, run) if security.image.policy != "off" else "",
        allow=security.allow,
        allow_code_by_value=security.allow_code_by_value,
        data=security.data,
        database=project / security.database if security.database else None,
        environment=context.environment or _surroundings(),
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


def _surroundings() -> Mapping[str, str]:
    import os

    return dict(os.environ)


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


def _image(context: Context, run: Run) -> str:
    """What ``package`` says its image is; empty before it made one."""
    packaged = context.runs.result(run.id, "package")
    known = packaged.evidence.get("image") if packaged is not None else None
    if isinstance(known, Mapping):
        return str(known.get("archive") or known.get("layout") or known.get("reference") or "")
    return str(known or "")


# --- scanning and judging ---------------------------------------------------------------------------------------------


def _rule(context: Context, name: str) -> ScannerRule:
    rule: ScannerRule = getattr(context.config.security, name, ScannerRule())
    return rule


def _accepted(context: Context) -> list[Accepted]:
    return [
        Accepted(one.id, one.reason, one.person, date.fromisoformat(one.expires), one.where)
        for one in context.config.security.ignore
    ]


def _outcome(scanner: Scanner, rule: ScannerRule, scanned: Scanned, accepted: Sequence[Accepted], today: date) -> _Outcome:
    plain = Rule(rule.policy, rule.fail_at, rule.not_run)
    try:
        scan = scanner.scan(msgspec.structs.replace(scanned, limit_seconds=float(rule.timeout)))
    except NothingToDo as nothing:
        return _Outcome(scanner.name, rule, judge_nothing(scanner.name, str(nothing)), why=str(nothing))
    except NotRun as absent:
        return _Outcome(scanner.name, rule, judge_not_run(scanner.name, str(absent), plain), why=str(absent))
    except Exception as fault:  # noqa: BLE001 - a scanner that breaks has not run, and must not hide what the others found
        why = f"it broke: {type(fault).__name__}: {str(fault)[:200]}"
        return _Outcome(scanner.name, rule, judge_not_run(scanner.name, why, plain), why=why)
    return _Outcome(scanner.name, rule, judge(scanner.name, scan, plain, accepted, today), scan)


def _reason(one: _Outcome) -> Reason:
    judged = one.judged
    shown = [f"{finding.level}: {_line(finding)}" for finding in (*judged.stopping, *judged.told)][:_TOLD]
    shown += [f"ignored until {ignored.by.expires}: {_line(ignored.finding)} ({ignored.by.reason})" for ignored in judged.ignored]
    numbers = {"targets": one.scan.targets, "findings": len(one.scan.findings)} if one.scan else {}
    return Reason(f"security.{one.name}", judged.verdict, judged.summary, dict(numbers), tuple(shown[: 2 * _TOLD]))


def _lapsed(one: Accepted, today: date) -> Reason:
    place = f" in {one.where}" if one.where else ""
    return Reason(
        f"security.ignore.{one.id}",
        Verdict.FAIL,
        f"the ignore of {one.id}{place} by {one.person} expired on {one.expires.isoformat()} (today is {today.isoformat()}): "
        "take it out, or decide anew and give it another day",
    )


def _line(finding: Finding) -> str:
    return f"{finding.id} in {finding.where}: {finding.text}"


def _evidence(one: _Outcome) -> dict[str, object]:
    known: dict[str, object] = {"policy": one.rule.policy, "verdict": str(one.judged.verdict), "ran": one.scan is not None}
    if one.scan is None:
        return {**known, "why": one.why}
    findings = [_plain(finding) for finding in (*one.judged.stopping, *one.judged.told)]
    return {
        **known,
        "tool": one.scan.tool,
        "version": one.scan.version,
        "targets": one.scan.targets,
        "skipped": one.scan.skipped,
        "findings": findings[:_KEPT],
        **({"more_findings": len(findings) - _KEPT} if len(findings) > _KEPT else {}),
        "ignored": [
            {
                **_plain(ignored.finding),
                "reason": ignored.by.reason,
                "person": ignored.by.person,
                "expires": ignored.by.expires.isoformat(),
            }
            for ignored in one.judged.ignored
        ],
        "notes": list(one.scan.notes),
    }


def _plain(finding: Finding) -> dict[str, object]:
    return {"id": finding.id, "level": finding.level, "where": finding.where, "text": finding.text}


def _sarif(outcomes: Sequence[_Outcome]) -> bytes:
    scans = {one.name: one.scan for one in outcomes if one.scan is not None}
    suppressed = {
        one.name: [
            Suppressed(ignored.finding, f"{ignored.by.reason} ({ignored.by.person}, until {ignored.by.expires.isoformat()})")
            for ignored in one.judged.ignored
        ]
        for one in outcomes
    }
    return sarif(scans, suppressed)


def _summary(reasons: Sequence[Reason], outcomes: Sequence[_Outcome], off: Sequence[str]) -> str:
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
