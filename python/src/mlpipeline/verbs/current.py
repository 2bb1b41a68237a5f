"""Which run a verb belongs to."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from mlpipeline.adapters import git
from mlpipeline.clock import iso
from mlpipeline.config.load import digest
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.run import FLOW, Run, new_run_id
from mlpipeline.verbs.context import Context


class Choice(Enum):
    """START: the unfinished run of these inputs, else a new one. CONTINUE: the latest run of these inputs, finished or not.
    LATEST: the newest run whatever it is of. LOOK: as CONTINUE, else one that is nowhere kept: nothing will be written."""

    START = "start"
    CONTINUE = "continue"
    LATEST = "latest"
    LOOK = "look"


def choose_run(context: Context, choice: Choice, *, reason: str = "commit") -> Run:
    """Finds or makes the run. Only START ever makes one, and LATEST when the service has none in this checkout.

    Raises ConfigurationError without a git commit, or when CONTINUE finds no run of this commit and configuration.
    """
    if choice is Choice.LATEST and (latest := context.runs.latest()) is not None:
        return latest
    if choice in (Choice.CONTINUE, Choice.LOOK):
        return _chosen(context, choice, reason)
    with _one_at_a_time(context):
        return _chosen(context, choice, reason)


def _chosen(context: Context, choice: Choice, reason: str) -> Run:
    wanted = described(context, reason)
    same = [run for run in context.runs.all() if run.same_inputs(wanted)]
    if same and (choice is not Choice.START or not finished(context, same[-1])):
        return same[-1]
    if choice is Choice.CONTINUE:
        raise _no_run(context, wanted)
    if choice is Choice.LOOK:
        return wanted
    return context.runs.create(wanted)


@contextmanager
def _one_at_a_time(context: Context) -> Iterator[None]:
    """Verbs that begin side by side in one checkout, such as the data gate and the project's checks, begin one run."""
    context.places.work.mkdir(parents=True, exist_ok=True)
    with (context.places.work / "runs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def current_run(context: Context, *, create: bool) -> Run:
    """The run of what is checked out now; with ``create`` a new one when there is none that can go on."""
    return choose_run(context, Choice.START if create else Choice.CONTINUE)


def finished(context: Context, run: Run) -> bool:
    """Whether the run came to its end: settled, rolled back, or refused by a gate. Errors and open questions can go on."""
    results = context.runs.results(run.id)
    settled = results.get("settle")
    return (
        (settled is not None and settled.verdict is Verdict.PASS)
        or "rollback" in results
        or any(result.verdict is Verdict.FAIL for verb, result in results.items() if verb in FLOW)
    )


def described(context: Context, reason: str) -> Run:
    """The run that what is checked out would be, under a new name. Raises ConfigurationError without a git commit."""
    config = context.config
    written = [path for path in (config.train.metrics, config.train.model, config.gate.holdout) if path]
    state = git.checkout(context.project, written=written)
    now = context.clock.now()
    taken = {run.id for run in context.runs.all()}
    name = new_run_id(now, state.commit)
    count = 2
    while name in taken:
        name = f"{new_run_id(now, state.commit)}-{count}"
        count += 1
    return Run(
        id=name,
        service=config.service,
        commit=state.commit,
        created=iso(now),
        dirty=state.dirty,
        config=digest(config),
        reason=reason,
        requester=context.actor,
    )


def _no_run(context: Context, wanted: Run) -> ConfigurationError:
    latest = context.runs.latest()
    facts = {"commit": wanted.commit[:12] + (" with uncommitted changes" if wanted.dirty else "")}
    likely = ""
    if latest is not None:
        facts["latest run"] = f"{latest.id}, of commit {latest.commit[:12]}"
        likely = (
            "the configuration or uncommitted changes are not what they were then"
            if latest.commit == wanted.commit
            else "another commit is checked out now"
        )
    tries = ["mlpipeline run"]
    if latest is not None:
        tries.append(f"mlpipeline --run {latest.id} ... (to go on with that one)")
    return ConfigurationError(
        "no run of this commit and configuration has been started", facts=facts, likely=likely, tries=tuple(tries)
    )
