"""Scans and checks that make no sense as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem
from mlpipeline.config.text import Way


def problems(config: Config) -> Iterator[Problem]:
    yield from _security(config)
    yield from _checks(config)


def _security(config: Config) -> Iterator[Problem]:
    example = "ignore:\n  - {id: CVE-2026-1234, reason: not reachable, person: mara, expires: 2027-01-31}"
    for index, ignore in enumerate(config.security.ignore):
        way: Way = ("security", "ignore", index)
        for key in ("id", "reason", "person"):
            if not getattr(ignore, key).strip():
                yield Problem((*way, key), f"an ignore without its {key} accepts nothing", example=example)
        if not _is_day(ignore.expires):
            yield Problem((*way, "expires"), f"expires is no day: {ignore.expires!r}", example=example)
    for index, name in enumerate(config.security.allow):
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            yield Problem(
                ("security", "allow", index), f"{name!r} is no name of a Python module", example="allow: [mylib.layers]"
            )


def _checks(config: Config) -> Iterator[Problem]:
    for name, check in config.checks.items():
        way: Way = ("checks", name)
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", name):
            yield Problem(
                way, f"a check's name is lower-case letters, digits, - and _, not {name!r}", example="checks:\n  docs: {}"
            )
        if name not in {"lint", "types", "tests"} and check.enabled and not check.command.strip():
            yield Problem(
                (*way, "command"),
                f"the check {name} has no command, and only lint, types and tests have one of their own",
                example=f"checks:\n  {name}:\n    command: make {name}",
            )
        if not check.timeout:
            yield Problem((*way, "timeout"), f"checks.{name}.timeout is 0, so it can never end in time", example="timeout: 10m")


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text))
