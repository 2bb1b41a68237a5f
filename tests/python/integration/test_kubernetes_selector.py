"""``router: service`` on a real cluster: the selector is written at once, and users are said to have moved when they have."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from constant_load import ConstantLoad
from kubernetes_parts import KubernetesWorld
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError
from tiny_service import Behaviour

pytestmark = pytest.mark.real
PROOF_SECONDS = 60.0


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesWorld]:
    """Blue and green, of which one has all users."""
    found = KubernetesWorld(tmp_path_factory.mktemp("selector"), router="service", router_image="")
    try:
        target = found.target()
        target.deploy(Colour.BLUE, found.artifact(Behaviour("one")))
        target.route(TrafficPlan.all_to(Colour.BLUE))
        target.deploy(Colour.GREEN, found.artifact(Behaviour("two")))
        yield found
    finally:
        found.close()


@pytest.fixture
def world(both: KubernetesWorld) -> KubernetesWorld:
    """Blue with all users, green beside it."""
    both.target().route(TrafficPlan.all_to(Colour.BLUE), prove_within=PROOF_SECONDS)
    return both


def test_kept_connections_follow_and_none_is_lost(world: KubernetesWorld) -> None:
    target = world.target()
    with ConstantLoad(world.address, rate=100, keep_alive=4, fresh=2) as load:
        assert load.wait_for("blue", 50)
        moved = [target.route(TrafficPlan(live=Colour.BLUE, share=100), prove_within=PROOF_SECONDS)]
        seen = target.observe()
        moved.append(target.route(TrafficPlan.all_to(Colour.BLUE), prove_within=PROOF_SECONDS))
        assert load.wait_for("blue", 50, since=time.monotonic())
    assert seen.plan == TrafficPlan(live=Colour.BLUE, share=100)
    assert seen.colours[Colour.BLUE].ready, "it stays warm"
    assert all(one.old_in_flight == 0 and one.new_completed > 0 for one in moved), moved
    assert (load.failed, load.failures) == (0, [])


def test_a_plan_that_divides_users_is_refused_before_anything_is_written(world: KubernetesWorld) -> None:
    target = world.target()
    before = world.cluster.read("Service", Names(world.service).active)
    for plan in (TrafficPlan(live=Colour.BLUE, share=10), TrafficPlan(live=Colour.BLUE, mirror=True)):
        with pytest.raises(ConfigurationError, match="moves all users at once") as caught:
            target.route(plan)
        assert "envoy" in str(caught.value.tries)
    assert world.cluster.read("Service", Names(world.service).active) == before


def test_fields_of_others_survive_and_a_foreign_selector_is_told(world: KubernetesWorld) -> None:
    target = world.target()
    name = Names(world.service).active
    world.cluster.patch("Service", name, {"spec": {"sessionAffinity": "ClientIP"}, "metadata": {"annotations": {"team": "a"}}})
    target.route(TrafficPlan(live=Colour.BLUE, share=100))
    found = world.cluster.read("Service", name)
    assert found is not None
    assert (found["spec"]["sessionAffinity"], found["metadata"]["annotations"]["team"]) == ("ClientIP", "a")
    world.cluster.patch("Service", name, {"spec": {"selector": {"mlpipeline.role": "blue"}}})
    assert target.observe().plan == TrafficPlan.all_to(Colour.BLUE), "what the selector does, not what was written beside it"
    part = target.inventory()["router"]
    assert (part.facts["users"], part.wanted["users"]) == ("blue", "green")
