"""Answers of both colours to the same mirrored requests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mlpipeline.core.disagreement import DisagreementPlan, DisagreementState, Join, difference
from mlpipeline.core.judge import Judge, Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting.target import HostTarget
from mlpipeline.serving.answers import LONGEST, Kept, is_direct, is_key

PLAN = Plan(
    "s",
    "r",
    "green",
    "blue",
    0.01,
    2.0,
    50,
    (MetricPlan("errors", "failed", "router", 0.001, 2.0), MetricPlan("latency", "slow", "serving", 0.01, 1.5)),
    disagreement=DisagreementPlan(0.05),
    rules=2,
)


def answer(*predictions: object) -> str:
    return json.dumps({"predictions": list(predictions)})


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (answer("a", "b"), answer("a", "b"), 0.0),
        (answer("a", "b"), answer("a", "c"), 0.5),
        (answer("a"), answer("a", "b"), 1.0),
        (answer(1.0), answer(1.04), 0.0),
        (answer(1.0), answer(1.06), 1.0),
        (answer(0), answer(1e-9), 1.0),
        (answer(float("nan")), answer(float("nan")), 0.0),
        (answer([0.1, 0.9]), answer([0.104, 0.9]), 0.0),
        (answer([0.1, 0.9]), answer([0.1, 0.9, 0.0]), 1.0),
        (answer({"label": "a"}), answer({"label": "b"}), 1.0),
        (answer(True), answer(False), 1.0),
        (answer(), answer(), None),
        ("[1]", answer(1), None),
        ("no json", answer(1), None),
    ],
)
def test_what_counts_as_another_answer(ours: str, theirs: str, found: float | None) -> None:
    assert difference(ours, theirs, 0.05) == found


def test_each_pair_is_compared_once_and_when_the_second_answer_has_come() -> None:
    join = Join(0.0)
    assert join.add({"1": answer("a"), "2": answer("a")}, {"2": answer("b"), "3": answer("a")}) == (1, 1.0)
    assert join.add({"1": answer("a"), "2": answer("a")}, {"1": answer("a"), "2": answer("b")}) == (1, 0.0)
    assert join.add({"1": answer("a")}, {"1": answer("a")}) == (0, 0.0)


def look(number: int, compared: tuple[int, float]) -> Look:
    quiet = dict.fromkeys(("errors", "latency"), (20, 0, 20, 0))
    return Look(2.0 * number, "mirror", "mirror", 2.0, quiet, compared=compared)


def requests_until_failure(seed: int, rate: float, most: int) -> int:
    rng, judge = np.random.default_rng(seed), Judge(PLAN)
    for number in range(most):
        if judge.add(look(number, (1, float(rng.random() < rate)))) is Verdict.FAIL:
            return number + 1
    return most + 1


def test_wrong_predictions_are_caught_within_a_hundred_mirrored_requests() -> None:
    """15 % disagreement where 5 % are allowed, in the judge beside two quiet metrics: the median of seeded releases."""
    found = sorted(requests_until_failure(seed, 0.15, 400) for seed in range(31))
    assert found[15] <= 100


def test_what_is_allowed_is_seldom_taken_for_harm() -> None:
    """At a budget of 1 %, two or more false alarms among 40 have a probability of 6 %, four or more below 0.1 %."""
    assert sum(requests_until_failure(1000 + seed, 0.05, 200) <= 200 for seed in range(40)) <= 3


def test_the_disagreement_is_named_with_its_numbers() -> None:
    judge = Judge(PLAN)
    for number in range(30):
        judge.add(look(number, (10, 3.0)))
    judged = judge.judgement()
    assert judged.verdict is Verdict.FAIL
    assert judge.culprits == ("disagreement",)
    assert judged.summary.startswith("disagreement: 30 % of 300 mirrored requests were answered differently, 5 % are allowed")
    assert judged.metrics[-1].ratio == 6.0


def test_no_pair_at_all_never_passes_and_agreement_does() -> None:
    silent, agreeing = Judge(PLAN), Judge(PLAN)
    for number in range(60):
        silent.add(look(number, (0, 0.0)))
        agreeing.add(look(number, (10, 0.0)))
    for judge in (silent, agreeing):
        judge.end(StageEnd("mirror", judge.looks, watched=True))
    assert silent.judgement().verdict is Verdict.INCONCLUSIVE
    assert "no mirrored request could be compared" in silent.judgement().summary
    assert agreeing.judgement().verdict is Verdict.PASS
    assert agreeing.judgement().metrics[-1].verdict is Verdict.PASS


def test_few_pairs_are_missing_evidence() -> None:
    judge = Judge(PLAN)
    for number in range(10):
        judge.add(look(number, (1, 0.0)))
    judge.end(StageEnd("mirror", judge.looks, watched=True))
    assert "10 compared answers are fewer than the 50" in judge.judgement().summary


def test_a_fraction_of_the_rows_counts_as_a_fraction_of_a_request() -> None:
    whole, parts = DisagreementState(DisagreementPlan(0.05), 0.95), DisagreementState(DisagreementPlan(0.05), 0.95)
    whole.add(10, 4.0)
    parts.add(10, 4 * 1.0)
    assert whole.log_e == parts.log_e
    assert whole.interval[0] == pytest.approx(0.4)


def test_a_colour_keeps_its_newest_answers_and_none_of_an_id_that_names_several_requests() -> None:
    kept = Kept(2)
    for name, text in ((b"1", b"a"), (b"2", b"b"), (b"2", b"c"), (b"3", b"d"), (b"4", b"x" * (LONGEST + 1))):
        kept.add(name, text)
    assert json.loads(kept.render()) == {"3": "d"}
    kept.add(b"3", b"d")
    assert json.loads(kept.render()) == {"3": "d"}


@pytest.mark.parametrize(
    ("client", "headers", "direct"),
    [
        (("127.0.0.1", 1), {}, True),
        (("::1", 1), {}, True),
        (("10.0.0.1", 1), {}, False),
        (None, {}, False),
        (("127.0.0.1", 1), {b"x-request-id": b"1"}, False),
        (("127.0.0.1", 1), {b"x-forwarded-proto": b"http"}, False),
    ],
)
def test_answers_are_told_to_this_machine_only_and_never_through_a_router(
    client: tuple[str, int] | None, headers: dict[bytes, bytes], direct: bool
) -> None:
    assert is_direct(client, headers) is direct


@pytest.mark.parametrize(("key", "given", "known"), [("ab", b"ab", True), ("ab", b"aB", False), ("", b"", False)])
def test_answers_are_told_elsewhere_by_the_key_alone_and_without_a_key_to_nobody(key: str, given: bytes, known: bool) -> None:
    assert is_key(key, given) is known


class Telling:
    """A colour whose processes say so of their answers."""

    def __init__(self, *told: tuple[int, bytes] | OSError) -> None:
        self._told = told

    def answers(self) -> list[tuple[int, bytes]]:
        for one in self._told:
            if isinstance(one, OSError):
                raise one
        return [one for one in self._told if not isinstance(one, OSError)]


def told_by(colour: Telling) -> dict[str, str]:
    nothing: Any = None
    colours: Any = {Colour.GREEN: colour}
    return dict(HostTarget(("", 0), nothing, colours, nothing, nothing, drain_timeout=0).answers(Colour.GREEN))


def test_the_answers_of_several_processes_are_one_colours_but_for_ids_that_name_two_requests() -> None:
    assert told_by(Telling((200, b'{"1": "a", "2": "b"}'), (404, b"nothing"), (200, b'{"2": "c", "3": "d", "1": "a"}'))) == {
        "1": "a",
        "3": "d",
    }
    assert told_by(Telling((404, b"nothing"))) == {}


@pytest.mark.parametrize("colour", [Telling(ConnectionError("refused")), Telling((200, b"no JSON"))])
def test_a_colour_that_cannot_tell_is_named(colour: Telling) -> None:
    with pytest.raises(EnvironmentFault, match="green does not tell its answers"):
        told_by(colour)
