"""A world with one version released, and what somebody changed of it since."""

from __future__ import annotations

from collections.abc import Mapping

from mlpipeline.core.inventory import Difference, Part, differences
from mlpipeline.core.traffic import Colour, TrafficPlan
from target_world import TargetWorld
from tiny_service import Behaviour

SECRET = "never to be told"
"""The value of an environment variable of the service."""


def release(world: TargetWorld) -> None:
    """Blue has all users."""
    target = world.target()
    target.deploy(Colour.BLUE, world.artifact(Behaviour("one")))
    target.route(TrafficPlan.all_to(Colour.BLUE))


def changed(world: TargetWorld, released: Mapping[str, Part]) -> dict[tuple[str, str], Difference]:
    """By part and fact. Of a part that was not there everything differs."""
    return {
        (one.part, one.what): one
        for name, part in world.target().inventory().items()
        for one in differences(name, released[name].facts if name in released else {}, part)
    }
