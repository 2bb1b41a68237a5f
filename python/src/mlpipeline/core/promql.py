"""Which series a PromQL query reads; a lexer, no parser: whether a query is right is for a Prometheus to say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    |(?P<number>(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[a-zA-Z0-9]*|\.\d+)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = frozenset(
    {"and", "or", "unless", "atan2", "offset", "bool", "inf", "nan", "start", "end"}
    | {"by", "without", "on", "ignoring", "group_left", "group_right"}
)
_LABELS_FOLLOW = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})

_OF_A_CALL = frozenset({"(", "by", "without"})
LOOK_BACK = 300.0
"""Seconds for which a Prometheus answers with a value that was not scraped again, unless it was told otherwise."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w|y)")


class Selector(NamedTuple):
    """One selector of a query: ``text`` as it stands there without range and offset, ``name`` of the metric or nothing."""

    text: str
    name: str


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def selectors(query: str) -> tuple[Selector, ...]:
    """Every selector of series in the query, in order, each once. A query that is wrong has whatever can be recognised."""
    tokens = [token for token in _tokens(query) if token.kind != "space"]
    found: dict[Selector, None] = {}
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1].text if at + 1 < len(tokens) else ""
        if token.kind == "name" and token.text.lower() in _LABELS_FOLLOW and following == "(":
            at = _closing(tokens, at + 1, "()") + 1
        elif token.text == "[":
            at = _closing(tokens, at, "[]") + 1
        elif token.kind == "name" and token.text.lower() not in _WORDS and following not in _OF_A_CALL:
            end = _closing(tokens, at + 1, "{}") if following == "{" else at
            found[_selector(query, tokens, at, end, token.text)] = None
            at = end + 1
        elif token.text == "{":
            end = _closing(tokens, at, "{}")
            found[_selector(query, tokens, at, end, _named(tokens[at:end]))] = None
            at = end + 1
        else:
            at += 1
    return tuple(found)


def newest_scrape_query(selector: Selector, within: float = LOOK_BACK) -> str:
    """PromQL of when any series of the selector was scraped last (Unix seconds), also when Prometheus holds it for gone.

    Args:
        within: Seconds; what was scraped last before that is not found.
    """
    now = f"timestamp({selector.text})"
    return f"max({now} or max_over_time({now}[{within:.0f}s:{min(LOOK_BACK / 2, max(10.0, within / 120)):.0f}s]))"


def reach(query: str) -> float:
    """For how many seconds after its last scrape a series may still count in the answer: at most all ranges together and the
    greatest offset, besides the time for which Prometheus keeps a value."""
    tokens = [token for token in _tokens(query) if token.kind != "space"]
    ranges, offsets = [0.0], [0.0]
    for token, following in itertools.pairwise(tokens):
        if token.text == "[":
            ranges.append(_seconds(following.text))
        elif token.text.lower() == "offset":
            offsets.append(_seconds(following.text))
    return LOOK_BACK + sum(ranges) + max(offsets)


def _seconds(duration: str) -> float:
    """Of a duration as PromQL writes it (``1h30m``, ``90``); 0 for anything else."""
    if duration.isdigit():
        return float(duration)
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))


def _tokens(query: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(query):
        yield _Token(match.lastgroup or "", match.group(), match.start(), match.end())


def _closing(tokens: list[_Token], at: int, pair: str) -> int:
    """Place of the bracket that closes the one at ``at``; the last token where none does."""
    depth = 0
    for place in range(at, len(tokens)):
        if tokens[place].text in pair:
            depth += 1 if tokens[place].text == pair[0] else -1
            if not depth:
                return place
    return len(tokens) - 1


def _selector(query: str, tokens: list[_Token], first: int, last: int, name: str) -> Selector:
    return Selector(query[tokens[first].start : tokens[last].end], name)


def _named(tokens: list[_Token]) -> str:
    """The metric that ``{__name__="x"}`` or ``{"x"}`` names; nothing for a pattern."""
    for place, token in enumerate(tokens):
        previous = [earlier.text for earlier in tokens[max(0, place - 2) : place]]
        if token.kind == "string" and (previous == ["__name__", "="] or previous[-1:] in (["{"], [","])):
            return token.text[1:-1]
    return ""
