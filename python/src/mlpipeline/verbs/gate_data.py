"""``gate data``: the data is there, of a known version, fresh, and what it should be; or the release stops here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.config.sections.data import DataFile, Freshness
from mlpipeline.core import expectations
from mlpipeline.core.data_schema import check_schema
from mlpipeline.core.expectations import Check, Outcome
from mlpipeline.core.verdict import Verdict, failing_first
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.record.result import Number, Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import data_outcomes
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.duckdb.files import Table
    from mlpipeline.adapters.dvc.tracked import Tracked

VERB = "gate-data"


class _Findings(msgspec.Struct):
    """What one file came to: reasons, facts of the evidence, drift for the report, and files that were written."""

    reasons: list[Reason]
    facts: dict[str, object]
    drift: dict[str, object] = {}
    links: dict[str, str] = {}


def run(context: Context, run: Run, *, release: bool = False) -> Result:
    """Pulls the data when needed, records its version and checks every configured file.

    Args:
        release: Good data is to be trained on and released: a source that was taken back fails now, not after the training.
    """
    result = _judged(context, run)
    if not release or result.verdict is not Verdict.PASS:
        return result
    from mlpipeline.verbs.worthwhile import judged

    return judged(context, run, result)


def _judged(context: Context, run: Run) -> Result:
    started = context.clock.monotonic()
    files = context.config.data.files
    if not files:
        nothing = Reason("data", Verdict.PASS, "no data files configured")
        return context.finish(run, VERB, started, [nothing], evidence={"data_version": {}, "files": {}})
    plans = {name: _checks(context.project, name, file) for name, file in files.items()}
    versions, notes = bring(context)
    reasons: list[Reason] = list(notes)
    facts: dict[str, object] = {}
    drifts: dict[str, object] = {}
    links: dict[str, str] = {}
    for number, (name, file) in enumerate(files.items()):
        context.console.progress(f"checking data: {file.path}", number, len(files))
        findings = _check_file(context, run, name, plans[name], versions.get(file.path, ""))
        reasons.extend(findings.reasons)
        facts[name] = findings.facts
        if findings.drift:
            drifts[name] = findings.drift
        links |= findings.links
    reasons.extend(_leaks(context))
    context.console.progress("checking data: done", len(files), len(files))
    reasons, told = _under_waivers(context, reasons)
    reasons.sort(key=lambda reason: failing_first(reason.verdict))
    return context.finish(
        run,
        VERB,
        started,
        reasons,
        summary=_summary(reasons, facts),
        evidence={
            "data_version": versions,
            "files": facts,
            **({"drift": drifts} if drifts else {}),
            **({"waivers": told} if told else {}),
        },
        links=links,
        facts={f"data {path}": version for path, version in versions.items()},
    )


def _under_waivers(context: Context, reasons: Sequence[Reason]) -> tuple[list[Reason], list[dict[str, object]]]:
    """As in the model gate; a waiver of one model only says nothing of data."""
    if all(reason.verdict is Verdict.PASS for reason in reasons):
        return [*reasons], []
    from mlpipeline.verbs.waive import known_waivers, under_waivers

    return under_waivers(context, reasons, known_waivers(context, ""))


_NOT_PASSED = {Verdict.FAIL: "failed", Verdict.ERROR: "broke", Verdict.INCONCLUSIVE: "tell nothing"}


def _summary(reasons: Sequence[Reason], facts: Mapping[str, object]) -> str:
    for verdict, words in _NOT_PASSED.items():
        if found := [reason for reason in reasons if reason.verdict is verdict]:
            return f"{len(found)} of {len(reasons)} data checks {words}: {found[0].summary}"
    return f"{len(reasons)} checks of {len(facts)} data file(s) passed"


def _checks(project: Path, name: str, file: DataFile) -> list[Check]:
    """Everything the configuration asks of the rows of one file, before any data is touched."""
    checks: list[Check] = []
    for number, entry in enumerate(file.expect):
        source = f"data.files.{name}.expect[{number}]"
        checks.extend(expectations.from_inline(msgspec.to_builtins(entry), source))
    if file.suite:
        path = project / file.suite
        if not path.is_file():
            raise ConfigurationError(
                "the expectation suite does not exist",
                facts={"file": path, "at": f"data.files.{name}.suite"},
                tries=(f"ls {path.parent}", f"correct data.files.{name}.suite, which starts at the project's folder"),
            )
        checks.extend(expectations.parse_suite(path.read_bytes(), file.suite))
    check_schema(_wanted(file), {}, extra="allow", source=f"data.files.{name}.columns")
    return checks


def _wanted(file: DataFile) -> dict[str, str]:
    """The schema: ``columns``, and the ``type`` of inline expectations."""
    return {**file.columns, **{entry.column: entry.type for entry in file.expect if entry.type}}


def bring(context: Context) -> tuple[dict[str, str], list[Reason]]:
    """Pulls with DVC what is needed; the versions of all data by configured path, and notes on them."""
    from mlpipeline.adapters.duckdb.databases import is_server
    from mlpipeline.adapters.dvc import tracked

    root = tracked.repository(context.project)
    outputs = tracked.tracked(context.project, root) if root else []
    everything = {name: file.path for name, file in context.config.data.files.items()}
    paths = {name: path for name, path in everything.items() if not is_server(path)}
    _pull(context, root, outputs, list(paths.values()))
    versions: dict[str, str] = {}
    notes: list[Reason] = []
    for name in everything.keys() - paths.keys():
        versions[everything[name]] = f"live at {context.clock.now():%Y-%m-%dT%H:%M:%SZ}"
        notes.append(
            Reason(f"data.{name}.version", Verdict.PASS, f"{name} is a table that changes; this version cannot be restored")
        )
    for name, path in paths.items():
        versions[path], changed = _version(context.project, path, outputs)
        if changed:
            notes.append(Reason(f"data.{name}.version", Verdict.PASS, changed))
    return versions, notes


def _pull(context: Context, root: Path | None, outputs: list[Tracked], paths: Sequence[str]) -> None:
    from mlpipeline.adapters.dvc import tracked
    from mlpipeline.adapters.dvc.pull import pull

    policy = context.config.data.pull
    needed = {output.target: output for path in paths for output in _outputs_of(context.project, path, outputs)}
    stale = [name for name, output in needed.items() if policy == "always" or not _as_recorded(output)]
    remote = tracked.default_remote(root) if root else ""
    if policy == "always" and not remote:
        raise ConfigurationError(
            "data.pull is always, but DVC has no default remote",
            facts={"project": context.project},
            tries=("dvc remote add -d storage <url>", "data.pull: auto"),
        )
    if stale and remote and policy != "never":
        context.console.say(f"dvc pull {' '.join(stale)}")
        pull(context.project, stale, remote)
    for path in paths:
        _present(context, path, needed, remote)


def _outputs_of(project: Path, path: str, outputs: list[Tracked]) -> list[Tracked]:
    from mlpipeline.adapters.dvc import tracked

    fixed = Path(path[: min((path.find(character) for character in "*?[" if character in path), default=len(path))])
    place = project / (path if fixed == Path(path) else fixed.parent if not path[: len(str(fixed))].endswith("/") else fixed)
    above = tracked.covering(place, outputs)
    return [above] if above else tracked.inside(place, outputs)


def _as_recorded(output: Tracked) -> bool:
    from mlpipeline.adapters.dvc import tracked

    if not output.path.exists():
        return False
    return not output.hash or tracked.md5(output.path) == output.hash


def _present(context: Context, path: str, needed: Mapping[str, Tracked], remote: str) -> None:
    from mlpipeline.adapters.duckdb import files

    if files.find(context.project, path):
        return
    known = [output for output in needed.values() if not output.path.exists()]
    facts = {"path": path, "project": context.project}
    if not known:
        raise ConfigurationError(
            "there is no such data file",
            facts=facts,
            likely="a misspelt path, a folder without Parquet or CSV in it, or data that was never added to DVC",
            tries=(f"ls {path}", f"dvc add {path}"),
        )
    if not remote:
        raise ConfigurationError(
            "the data is not here, and DVC has no default remote to pull it from",
            facts={**facts, "tracked by": known[0].source},
            tries=("dvc remote add -d storage <url>", "copy the data here"),
        )
    raise EnvironmentFault(
        "the data is not here",
        facts={**facts, "tracked by": known[0].source, "remote": remote},
        likely="data.pull is never" if context.config.data.pull == "never" else "dvc pull left it out",
        tries=(f"dvc pull {known[0].target}",),
    )


def _version(project: Path, path: str, outputs: list[Tracked]) -> tuple[str, str]:
    """The version of what lies at a configured path now, and a note when DVC recorded something else."""
    from mlpipeline.adapters.duckdb import files
    from mlpipeline.adapters.dvc import tracked

    place = project / path
    output = tracked.covering(place, outputs)
    if output is None or not place.exists():
        return f"sha256:{tracked.sha256(place, files.find(project, path))}", ""
    digest = tracked.md5(place)
    version = f"md5:{digest}"
    if output.hash in {"", digest} if output.path == place else _as_recorded(output):
        return version, ""
    source = output.source.name
    return version, f"{path} differs from what {source} records; run dvc add or dvc commit, so that this version can be restored"


def _check_file(context: Context, run: Run, name: str, checks: Sequence[Check], version: str) -> _Findings:
    from mlpipeline.verbs import data_rules

    file = context.config.data.files[name]
    facts: dict[str, object] = {
        "path": file.path,
        "rows": 0,
        "columns": 0,
        "expectations": len(checks),
        "failed": 0,
        "engine": "none",
    }
    table: Table | None = None
    try:
        table = opened(context, name)
        outcomes, rows = data_outcomes.asked(context, table, checks)
        reasons = [_rows_reason(name, file, rows), *_of_schema(context, name, table)]
        reasons += data_rules.of_rows(name, file, table, rows)
        reasons += data_rules.of_keys(name, file, table, lambda other, beside: opened(context, other, beside))
        past, remembered = data_rules.against_history(context, name, table, rows=rows, version=version, run=run.id)
        moved, drift = _drift(context, run, name, table) if rows and file.drift else ([], {})
    except Failed as error:
        return _Findings([_unreadable(name, error)], {**facts, "failed": len(checks)})
    finally:
        if table is not None:
            table.close()
    engines = sorted({outcome.engine for outcome in outcomes})
    failed = sum(not outcome.success for outcome in outcomes)
    facts |= {"rows": rows, "columns": len(table.types), "failed": failed, "engine": "+".join(engines) or "duckdb", **remembered}
    links = _written(context, run, name, outcomes) if outcomes else {}
    return _Findings([*reasons, *past, *moved, *data_outcomes.named(name, outcomes)], facts, drift, links)


def expected(context: Context, name: str, file: DataFile, table: Table) -> list[Reason]:
    """The file's expectations, inline ones and its suite, on an open table. Raises ConfigurationError for a bad suite."""
    outcomes, _ = data_outcomes.asked(context, table, _checks(context.project, name, file))
    return data_outcomes.named(name, outcomes)


def _drift(context: Context, run: Run, name: str, table: Table) -> tuple[list[Reason], dict[str, object]]:
    from mlpipeline.verbs.data_drift import drift

    return drift(context, run, name, context.config.data.files[name], table)


def require(context: Context, name: str) -> None:
    """Raises ConfigurationError or EnvironmentFault, with words on DVC, when the file is not there."""
    from mlpipeline.adapters.duckdb.databases import is_server
    from mlpipeline.adapters.dvc import tracked

    path = context.config.data.files[name].path
    if is_server(path):
        return
    root = tracked.repository(context.project)
    outputs = tracked.tracked(context.project, root) if root else []
    needed = {output.target: output for output in _outputs_of(context.project, path, outputs)}
    _present(context, path, needed, tracked.default_remote(root) if root else "")


def opened(context: Context, name: str, beside: Table | None = None) -> Table:
    """The table of one configured file. Raises Failed when it cannot be read.

    Args:
        beside: An open table that queries name together with this one.
    """
    from mlpipeline.adapters.duckdb import databases, files

    file = context.config.data.files[name]
    if databases.is_server(file.path):
        address = databases.filled(file.path, context.environment)
        return files.open_server(address, databases.named(file.path), table=file.table, beside=beside)
    return files.open_table(files.find(context.project, file.path), file.path, table=file.table, beside=beside)


def _of_schema(context: Context, name: str, table: Table) -> list[Reason]:
    file = context.config.data.files[name]
    wanted = check_schema(_wanted(file), table.kinds, extra=file.extra_columns, source=name)
    reasons = [
        Reason(f"data.{name}.{finding.rule}", Verdict.PASS if finding.holds else Verdict.FAIL, f"{name}: {finding.summary}")
        for finding in wanted
    ]
    return [*reasons, _freshness(context, name, file.freshness, table)] if file.freshness else reasons


def _leaks(context: Context) -> list[Reason]:
    """What test files know from training files; each pair is opened again, on one connection."""
    if not context.config.data.leakage:
        return []
    from mlpipeline.verbs import data_rules

    reasons: list[Reason] = []
    for rule in context.config.data.leakage:
        try:
            train = opened(context, rule.train)
        except Failed:
            continue  # the file's own reason says so
        try:
            reasons += data_rules.leaks(rule, train, opened(context, rule.test, train))
        except Failed:
            continue
        finally:
            train.close()
    return reasons


def _written(context: Context, run: Run, name: str, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The results in Great Expectations' own form, beside the result of the verb."""
    from mlpipeline.core.expectation_results import validation
    from mlpipeline.record.files import write_atomically

    suite = context.config.data.files[name].suite
    place = f"expectations/{name}.json"
    content = msgspec.json.format(msgspec.json.encode(validation(Path(suite).stem or name, outcomes)), indent=2)
    write_atomically(context.runs.folder(run.id) / place, content + b"\n")
    return {f"expectations of {name}": place}


def _rows_reason(name: str, file: DataFile, rows: int) -> Reason:
    if rows == 0:
        return Reason(f"data.{name}.rows", Verdict.FAIL, f"{file.path} has no rows, only a header or a schema", {"rows": 0})
    return Reason(f"data.{name}.rows", Verdict.PASS, f"{file.path} has {rows:,} rows", {"rows": rows})


def _unreadable(name: str, error: Failed) -> Reason:
    where = error.facts.get("file", "")
    found = error.facts.get("found", "")
    text = f"{error.what}: {where}" + (f" ({found})" if found else "")
    return Reason(f"data.{name}.readable", Verdict.FAIL, text)


_ZONES = 24 * 3600.0
"""Seconds that times may lie ahead: those written without a zone are read as UTC, and no zone is further from it."""


def _freshness(context: Context, name: str, rule: Freshness, table: Table) -> Reason:
    check = f"data.{name}.freshness"
    now = _moment(rule.now, name) if rule.now else context.clock.now()
    if rule.column and rule.column not in table.types:
        near = expectations.nearest(rule.column, table.types)
        hint = f"; did you mean {near}?" if near else ""
        return Reason(check, Verdict.FAIL, f"{name}: column {rule.column} is missing{hint}")
    if rule.column:
        newest = table.newest(rule.column)
        if newest is None:
            return Reason(check, Verdict.FAIL, f"{name}: column {rule.column} holds no times")
    else:
        newest = datetime.fromtimestamp(max(file.stat().st_mtime for file in table.files), UTC)
    age = (now - newest).total_seconds()
    when = f"{newest:%Y-%m-%dT%H:%M:%SZ}"
    if age < -_ZONES:
        shown = (
            f"newest data is dated {_spoken(-age)} in the future ({when}), so its age says nothing: a wrong clock, unit or column"
        )
    else:
        shown = f"newest data is {_spoken(age)} old ({when}), allowed {_spoken(rule.within)}"
    numbers: dict[str, Number] = {"age_seconds": round(age, 3), "within_seconds": float(rule.within)}
    if rule.column and (strange := table.no_times(rule.column)):
        shown += f"; {strange:,} values of {rule.column} do not read as times and are left out"
        numbers["no_times"] = strange
    verdict = Verdict.PASS if -_ZONES <= age <= rule.within else Verdict.FAIL
    return Reason(check, verdict, f"{name}: {shown}", numbers)


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no ISO time", facts={"at": f"data.files.{name}.freshness.now"}, tries=("now: 2013-06-30T00:00:00Z",)
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _spoken(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 0 else f"-{timedelta(seconds=round(-seconds))}"
