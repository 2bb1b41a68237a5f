"""Who may change a service: the worker that holds its lease, and only while that lease is the one in force."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fakes import FakeConsole, FakeWorld
from mlpipeline.clock import SystemClock
from mlpipeline.config.load import load
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import Held
from mlpipeline.hosting.machine import free_port
from mlpipeline.record.lease import Holder, Lease, holder
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held, making, still_held
from mlpipeline.verbs.wiring import make_context
from tiny_service import make_bundle

OTHER = Holder(pid=4711, host="build-1", user="ada", run="run-x", since="2026-03-01T03:00:00Z", verb="switch")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return FakeWorld(tmp_path).context(clock=SystemClock())


def test_the_holder_is_named_with_what_it_does(context: Context) -> None:
    with held(context, None, "settle"):
        known = holder(context.places.lease)
        assert known is not None and known.verb == "settle" and "mlpipeline settle, process" in str(known)
        still_held(context.places.lease)


def test_a_worker_without_the_lease_may_change_nothing(context: Context) -> None:
    with pytest.raises(Held, match="does not hold"):
        still_held(context.places.lease)


def test_a_removed_lease_stops_the_worker_and_its_successor_is_named(context: Context) -> None:
    with held(context, None):
        context.places.lease.unlink()
        with pytest.raises(Held, match="lost its hold") as told:
            still_held(context.places.lease)
        assert told.value.facts["held by"] == "nobody"
        successor = Lease(context.places.lease)
        successor.acquire(OTHER)
        try:
            with pytest.raises(Held, match="lost its hold") as told:
                still_held(context.places.lease)
        finally:
            successor.release()
        assert told.value.facts["held by"] == "mlpipeline switch, process 4711 on build-1"


def test_a_run_that_makes_a_release_may_change_nothing_by_that_alone_and_leaves_the_way_back_free(context: Context) -> None:
    with making(context, None, "run"):
        with pytest.raises(Held, match="does not hold"):
            still_held(context.places.lease)
        other = Lease(context.places.lease)
        other.acquire(OTHER)
        with pytest.raises(Held, match="another worker holds"), held(context, None, "deploy"):
            pass
        other.release()
        with held(context, None, "deploy"):
            still_held(context.places.lease)


def test_two_runs_at_once_the_second_is_told_of_the_first(context: Context) -> None:
    other = Lease(context.places.making)
    other.acquire(msgspec.structs.replace(OTHER, verb="run"))
    try:
        with pytest.raises(Held, match="another run makes a release") as told, making(context, None, "run"):
            pass
    finally:
        other.release()
    words = (
        "mlpipeline run, process 4711 on build-1",
        "ada",
        "run-x",
        "2026-03-01T03:00:00Z",
        "kill 4711",
        "mlpipeline rollback",
    )
    assert all(word in told.value.render() for word in words)


def test_a_run_that_lost_its_place_to_another_run_changes_nothing_more(context: Context) -> None:
    with making(context, None, "run"):
        with held(context, None, "switch"):
            context.places.making.unlink()
            with pytest.raises(Held, match="lost its hold"):
                still_held(context.places.lease)
        with pytest.raises(Held, match="lost its hold"), held(context, None, "settle"):
            pass


def test_the_real_target_starts_nothing_for_a_worker_that_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text(
        f"service: iris\ntrain: {{command: 'true'}}\ntarget: {{local: {{port: {free_port()}}}}}\n"
    )
    context = make_context(
        load(tmp_path, environment={}).config, tmp_path, FakeConsole(), {"MLPIPELINE_HOME": str(tmp_path / "home")}
    )
    target = context.world.target()
    with pytest.raises(Held, match="does not hold"):
        target.deploy(Colour.BLUE, make_bundle(tmp_path / "bundles"))
    assert not (context.places.target / "blue" / "process.json").exists()
