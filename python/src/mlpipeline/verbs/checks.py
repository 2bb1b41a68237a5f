"""``checks``: the project's own lint, types and tests, side by side, in the project's own environment.

What each of them wrote as JUnit or SARIF is kept in the run's folder, and the names of what failed stand in the result.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from configparser import ConfigParser
from configparser import Error as BadIni
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import msgspec

from mlpipeline.adapters.process import Outcome, interrupt, run_command
from mlpipeline.config.sections.security import CheckRule
from mlpipeline.core.verdict import Verdict, failing_first
from mlpipeline.record.result import Number, Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

VERB = "checks"
FOLDER = "checks"
_NAMED = 20
"""Failures that a result names; all of them stand in the files."""
_LOOK_SECONDS = 0.2
_NOT_FOUND = (126, 127)
_NOTHING_COLLECTED = 5


class Check(msgspec.Struct, frozen=True):
    """One check, ready to be run. ``tool`` is the program that must be there; empty for a command of the project's own."""

    name: str
    command: str
    rule: CheckRule
    tool: str = ""


class _Ended(msgspec.Struct, frozen=True):
    """How a check came out, and the names of its files in the run's folder by what they are."""

    check: Check
    verdict: Verdict
    summary: str
    named: tuple[str, ...] = ()
    numbers: dict[str, Number] = {}
    links: dict[str, str] = {}
    seconds: float = 0.0
    ran: bool = True


def run(context: Context, run: Run) -> Result:
    """Runs every check at once and says which of them failed, and of what."""
    started = context.clock.monotonic()
    checks = plan(context.project, context.config.checks)
    if not checks:
        words = "the project has no lint, types or tests configured, and no checks of its own"
        return context.finish(run, VERB, started, [Reason("checks", Verdict.PASS, words)], evidence={"checks": {}})
    ended = _all(context, run, checks)
    reasons = sorted(
        (Reason(f"checks.{one.check.name}", one.verdict, one.summary, one.numbers, one.named) for one in ended),
        key=lambda reason: failing_first(reason.verdict),
    )
    return context.finish(
        run,
        VERB,
        started,
        reasons,
        summary=_summary(ended),
        evidence={"checks": {one.check.name: _evidence(one) for one in ended}},
        links={f"{one.check.name} {kind}": file for one in ended for kind, file in one.links.items()},
    )


def plan(project: Path, configured: Mapping[str, CheckRule]) -> list[Check]:
    """What is to be run: what the project is set up for, over which its configuration here goes."""
    found: dict[str, Check] = {}
    for name, (tool, command) in _of_the_project(project).items():
        found[name] = Check(name, command, CheckRule(), tool)
    for name, rule in configured.items():
        own = _TOOLS.get(name)
        known = found.get(name) or (Check(name, own[1], rule, own[0]) if own else None)
        if rule.command.strip():
            found[name] = Check(name, rule.command, rule)
        elif known is not None:
            found[name] = msgspec.structs.replace(known, rule=rule)
    return [check for check in found.values() if check.rule.enabled]


# --- what the project is set up for -----------------------------------------------------------------------------------

_TOOLS = {
    "lint": ("ruff", "ruff check --output-format sarif --output-file {sarif} ."),
    "types": ("mypy", "mypy --junit-xml {junit} ."),
    "tests": ("pytest", "pytest --junit-xml={junit}"),
}
"""By the name of the check: the program, and how it is called."""


def _of_the_project(project: Path) -> dict[str, tuple[str, str]]:
    settings = _pyproject(project)
    ini = _ini(project, "setup.cfg", "tox.ini", "mypy.ini", ".mypy.ini", "pytest.ini")
    found = {}
    if "ruff" in settings or any((project / name).is_file() for name in ("ruff.toml", ".ruff.toml")):
        found["lint"] = _TOOLS["lint"]
    if "mypy" in settings or "mypy" in ini:
        chosen = settings.get("mypy", {})
        names_files = isinstance(chosen, dict) and bool({"files", "packages", "modules"} & chosen.keys())
        found["types"] = ("mypy", "mypy --junit-xml {junit}") if names_files or _ini_files(ini) else _TOOLS["types"]
    if "pytest" in settings or {"pytest", "tool:pytest"} & ini.keys() or _has_tests(project):
        found["tests"] = _TOOLS["tests"]
    return found


def _pyproject(project: Path) -> dict[str, object]:
    try:
        tool = tomllib.loads((project / "pyproject.toml").read_text("utf-8")).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}  # the tools themselves say what is wrong with it
    return tool if isinstance(tool, dict) else {}


def _ini(project: Path, *names: str) -> dict[str, Mapping[str, str]]:
    parser = ConfigParser(interpolation=None, strict=False)
    for name in names:
        try:
            parser.read(project / name, "utf-8")
        except (BadIni, UnicodeDecodeError, OSError):
            continue
    return {section: parser[section] for section in parser.sections()}


def _ini_files(ini: Mapping[str, Mapping[str, str]]) -> bool:
    return bool({"files", "packages", "modules"} & set(ini.get("mypy", {})))


def _has_tests(project: Path) -> bool:
    folder = project / "tests"
    return folder.is_dir() and any(folder.rglob("test_*.py"))


# --- running ----------------------------------------------------------------------------------------------------------


def _all(context: Context, run: Run, checks: Sequence[Check]) -> list[_Ended]:
    """All at once; when the worker is interrupted, all of them are ended."""
    folder = context.runs.folder(run.id) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(checks)) as pool:
        futures = [pool.submit(_one, context, folder, check) for check in checks]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            while wait(futures, timeout=_LOOK_SECONDS).not_done:  # one that is just being started is asked when it is known
                for check in checks:
                    interrupt(_record(context, check))
            raise


def _one(context: Context, folder: Path, check: Check) -> _Ended:
    environment = dict(context.environment or os.environ)
    if check.tool and not _installed(check.tool, environment):
        return _not_run(check, f"{check.tool} is not installed in the project's environment")
    files = {"junit": folder / f"{check.name}.xml", "sarif": folder / f"{check.name}.sarif"}
    for file in files.values():
        file.unlink(missing_ok=True)
    command = check.command
    for kind, file in files.items():
        command = command.replace(f"{{{kind}}}", shlex.quote(str(file)))
    context.console.say(f"checks: {check.name}: {check.command}")
    outcome = run_command(
        command,
        folder=context.project,
        environment=environment,
        log=folder / f"{check.name}.log",
        record=_record(context, check),
        limit_seconds=check.rule.timeout,
    )
    ended = _judged(check, outcome, {kind: file for kind, file in files.items() if file.is_file()}, context.project)
    context.console.say(f"checks: {ended.summary}")
    return ended


def _record(context: Context, check: Check) -> Path:
    return context.places.work / FOLDER / f"{check.name}.json"


def _installed(tool: str, environment: Mapping[str, str]) -> bool:
    return shutil.which(tool, path=environment.get("PATH", os.defpath)) is not None


def _not_run(check: Check, why: str, links: Mapping[str, str] | None = None) -> _Ended:
    fails = check.rule.not_run == "fail"
    words = f"{check.name}: not run{', and not_run is fail' if fails else ''}: {why}"
    return _Ended(check, Verdict.FAIL if fails else Verdict.PASS, words, links=dict(links or {}), ran=False)


# --- judging ----------------------------------------------------------------------------------------------------------


def _judged(check: Check, outcome: Outcome, files: Mapping[str, Path], project: Path) -> _Ended:
    links = {"log": f"{FOLDER}/{check.name}.log", **{kind: f"{FOLDER}/{file.name}" for kind, file in files.items()}}
    if outcome.code in _NOT_FOUND and outcome.kind == "failed":
        return _not_run(check, outcome.tail[-1] if outcome.tail else "a program of it is not there", links)
    if check.tool == "pytest" and outcome.code == _NOTHING_COLLECTED:
        return _not_run(check, "pytest found no tests", links)
    named: list[str] = []
    numbers: dict[str, Number] = {"exit_code": outcome.code, "check_seconds": outcome.seconds}
    for kind, file in files.items():
        _READERS[kind](file, project, named, numbers)
    if outcome.kind == "done":
        counted = ", ".join(f"{numbers[key]} {key}" for key in ("tests", "findings") if key in numbers)
        summary = f"{check.name}: passed{f', {counted}' if counted else ''} ({outcome.seconds:.1f} s)"
        return _Ended(check, Verdict.PASS, summary, (), numbers, links, outcome.seconds)
    if outcome.kind == "hung":
        named, what = list(outcome.tail[-8:]), f"did not end within {check.rule.timeout:g} s and was ended"
    elif outcome.kind == "killed":
        named, what = list(outcome.tail[-8:]), f"was killed by {outcome.signal}"
    else:
        last = outcome.tail[-1] if outcome.tail else "no output"
        what = f"{len(named)} failed: {named[0]}" if named else f"exit code {outcome.code}: {last}"
        named = named or list(outcome.tail[-8:])
    verdict = Verdict.ERROR if outcome.kind == "killed" else Verdict.FAIL
    return _Ended(check, verdict, f"{check.name}: {what}"[:300], tuple(named[:_NAMED]), numbers, links, outcome.seconds)


def _read_junit(file: Path, _: Path, named: list[str], numbers: dict[str, Number]) -> None:
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314 - the project's own tool wrote it
    except (ElementTree.ParseError, OSError):
        named.append(f"{file.name} cannot be read")
        return
    cases = list(root.iter("testcase"))
    numbers["tests"] = len(cases)
    for case in cases:
        broken = next((part for kind in ("failure", "error") if (part := case.find(kind)) is not None), None)
        if broken is not None and case.get("classname") == "mypy":
            named.extend(line for line in (broken.text or "").splitlines() if ": error:" in line)
        elif broken is not None:
            place = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
            first = (broken.get("message") or broken.text or "").strip().splitlines()
            named.append(f"{place}: {first[0][:200]}" if first else place)


def _read_sarif(file: Path, project: Path, named: list[str], numbers: dict[str, Number]) -> None:
    try:
        results = [one for run in msgspec.json.decode(file.read_bytes())["runs"] for one in run.get("results", ())]
    except (msgspec.DecodeError, OSError, KeyError, TypeError):
        named.append(f"{file.name} cannot be read")
        return
    numbers["findings"] = len(results)
    named.extend(_sarif_line(one, project) for one in results)


def _sarif_line(one: Mapping[str, object], project: Path) -> str:
    places = msgspec.convert(one.get("locations") or [{}], list[dict[str, dict[str, dict[str, object]]]])
    place = places[0].get("physicalLocation", {})
    uri = unquote(str(place.get("artifactLocation", {}).get("uri", "")).removeprefix("file://"))
    line = place.get("region", {}).get("startLine", "")
    message = one.get("message")
    text = str(message.get("text", "")) if isinstance(message, dict) else ""
    relative = os.path.relpath(uri, project) if uri.startswith("/") else uri
    return f"{relative}:{line}: {one.get('ruleId') or ''} {text}".strip()


_READERS: Mapping[str, Callable[[Path, Path, list[str], dict[str, Number]], None]] = {"junit": _read_junit, "sarif": _read_sarif}


def _summary(ended: Sequence[_Ended]) -> str:
    failed = [one for one in ended if one.verdict is not Verdict.PASS]
    idle = [one.check.name for one in ended if not one.ran and one.verdict is Verdict.PASS]
    rest = f"; not run: {', '.join(idle)}" if idle else ""
    if failed:
        return f"{len(failed)} of {len(ended)} checks failed: " + "; ".join(one.summary for one in failed) + rest
    passed = [one.check.name for one in ended if one.ran]
    return f"passed: {', '.join(passed) or 'none'}{rest}"


def _evidence(one: _Ended) -> dict[str, object]:
    return {"command": one.check.command, "verdict": str(one.verdict), "ran": one.ran, "seconds": one.seconds, **one.numbers}
