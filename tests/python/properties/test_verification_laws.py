"""Laws of verdicts that hold for every release."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core.counters import Counters, Point
from mlpipeline.core.judge import Judge, Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.sequential import Calibration, HarmTest, Tick
from mlpipeline.core.verdict import Verdict

PLAN = Plan("s", "r", "green", "blue", 0.01, 2.0, 50, (MetricPlan("errors", "failed", "router", 0.001, 2.0),))
History = list[tuple[str, tuple[int, int, int, int]]]
LABELS = (("instance", "a"), ("job", "j"))


@st.composite
def colour(draw: st.DrawFn, most: int = 2000) -> tuple[int, int]:
    requests = draw(st.integers(0, most))
    return requests, draw(st.integers(0, requests))


pairs = st.tuples(colour(), colour()).map(lambda both: (*both[0], *both[1]))
histories = st.lists(st.tuples(st.sampled_from(["mirror", "10 %", "bake"]), pairs), max_size=40)


def judge(history: History) -> Judge:
    judge = Judge(PLAN)
    for number, (stage, counts) in enumerate(history):
        judge.add(Look(2.0 * number, stage, "live", 2.0, {"errors": counts}))
    return judge


@settings(max_examples=30, deadline=None)
@given(histories)
def test_a_replay_through_json_gives_the_same_bytes(history: History) -> None:
    looks = [Look(2.0 * number, stage, "live", 2.0, {"errors": counts}) for number, (stage, counts) in enumerate(history)]
    again = Judge(msgspec.json.decode(msgspec.json.encode(PLAN), type=Plan))
    for look in msgspec.json.decode(msgspec.json.encode(looks), type=list[Look]):
        again.add(look)
    assert msgspec.json.encode(again.judgement()) == msgspec.json.encode(judge(history).judgement())


@settings(max_examples=30, deadline=None)
@given(histories, st.booleans())
def test_a_silent_colour_never_passes_and_never_fails(history: History, candidate: bool) -> None:
    silenced = [(stage, (0, 0, *counts[2:]) if candidate else (*counts[:2], 0, 0)) for stage, counts in history]
    judged = judge(silenced)
    judged.end(StageEnd("bake", judged.looks, True))
    assert judged.judgement().verdict is Verdict.INCONCLUSIVE


@settings(max_examples=30, deadline=None)
@given(histories, histories)
def test_a_failure_is_never_taken_back(first: History, then: History) -> None:
    if judge(first).failed:
        assert judge(first + then).judgement().verdict is Verdict.FAIL


@settings(max_examples=30, deadline=None)
@given(histories)
def test_a_candidate_without_an_event_never_fails(history: History) -> None:
    assert not judge([(stage, (counts[0], 0, *counts[2:])) for stage, counts in history]).failed


@settings(max_examples=100, deadline=None)
@given(pairs, st.floats(0, 0.5))
def test_more_events_of_the_candidate_are_never_less_evidence(counts: tuple[int, int, int, int], overdispersion: float) -> None:
    """At the same number of events in all, the evidence of harm grows with the candidate's part of them."""
    tick = Tick(*counts)
    if tick.candidate_events < tick.candidate and tick.champion_events:
        worse = Tick(tick.candidate, tick.candidate_events + 1, tick.champion, tick.champion_events - 1)
        found = []
        for each in (tick, worse):
            test = HarmTest(1.1, Calibration(overdispersion=overdispersion))
            test.add(each)
            found.append(test.log_e)
        assert found[1] >= found[0] - 1e-12


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=30), st.lists(st.booleans(), min_size=30, max_size=30), st.integers(1, 5)
)
def test_counters_lose_and_invent_nothing(steps: list[int], restarts: list[bool], every: int) -> None:
    """Whatever restarts right after a scrape and however looks and scrapes fall together, the sum is what happened."""
    points, value = [Point(0.0, 1000.0)], 1000.0
    happened = 0
    for number, step in enumerate(steps, start=1):
        restarted = restarts[number - 1] and step < value
        value = step if restarted else value + step
        happened += step
        points.append(Point(float(number), value))
    counters, counted = Counters(), 0.0
    for end in [*range(0, len(steps), every), len(steps)]:
        counted += counters.take({LABELS: points[: end + 1]}, float(end))[LABELS]
    assert counted == happened
