"""After an aborted deploy and after a rollback nothing is left on the local target: processes, leases, half-written files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fault_world import FaultWorld, released
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import Failed
from mlpipeline.record.lease import holder
from mlpipeline.verbs import resume, rollback
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    with released("local", tmp_path_factory.mktemp("left")) as made:
        yield made


def left(service: FaultWorld) -> set[str]:
    """Processes of this service that live, but its Prometheus, which stays until ``stop``."""
    processes = service.world.target().processes()  # type: ignore[attr-defined]
    return {name for name, process in processes.items() if process.running() is not None} - {"prometheus"}


def nothing_is_left(service: FaultWorld, live: Colour) -> None:
    assert left(service) == {str(live), "router"}
    assert (holder(service.places.lease), holder(service.places.making)) == (None, None)
    assert not (service.places.target / live.other / "standing.json").exists()
    assert [file for file in service.places.state.rglob(".*") if file.is_file()] == [], "half-written files"


def test_after_an_aborted_deploy(service: FaultWorld) -> None:
    service.begin_anew()
    live = service.live()
    with service.users(), pytest.raises(Failed):
        service.release(service.packaged(Behaviour("sick", exits="no such column")))
    nothing_is_left(service, live)


def test_after_a_rollback(service: FaultWorld) -> None:
    service.begin_anew()
    live = service.live()
    with service.users():
        service.released()
        rollback.run(service.context(), reason="complaints")
    nothing_is_left(service, live)


def test_after_a_worker_that_was_killed_and_a_resume(service: FaultWorld) -> None:
    service.begin_anew()
    live, run = service.live(), service.packaged()
    with service.users():
        assert service.dies_after(2, lambda: service.release(run))
        resume.run(service.context())
    nothing_is_left(service, live)
