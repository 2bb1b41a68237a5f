"""Sequential comparison of two event rates that may be looked at after every tick.

A *tick* is what both colours did in the same seconds: how many requests each answered and how many of these were
*events* (errors, slow answers). Evidence is measured by **e-processes**: non-negative, starting at 1, with an expectation
of at most 1 under the null hypothesis at every stopping time. By Ville's inequality ``P(E ever reaches 1/a) <= a``, so
that looking every two seconds for an hour costs nothing. E-processes are kept as running sums of logarithms: a tick
costs the same whatever came before it.

What is a theorem and what is calibrated:

* ``binomial_log_likelihood`` with overdispersion 0 is exact for every null ``rate ratio <= effect`` when requests of one
  tick fail independently given the shared circumstances of that tick (Poisson thinning; for certain events, with rates
  near 1, sampling without replacement is less dispersed than the binomial, Hoeffding 1963). Circumstances that both
  colours share may vary in any way. Source: Lindon & Malek, NeurIPS 2022, one-sided.
* With overdispersion the likelihood is tempered by the variance inflation: a quasi-likelihood, *calibrated* on the
  champion's past with a reserve, and no theorem about your traffic. ``bench/verification.py`` measures how it holds up.
* Capping single ticks is valid when each tick is within total variation ``CONTAMINATION`` of the null
  (Saha & Ramdas, arXiv 2408.14015).
* The vote needs only that the candidate's mean share of the events of a tick is at most ``share(effect)``, given the past
  and their number: any burst, any overdispersion. A tick bets in proportion to its effective number of events.
* Raising either to a power of at most 1 keeps it an e-process (Jensen). That the power ``1/dependence`` of the vote
  suffices for ticks that resemble each other is calibrated.
* A weighted mean of e-processes is one, under any dependence between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import exp, inf, log, log1p
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from numpy.typing import NDArray

CAP = 4.0
CONTAMINATION = 0.005
_LOG_CAP = log(CAP)
_LOG_RESERVE = log1p(CONTAMINATION * (CAP - 1))
_WIDEST = 40.0
LIKELIHOODS = 14
"""How many ratios the likelihood ratio is taken over; they come first in what a tick adds."""
_RATIOS = tuple(1.1 * exp(log(_WIDEST / 1.1) / (LIKELIHOODS - 1) * index) for index in range(LIKELIHOODS))
_BETS = (0.12, 0.3, 0.8)
_HIGHEST_BET = 0.95
_LIKELIHOOD_WEIGHT = 1 / 3
_CLUMPING = 0.3
_LEAST_DEPENDENCE = 1.75
_OF_A_COLOUR_ALONE = 0.7
EXCLUSION_CAUTION = 1.75
"""When harm is to be excluded: a wander of the ratio is easily taken for its absence, and waiting for more is cheap."""
_LONGEST_BLOCK = 8


class Tick(NamedTuple):
    """Requests and events of both colours over the same seconds. Events never exceed requests."""

    candidate: int
    candidate_events: int
    champion: int
    champion_events: int

    @property
    def swapped(self) -> Tick:
        """The same tick with the roles exchanged."""
        return Tick(self.champion, self.champion_events, self.candidate, self.candidate_events)

    @property
    def comparable(self) -> bool:
        """Whether both answered and an event happened; other ticks say nothing about a ratio."""
        return self.candidate > 0 and self.champion > 0 and self.candidate_events + self.champion_events > 0


class Calibration(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much rougher than a coin toss the division of events between two equal colours is.

    Args:
        overdispersion: Intra-tick correlation of the events, 0 (binomial) to 1.
        dependence: Long-run over short-run variance of ticks, at least 1.
        ticks: How many past ticks it rests on; 0 for the built-in defaults.
    """

    overdispersion: float = 0.1
    dependence: float = 2.0
    ticks: int = 0


def share(ratio: float, tick: Tick) -> float:
    """The candidate's expected share of a tick's events when its rate is ``ratio`` times the champion's."""
    weighted = ratio * tick.candidate
    return weighted / (weighted + tick.champion)


def binomial_log_likelihood(events: int, hits: int, probability: float, overdispersion: float) -> float:
    """``log P(hits of events)`` of a binomial, tempered: divided by ``1 + (events - 1) * overdispersion``.

    The divisor is the factor by which a beta-binomial's variance exceeds the binomial's, so that this is its
    quasi-likelihood. (The beta-binomial itself turns U-shaped for unequal splits and then finds harm in calm
    ticks.) The term that does not depend on the probability is left out. The probability lies strictly within (0, 1).
    """
    full = hits * log(probability) + (events - hits) * log1p(-probability)
    return full / (1 + (events - 1) * overdispersion)


def log_mean_exp(logarithms: Sequence[float]) -> float:
    """``log(mean(exp(x)))`` without overflow; ``-inf`` is allowed, an empty sequence is not."""
    top = max(logarithms)
    if top == -inf:
        return -inf
    return top + log(sum([exp(value - top) for value in logarithms]) / len(logarithms))


def log_weighted_sum(pairs: Iterable[tuple[float, float]]) -> float:
    """``log(sum(weight * exp(x)))`` of ``(weight, x)`` pairs with positive weights."""
    terms = [log(weight) + value for weight, value in pairs if weight > 0]
    return log_mean_exp(terms) + log(len(terms)) if terms else -inf


def effective_events(events: int) -> float:
    """As how many independent events these count, clumped as events usually are: ``k / (1 + (k - 1) * 0.3)``."""
    return events / (1 + (events - 1) * _CLUMPING)


def increments(effect: float, calibration: Calibration, tick: Tick) -> list[float]:
    """What a comparable tick adds to the logarithms of a harm test: of each ratio's likelihood, then of each bet's vote."""
    events, hits = tick.candidate_events + tick.champion_events, tick.candidate_events
    rho = calibration.overdispersion
    expected = share(effect, tick)
    null = binomial_log_likelihood(events, hits, expected, rho)
    gains = (binomial_log_likelihood(events, hits, share(effect * step, tick), rho) - null for step in _RATIOS)
    surplus, effective = (hits / events - expected) / expected, effective_events(events)
    return [
        *(min(gain, _LOG_CAP) - _LOG_RESERVE for gain in gains),
        *(log1p(min(_HIGHEST_BET, bet * effective) * surplus) / calibration.dependence for bet in _BETS),
    ]


class EProcess(Protocol):
    """Evidence that ticks are added to and that may be looked at whenever one likes."""

    def add(self, tick: Tick) -> None:
        """Takes in one tick."""

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value so far; 0 before any evidence."""


class HarmTest:
    """E-process against "the candidate's rate is at most ``effect`` times the champion's".

    A third the mean of capped, tempered binomial likelihood ratios over ratios from 1.1 to 40 times ``effect``, two
    thirds the vote, ``prod (1 + bet(k) * (share of the k events - share(effect)) / share(effect))^(1/dependence)``
    meaned over bets, with ``bet(k) = min(0.95, bet * effective events)``.
    Non-inferiority is the same test with the roles swapped, ``effect = 1 / margin`` and ``EXCLUSION_CAUTION``.

    Args:
        effect: The largest ratio that is no harm.
        caution: Everything is raised to the power ``1 / caution``, at least 1.
    """

    def __init__(self, effect: float, calibration: Calibration, caution: float = 1.0) -> None:
        self._effect = effect
        self._calibration = calibration
        self._caution = caution
        self._sums = [0.0] * (LIKELIHOODS + len(_BETS))

    def add(self, tick: Tick) -> None:
        """Takes in one tick; one without events or without one of the colours changes nothing."""
        if tick.comparable:
            added = increments(self._effect, self._calibration, tick)
            self._sums = [total + gain / self._caution for total, gain in zip(self._sums, added, strict=True)]

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value so far; 0 before any evidence."""
        parts = ((_LIKELIHOOD_WEIGHT, self._sums[:LIKELIHOODS]), (1 - _LIKELIHOOD_WEIGHT, self._sums[LIKELIHOODS:]))
        return log_weighted_sum([(weight, log_mean_exp(sums)) for weight, sums in parts])


class RestartedHarmTest:
    """A harm test over the whole release and one restarted at each stage, combined into one e-process.

    A candidate that was healthy for long and breaks late would have to outweigh its good past; the restarted test needs
    not. Weights: one half for the whole, ``1/2 * 1/(s (s + 1))`` for stage ``s``; stages to come stand at 1. A test
    stops at the end of its stage, which is a stopping time, so the sum stays an e-process.

    Args:
        test: The harm test that is restarted.
    """

    def __init__(
        self, effect: float, calibration: Calibration, test: Callable[[float, Calibration], EProcess] = HarmTest
    ) -> None:
        self._begin = partial(test, effect, calibration)
        self._whole = self._begin()
        self._ended: list[float] = []
        self._stage = self._begin()

    def add(self, tick: Tick) -> None:
        self._whole.add(tick)
        self._stage.add(tick)

    def next_stage(self) -> None:
        """Ends the present stage; its evidence is kept."""
        self._ended.append(self._stage.log_e)
        self._stage = self._begin()

    @property
    def log_e(self) -> float:
        stages = [*self._ended, self._stage.log_e]
        weighted = [(0.5 / (number * (number + 1)), value) for number, value in enumerate(stages, start=1)]
        to_come = 0.5 / (len(stages) + 1)
        return log_weighted_sum([(0.5, self._whole.log_e), *weighted, (to_come, 0.0)])


class LevelBank:
    """Many :class:`LevelTest` side by side in arrays.

    Args:
        clumping: The evidence is raised to the power ``1 / clumping``: as if events came in clumps of so many.
        reserve: The evidence is divided by so much.
    """

    def __init__(self, levels: Sequence[float], clumping: float = 1.0, reserve: float = 1.0) -> None:
        import numpy as np

        self._clumping, self._log_reserve = clumping, log(reserve)
        terms = [LevelTest(level).terms for level in levels]
        self._hits, self._misses = (np.array([[pair[at] for pair in one] for one in terms]).reshape(-1, 5) for at in (0, 1))
        self._sums = np.zeros_like(self._hits)

    def add(self, requests: Sequence[int], events: Sequence[int]) -> None:
        import numpy as np

        n, k = np.array(requests, float)[:, None], np.array(events, float)[:, None]
        self._sums += k * self._hits + (n - k) * self._misses

    @property
    def log_e(self) -> NDArray[Any]:
        return log_mean(self._sums / self._clumping) - self._log_reserve


class HarmBank:
    """Many harm tests side by side in arrays: what :class:`HarmTest` computes for one metric, at the cost of a few.

    Args:
        effects: Of each test.
        calibrations: Of each test.
        caution: Of all.
    """

    def __init__(self, effects: Sequence[float], calibrations: Sequence[Calibration], caution: float = 1.0) -> None:
        import numpy as np

        self._effects = np.array(effects, float)[:, None]
        self._rho = np.array([each.overdispersion for each in calibrations])[:, None]
        self._dependence = np.array([each.dependence for each in calibrations])[:, None]
        self._steps, self._bets = np.array(_RATIOS)[None, :], np.array(_BETS)[None, :]
        self._caution = caution
        self.sums = np.zeros((len(effects), LIKELIHOODS + len(_BETS)))

    def gains(self, ticks: Sequence[Tick]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of one tick for each test: which tests learn anything, and what is added to their sums."""
        import numpy as np

        n, k, m, h = np.array(ticks, float).reshape(-1, 4).T
        rows = np.flatnonzero((n > 0) & (m > 0) & (k + h > 0))
        n, k, m, h = (column[rows, None] for column in (n, k, m, h))
        effects, events = self._effects[rows], k + h
        inflation = 1 + (events - 1) * self._rho[rows]

        def share_of(ratio: NDArray[Any]) -> NDArray[Any]:
            weighted = ratio * n
            return np.asarray(weighted / (weighted + m))

        def likelihood(p: NDArray[Any]) -> NDArray[Any]:
            return np.asarray((k * np.log(p) + h * np.log1p(-p)) / inflation)

        expected = share_of(effects)
        likelihoods = likelihood(share_of(effects * self._steps)) - likelihood(expected)
        surplus, effective = (k / events - expected) / expected, events / (1 + (events - 1) * _CLUMPING)
        votes = np.log1p(np.minimum(_HIGHEST_BET, self._bets * effective) * surplus) / self._dependence[rows]
        return rows, np.hstack([np.minimum(likelihoods, _LOG_CAP) - _LOG_RESERVE, votes]) / self._caution

    def add(self, ticks: Sequence[Tick], seconds: float = 0.0) -> None:
        """Takes in one tick for each test; how long it was does not matter here."""
        del seconds
        rows, gains = self.gains(ticks)
        self.sums[rows] += gains

    @property
    def log_e(self) -> NDArray[Any]:
        """Natural logarithm of each e-value so far."""
        return _bank_log_e(self.sums)


class RestartedBank:
    """Many :class:`RestartedHarmTest` side by side in arrays."""

    def __init__(self, effects: Sequence[float], calibrations: Sequence[Calibration]) -> None:
        self._whole = HarmBank(effects, calibrations)
        self._stage = self._whole.sums.copy()
        self._ended: list[NDArray[Any]] = []

    def add(self, ticks: Sequence[Tick], seconds: float = 0.0) -> None:
        """Takes in one tick for each test; how long it was does not matter here."""
        del seconds
        rows, gains = self._whole.gains(ticks)
        self._whole.sums[rows] += gains
        self._stage[rows] += gains

    def next_stage(self) -> None:
        self._ended.append(_bank_log_e(self._stage))
        self._stage[:] = 0.0

    @property
    def log_e(self) -> NDArray[Any]:
        import numpy as np

        stages = [*self._ended, _bank_log_e(self._stage)]
        terms = [log(0.5) + self._whole.log_e]
        terms += [log(0.5 / (number * (number + 1))) + value for number, value in enumerate(stages, start=1)]
        terms.append(np.full_like(terms[0], log(0.5 / (len(stages) + 1))))
        return log_mean(np.stack(terms, axis=1)) + log(len(terms))


def _bank_log_e(sums: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    likelihoods, votes = log_mean(sums[:, :LIKELIHOODS]), log_mean(sums[:, LIKELIHOODS:])
    parts = np.stack([log(_LIKELIHOOD_WEIGHT) + likelihoods, log(1 - _LIKELIHOOD_WEIGHT) + votes], axis=1)
    return log_mean(parts) + log(2)


def log_mean(logarithms: NDArray[Any]) -> NDArray[Any]:
    """``log(mean(exp(x)))`` of each row."""
    import numpy as np

    top = logarithms.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(logarithms - top).mean(axis=1)))


class LevelTest:
    """E-process against "the rate is at least ``level``", for one colour alone.

    ``mean over d < level of (d/level)^k ((1-d)/(1-level))^(n-k)``. Assumes that requests are events independently of
    each other; used only to say that a rate is negligible, never that a release is bad.
    """

    def __init__(self, level: float) -> None:
        self.terms = [
            (log(fraction), log1p(-fraction * level) - log1p(-level)) for fraction in (0.02, 0.1, 0.25, 0.5, 0.75) if level < 1
        ]
        self._sums = [0.0] * len(self.terms)

    def add(self, requests: int, events: int) -> None:
        for index, (hit, miss) in enumerate(self.terms):
            self._sums[index] += events * hit + (requests - events) * miss

    @property
    def log_e(self) -> float:
        return log_mean_exp(self._sums) if self._sums else 0.0


class Interval(NamedTuple):
    """Rate ratio with a confidence sequence. ``high`` is infinity and ``low`` 0 where the data exclude nothing."""

    estimate: float
    low: float
    high: float


class RatioInterval:
    """Confidence sequence for the rate ratio: covers the true ratio at *all* ticks with probability ``confidence``.

    Method of mixtures on the tempered binomial likelihood (a theorem at overdispersion 0): ratio ``r`` is excluded while
    ``mean over all ratios of L(.) >= L(r) / (1 - confidence)`` (Robbins 1970). The grid is
    logarithmic; bounds are the first grid points outside, hence never too narrow.
    """

    _HALF = 40
    _STEP = log(64) / _HALF

    def __init__(self, confidence: float, calibration: Calibration) -> None:
        self._threshold = -log1p(-confidence)
        self._rho = calibration.overdispersion
        self._ratios = [exp(self._STEP * index) for index in range(-self._HALF, self._HALF + 1)]
        self._likelihood: Sequence[float] = [0.0] * len(self._ratios)
        self._totals = Tick(0, 0, 0, 0)
        self._pending: list[Tick] = []
        self._newest = Interval(1.0, 0.0, inf)

    def add(self, tick: Tick) -> None:
        """Takes in one tick. It is computed with all others when an interval is asked for, which is far cheaper."""
        self._pending.append(tick)

    @property
    def interval(self) -> Interval:
        """Estimate: quotient of the total rates, with half an event added to each so that it is always finite."""
        self.intervals()
        return self._newest

    def intervals(self) -> list[Interval]:
        """One interval after each of the ticks added since the last call."""
        found: list[Interval] = []
        pending, self._pending = self._pending, []
        if not pending:
            return found
        import numpy as np

        n, k, m, h = np.array(pending, float).T[:, :, None]
        events = k + h
        counts = (n > 0) & (m > 0) & (events > 0)
        weighted = np.array(self._ratios) * np.where(counts, n, 1.0)
        p = weighted / (weighted + np.where(counts, m, 1.0))
        inflation = 1 + (np.maximum(events, 1.0) - 1) * self._rho
        gains = np.where(counts, (k * np.log(p) + h * np.log1p(-p)) / inflation, 0.0)
        sums = np.cumsum(np.vstack([np.array(self._likelihood)[None, :], gains]), axis=0)[1:]
        top = sums.max(axis=1, keepdims=True)
        bar = top[:, 0] + np.log(np.exp(sums - top).mean(axis=1)) - self._threshold
        inside = sums > bar[:, None]
        some, first = inside.any(axis=1), inside.argmax(axis=1)
        last = len(self._ratios) - 1 - inside[:, ::-1].argmax(axis=1)
        for place, tick in enumerate(pending):
            self._totals = Tick(*(total + now for total, now in zip(self._totals, tick, strict=True)))
            found.append(self._between(int(first[place]), int(last[place])) if some[place] else self._between(0, -1))
        self._likelihood, self._newest = sums[-1], found[-1]
        return found

    def _between(self, first: int, last: int) -> Interval:
        """From the grid points inside; all of them when ``last`` is -1."""
        low = 0.0 if first == 0 else self._ratios[first - 1]
        high = inf if last in (-1, len(self._ratios) - 1) else self._ratios[last + 1]
        return Interval(rate_ratio(self._totals), low, high)


def rate_ratio(tick: Tick) -> float:
    """Quotient of the rates, half an event added to each so that it is always finite."""
    requests, events, other_requests, other_events = tick
    return (events + 0.5) / (requests + 1) * (other_requests + 1) / (other_events + 0.5)


def closed_culprits(log_e: Sequence[float], alpha: float) -> tuple[int, ...]:
    """Which hypotheses may be named at error ``alpha`` when any number may be true (closed testing with means).

    Hypothesis i is named when the mean e-value of *every* set containing it reaches ``1/alpha``; it is enough to add the
    smallest others one by one. Source: Vovk & Wang, "E-values", Annals of Statistics 2021.
    """
    bar = -log(alpha)
    order = sorted(range(len(log_e)), key=lambda index: log_e[index])
    named = []
    for index in range(len(log_e)):
        others = [log_e[other] for other in order if other != index]
        sets = [[log_e[index], *others[:count]] for count in range(len(others) + 1)]
        if min(log_mean_exp(members) for members in sets) >= bar:
            named.append(index)
    return tuple(named)


def calibrate(history: Sequence[tuple[int, int]]) -> Calibration:
    """Calibrates on one colour's own past: ``(requests, events)`` per tick, oldest first.

    Neighbouring blocks of 1, 2, 4 and 8 ticks are compared with each other as if they were two equal colours. The
    variance of the division of their events over the binomial one is the inflation; the greatest over all lengths,
    with a reserve of one half, sets the overdispersion, which so also covers slow wander; the greatest over that of single
    ticks sets the dependence. Before is compared with after here, so wander that two concurrent colours would share
    counts as roughness: errs to the careful side, and of the dependence only seven tenths are taken.

    Returns the built-in defaults while fewer than 30 events or 16 comparable pairs of ticks are known.
    """
    inflations = []
    length = 1
    while length <= _LONGEST_BLOCK:
        squares, expected, used = _division(_blocks(history, length))
        if used >= (16 if length == 1 else 8) and expected > 0:
            inflations.append(squares / expected)
        length *= 2
    events = sum(count for _, count in history)
    if not inflations or events < 30:
        return Calibration()
    per_pair = 2 * events / max(1, sum(1 for requests, _ in history if requests))
    greatest = max(inflations)
    overdispersion = 1.5 * max(0.0, greatest - 1) / max(1.0, per_pair - 1)
    dependence = _OF_A_COLOUR_ALONE * greatest / max(1.0, inflations[0])
    return Calibration(
        overdispersion=round(min(0.5, max(0.01, overdispersion)), 4),
        dependence=round(min(8.0, max(_LEAST_DEPENDENCE, dependence)), 3),
        ticks=len(history),
    )


def _blocks(history: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    whole = range(0, len(history) - length + 1, length)
    return [(sum(n for n, _ in history[at : at + length]), sum(k for _, k in history[at : at + length])) for at in whole]


def _division(blocks: Sequence[tuple[int, int]]) -> tuple[float, float, int]:
    squares = expected = 0.0
    used = 0
    for (first, hits), (second, other) in itertools.pairwise(blocks):
        events = hits + other
        if first and second and events:
            part = first / (first + second)
            squares += (hits - events * part) ** 2
            expected += events * part * (1 - part)
            used += 1
    return squares, expected, used
