"""``waive``: a named person lets one check not stop releases until a day, for a reason; written into the ledger, never silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

import msgspec

from mlpipeline import __version__
from mlpipeline.clock import iso
from mlpipeline.core.verdict import Verdict
from mlpipeline.core.waivers import Waiver, apply, waivable
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

VERB = "waive"
EVENT = "waived"
REVOKED = "waiver-revoked"
LONGEST = timedelta(days=366)
"""A check that is not wanted for longer belongs out of the configuration, where it can be reviewed."""
MACHINES = frozenset({"jenkins", "policy", "ci", "root", "anonymous", "nobody", "admin", "system"})
"""Names that are no person's."""
GATES = ("gate-data", "gate-model")


def run(
    context: Context,
    run: Run | None,
    *,
    check: str = "",
    person: str = "",
    why: str = "",
    until: str = "",
    this_model: bool = False,
    revoke: bool = False,
) -> Result:
    """Writes a waiver, or takes one back; without a check it lists those that hold.

    Args:
        check: Name of a check, as in the result's reasons; ``*`` stands for any part of it.
        until: ISO date (the whole day counts, UTC) or time.
        this_model: Only for the model of the newest run.

    Raises:
        ConfigurationError: A word is missing, nobody is named, the day has passed, or the check cannot be waived.
    """
    if not check:
        return _listed(context)
    _check_person(person)
    if revoke:
        _revoke(context, check, person, why)
        return _result(context, f"the waivers of {check} no longer hold", [])
    waiver = Waiver(check, person.strip(), why.strip(), _moment(until, context.clock.now()), _model(context, run, this_model))
    _refuse_unfit(context, run, waiver)
    entry = context.note(
        EVENT,
        run=run.id if run is not None else "",
        verdict="pass",
        summary=f"{waiver.who} waived {check} until {waiver.last_day}: {waiver.why}",
        facts={"check": check, "who": waiver.who, "why": waiver.why, "until": iso(waiver.until)}
        | ({"model": waiver.model} if waiver.model else {}),
    )
    held = msgspec.structs.asdict(entry)["seq"]
    return _result(context, entry.summary, [_told(Waiver(check, waiver.who, waiver.why, waiver.until, waiver.model, held))])


def known_waivers(context: Context, model: str) -> list[Waiver]:
    """The waivers of this service that are not revoked, expired ones too, for this model."""
    found: list[Waiver] = []
    for entry in context.ledger.read():
        if entry.event == REVOKED:
            found = [waiver for waiver in found if waiver.check != entry.facts.get("check")]
        elif entry.event == EVENT and (waiver := _from(entry)) is not None:
            found.append(waiver)
    return [waiver for waiver in found if not waiver.model or waiver.model == model]


def under_waivers(
    context: Context, reasons: Sequence[Reason], waivers: Sequence[Waiver], model: str = ""
) -> tuple[list[Reason], list[dict[str, object]]]:
    """The reasons as they count under the waivers, and the waivers that were used, for the result's evidence.

    A check that is waived passes and says so. One whose waiver expired keeps its verdict, and an error beside it says when.
    """
    now = context.clock.now()
    changed, used, late = [], [], []
    for reason in reasons:
        waived = apply(reason.check, reason.verdict, model, waivers, now)
        if waived.waiver is None:
            changed.append(reason)
            continue
        summary = f"{reason.summary}; {waived.words}"
        changed.append(msgspec.structs.replace(reason, verdict=waived.verdict, summary=summary))
        if waived.expired:
            again = f'mlpipeline waive --check "{reason.check}" --as NAME --until DATE --why "..."'
            late.append(
                Reason(f"waiver.{reason.check}", Verdict.ERROR, f"{waived.words}; renew it ({again}) or mend what it is about")
            )
        else:
            used.append({**_told(waived.waiver), "checked": reason.check, "was": str(reason.verdict), "summary": reason.summary})
    return [*changed, *late], used


def lapsed(context: Context, run: Run, verb: str) -> bool:
    """Whether the verb's result rests on a waiver that expired or was revoked since."""
    result = context.runs.result(run.id, verb)
    used = result.evidence.get("waivers") if result is not None else None
    if not isinstance(used, list) or not used:
        return False
    now = context.clock.now()
    holding = {waiver.entry for waiver in known_waivers_of_all(context) if not waiver.expired(now)}
    return any(isinstance(one, dict) and one.get("ledger") not in holding for one in used)


def _check_person(person: str) -> None:
    name = person.strip()
    if not name or name.lower() in MACHINES:
        raise ConfigurationError(
            "a waiver needs the name of a person" if not name else f"{name!r} is no person",
            likely="" if not name else "a waiver is a person's decision, and machines make none",
            tries=('mlpipeline waive --check CHECK --as "ada" --until 2026-12-31 --why "..."',),
        )


def _moment(until: str, now: datetime) -> datetime:
    """The first moment at which the waiver no longer holds."""
    if not until.strip():
        raise ConfigurationError("a waiver needs an end", tries=("--until 2026-12-31",))
    try:
        if len(until.strip()) == len("2026-12-31"):
            moment = datetime.combine(datetime.fromisoformat(until.strip()).date() + timedelta(days=1), time(), UTC)
        else:
            moment = datetime.fromisoformat(until.strip())
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"--until is no ISO date: {until!r}", tries=("--until 2026-12-31",)) from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment <= now:
        raise ConfigurationError(
            f"the waiver would have expired already, on {moment:%Y-%m-%d %H:%M} UTC", tries=("give a day that is to come",)
        )
    if moment > now + LONGEST + timedelta(days=1):
        raise ConfigurationError(
            f"a waiver holds at most {LONGEST.days} days",
            tries=("a rule that is not wanted for longer belongs out of mlpipeline.yaml, where it can be reviewed",),
        )
    return moment


def _model(context: Context, run: Run | None, this_model: bool) -> str:
    if not this_model:
        return ""
    trained = context.runs.result(run.id, "train") if run is not None else None
    digest = str(trained.evidence.get("model_digest", "")) if trained is not None else ""
    if not digest:
        raise ConfigurationError("--this-model is set, and the newest run has no model", tries=("mlpipeline train",))
    return digest


def _refuse_unfit(context: Context, run: Run | None, waiver: Waiver) -> None:
    if not waiver.why:
        raise ConfigurationError("a waiver needs a reason", tries=('--why "..."',))
    if not waiver.check.replace("*", "").strip("."):
        raise ConfigurationError("a waiver of every check would be no gate at all", tries=("name one check",))
    if not waivable(waiver.check):
        raise ConfigurationError(
            f"{waiver.check} cannot be waived", likely="it says that nothing could be measured, for which nobody can vouch"
        )
    results = [found for verb in GATES if run is not None and (found := context.runs.result(run.id, verb)) is not None]
    checks = [reason.check for result in results for reason in result.reasons]
    if checks and not any(waiver.covers(check, waiver.model) for check in checks):
        import difflib

        stopped = [one.check for result in results for one in result.reasons if one.verdict is not Verdict.PASS]
        near = difflib.get_close_matches(waiver.check, checks, n=1)
        raise ConfigurationError(
            f"the newest run has no check {waiver.check!r}",
            facts={"checks that did not pass": ", ".join(stopped[:10]) or "none"},
            tries=(f"did you mean {near[0]}?",) if near else (),
        )


def _revoke(context: Context, check: str, person: str, why: str) -> None:
    if not any(entry.event == EVENT and entry.facts.get("check") == check for entry in context.ledger.read()):
        raise ConfigurationError(f"nobody waived {check!r}", tries=("mlpipeline waive    # lists those that hold",))
    context.note(REVOKED, summary=f"{person} revoked the waivers of {check}", facts={"check": check, "who": person, "why": why})


def _from(entry: Entry) -> Waiver | None:
    facts = entry.facts
    try:
        until = datetime.fromisoformat(facts["until"])
        return Waiver(facts["check"], facts["who"], facts["why"], until, facts.get("model", ""), entry.seq)
    except (KeyError, ValueError):
        return None


def _told(waiver: Waiver) -> dict[str, object]:
    told: dict[str, object] = {"check": waiver.check, "who": waiver.who, "why": waiver.why, "until": waiver.last_day}
    return told | ({"model": waiver.model} if waiver.model else {}) | {"ledger": waiver.entry}


def _listed(context: Context) -> Result:
    now = context.clock.now()
    holding = [waiver for waiver in known_waivers_of_all(context) if not waiver.expired(now)]
    lines = [f"{one.check} until {one.last_day} by {one.who}: {one.why}" for one in holding]
    return _result(context, "\n".join(lines) or "no waiver holds", [_told(one) for one in holding])


def known_waivers_of_all(context: Context) -> list[Waiver]:
    """As :func:`known_waivers`, for whatever model."""
    models = {entry.facts.get("model", "") for entry in context.ledger.read() if entry.event == EVENT}
    found = {waiver.entry: waiver for model in models | {""} for waiver in known_waivers(context, model)}
    return [found[number] for number in sorted(found)]


def _result(context: Context, text: str, told: list[dict[str, object]]) -> Result:
    return Result(
        verb=VERB,
        service=context.config.service,
        run="",
        verdict=Verdict.PASS,
        summary=text.partition("\n")[0],
        evidence={"waivers": told, "lines": text.splitlines()},
        worker=__version__,
    )
