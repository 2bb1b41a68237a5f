"""Evidence on blocks of seconds: the same however often one looks, and quicker than a block where harm is blatant."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core.blocks import BLOCK_SECONDS, OF_RULES_4, OF_RULES_5, BlockedBank, ExclusionBank
from mlpipeline.core.paired import RULES_4, PairedBank
from mlpipeline.core.sequential import Tick

EFFECT = 1.1


def looks(seed: int, *, ratio: float = 1.0, rate: float = 0.01, runs: int = 4, number: int = 60) -> np.ndarray:
    """``(runs, number, 4)`` at 100 requests a look of each colour."""
    rng = np.random.default_rng(seed)
    requests = np.full((runs, number), 100)
    return np.stack(
        [requests, rng.binomial(100, min(1.0, rate * ratio), (runs, number)), requests, rng.binomial(requests, rate)], axis=-1
    )


def of_blocks(bank: BlockedBank) -> np.ndarray:
    """The e-values without the part for blatant harm."""
    return (np.exp(bank.log_e) - OF_RULES_5.blatant * np.exp(bank._looks.log_e)) / OF_RULES_5.blocks


@pytest.mark.parametrize("together", [1, 5])
def test_of_blocks_it_does_not_matter_how_often_was_looked(together: int) -> None:
    counts = looks(1, ratio=3.0)
    often, whole = BlockedBank([EFFECT] * 4), PairedBank([EFFECT] * 4)
    for start in range(0, 60, 5):
        before = np.exp(whole.log_e)
        for look in range(start, start + 5, together):
            assert of_blocks(often) == pytest.approx(before)
            often.add(counts[:, look : look + together].sum(axis=1), 2.0 * together)
        whole.add(counts[:, start : start + 5].sum(axis=1), BLOCK_SECONDS)
        assert of_blocks(often) == pytest.approx(np.exp(whole.log_e))


def test_a_stage_ends_its_block() -> None:
    counts = looks(3, ratio=4.0)
    often, whole = BlockedBank([EFFECT] * 4), PairedBank([EFFECT] * 4)
    often.add(counts[:, 0], 2.0)
    often.next_stage()
    often.add(counts[:, 1:6].sum(axis=1), 10.0)
    whole.add(counts[:, 0], 2.0)
    whole.next_stage()
    whole.add(counts[:, 1:6].sum(axis=1), 10.0)
    assert of_blocks(often) == pytest.approx(np.exp(whole.log_e))


def test_a_stage_that_ends_with_its_block_ends_it_once() -> None:
    counts = looks(4)
    often, whole = BlockedBank([EFFECT] * 4), PairedBank([EFFECT] * 4)
    for bank in (often, whole):
        bank.add(counts[:, 0], 10.0)
        bank.next_stage()
        bank.add(counts[:, 1], 10.0)
    assert of_blocks(often) == pytest.approx(np.exp(whole.log_e))


def test_looks_that_come_a_little_early_still_make_a_block_of_five() -> None:
    counts = looks(5, ratio=3.0)
    often, whole = BlockedBank([EFFECT] * 4), PairedBank([EFFECT] * 4)
    for look in range(5):
        often.add(counts[:, look], 1.95)
    whole.add(counts[:, :5].sum(axis=1), 9.75)
    assert of_blocks(often) == pytest.approx(np.exp(whole.log_e))


def test_it_starts_at_one_less_what_is_kept_for_the_last_look() -> None:
    assert BlockedBank([1.1, 1.25]).log_e == pytest.approx([log(OF_RULES_5.blocks + OF_RULES_5.blatant)] * 2)
    assert BlockedBank([1.1], RULES_4, OF_RULES_4).log_e == pytest.approx([0.0])
    assert sum(OF_RULES_5) < sum(OF_RULES_4) == 1


def last_looks(counts: np.ndarray, level: float) -> tuple[BlockedBank, np.ndarray, np.ndarray]:
    """The bank, its evidence before the last look, and the p-values."""
    bank = BlockedBank([EFFECT] * len(counts))
    for look in range(counts.shape[1]):
        bank.add(counts[:, look], 2.0)
    before = np.exp(bank.log_e)
    return bank, before, bank.last([level] * len(counts))


def test_the_last_look_spends_what_was_kept_for_it() -> None:
    bank, before, doubt = last_looks(looks(7, ratio=1.5, rate=0.02, runs=60, number=150), 0.01)
    small = doubt <= 0.01
    assert 10 < small.sum() < 50
    assert np.exp(bank.log_e) == pytest.approx(before + small * OF_RULES_5.last_look / 0.01)


def test_the_last_look_counts_the_block_that_is_not_whole() -> None:
    counts = looks(8, ratio=3.0, number=53)
    _, _, doubt = last_looks(counts, 0.01)
    _, _, shorter = last_looks(counts[:, :50], 0.01)
    assert (doubt != shorter).all()


def test_the_last_look_finds_what_looking_any_time_does_not() -> None:
    """Of moderate harm, at a level that alone is enough for a failure."""
    level = 0.01 * OF_RULES_5.last_look
    bank, before, _ = last_looks(looks(9, ratio=1.6, rate=0.02, runs=200, number=200), level)
    assert (before >= 100).sum() < (bank.log_e >= log(100)).sum() - 20


def test_a_healthy_release_seldom_fails_at_its_last_look() -> None:
    """Of 1,000 at 0.35 %, 11 and more have a probability below 0.1 %."""
    bank, _, doubt = last_looks(looks(10, runs=1000, number=100), 0.01 * OF_RULES_5.last_look)
    assert (bank.log_e >= log(100)).sum() <= 10
    assert 0.2 < (doubt < 0.5).mean() < 0.6


def test_exclusion_does_not_depend_on_how_often_one_looks() -> None:
    counts = looks(11, number=100)
    often, seldom = ExclusionBank([2.0] * 4), ExclusionBank([2.0] * 4)
    for look in range(100):
        often.add(counts[:, look], 2.0)
    for block in range(20):
        seldom.add(counts[:, 5 * block : 5 * block + 5].sum(axis=1), 10.0)
    assert often.log_e == pytest.approx(seldom.log_e)
    assert often.log_e_of_stage == pytest.approx(often.log_e)
    often.next_stage()
    assert often.log_e == pytest.approx(seldom.log_e)
    assert (often.log_e_of_stage < 0).all()


def test_harm_at_the_margin_is_seldom_excluded_by_short_looks_at_bursts() -> None:
    """Bursts of ten seconds of each colour's own, looked at each 2 seconds: of 300 at 5 %, 29 and more have a probability below
    0.1 %."""
    rng = np.random.default_rng(12)
    columns = []
    for factor in (2.0, 1.0):
        rate = 0.01 * factor * np.exp(np.repeat(rng.normal(0, 0.7, (300, 60)), 5, axis=1))
        requests = np.full(rate.shape, 100)
        columns += [requests, rng.binomial(requests, np.minimum(rate, 1))]
    counts = np.stack(columns, axis=-1)
    bank, excluded = ExclusionBank([2.0] * 300), np.zeros(300, bool)
    for look in range(counts.shape[1]):
        bank.add(counts[:, look, [2, 3, 0, 1]], 2.0)
        excluded |= bank.log_e >= log(20)
    assert excluded.sum() <= 28


@pytest.mark.parametrize("requests", [20, 50, 400])
def test_a_candidate_that_fails_every_request_does_not_wait_for_blocks(requests: int) -> None:
    bank = BlockedBank([EFFECT])
    seconds = 0.0
    while bank.log_e[0] < log(100) and seconds < 60:
        bank.add([Tick(requests, requests, requests, 0)], 2.0)
        seconds += 2.0
    assert seconds <= 16


def test_pieces_of_a_burst_are_no_witnesses_of_their_own() -> None:
    """Each colour has bursts of ten seconds. Judged look by look they take more healthy releases back than as blocks."""
    rng = np.random.default_rng(6)
    runs, blocks = 200, 50
    columns = []
    for _ in range(2):
        rate = 0.01 * np.exp(np.repeat(rng.normal(0, 0.7, (runs, blocks)), 5, axis=1))
        requests = np.full(rate.shape, 100)
        columns += [requests, rng.binomial(requests, np.minimum(rate, 1))]
    counts = np.stack(columns, axis=-1)
    alarms = []
    for bank in (PairedBank([EFFECT] * runs, RULES_4), BlockedBank([EFFECT] * runs, RULES_4, OF_RULES_4)):
        alarmed = np.zeros(runs, bool)
        for look in range(counts.shape[1]):
            bank.add(counts[:, look], 2.0)
            alarmed |= bank.log_e >= log(100)
        alarms.append(int(alarmed.sum()))
    assert alarms[1] < alarms[0]
    assert alarms[1] <= 7  # of 200 at 1 % more have a probability below 0.1 %


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 60), st.integers(0, 12)), max_size=40))
def test_a_candidate_without_an_event_never_has_evidence_against_it(ticks: list[tuple[int, int, int, int]]) -> None:
    bank = BlockedBank([EFFECT])
    for candidate, champion, events, seconds in ticks:
        bank.add([Tick(candidate, 0, champion, min(champion, events))], float(seconds))
        assert bank.log_e[0] <= 1e-9
