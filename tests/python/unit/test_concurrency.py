"""Whether two colours answered at the same time."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipeline.core.concurrency import silent, together
from mlpipeline.core.judge import RULES, Judge, Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.verdict import Verdict

BEFORE, AFTER, BOTH = (0, 500), (500, 0), (500, 500)


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        ([], False),
        ([BOTH] * 90, True),
        ([BEFORE] * 90, False),
        ([BEFORE] * 90 + [AFTER] * 90, False),
        ([BEFORE, AFTER] * 90, False),
        ([BOTH] + [AFTER] * 89, False),
        ([BOTH] * 40 + [AFTER] * 50, False),
        ([BOTH] * 60 + [AFTER] * 30, True),
        ([(3, 0), (0, 2)] * 40, True),
        ([(0, 4)] * 20 + [(4, 0)] * 20, False),
    ],
)
def test_together(blocks: list[tuple[int, int]], found: bool) -> None:
    assert together(blocks) is found


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.003])
@pytest.mark.parametrize("per_block", [3, 100, 5000])
def test_a_small_share_at_any_traffic_is_no_silence(share: float, per_block: int) -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        candidate, champion = rng.poisson(share * per_block, 360), rng.poisson((1 - share) * per_block, 360)
        if candidate.sum() >= 20:
            assert together(list(zip(candidate.tolist(), champion.tolist(), strict=True)))


def test_silent() -> None:
    assert not silent([BOTH] * 9, [BOTH] * 9)
    assert not silent([BOTH] * 5 + [(0, 0)] * 4, [BOTH] * 9)
    assert silent([BOTH] * 4 + [(0, 0)] * 5, [BOTH] * 9)


def judged(counts: list[dict[str, tuple[int, int, int, int]]]) -> Judge:
    metrics = tuple(MetricPlan(name, "bad", "simulation", 0.0, 2.0) for name in ("errors", "latency"))
    judge = Judge(Plan("s", "r", "green", "blue", 0.01, 10.0, 50, metrics, rules=RULES))
    for number, one in enumerate(counts, start=1):
        judge.add(Look(10.0 * number, "bake", "live", 10.0, one))
    judge.end(StageEnd("bake", judge.looks, watched=True, last=True))
    return judge


def both(*counts: int) -> dict[str, tuple[int, int, int, int]]:
    return dict.fromkeys(("errors", "latency"), (counts[0], counts[1], counts[2], counts[3]))


@pytest.mark.parametrize("errors", [2, 150])
def test_after_is_not_compared_with_before(errors: int) -> None:
    """Not even where it looks like harm."""
    judge = judged([both(0, 0, 500, 2)] * 90 + [both(500, errors, 0, 0)] * 90)
    judgement = judge.judgement()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "not both colours answered requests at the same time in stage bake" in judgement.summary


def test_a_metric_that_nobody_counts_any_more_does_not_pass() -> None:
    whole = both(500, 2, 500, 2)
    gone = {"errors": (500, 2, 500, 2), "latency": (0, 0, 0, 0)}
    half = {"errors": (500, 2, 500, 2), "latency": (0, 0, 500, 2)}
    assert judged([whole] * 90).judgement().verdict is Verdict.PASS
    assert judged([whole] * 10 + [gone] * 80).judgement().verdict is Verdict.INCONCLUSIVE
    assert judged([whole] * 10 + [half] * 80).judgement().verdict is Verdict.INCONCLUSIVE
