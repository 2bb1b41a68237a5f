"""Counts per class of two colours: have predictions another distribution? And: are latencies stochastically longer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

from mlpipeline.core.sequential import Calibration, HarmTest, Tick, log_mean_exp

_PRIOR = 0.18
"""Dirichlet prior per class; Turner, Ly & Grunwald find 0.18 good over a wide range."""


class DistributionTest:
    """E-process against "both colours' classes have the same distribution", whatever it is, and for ticks of any size.

    ``prod_j q_g(j)^(k_gj) q_b(j)^(k_bj) / q_0(j)^(k_gj + k_bj)`` over ticks, with ``q_0 = (n_g q_g + n_b q_b) / (n_g + n_b)`` and
    ``q`` learned from the ticks before, a Dirichlet prior added (Turner, Ly & Grunwald, "Generic e-variables for exact sequential
    k-sample tests", 2021). Assumes that predictions of a tick are independent draws of a distribution that both share, and
    that may change from tick to tick only as the model is still learned; a batch of rows of one user is no independent draw.

    A new model is expected to differ somewhat: this test finds any difference. Where one is allowed, compare single classes
    with a tolerance (:class:`mlpipeline.core.proportions.TwoSidedTest`), or answers to the same requests
    (:class:`mlpipeline.core.proportions.AboveTest` over disagreements).

    Args:
        classes: Every class that can occur.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._ours = dict.fromkeys(classes, _PRIOR)
        self._theirs = dict.fromkeys(classes, _PRIOR)
        self._log_e = 0.0

    def add(self, candidate: Mapping[str, int], champion: Mapping[str, int]) -> None:
        """Takes in the counts of one tick; absent classes count 0. Raises KeyError for an unknown class."""
        here, there = sum(candidate.values()), sum(champion.values())
        if here and there:
            ours, theirs = sum(self._ours.values()), sum(self._theirs.values())
            for name in {*candidate, *champion}:
                own, other = self._ours[name] / ours, self._theirs[name] / theirs
                both = (here * own + there * other) / (here + there)
                self._log_e += candidate.get(name, 0) * log(own / both) + champion.get(name, 0) * log(other / both)
        for known, counts in ((self._ours, candidate), (self._theirs, champion)):
            for name, count in counts.items():
                known[name] += count

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value so far; 0 before any evidence."""
        return self._log_e


class OrderTest:
    """E-process against "the candidate's latencies are stochastically no longer": at no bucket bound more than ``effect`` times
    as many of its requests are slower.

    At each bound the exceedances are events of requests, for a :class:`HarmTest` each; the mean of their e-values is one too,
    whatever the bounds have to do with each other. Nothing is interpolated, so it holds for classic and for native histograms.

    Args:
        bounds: Upper bounds of the buckets, in seconds or any other unit; the infinite one is left out.
        effect: The largest ratio of exceedances that is no harm.
    """

    def __init__(self, bounds: Sequence[float], effect: float, calibration: Calibration) -> None:
        self._tests = {bound: HarmTest(effect, calibration) for bound in bounds if bound != float("inf")}

    def add(self, candidate: Mapping[float, float], champion: Mapping[float, float]) -> None:
        """Takes in the increments of one tick: cumulative counts by bound, infinity among them (see ``core.histogram``)."""
        here, there = (round(side.get(float("inf"), 0.0)) for side in (candidate, champion))
        for bound, test in self._tests.items():
            if bound in candidate and bound in champion:
                slow, other = here - round(candidate[bound]), there - round(champion[bound])
                test.add(Tick(here, min(here, max(0, slow)), there, min(there, max(0, other))))

    @property
    def log_e(self) -> float:
        return log_mean_exp([test.log_e for test in self._tests.values()]) if self._tests else 0.0

    def by_bound(self) -> dict[float, float]:
        """Natural logarithm of the e-value at each bound."""
        return {bound: test.log_e for bound, test in self._tests.items()}
