"""The condition grammar of ease.ml/ci, its verdict of three values, slice expressions, and the budget of a holdout."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import get_scorer_names

from mlpipeline.config.load import load
from mlpipeline.config.metrics import METRICS, SCORERS, is_function, known_metric
from mlpipeline.core import grammar, slices
from mlpipeline.core.holdout import Use
from mlpipeline.core.resampling import mcnemar
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.ledger import Entry
from mlpipeline.verbs.model_budget import position_of


def test_the_condition_of_the_paper_is_read() -> None:
    first, second = grammar.parse("n - o > 0.02 +/- 0.01 /\\ d < 0.1 +/- 0.01")
    assert (first.coefficients, first.above, first.limit, first.tolerance) == ({"n": 1.0, "o": -1.0, "d": 0.0}, True, 0.02, 0.01)
    assert (second.coefficients, second.above, second.limit) == ({"n": 0.0, "o": 0.0, "d": 1.0}, False, 0.1)
    assert first.label_free_agreement
    assert second.label_free
    (third,) = grammar.parse("n - 1.1 * o + 0.5>.01+/-1e-2")
    assert third.coefficients == {"n": 1.0, "o": -1.1, "d": 0.0}
    assert third.limit == pytest.approx(-0.49)
    assert not third.label_free_agreement


@pytest.mark.parametrize(
    "text",
    [
        *("", "n", "n > 0.1", "n - o > 0.02 +/- 0", "n - o > 0.02 +/- -1", "x > 1 +/- 1", "n - > 1 +/- .1", "n*o > .1 +/- .1"),
        *(
            "__import__('os') > 1 +/- 1",
            "n - o > nan +/- 1",
            "n - o > 1e999 +/- 1",
            "n > 1 +/- 1 /\\",
            "n >> 1 +/- 1",
            "1 > 0 +/- 1",
        ),
        *("n - n > 0.1 +/- 0.1", "n < o +/- 0.1", "(n) > 0.5 +/- 0.1", "n > 0.5 +/- 0.1 or d < 1 +/- 0.1", "n " * 1000),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(grammar.BadCondition):
        grammar.parse(text)


@given(st.text(alphabet="nod0123456789.+-*/\\<> eE_()'x", max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        clauses = grammar.parse(text)
    except grammar.BadCondition:
        return
    assert all(clause.tolerance > 0 and math.isfinite(clause.limit) for clause in clauses)


CLAUSE = grammar.parse("n - o > 0.02 +/- 0.01")[0]


def seen(rows: int, difference: float, disagree: float = 0.1) -> dict[float, int]:
    gained = round(rows * (disagree + difference) / 2)
    lost = round(rows * (disagree - difference) / 2)
    return {1.0: gained, -1.0: lost, 0.0: rows - gained - lost}


@pytest.mark.parametrize(
    ("mode", "difference", "rows", "verdict"),
    [
        ("tolerance", 0.03, 20_000, Verdict.PASS),
        ("tolerance", 0.01, 20_000, Verdict.FAIL),
        ("tolerance", 0.03, 500, Verdict.INCONCLUSIVE),
        ("fp-free", 0.025, 30_000, Verdict.FAIL),
        ("fp-free", 0.03, 200_000, Verdict.PASS),
        ("fp-free", 0.03, 500, Verdict.INCONCLUSIVE),
        ("fn-free", 0.015, 30_000, Verdict.PASS),
        ("fn-free", 0.01, 200_000, Verdict.FAIL),
        ("fn-free", 0.02, 500, Verdict.INCONCLUSIVE),
    ],
)
def test_three_values_in_three_modes(mode: grammar.Mode, difference: float, rows: int, verdict: Verdict) -> None:
    evidence = grammar.log_evidence_needed(0.999, 1, 10, "none")
    assert grammar.decide(CLAUSE, seen(rows, difference), evidence, mode, 0).verdict is verdict


def test_no_row_decides_nothing() -> None:
    assert grammar.decide(CLAUSE, {}, 5.0, "tolerance", 0).verdict is Verdict.INCONCLUSIVE
    (limit,) = grammar.parse("d < 0.1 +/- 0.01")
    assert grammar.decide(limit, {}, 5.0, "tolerance", 0).verdict is Verdict.INCONCLUSIVE


def test_a_wrong_pass_is_as_rare_as_promised_however_often_one_looks() -> None:
    """The truth is one tolerance below the limit, where a pass is an error; looked at eleven times."""
    evidence, trials, wrong = -math.log(0.1), 100, 0
    for trial in range(trials):
        drawn = np.random.default_rng([5, trial]).choice([1.0, -1.0, 0.0], 4000, p=[0.155, 0.145, 0.7])
        for rows in (50, 100, 200, 300, 450, 700, 1000, 1500, 2200, 3000, 4000):
            decided = grammar.decide(CLAUSE, grammar.counted(drawn[:rows]), evidence, "tolerance", 0)
            if decided.verdict is Verdict.PASS:
                wrong += 1
                break
    assert wrong <= stats.binom.ppf(1 - 1e-6, trials, 0.1)


def test_far_fewer_labels_than_bennetts_bound_decide_at_one_tolerance_beyond_the_margin() -> None:
    evidence = grammar.log_evidence_needed(1 - 1e-4, 1, 32, "none")
    bennett = grammar.bennett_rows(evidence, 0.1, 0.01)
    assert bennett == pytest.approx(26_184, abs=1)
    needed = []
    for trial in range(20):
        drawn = np.random.default_rng([6, trial]).choice([1, -1, 0], 60_000, p=[0.065, 0.035, 0.9])
        up, down = np.cumsum(drawn == 1), np.cumsum(drawn == -1)
        for rows in range(500, 60_001, 500):
            values = {1.0: int(up[rows - 1]), -1.0: int(down[rows - 1]), 0.0: rows - int(up[rows - 1] + down[rows - 1])}
            if grammar.decide(CLAUSE, values, evidence, "tolerance", 0).verdict is Verdict.PASS:
                needed.append(int(up[rows - 1] + down[rows - 1]))
                break
    assert len(needed) == 20
    assert np.mean(needed) <= bennett / 20


# --- slices -------------------------------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {
        "distance": [100.0, np.nan, 2500.0, 900.0],
        "origin": ["JFK", "EWR", None, "JFK"],
        "id": [2**60, 2**60 + 1, 2**60 + 2, 1],
        "is late": [True, False, True, False],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("distance > 500", [2, 3]),
        ("not distance > 500", [0, 1]),
        ("origin == 'JFK'", [0, 3]),
        ("origin != 'JFK'", [1]),
        ("origin in ('EWR', 'LGA') || distance >= 2500", [1, 2]),
        ("origin not in ('EWR',)", [0, 3]),
        ("missing(distance) or missing(origin)", [1, 2]),
        ("100 <= distance < 1000 && !(origin == 'EWR')", [0, 3]),
        ("`is late` == true", [0, 2]),
        (f"id == {2**60 + 1}", [1]),
        ("distance * 2 + 100 == 1900", [3]),
        ("distance / 0 > 1", [0, 2, 3]),
        ("distance == -distance", []),
    ],
)
def test_an_expression_chooses_rows(text: str, rows: list[int]) -> None:
    expression = slices.parse(text)
    assert np.flatnonzero(expression.rows({name: TABLE[name] for name in expression.columns})).tolist() == rows


@pytest.mark.parametrize(
    "text",
    [
        *("distance", "1 > 2 > 3 >", "__import__('os').system('true') == 0", "distance.max() > 1", "[x for x in origin] == 1"),
        *(
            "lambda: 1",
            "distance > 1 if True else 2",
            "f'{distance}' == 'a'",
            "distance[0] > 1",
            "distance ** 9 ** 9 > 1",
            "a := 1",
        ),
        *("distance in origin", "distance > 1; origin", "x" * 2000, "(" * 300 + ")" * 300, "distance is None", "missing(1)"),
    ],
)
def test_what_is_no_choice_of_rows_is_refused(text: str) -> None:
    with pytest.raises(slices.BadExpression):
        slices.parse(text)


@pytest.mark.parametrize("text", ["distance > 'far'", "nowhere == 1", "1 < 2"])
def test_what_cannot_be_compared_is_told(text: str) -> None:
    with pytest.raises(slices.BadExpression):
        slices.parse(text).rows({name: TABLE[name] for name in TABLE.columns})


# --- the budget of a holdout --------------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.floats(0.5, 0.999))
def test_all_comparisons_of_a_budget_together_keep_the_confidence(budget: int, confidence: float) -> None:
    levels = [1 - Use(position, budget).confidence(confidence) for position in range(1, budget + 1)]
    assert sum(levels) == pytest.approx(1 - confidence)
    assert levels == sorted(levels, reverse=True)
    assert Use(budget, budget).left == 0
    assert Use(budget + 1, budget).used_up
    assert Use(7, budget, correct=False).confidence(confidence) == confidence


def test_fifty_challengers_no_better_are_seldom_promoted() -> None:
    """2,000 rows, 10 % of them answered differently; at most 5 % of the runs may promote one (naive: nearly all)."""
    runs, promoted = 300, 0
    random = np.random.default_rng(1)
    for _ in range(runs):
        gained = random.binomial(2000, 0.05, 50)
        lost = random.binomial(2000 - gained, 0.05 / 0.95)
        chances = [mcnemar(int(up), int(down)) for up, down in zip(gained, lost, strict=True)]
        promoted += any(chance < 1 - Use(place, 50).confidence(0.95) for place, chance in enumerate(chances, start=1))
    assert promoted <= stats.binom.ppf(1 - 1e-6, runs, 0.05)


def entry(model: str, champion: str = "c", holdout: str = "h", verdict: str = "pass", **facts: str) -> Entry:
    told = {"holdout": holdout, "model": model, **({"champion": champion} if champion else {}), **facts}
    return Entry(seq=1, at="", service="s", event="gate-model", verdict=verdict, facts=told)


def test_comparisons_are_counted_from_the_ledger() -> None:
    entries = [
        entry("a", comparison="1", rules="r"),
        entry("a", comparison="1", rules="r"),
        entry("b", champion=""),
        entry("b", holdout="other", comparison="1", rules="r"),
        entry("d", compared="no"),
        entry("e", comparison="2", rules="r"),
        entry("f"),
        entry("g", verdict="error"),
    ]
    assert position_of(entries, "h", model="a", champion="c", rules="r") == 1
    assert position_of(entries, "h", model="e", champion="c", rules="r") == 2
    assert position_of(entries, "h", model="a", champion="c", rules="another") == 4
    assert position_of(entries, "new", model="a", champion="c", rules="r") == 1


def test_every_scorer_of_scikit_learn_is_known() -> None:
    assert {name for name in get_scorer_names() if not known_metric(name)} == set()
    assert not set(SCORERS) & set(METRICS)
    assert is_function("measures.own:cost") and not is_function("measures:") and not is_function("a b:c") and not is_function("x")


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("max_memory: 2 gigs", "expected a size"),
        ("max_size: much", "expected a size"),
        ('conditions: [{condition: "n - o >"}]', "no tolerance"),
        ("fairness: [{by: origin}]", "no limit"),
        ("importance: {metric: auc}", "knows itself"),
        ("metrics: [{metric: ndcg, at_least: 0.5}]", "one ranking"),
        ("metrics: [{metric: accuracy, at_least: 0.5, by: query}]", "are for ndcg"),
        ("metrics: [{metric: accuracy, at_least: 0.5, larger_is_better: false}]", "direction of accuracy is known"),
        ("metrics: [{metric: f1_macr, at_least: 0.5}]", "unknown metric"),
        ("metrics: [{metric: 'my module:f', at_least: 0.5}]", "unknown metric"),
    ],
)
def test_a_gate_that_cannot_mean_anything_is_refused_when_it_is_read(tmp_path: Path, gate: str, words: str) -> None:
    text = f"service: flights\ntrain: {{command: x}}\ngate:\n  holdout: h.csv\n  label: late\n  latency: {{p99: 1s}}\n  {gate}\n"
    (tmp_path / "mlpipeline.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path)
    assert words in caught.value.render()
