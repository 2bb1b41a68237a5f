"""A worker killed with SIGKILL after every single side effect of a release on its target, and ``resume`` after each."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator

import pytest

from fault_world import FaultWorld, released
from mlpipeline.core.release import Phase
from mlpipeline.core.traffic import TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.verbs import resume, rollback

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

MOST = 40
"""Side effects; no release has as many."""
IN_A_RELEASE, IN_A_ROLLBACK = 26, 15
"""Side effects in a cluster, at least."""
TRIED, SEED = 2, 1


@pytest.fixture(scope="module", params=["docker", "local"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    with released(request.param, tmp_path_factory.mktemp("killed")) as made:
        yield made


def safe(service: FaultWorld) -> None:
    """All users on one colour that answers; nothing stands that nobody decided to keep."""
    observed = service.observed()
    assert observed.plan == TrafficPlan.all_to(service.live())
    assert observed.colours[service.live()].ready
    if service.phase is None:
        assert set(observed.colours) == {service.live()}, "nothing is left beside what is live"
        assert observed.colours[service.live()].artifact.digest == service.champion
    else:
        assert service.phase in {Phase.DEPLOYED, Phase.SHIFTING}, "what waits for a verdict waits without users"


def killed_after_each(
    service: FaultWorld, act: Callable[[], Callable[[], object]], when: Iterable[int] = range(1, MOST)
) -> list[int]:
    """After which number of side effects a worker could be killed.

    Args:
        when: The numbers to try, rising.
    """
    deaths = []
    for effects in when:
        run = act()
        if not service.dies_after(effects, run):
            break
        deaths.append(effects)
        observed = service.observed()
        assert observed.plan is not None
        assert all(observed.colours[colour].ready for colour in observed.colours if observed.plan.percent(colour))
        result = resume.run(service.context())
        assert result.verdict is Verdict.PASS, f"after {effects} side effects: {result.summary}"
        safe(service)
        assert resume.run(service.context()).reasons[0].check == "resume.nothing"
        if service.phase is not None:
            rollback.run(service.context(), reason="the test goes on")
    return deaths


def test_a_release_killed_after_every_side_effect_loses_no_request(service: FaultWorld) -> None:
    def release() -> Callable[[], object]:
        run = service.packaged()
        return lambda: service.release(run)

    with service.users():
        deaths = killed_after_each(service, release)
    assert len(deaths) > 6, "so many at least were counted"
    assert len(deaths) < MOST - 1, "the release came to its end at last"
    settled = [entry.run for entry in service.context().ledger.read() if entry.event == "settled"]
    assert len(settled) == len(set(settled)), "each release settles once"


@pytest.mark.parametrize("service", ["local"], indirect=True)
def test_a_rollback_killed_after_every_side_effect_loses_no_request(service: FaultWorld) -> None:
    def taking_back() -> Callable[[], object]:
        service.released()
        return lambda: rollback.run(service.context(), reason="complaints")

    with service.users():
        deaths = killed_after_each(service, taking_back)
    assert len(deaths) > 1


@pytest.fixture(scope="module")
def cluster_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    with released("kubernetes", tmp_path_factory.mktemp("killed")) as made:
        yield made


def chosen(most: int) -> list[int]:
    """Some of the side effects, as many as a check has time for; all of them with ``MLPIPELINE_TEST_EVERY_EFFECT``."""
    if os.environ.get("MLPIPELINE_TEST_EVERY_EFFECT"):
        return [*range(1, MOST)]
    return sorted(random.Random(SEED).sample(range(1, most + 1), TRIED))


def test_in_a_cluster_a_release_killed_after_side_effects_loses_no_request(cluster_service: FaultWorld) -> None:
    """A check tries some of the side effects; all of them were tried by hand, with ``MLPIPELINE_TEST_EVERY_EFFECT=1``."""

    def release() -> Callable[[], object]:
        run = cluster_service.packaged()
        return lambda: cluster_service.release(run)

    with cluster_service.users():
        deaths = killed_after_each(cluster_service, release, chosen(IN_A_RELEASE))
    assert len(deaths) >= TRIED


def test_in_a_cluster_a_rollback_killed_after_side_effects_loses_no_request(cluster_service: FaultWorld) -> None:
    """As above."""

    def taking_back() -> Callable[[], object]:
        cluster_service.released()
        return lambda: rollback.run(cluster_service.context(), reason="complaints")

    with cluster_service.users():
        deaths = killed_after_each(cluster_service, taking_back, chosen(IN_A_ROLLBACK))
    assert len(deaths) >= TRIED
