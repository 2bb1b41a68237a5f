"""What is asked at points of a rollout: a command of the project, or a webhook. What ended is kept, and not asked again."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping

import msgspec

from mlpipeline.config.rollout_plan import hook, is_set
from mlpipeline.config.sections.rollout import Hook
from mlpipeline.core.release import Release
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.files import read_own, write_atomically
from mlpipeline.record.result import Reason
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

FILE = "hooks.json"
FOLDER = "hooks"
_INCONCLUSIVE = 11
_NOT_FOUND = (126, 127)
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
_SHORTEST_SECRET = 6
_HIDDEN = "********"


class Asked(msgspec.Struct, frozen=True):
    """One hook that ended.

    Args:
        stage: Of ``each_step``.
        verdict: After the hook's own policy for what is inconclusive.
        lines: The last it said.
        log: Its output, relative to the run's folder; empty for a webhook.
    """

    point: str
    verdict: Verdict
    summary: str
    stage: str = ""
    seconds: float = 0.0
    lines: tuple[str, ...] = ()
    log: str = ""

    @property
    def reason(self) -> Reason:
        check = f"hook.{self.point}" + (f".{self.stage}" if self.stage else "")
        sample = self.lines if self.verdict is not Verdict.PASS else ()
        return Reason(check, self.verdict, self.summary, {"hook_seconds": self.seconds}, sample)


def asked(context: Context, run: Run) -> tuple[Asked, ...]:
    """Those that ended in this release, in order."""
    file = context.runs.folder(run.id) / FILE
    return tuple(read_own(file, list[Asked], "the record of the hooks")) if file.is_file() else ()


def forget(context: Context, run: Run) -> None:
    """A release that is begun anew asks anew."""
    (context.runs.folder(run.id) / FILE).unlink(missing_ok=True)


def ask(context: Context, run: Run, point: str, release: Release, *, share: int, stage: str = "") -> Asked | None:
    """Asks the hook of this point, or says what it said before; nothing when none is configured.

    One that passed or failed is not asked again in this release, also after a crash; one that was inconclusive is.

    Args:
        share: Percent of users on the candidate now.
    """
    rule = hook(context.config.rollout, point)
    if not is_set(rule):
        return None
    name = f"{point} ({stage})" if stage else point
    earlier = asked(context, run)
    for one in earlier:
        if (one.point, one.stage) == (point, stage) and one.verdict in (Verdict.PASS, Verdict.FAIL):
            context.console.say(f"hook {name}: {one.verdict}, as before: {one.summary}")
            return one
    context.console.say(f"hook {name}: starts")
    facts = _facts(context, run, point, release, share=share, stage=stage)
    found = _commanded(context, run, rule, facts) if rule.command else _posted(context, rule, facts)
    found = _by_policy(found, rule, name)
    context.console.say(f"hook {found.summary}")
    kept = [one for one in earlier if (one.point, one.stage) != (point, stage)]
    write_atomically(context.runs.folder(run.id) / FILE, msgspec.json.encode([*kept, found]))
    return found


def _facts(context: Context, run: Run, point: str, release: Release, *, share: int, stage: str) -> dict[str, str]:
    champion = release.champion
    return {
        "hook": point,
        "service": context.config.service,
        "run": run.id,
        "digest": release.candidate.digest,
        "model_version": release.candidate.model_version,
        "colour": str(release.colour),
        "champion_digest": champion.digest if champion else "",
        "champion_version": champion.model_version if champion else "",
        "champion_colour": str(release.colour.other) if champion else "",
        "share": str(share),
        "stage": stage,
    }


def _commanded(context: Context, run: Run, rule: Hook, facts: Mapping[str, str]) -> Asked:
    from mlpipeline.adapters.process import run_command

    name = facts["hook"] + (f"-{facts['stage']}" if facts["stage"] else "")
    log = context.runs.folder(run.id) / FOLDER / f"{name}.log"
    environment = dict(context.environment or os.environ)
    environment |= {f"MLPIPELINE_{key.upper()}": value for key, value in facts.items()}
    outcome = run_command(
        rule.command if isinstance(rule.command, str) else shlex.join(rule.command),
        folder=context.project,
        environment=environment,
        log=log,
        record=context.places.work / FOLDER / f"{facts['hook']}.json",
        limit_seconds=rule.timeout,
    )
    hidden = _secrets(context)
    log.write_text(_without(log.read_text(errors="replace"), hidden), encoding="utf-8")
    lines = tuple(_without(line, hidden) for line in outcome.tail[-8:])
    last = f": {lines[-1]}" if lines else ""
    if outcome.kind == "hung":
        verdict, words = Verdict.INCONCLUSIVE, f"did not end within {rule.timeout:g} s and was ended"
    elif outcome.kind == "killed":
        verdict, words = Verdict.INCONCLUSIVE, f"was killed by {outcome.signal}"
    elif outcome.code in _NOT_FOUND:
        verdict, words = Verdict.INCONCLUSIVE, f"could not be run{last}"
    elif outcome.code == _INCONCLUSIVE:
        verdict, words = Verdict.INCONCLUSIVE, f"exit code {outcome.code}{last}"
    elif outcome.code:
        verdict, words = Verdict.FAIL, f"exit code {outcome.code}{last}"
    else:
        verdict, words = Verdict.PASS, f"exit code 0{last}"
    return Asked(facts["hook"], verdict, words, facts["stage"], round(outcome.seconds, 3), lines, f"{FOLDER}/{log.name}")


def _posted(context: Context, rule: Hook, facts: Mapping[str, str]) -> Asked:
    from mlpipeline.adapters import webhook

    begun = context.clock.monotonic()
    answer = webhook.ask(rule.url, facts, timeout=rule.timeout)
    seconds = round(context.clock.monotonic() - begun, 3)
    said = _without(answer.said, _secrets(context))
    words = f"{webhook.shown(rule.url)} answered {answer.status}" if answer.status else said
    if answer.verdict == "fail":
        verdict = Verdict.FAIL
    elif 200 <= answer.status < 300 and answer.verdict != "inconclusive":
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    lines = tuple(said.splitlines()[-8:])
    more = f": {lines[-1]}" if lines and answer.status else ""
    return Asked(facts["hook"], verdict, f"{words}{more}"[:300], facts["stage"], seconds, lines)


def _by_policy(found: Asked, rule: Hook, name: str) -> Asked:
    words = f"{name}: {found.summary}"
    if found.verdict is not Verdict.INCONCLUSIVE:
        return msgspec.structs.replace(found, summary=words)
    verdict = {"hold": Verdict.INCONCLUSIVE, "rollback": Verdict.FAIL, "proceed": Verdict.PASS}[rule.inconclusive]
    return msgspec.structs.replace(found, verdict=verdict, summary=f"{words} (inconclusive: {rule.inconclusive})")


def _secrets(context: Context) -> list[str]:
    """Values that may not be kept or told, the longest first, so that none is left in part."""
    named = [value for name, value in (context.environment or os.environ).items() if _SECRET.search(name)]
    found = {value for value in (*named, *context.secrets.values()) if len(value) >= _SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return text
