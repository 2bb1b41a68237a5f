"""From a strategy to the stages of a rollout: pure, so that a plan can be judged before anybody is moved.

After the last stage all users move; no strategy has a stage for that, as the move is not watched but proven.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from mlpipeline.core.release import Stage, stages_of


class Strategy(StrEnum):
    """How users come to the candidate."""

    ALL_AT_ONCE = "all_at_once"
    CANARY = "canary"
    LINEAR = "linear"
    SHADOW_THEN_SWITCH = "shadow_then_switch"


USES: dict[Strategy, frozenset[str]] = {
    Strategy.ALL_AT_ONCE: frozenset(),
    Strategy.CANARY: frozenset({"mirror", "steps", "step"}),
    Strategy.LINEAR: frozenset({"mirror", "increment", "step"}),
    Strategy.SHADOW_THEN_SWITCH: frozenset({"mirror"}),
}
"""What each strategy looks at, besides the bake, its control slice and the time-out, which all do."""
_ONLY_SOME = frozenset().union(*USES.values())


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as it is configured. Seconds and percent.

    Args:
        increment: Of a linear rollout: how much more each step has than the one before.
        control: Percent of users who stay on the champion during the bake.
        waits: What is waited for besides the stages, at most: hooks.
        timeout: What moving all users may take; 0: as long as it takes.
    """

    strategy: Strategy = Strategy.CANARY
    mirror: float = 0.0
    steps: tuple[int, ...] = ()
    increment: int = 20
    step: float = 0.0
    bake: float = 0.0
    control: int = 0
    waits: float = 0.0
    timeout: float = 0.0


class Fault(msgspec.Struct, frozen=True):
    """What cannot be done as it stands.

    Args:
        key: Below ``rollout``; empty: the whole section.
        example: Lines below ``rollout:`` that would be right.
    """

    key: str
    what: str
    example: str
    allowed: str = ""


def planned(rules: Rules) -> tuple[Stage, ...]:
    """The stages in order. Those of no length are left out; weights never fall."""
    used = USES[rules.strategy]
    return stages_of(
        mirror=rules.mirror if "mirror" in used else 0.0,
        steps=_steps(rules),
        step=rules.step,
        bake=rules.bake,
        control=rules.control,
    )


def faults(rules: Rules, given: frozenset[str] = frozenset()) -> Iterator[Fault]:
    """Everything that makes the rollout impossible, judged as a whole.

    Args:
        given: Keys that somebody set; a key of another strategy is an error only then.
    """
    yield from _unused(rules, given)
    if rules.strategy is Strategy.CANARY:
        yield from _canary(rules, given)
    if rules.strategy is Strategy.LINEAR and 100 % rules.increment:
        near = min((part for part in range(1, 100) if 100 % part == 0), key=lambda part: abs(part - rules.increment))
        yield Fault(
            "increment",
            f"equal steps of {rules.increment} % do not add up to 100 %",
            f"increment: {near}",
            ", ".join(str(part) for part in range(1, 51) if 100 % part == 0),
        )
    if rules.strategy is Strategy.SHADOW_THEN_SWITCH and not rules.mirror:
        yield Fault("mirror", "shadow_then_switch needs a time during which requests are copied, and mirror is 0", "mirror: 60s")
    if _steps(rules) and not rules.step:
        yield Fault("step", "rollout.step is 0, so a step could not be judged", "step: 30s")
    if "control" in given and rules.control and not rules.bake:
        yield Fault(
            "control", f"control keeps {rules.control} % of users on the champion during the bake, and bake is 0", "bake: 60s"
        )
    yield from _time(rules)


def compares(rules: Rules) -> bool:
    """Whether candidate and champion are ever at work at the same time."""
    return any(stage.compares for stage in planned(rules))


def _steps(rules: Rules) -> tuple[int, ...]:
    if rules.strategy is Strategy.CANARY:
        return rules.steps
    if rules.strategy is Strategy.LINEAR:
        return tuple(range(rules.increment, _ceiling(rules), rules.increment))
    return ()


def _ceiling(rules: Rules) -> int:
    """Percent of users on the candidate before the last move at most."""
    return 100 - rules.control if rules.bake else 100


def _unused(rules: Rules, given: frozenset[str]) -> Iterator[Fault]:
    for key in sorted((given & _ONLY_SOME) - USES[rules.strategy]):
        knowing = [strategy for strategy in Strategy if key in USES[strategy]]
        yield Fault(
            key,
            f"the strategy {rules.strategy} does not look at {key}; {' and '.join(knowing)} would",
            f"strategy: {knowing[0]}",
            ", ".join(sorted(USES[rules.strategy] | {"bake", "control"})),
        )


def _canary(rules: Rules, given: frozenset[str]) -> Iterator[Fault]:
    steps, rising = list(rules.steps), sorted(set(rules.steps))
    if steps != rising:
        yield Fault("steps", f"rollout.steps must grow from step to step, not {steps}", f"steps: {rising}")
    elif not steps and "strategy" in given:
        yield Fault("steps", "a canary needs at least one step", "steps: [10, 50]")
    elif steps and steps[-1] > _ceiling(rules):
        what = f"the last step has {steps[-1]} % on the candidate, and the bake after it, with control {rules.control}, only"
        yield Fault("steps", f"{what} {_ceiling(rules)} %: weights must rise", f"control: {100 - steps[-1]}")


def _time(rules: Rules) -> Iterator[Fault]:
    needed = sum(stage.seconds for stage in planned(rules)) + rules.waits
    if rules.timeout and needed > rules.timeout:
        hooks = f" and {rules.waits:g} s of hooks" if rules.waits else ""
        what = f"the stages{hooks} wait for {needed:g} s together, longer than the timeout of {rules.timeout:g} s"
        yield Fault("timeout", what, f"timeout: {needed:g}s")
