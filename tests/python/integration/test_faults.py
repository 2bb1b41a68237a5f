"""The rows of ``docs/reference/faults.md`` that need a real target under load."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fault_stories import HARMED, UNHARMED
from fault_world import FaultWorld, released

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["docker", "local"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    with released(request.param, tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("fault", UNHARMED)
def test_no_request_is_lost(service: FaultWorld, fault: str) -> None:
    service.begin_anew()
    with service.users() as load:
        UNHARMED[fault](service, load)


@pytest.mark.parametrize("fault", HARMED)
def test_users_who_were_on_it_are_answered_again(service: FaultWorld, fault: str) -> None:
    service.begin_anew()
    with service.users(all_answered=False) as load:
        HARMED[fault](service, load)
        since = time.monotonic()
        assert load.wait_for(service.live(), 20, since, within=60), load.failures
