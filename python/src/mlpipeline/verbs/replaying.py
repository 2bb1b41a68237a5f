"""Before users move: recorded requests, answered by candidate and champion, and how many of them differently."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import msgspec

from mlpipeline.core.disagreement import difference
from mlpipeline.core.intervals import exact_bounds
from mlpipeline.core.release import Release
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.ports import Target
from mlpipeline.record.result import Number, Reason
from mlpipeline.verbs.context import Context

CHECK = "switch.replay"
_SHOWN = 5
_JSON = "application/json"


class Recorded(msgspec.Struct, frozen=True):
    """One line of a sample, as the serving process writes it."""

    body: str = ""
    body_base64: str = ""
    content_type: str = _JSON
    request_id: str = ""

    @property
    def content(self) -> bytes:
        return base64.b64decode(self.body_base64) if self.body_base64 else self.body.encode()


class _Tally(msgspec.Struct):
    compared: int = 0
    different: int = 0
    left_out: int = 0
    shown: list[str] = []


def replay(context: Context, target: Target, release: Release) -> Reason | None:
    """Asks both colours the newest recorded requests; nothing where none are configured. Users notice nothing of it.

    Raises:
        ConfigurationError: The configured file cannot be read or holds no recorded request.
    """
    rule = context.config.rollout.replay
    if not rule.requests:
        return None
    recorded, broken = of_file(context) if rule.file else _readable(target.recorded(release.colour.other))
    tally = _Tally(left_out=broken)
    wanted = recorded[-rule.requests :]
    for number, one in enumerate(wanted, start=1):
        _compare(target, release.colour, one, number, tally=tally, tolerance=rule.tolerance)
        context.console.progress("replay", number, len(wanted))
    return _judged(context, release, tally)


def of_file(context: Context) -> tuple[list[Recorded], int]:
    """The recorded requests of the configured file, and how many of its lines are none.

    Raises:
        ConfigurationError: It cannot be read or holds no recorded request.
    """
    file = context.project / context.config.rollout.replay.file
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"rollout.replay.file cannot be read: {error.strerror}", facts={"file": file}, tries=(f"ls -l {file}",)
        ) from error
    recorded, broken = _readable(lines)
    if not recorded:
        raise ConfigurationError(
            "rollout.replay.file holds no recorded request",
            facts={"file": context.config.rollout.replay.file, "lines that are none": broken},
            tries=("copy a file that target.local.serving.sample made",),
        )
    return recorded, broken


def _readable(lines: Sequence[bytes]) -> tuple[list[Recorded], int]:
    """The requests in JSON, and how many lines are none; the last line of a process that was killed may be torn."""
    found, broken = [], 0
    for line in lines:
        try:
            one = msgspec.json.decode(line, type=Recorded)
            usable = bool(one.content) and one.content_type.partition(";")[0].strip().lower() == _JSON
        except (msgspec.DecodeError, ValueError):
            usable = False
        if usable:
            found.append(one)
        elif line.strip():
            broken += 1
    return found, broken


def _compare(target: Target, candidate: Colour, one: Recorded, number: int, *, tally: _Tally, tolerance: float) -> None:
    try:
        theirs_status, theirs = target.probe(candidate.other, one.content)
    except Failed:
        theirs_status, theirs = 0, b""
    if theirs_status != 200:
        tally.left_out += 1  # what the champion does not answer either tells nothing of the candidate
        return
    try:
        status, ours = target.probe(candidate, one.content)
    except Failed:
        status, ours = 0, b""
    apart = difference(ours.decode(errors="replace"), theirs.decode(errors="replace"), tolerance) if status == 200 else 1.0
    if apart is None:
        tally.left_out += 1
        return
    tally.compared += 1
    tally.different += apart > 0
    if apart > 0 and len(tally.shown) < _SHOWN:
        named = f"request {number}{f' ({one.request_id})' if one.request_id else ''}"
        told = f"{100 * apart:.3g} % of its rows differ" if status == 200 else f"{candidate} answered {status or 'nothing'}"
        tally.shown.append(f"{named}: {told}")


def _judged(context: Context, release: Release, tally: _Tally) -> Reason:
    rule = context.config.rollout.replay
    low, high = exact_bounds(tally.different, tally.compared, rule.confidence)
    if not tally.compared:
        verdict, meaning = Verdict.INCONCLUSIVE, "there was nothing to compare"
    elif high <= rule.allowed or not (rule.allowed or tally.different):
        verdict, meaning = Verdict.PASS, "no more is plausible"
    elif low > rule.allowed:
        verdict, meaning = Verdict.FAIL, "less is not plausible"
    else:
        verdict, meaning = Verdict.INCONCLUSIVE, f"too few to say{_enough(rule.allowed, rule.confidence)}"
    if verdict is Verdict.INCONCLUSIVE and rule.inconclusive == "proceed":
        verdict, meaning = Verdict.PASS, f"{meaning}; the policy is to go on"
    left = f", {tally.left_out} left out" if tally.left_out else ""
    words = (
        f"{release.colour} answered {tally.different} of {tally.compared} recorded requests differently from "
        f"{release.colour.other}{left}; {100 * rule.allowed:g} % are allowed, exact bounds {100 * low:.3g} and "
        f"{100 * high:.3g} % ({100 * rule.confidence:g} % each): {meaning}"
    )
    numbers: dict[str, Number] = {"compared": tally.compared, "different": tally.different, "left_out": tally.left_out}
    numbers |= {"low": low, "high": high, "allowed": rule.allowed}
    return Reason(CHECK, verdict, words, numbers, tuple(tally.shown))


def _enough(allowed: float, confidence: float) -> str:
    if not 0 < allowed < 1:
        return ""
    return f", {math.ceil(math.log(1 - confidence) / math.log(1 - allowed))} without a difference would be enough"
