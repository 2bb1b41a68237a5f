"""Rollouts that cannot be done as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlpipeline.config.model import Config
from mlpipeline.config.rollout_plan import POINTS, hook, is_set, rules
from mlpipeline.config.sections.rollout import CohortRule
from mlpipeline.config.shape import Problem
from mlpipeline.config.text import Way
from mlpipeline.core.strategy import compares, faults

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}")
"""Names of headers and cookies (RFC 9110), but the backtick, which no browser sets."""
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]{1,256}")
"""RFC 6265: printable ASCII but white space, quotation marks, comma, semicolon and backslash."""
_HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,254}[!-~])?")
_ROUTERS_OWN = frozenset({"cookie", "connection", "content-length", "host", "te", "transfer-encoding", "upgrade"})


def problems(config: Config, given: frozenset[Way] = frozenset(), *, compared: bool = True) -> Iterator[Problem]:
    """What cannot be done.

    Args:
        given: Paths of everything that somebody set, to tell a key that the strategy does not look at.
        compared: Whether candidate and champion have users who can be compared.
    """
    rollout = config.rollout
    wanted = rules(rollout)
    below = frozenset(way[1] for way in given if len(way) == 2 and way[0] == "rollout" and isinstance(way[1], str))
    for fault in faults(wanted, below):
        example = "rollout:\n" + "\n".join(f"  {line}" for line in fault.example.splitlines())
        yield Problem(("rollout", fault.key), fault.what, allowed=fault.allowed, example=example)
    at_once = config.target.kind == "kubernetes" and config.target.kubernetes.router == "service"
    if compared and not at_once and not compares(wanted):
        yield Problem(
            ("rollout",),
            "this rollout never has candidate and champion at work at the same time, so verification could not compare them",
            allowed="mirror above 0, or steps, or bake and control above 0",
            example="rollout:\n  mirror: 30s\n  steps: [10, 50]",
        )
    yield from _hooks(config)
    yield from _replay(config)
    yield from _cohorts(config)


def _hooks(config: Config) -> Iterator[Problem]:
    for point in POINTS:
        asked, way = hook(config.rollout, point), ("rollout", "hooks", point)
        if asked.command and asked.url:
            yield Problem(way, f"the hook {point} has both a command and a url", example=f"{point}: {{command: ./ask.sh}}")
        if isinstance(asked.command, tuple) and asked.command and not all(asked.command[:1]):
            yield Problem((*way, "command"), f"the hook {point} names no program", example="command: [./ask.sh, --yes]")
        if asked.url and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", asked.url):
            yield Problem(
                (*way, "url"), f"the hook {point} has no address of http or https", example='url: "http://127.0.0.1:9000/ask"'
            )
        if is_set(asked) and not asked.timeout:
            yield Problem((*way, "timeout"), f"the hook {point} has no time to answer in", example="timeout: 60s")


def _replay(config: Config) -> Iterator[Problem]:
    replay = config.rollout.replay
    if not replay.requests or replay.file:
        return
    if config.target.kind != "local":
        yield Problem(
            ("rollout", "replay", "file"),
            f"the target {config.target.kind} keeps its sample where the worker cannot read it, so a file is needed",
            example="replay: {requests: 200, file: recorded.jsonl}",
        )
    elif not config.target.local.serving.sample:
        yield Problem(
            ("rollout", "replay", "requests"),
            "nothing would be there to replay: target.local.serving.sample is 0, so no colour keeps its requests",
            example="target:\n  local:\n    serving: {sample: 0.01}",
        )


def _cohorts(config: Config) -> Iterator[Problem]:
    found: dict[tuple[str, str, str], str] = {}
    for name, rule in config.rollout.cohorts.items():
        way: Way = ("rollout", "cohorts", name)
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            yield Problem(way, f"a cohort's name is lower-case letters, digits and dashes, not {name!r}", example=_like("beta"))
        yield from _key(way, name, rule)
        same = found.setdefault((rule.header.lower(), rule.cookie, rule.value), name)
        if same != name:
            yield Problem(
                way, f"the cohorts {same} and {name} are the same users; the first alone would count", example=_like(name)
            )
    if config.rollout.cohorts and config.target.kind == "kubernetes" and config.target.kubernetes.router != "envoy":
        yield Problem(
            ("rollout", "cohorts"),
            f"the router {config.target.kubernetes.router} does not tell cohorts apart",
            allowed="router: envoy",
            example="target:\n  kubernetes:\n    router: envoy",
        )


def _key(way: Way, name: str, rule: CohortRule) -> Iterator[Problem]:
    if bool(rule.header) == bool(rule.cookie):
        what = "both a header and a cookie" if rule.header else "neither a header nor a cookie"
        yield Problem(way, f"the cohort {name} has {what}", example=_like(name))
        return
    key = "header" if rule.header else "cookie"
    named = rule.header or rule.cookie
    if not _TOKEN.fullmatch(named):
        yield Problem((*way, key), f"{named!r} is no name of a {key}", example=_like(name))
    elif rule.header.lower() in _ROUTERS_OWN or rule.header.lower().startswith("x-envoy-"):
        yield Problem(
            (*way, key), f"the router itself reads or writes {rule.header}; a cohort needs another header", example=_like(name)
        )
    if not (_HEADER_VALUE if rule.header else _COOKIE_VALUE).fullmatch(rule.value):
        yield Problem(
            (*way, "value"),
            f"{rule.value!r} is no value that a {key} can have",
            allowed="printable ASCII, at most 256 characters" + ("" if rule.header else ', without blanks and " , ; \\'),
            example=_like(name),
        )


def _like(name: str) -> str:
    return f"cohorts:\n  {name}: {{header: x-cohort, value: {name}, to: candidate}}"
