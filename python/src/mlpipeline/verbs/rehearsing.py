"""What a deployed candidate is asked before any user or copy reaches it: warm-up requests, and requests with known answers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import TypeVar

import msgspec

from mlpipeline.config.sections.deploy import Golden as GoldenRules
from mlpipeline.config.sections.deploy import WarmUp
from mlpipeline.core.golden import Comparison, Golden, Malformed, Tolerance, golden_of, mismatches, requests_of
from mlpipeline.core.release import Standing
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.ports import Target
from mlpipeline.record.result import Number, Reason
from mlpipeline.verbs.context import Context

WARM_UP = "deploy.warm_up"
GOLDEN = "deploy.golden"
Line = TypeVar("Line")


class Rehearsal:
    """The files of one deploy, read before anything is started, so that a malformed one changes nothing.

    Raises:
        ConfigurationError: A file is missing or malformed; names it and the line.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rules = context.config.deploy
        self._warming = self._warm_up_requests() if self._rules.warm_up.file else []
        self.golden = self._golden_requests() if self._rules.golden.file else []

    def warm_up(self, target: Target, standing: Standing) -> tuple[Reason, ...]:
        """Sends the requests round by round; one that is not answered with 200 fails. Nothing where none are configured."""
        if not self._warming:
            return ()
        rules, rounds = self._rules.warm_up, []
        for number in range(rules.rounds):
            took = []
            for line, request in self._warming:
                begun = self._context.clock.monotonic()
                status, body = target.probe(standing.colour, request)
                took.append(self._context.clock.monotonic() - begun)
                if status != 200:
                    words = f"{standing.colour} answered {status} to warm-up request {line} of {rules.file}"
                    return (Reason(WARM_UP, Verdict.FAIL, words, {"status": status}, (_text(body),)),)
            rounds.append(took)
            self._context.console.progress("warm-up", number + 1, rules.rounds)
        first, cold, warm = rounds[0][0], max(rounds[0]), statistics.median(rounds[-1])
        size = f" of {rules.rows} rows" if rules.rows else ""
        words = (
            f"warm after {rules.rounds} rounds of {len(self._warming)} requests{size}: the first took {first:.3f} s, "
            f"the slowest of the first round {cold:.3f} s, those of the last round {warm:.3f} s (median)"
        )
        numbers = {"first_seconds": first, "cold_seconds": cold, "warm_seconds": warm, "requests": len(self._warming)}
        return (Reason(WARM_UP, Verdict.PASS, words, {name: round(value, 6) for name, value in numbers.items()}),)

    def judge_golden(self, target: Target, standing: Standing) -> tuple[Reason, ...]:
        """Compares every answer with the expected one; all wrong ones are counted, the first few named."""
        return self._judged(GOLDEN, str(standing.colour), lambda request: target.probe(standing.colour, request))

    def judge_as_user(self, target: Target, check: str) -> tuple[Reason, ...]:
        """The same through the router. Nothing where the worker cannot reach the router."""
        if self.golden and target.ask_as_user(self.golden[0].request)[0] == 0:
            return ()
        return self._judged(check, "the router", target.ask_as_user)

    def _judged(self, check: str, who: str, ask: Callable[[bytes], tuple[int, bytes]]) -> tuple[Reason, ...]:
        if not self.golden:
            return ()
        by, wrong = _comparison(self._rules.golden), 0
        told: list[str] = []
        for number, golden in enumerate(self.golden, start=1):
            found = list(mismatches(golden, *ask(golden.request), by))
            wrong += bool(found)
            if found and len(told) < self._rules.shown:
                more = f" (and {len(found) - 1} more in this answer)" if len(found) > 1 else ""
                told.append(f"request {number}, line {golden.line}: {found[0]}{more}")
        numbers: dict[str, Number] = {"requests": len(self.golden), "wrong": wrong}
        file = self._rules.golden.file
        if wrong:
            words = f"{who} answered {wrong} of {len(self.golden)} golden requests of {file} wrongly; {told[0]}"
            return (Reason(check, Verdict.FAIL, words, numbers, tuple(told)),)
        return (
            Reason(check, Verdict.PASS, f"{who} answered all {len(self.golden)} golden requests of {file} as expected", numbers),
        )

    def _warm_up_requests(self) -> list[tuple[int, bytes]]:
        from mlpipeline.serving.repeating import repeated

        rules = self._rules.warm_up
        found = []
        for line, plain in self._read("deploy.warm_up.file", rules.file, requests_of):
            request = json.dumps(plain).encode()
            try:
                found.append((line, repeated(request, rules.rows) if rules.rows else request))
            except (AttributeError, TypeError, KeyError) as error:
                raise _malformed("deploy.warm_up.file", rules.file, line, "it is no scoring request") from error
        return found

    def _golden_requests(self) -> list[Golden]:
        return self._read("deploy.golden.file", self._rules.golden.file, golden_of)

    def _read(self, key: str, name: str, read: Callable[[bytes], list[Line]]) -> list[Line]:
        file = self._context.project / name
        try:
            return read(file.read_bytes())
        except Malformed as error:
            raise _malformed(key, name, error.line, str(error)) from error
        except OSError as error:
            raise ConfigurationError(
                f"{key} names a file that cannot be read: {error.strerror}", facts={"file": file}, tries=(f"ls -l {file}",)
            ) from error


def refuse_malformed(context: Context) -> None:
    """Looks at the files before hours of training, as far as they are there; what is missing may still be made or pulled.

    Raises:
        ConfigurationError: A file is malformed; names it and the line.
    """
    sections = [context.config.deploy, *([context.config.staging.deploy] if context.config.staging is not None else [])]
    for section in sections:
        there = msgspec.structs.replace(
            section,
            warm_up=section.warm_up if (context.project / section.warm_up.file).is_file() else WarmUp(),
            golden=section.golden if (context.project / section.golden.file).is_file() else GoldenRules(),
        )
        Rehearsal(msgspec.structs.replace(context, config=msgspec.structs.replace(context.config, deploy=there)))


def _malformed(key: str, name: str, line: int, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{key} is malformed: {what}",
        facts={"file": f"{name}:{line}" if line else name},
        tries=('write each line like this: {"request": {"inputs": [[1, 2]]}, "expected": [0.5]}',)
        if "golden" in key
        else ('write each line like this: {"inputs": [[1, 2]]}',),
    )


def _comparison(rules: GoldenRules) -> Comparison:
    usual = Tolerance(absolute=rules.absolute, relative=rules.relative)
    own = {
        name: Tolerance(
            absolute=usual.absolute if one.absolute is None else one.absolute,
            relative=usual.relative if one.relative is None else one.relative,
        )
        for name, one in rules.fields.items()
    }
    return Comparison(tolerance=usual, fields=own, class_only=rules.class_only, threshold=rules.threshold)


def _text(body: bytes) -> str:
    return body[:500].decode(errors="replace")
