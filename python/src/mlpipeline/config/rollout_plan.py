"""The configured rollout in the words of the core."""

from __future__ import annotations

from mlpipeline.config.sections.rollout import Hook, Rollout
from mlpipeline.core.release import Stage
from mlpipeline.core.strategy import Rules, Strategy, planned
from mlpipeline.core.traffic import Cohort

POINTS = ("confirm_start", "each_step", "before_switch", "after_switch", "before_settle")
"""Where hooks are asked, in the order of a release."""


def rules(rollout: Rollout) -> Rules:
    once = Rules(
        strategy=Strategy(rollout.strategy),
        mirror=float(rollout.mirror),
        steps=rollout.steps,
        increment=rollout.increment,
        step=float(rollout.step),
        bake=float(rollout.bake),
        control=rollout.control,
        timeout=float(rollout.timeout),
    )
    asked = {point: len(planned(once)) if point == "each_step" else 1 for point in POINTS}
    waits = sum(times * float(hook(rollout, point).timeout) for point, times in asked.items() if is_set(hook(rollout, point)))
    return Rules(**{name: getattr(once, name) for name in once.__struct_fields__} | {"waits": waits})


def stages(rollout: Rollout) -> tuple[Stage, ...]:
    """What is watched before all users move."""
    return planned(rules(rollout))


def copying(rollout: Rollout) -> float:
    """Seconds for which requests are copied; 0 where the strategy copies none."""
    return sum(stage.seconds for stage in stages(rollout) if stage.mirror)


def cohorts(rollout: Rollout) -> tuple[Cohort, ...]:
    """In the order of the file; names of headers in lower case, as every router compares them."""
    return tuple(
        Cohort(name=name, value=rule.value, to=rule.to, header=rule.header.lower(), cookie=rule.cookie)
        for name, rule in rollout.cohorts.items()
    )


def hook(rollout: Rollout, point: str) -> Hook:
    found: Hook = getattr(rollout.hooks, point)
    return found


def is_set(hook: Hook) -> bool:
    return bool(hook.command or hook.url)
