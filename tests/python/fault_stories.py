"""What can go wrong in the middle of a release, each as a story on a real target under load: told by tests, measured by
``bench/faults.py``.

A story begins with a settled version that users are on. It returns after users are answered as they should be again.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import msgspec

from constant_load import ConstantLoad
from fault_world import FaultWorld, ended
from mlpipeline.core.release import Phase
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault, Failed, Held
from mlpipeline.verbs import deploy, resume, rollback, switch
from tiny_service import Behaviour

STEP, BAKE = "step-50", "bake"
SILENCE = "6s"


def at(stage: str, act: Callable[[], object]) -> Callable[[str], None]:
    """Does it once, when this stage is being watched."""
    done: list[str] = []

    def during(now: str) -> None:
        if now == stage and not done:
            done.append(now)
            act()

    return during


def candidate_ends_in_a_step(service: FaultWorld, load: ConstantLoad) -> None:
    """Half of the users are on it; the verdict of the stage that sees their errors takes them back."""
    before, loser = service.champion, service.live().other
    service.verdicts, service.during = {STEP: Verdict.FAIL}, at(STEP, lambda: service.world.kill_colour(loser))
    try:
        assert service.release(service.packaged()).verdict is Verdict.FAIL
    finally:
        service.verdicts, service.during = {}, lambda _stage: None
    assert (service.champion, service.phase) == (before, None)
    assert set(service.observed().colours) == {loser.other}, "nothing is left of it"
    answered(service, load)


def champion_ends_in_a_step(service: FaultWorld, load: ConstantLoad) -> None:
    """No verdict without it; it is brought back where it was, and all users wait on it."""
    live = service.live()
    service.verdicts, service.during = {STEP: Verdict.INCONCLUSIVE}, at(STEP, lambda: service.world.kill_colour(live))
    try:
        assert service.release(service.packaged()).verdict is Verdict.INCONCLUSIVE
    finally:
        service.verdicts, service.during = {}, lambda _stage: None
    assert service.observed().plan == TrafficPlan.all_to(live)
    answered(service, load)
    rollback.run(service.context(), reason="the story is over")


def candidate_ends_with_all_users(service: FaultWorld, load: ConstantLoad) -> None:
    """The version before is still warm: it answers at once, and whoever looks next takes users back to it."""
    before, loser = service.champion, service.live().other
    run = service.packaged()
    for verb in (deploy, switch):
        with service.judging():
            assert verb.run(service.context(), run).verdict is Verdict.PASS
    assert service.live() is loser
    service.world.kill_colour(loser)
    since = time.monotonic()
    assert load.wait_for(loser.other, 10, since, within=60)
    assert resume.run(service.context()).verdict is Verdict.PASS
    assert service.observed().plan == TrafficPlan.all_to(loser.other)
    assert (service.champion, service.phase) == (before, None)
    answered(service, load)


def router_ends(service: FaultWorld, load: ConstantLoad) -> None:
    """Nobody is answered until it is back, with the plan that it had."""
    plan = service.observed().plan
    service.world.kill_router()
    assert resume.run(service.context()).verdict is Verdict.PASS
    assert service.observed().plan == plan
    answered(service, load)


def everything_ends(service: FaultWorld, load: ConstantLoad) -> None:
    """As after a restart of the machine."""
    live, champion = service.live(), service.champion
    service.world.kill_router()
    service.world.kill_colour(live)
    assert resume.run(service.context()).verdict is Verdict.PASS
    assert service.champion == champion
    answered(service, load)


def does_not_start(service: FaultWorld, load: ConstantLoad, bad: Behaviour) -> None:
    before = service.observed()
    try:
        service.release(service.packaged(bad))
    except Failed:
        pass
    else:
        raise AssertionError(f"{bad.name} was released")
    assert service.observed() == before, "nothing is left of it"
    assert service.phase is None
    answered(service, load)


def candidate_crashes_again_and_again(service: FaultWorld, load: ConstantLoad) -> None:
    does_not_start(service, load, Behaviour("crashing", exits="no such column"))


def candidate_never_answers(service: FaultWorld, load: ConstantLoad) -> None:
    with service.impatient():
        does_not_start(service, load, Behaviour("loading", never_ready=True))


def candidate_fails_its_smoke_request(service: FaultWorld, load: ConstantLoad) -> None:
    """Ready, and wrong at the first scoring request."""
    before = service.observed()
    (service.places.project / "smoke.json").write_text("{}")
    config = service.config
    service.config = msgspec.structs.replace(config, rollout=msgspec.structs.replace(config.rollout, smoke="smoke.json"))
    try:
        assert service.release(service.packaged(Behaviour("wrong", fails=True))).verdict is Verdict.FAIL
    finally:
        service.config = config
    assert service.observed() == before
    answered(service, load)


def worker_ends_half_way(service: FaultWorld, load: ConstantLoad) -> None:
    """Killed while half of the users are on the candidate; nobody comes back, and the silence is noticed."""
    worker = half_way(service, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert ended(worker) == -signal.SIGKILL
    assert service.observed().plan == TrafficPlan(service.live(), share=50)
    assert resume.run(service.context(), if_silent_for=SILENCE).verdict is Verdict.PASS
    wait_on_the_champion(service, load)


def worker_sleeps_half_way(service: FaultWorld, load: ConstantLoad) -> None:
    """Stopped while it holds the service: it loses it, a newer decision is made, and it may not undo that when it wakes up."""
    worker = half_way(service, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    try:
        until(lambda: _stopped(worker), "the worker sleeps")
        try:
            rollback.run(service.context(), reason="complaints")
        except Held as held:
            assert f"process {worker}" in held.render()
        else:
            raise AssertionError("two workers held the service")
        assert resume.run(service.context(), if_silent_for=SILENCE).verdict is Verdict.PASS
        newest = service.observed().plan
    finally:
        os.kill(worker, signal.SIGCONT)
    assert ended(worker) == 1, "it was refused and said so"
    assert service.observed().plan == newest == TrafficPlan.all_to(service.live())
    wait_on_the_champion(service, load)


def half_way(service: FaultWorld, act: Callable[[], object]) -> int:
    """A worker of its own that does it once half of the users are on the candidate."""
    run = service.packaged()
    worker = os.fork()
    if worker == 0:
        code = 2
        try:
            service.during = at(STEP, act)
            service.release(run)
        except Held:
            code = 1
        finally:
            os._exit(code)
    return worker


def wait_on_the_champion(service: FaultWorld, load: ConstantLoad) -> None:
    assert service.phase is Phase.SHIFTING
    answered(service, load)
    rollback.run(service.context(), reason="the story is over")


def target_is_silent_for_a_while(service: FaultWorld, load: ConstantLoad, seconds: float = 1.0) -> None:
    """What changes the target (the router's own process, or the engine) hangs in the middle, and comes back."""
    pid = service.paused()
    paused = threading.Timer(seconds, lambda: os.kill(pid, signal.SIGCONT))

    def hangs() -> None:
        os.kill(pid, signal.SIGSTOP)
        paused.start()

    service.during = at(STEP, hangs)
    try:
        assert service.release(service.packaged()).verdict is Verdict.PASS
    finally:
        paused.cancel()
        os.kill(pid, signal.SIGCONT)
        service.during = lambda _stage: None
    assert service.phase is None
    answered(service, load)


def way_back_is_gone(service: FaultWorld, load: ConstantLoad) -> None:
    """The version before cannot be brought back: users stay where they are, and it is said why."""
    service.released()
    before, plan = service.champion, service.observed().plan
    with service.lost_package():
        try:
            rollback.run(service.context(), reason="complaints")
        except EnvironmentFault as fault:
            assert "not on this machine" in fault.render()
        else:
            raise AssertionError("a version was brought back that is not there")
        assert service.observed().plan == plan
        answered(service, load)
    assert rollback.run(service.context(), reason="once more").verdict is Verdict.PASS
    assert service.champion != before


def answered(service: FaultWorld, load: ConstantLoad, number: int = 10) -> None:
    """Users get answers from the colour that is live, and from no other."""
    live: Colour = service.live()
    since = time.monotonic()
    assert load.wait_for(live, number, since, within=60)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


def _stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"T"


UNHARMED: dict[str, Callable[[FaultWorld, ConstantLoad], None]] = {
    "candidate crashes again and again": candidate_crashes_again_and_again,
    "candidate never ready": candidate_never_answers,
    "candidate ready, answers wrong": candidate_fails_its_smoke_request,
    "worker killed half-way, nobody comes back": worker_ends_half_way,
    "worker sleeps half-way, wakes up late": worker_sleeps_half_way,
    "way back gone": way_back_is_gone,
    "candidate killed in a step": candidate_ends_in_a_step,
    "champion killed in a step": champion_ends_in_a_step,
    "candidate killed after the switch": candidate_ends_with_all_users,
}
"""Stories in which no request may be lost."""
HARMED: dict[str, Callable[[FaultWorld, ConstantLoad], None]] = {
    "router killed": router_ends,
    "everything killed": everything_ends,
    "target silent for a while": target_is_silent_for_a_while,
}
"""Stories in which nobody is left to answer. How many requests that costs, and for how long, is measured."""
