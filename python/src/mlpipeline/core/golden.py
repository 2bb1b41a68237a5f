"""Requests whose answers are known: how a file of them is read, and what of an answer is not as expected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isclose, isfinite, isnan
from typing import Any, NoReturn

import msgspec

_KEYS = frozenset({"request", "expected", "tolerance"})


class Tolerance(msgspec.Struct, frozen=True):
    """How far a number may be from the expected one: the wider of both counts.

    Args:
        relative: As a part of the expected number.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def allows(self, expected: float, got: float) -> bool:
        if isnan(expected) or isnan(got):
            return isnan(expected) and isnan(got)
        return isclose(expected, got, rel_tol=0.0, abs_tol=max(self.absolute, self.relative * abs(expected)))


class Comparison(msgspec.Struct, frozen=True):
    """What counts as the same answer.

    Args:
        fields: Tolerances of single fields of a prediction, by name.
        class_only: Only the predicted class is compared.
        threshold: For ``class_only``: from which score on a single number means yes.
    """

    tolerance: Tolerance = Tolerance()
    fields: Mapping[str, Tolerance] = {}
    class_only: bool = False
    threshold: float = 0.5


class Golden(msgspec.Struct, frozen=True):
    """One request and its answer.

    Args:
        line: Its number in the file, from 1.
        request: The body, JSON.
        tolerance: Its own, if it has one.
    """

    line: int
    request: bytes
    expected: Any
    tolerance: Tolerance | None = None


class Malformed(ValueError):
    """A line that is no request. ``line`` is its number in the file, 0 for the whole file."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def requests_of(text: bytes) -> list[tuple[int, Any]]:
    """The lines that are not blank, as JSON, with their numbers. Raises Malformed for one that is not, and for none at all."""
    found = []
    for number, line in enumerate(text.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line, parse_constant=_refused)))
        except (ValueError, RecursionError) as error:
            raise Malformed(number, f"it is not JSON: {error}") from error
    if not found:
        raise Malformed(0, "it holds no request")
    return found


def golden_of(text: bytes) -> list[Golden]:
    """Raises Malformed for a line that has no request, no expected answer, or keys that nobody knows."""
    return [_golden(number, plain) for number, plain in requests_of(text)]


def mismatches(golden: Golden, status: int, body: bytes, by: Comparison) -> Iterator[str]:
    """What is not as expected, in words: where, what was expected, what came."""
    if status != 200:
        yield f"it was answered with status {status}: {_short(body.decode(errors='replace'))}"
        return
    try:
        got = json.loads(body)
    except ValueError:
        yield f"the answer is not JSON: {_short(body.decode(errors='replace'))}"
        return
    if golden.tolerance is not None:
        by = msgspec.structs.replace(by, tolerance=golden.tolerance, fields={})
    expected = golden.expected
    if not isinstance(expected, dict) or "predictions" not in expected:
        expected = {"predictions": expected}
    if not isinstance(got, dict):
        yield f"the answer is no object with predictions: {_short(body.decode(errors='replace'))}"
        return
    for key, value in expected.items():
        if key not in got:
            yield f"{key}: missing in the answer"
            continue
        rows = isinstance(value, list) and isinstance(got[key], list)
        yield from (_each if rows else _differences)(key, value, got[key], by, by.tolerance)


def _golden(number: int, plain: Any) -> Golden:
    if not isinstance(plain, dict):
        raise Malformed(number, "it is no object with request and expected")
    missing, unknown = sorted({"request", "expected"} - plain.keys()), sorted(plain.keys() - _KEYS)
    if missing or unknown:
        raise Malformed(number, f"it has no {missing[0]}" if missing else f"nobody knows its key {unknown[0]!r}")
    if not isinstance(plain["request"], dict):
        raise Malformed(number, "its request is no object, as a scoring request is")
    if plain["expected"] is None:
        raise Malformed(number, "its expected answer is nothing")
    request = json.dumps(plain["request"]).encode()
    return Golden(number, request, plain["expected"], _tolerance(number, plain["tolerance"]) if "tolerance" in plain else None)


def _tolerance(number: int, plain: Any) -> Tolerance:
    if isinstance(plain, dict) and plain.keys() <= {"absolute", "relative"}:
        given = {name: value for name, value in plain.items() if _is_number(value) and isfinite(value) and value >= 0}
        if given and len(given) == len(plain):
            return Tolerance(**given)
    raise Malformed(number, "its tolerance is no object with absolute or relative, both 0 or more")


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _differences(way: str, expected: Any, got: Any, by: Comparison, tolerance: Tolerance) -> Iterator[str]:
    if by.class_only and _is_scores(expected):
        yield from _class_of_scores(way, expected, got)
    elif isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted(expected.keys() | got.keys()):
            if key not in expected or key not in got:
                yield f"{way}.{key}: {'not expected' if key not in expected else 'missing'} in the answer"
                continue
            yield from _differences(f"{way}.{key}", expected[key], got[key], by, by.fields.get(key, tolerance))
    elif isinstance(expected, list) and isinstance(got, list):
        yield from _each(way, expected, got, by, tolerance)
    elif _is_number(expected) and _is_number(got):
        yield from _numbers(way, expected, got, by, tolerance)
    elif type(expected) is not type(got) or expected != got:
        yield f"{way}: expected {_short(json.dumps(expected))}, got {_short(json.dumps(got))}"


def _each(way: str, expected: list[Any], got: list[Any], by: Comparison, tolerance: Tolerance) -> Iterator[str]:
    if len(expected) != len(got):
        yield f"{way}: expected {len(expected)} values, got {len(got)}"
        return
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        yield from _differences(f"{way}[{index}]", one, other, by, tolerance)


def _numbers(way: str, expected: float, got: float, by: Comparison, tolerance: Tolerance) -> Iterator[str]:
    if by.class_only and isinstance(expected, float):
        if (expected >= by.threshold) != (got >= by.threshold):
            yield f"{way}: expected {expected!r}, got {got!r}, on the other side of {by.threshold:g}"
    elif not tolerance.allows(expected, got):
        allowed = max(tolerance.absolute, tolerance.relative * abs(expected))
        yield f"{way}: expected {expected!r}, got {got!r} (allowed: {allowed:.3g} apart)"


def _class_of_scores(way: str, expected: list[float], got: Any) -> Iterator[str]:
    if not _is_scores(got) or len(got) != len(expected):
        yield f"{way}: expected {len(expected)} scores, got {_short(json.dumps(got))}"
    elif (place := expected.index(max(expected))) != (other := got.index(max(got))):
        yield f"{way}: expected class {place} (score {expected[place]!r}), got class {other} (score {got[other]!r})"


def _is_scores(value: Any) -> bool:
    """Of one prediction: one score per class."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(one, float) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
