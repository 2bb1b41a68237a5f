"""Evidence of harm against colours that wander by themselves: how much, and for how long, is learned while they are compared.

What both colours share cancels in the candidate's share of the events of a tick. What is left besides chance is a wander of the
one against the other (a noisy neighbour, a burst, a cache), and a wander that lasts looks like harm. How rough it is cannot be
seen before the release, when one colour answers alone. It shows in how the share moves *around* its level, harmed or not.

**Model.** Of ``K`` events ``k`` are the candidate's, who is expected to have the share ``p`` (:func:`sequential.share`), and
``v = p (1 - p)``. The *surplus* ``y = (k - K p) / (K v)``, in units of the logarithm of the rate ratio, is::

    y = shift + wander + noise,    wander: AR(1), deviation s, memory m seconds;    noise: variance c / (K v)

with clumping ``c`` (1: events fall independently). Under the null the shift is 0.

**Evidence.** For each roughness ``(s, m, c)`` of a grid a Kalman filter yields innovations. The shift enters them linearly, so
the likelihood ratio of a shift ``d`` is ``exp(d A - d^2 B / 2)`` with sums ``A`` and ``B`` (Harvey, "Forecasting, structural time
series models and the Kalman filter", 1989, chapter 3). The e-value is the likelihood with a shift, meaned over a grid of shifts
and roughness, over the one without, meaned over roughness with the same weights: a Bayes factor, whose expectation under the
mixture of nulls is at most 1 at every stopping time (Grunwald, de Heide & Koolen, "Safe testing", JRSS B 2024, section 2).

**What is a theorem and what is not.** Exact it would be for such a model, with a roughness drawn by these weights. For one given
roughness, and for traffic that no model describes, the bound is measured by ``bench/verification.py``. It holds up because

* innovations are cut at ``_CUT`` deviations, for the evidence as for the filter, and count to the null as Huber's likelihood
  does: no burst decides;
* a tick weighs little more than the usual one (``Weights.usual``): where events are few, a clump of them is one;
* with a share below one half a sum of few events is skewed upwards. Its penalty is the cumulant of the binomial,
  ``K (log(1 - p + p e^t) - p t)`` with ``t`` the weight of one event, where that is greater than the square (Chernoff);
* rough hypotheses weigh enough to explain a passing shift, which costs detection within the first minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, log, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpipeline.core.sequential import Tick, log_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

TICK_SECONDS = 10.0
"""Of a tick whose length is not told."""
_CLUMPING = (1.0, 2.0, 4.0)
_CUT = 2.7
_STEEPEST = 5.0


class Weights(NamedTuple):
    """What is thought possible before the first tick, and how likely.

    Args:
        wander: Deviation, memory in seconds, weight.
        shifts: In units of the logarithm of the rate ratio, as far as that is small; and their weights.
        believed: Deviations beyond which no wander is assumed. With it a candidate without an event never has evidence against
            it: its surplus ``-1 / (1 - p)`` then is below any wander.
        usual: A tick weighs at most as ``0.5 + usual * (events of the usual tick)`` events would.
        whole: Weight of the test over the whole release; stage ``s`` has ``(1 - whole) / (s (s + 1))``.
        curved: Whether the surplus of a wander ``w`` is taken as ``w + (1 - 2 p) w^2 / 2`` where the share ``p`` is below one
            half, and not as ``w``. Of a small share ``e^w - 1`` is seen, whose mean is above 0: at much traffic that looks like
            harm. Of a large one the mean is below 0, which errs to the careful side.
    """

    wander: tuple[tuple[float, float, float], ...]
    shifts: tuple[tuple[float, float], ...]
    believed: float
    usual: float
    whole: float = 0.8
    curved: bool = False


RULES_3 = Weights(
    wander=((0.0, 20.0, 1.0), (0.25, 20.0, 1.0), (0.5, 20.0, 0.65), (0.25, 95.0, 0.45), (0.5, 95.0, 0.2)),
    shifts=((0.2, 0.15), (0.35, 0.35), (0.6, 0.2), (1.1, 0.15), (1.8, 0.15)),
    believed=2.0,
    usual=1.5,
)
"""Nothing here may change: evidence is recorded that was judged by it."""
_LASTING = ((0.0, 20.0, 1.0), (0.25, 20.0, 1.0), (0.5, 20.0, 1.0), (0.25, 95.0, 0.8), (0.5, 95.0, 0.45))
RULES_4 = Weights(_LASTING, ((0.2, 0.1), (0.35, 0.3), (0.6, 0.3), (1.1, 0.12), (1.8, 0.18)), believed=1.5, usual=1.2)
"""More weight on wander that lasts, none of which is believed beyond 1.5 deviations: fewer healthy releases are taken back, and
blatant harm is told from wander sooner."""
_LESS_LASTING = ((0.0, 20.0, 1.0), (0.25, 20.0, 1.0), (0.5, 20.0, 0.8), (0.25, 95.0, 0.6), (0.5, 95.0, 0.35))
RULES_5 = RULES_4._replace(wander=_LESS_LASTING, believed=1.25, usual=0.7, curved=True)
"""A tick weighs at most seven tenths of the usual one and half an event: what drove the false alarms that were left are clumps
and bursts. So less wander has to be believed; and these tests spend only a part of the budget, the rest is for a last look."""
_MORE_LASTING = ((0.0, 20.0, 1.0), (0.25, 20.0, 1.0), (0.5, 20.0, 1.0), (0.25, 95.0, 1.0), (0.5, 95.0, 1.0))
EXCLUSION = RULES_4._replace(wander=_MORE_LASTING, whole=1.0, curved=True)
"""For harm that is to be excluded: more caution with wander that lasts, as waiting is cheap, and no new start at a stage, as what
earlier stages showed is part of the release."""
BLATANT = Weights(_LASTING, ((0.6, 0.2), (1.1, 0.3), (1.8, 0.5)), believed=1.5, usual=1.5)
"""For harm that is not to wait for the end of a block, see :mod:`mlpipeline.core.blocks`."""


class _Track:
    """Evidence of a shift since some moment: what a unit shift does to the filters, and the sums of the likelihood ratios."""

    def __init__(self, tests: int, roughnesses: int, shifts: int) -> None:
        import numpy as np

        self.response = np.zeros((tests, roughnesses))
        self.score = np.zeros_like(self.response)
        self.information = np.zeros_like(self.response)
        self.skew = np.zeros((tests, roughnesses, shifts))


class PairedBank:
    """Many harm tests side by side, each against "the candidate's rate is at most ``effect`` times the champion's".

    As in :class:`mlpipeline.core.sequential.RestartedBank` one test runs over the whole release and one is restarted at each
    stage; it keeps what was learned about roughness.

    Args:
        effects: Of each test.
        weights: Of the rules by which is judged.
    """

    def __init__(self, effects: Sequence[float], weights: Weights = RULES_5) -> None:
        import numpy as np

        tests, self._weights = len(effects), weights
        grid = [(*wander, clumping) for wander in weights.wander for clumping in _CLUMPING]
        self._deviation, self._memory, likely, self._clumping = np.array(grid).T
        self._log_weights = np.log(likely / likely.sum())
        self._shifts, likely = np.array(weights.shifts).T
        self._log_shift_weights = np.log(likely * len(weights.shifts))
        self._widest = weights.believed * self._deviation
        self._effects = np.array(effects, float)[:, None]
        self._wander = np.zeros((tests, len(grid)))
        self._variance = np.tile(self._deviation**2, (tests, 1))
        self._log_null = np.zeros((tests, len(grid)))
        self._events, self._ticks = np.zeros((tests, 1)), np.zeros((tests, 1))
        self._tests = tests
        self._whole, self._stage = self._track(), self._track()
        self._ended: list[NDArray[Any]] = []

    @property
    def _tracks(self) -> tuple[_Track, ...]:
        """What learns; the stage only where it weighs anything."""
        return (self._whole,) if self._weights.whole == 1 else (self._whole, self._stage)

    def _track(self) -> _Track:
        return _Track(self._tests, len(self._deviation), len(self._shifts))

    def add(self, ticks: Sequence[Tick], seconds: float = TICK_SECONDS) -> None:
        """Takes in one tick for each test, all of them so many seconds long."""
        import numpy as np

        self._pass(seconds)
        counts = np.array(ticks, float).reshape(-1, 4)
        both = (counts[:, [0]] > 0) & (counts[:, [2]] > 0)
        events = counts[:, [1]] + counts[:, [3]]
        self._events += both * events
        self._ticks += both
        rows = np.flatnonzero(both & (events > 0))
        if len(rows):
            self._learn(rows, counts[rows])

    def _pass(self, seconds: float) -> None:
        import numpy as np

        kept = np.exp(-seconds / self._memory)
        self._wander *= kept
        self._variance = kept**2 * self._variance + self._deviation**2 * (1 - kept**2)
        for track in self._tracks:
            track.response *= kept

    def _learn(self, rows: NDArray[Any], counts: NDArray[Any]) -> None:
        import numpy as np

        n, k, m, h = counts.T[:, :, None]
        events, weighted = k + h, self._effects[rows] * n
        p = weighted / (weighted + m)
        usual = self._events[rows] / self._ticks[rows]
        noise = self._clumping / (np.minimum(events, 0.5 + self._weights.usual * usual) * p * (1 - p))
        variance = self._variance[rows]
        total = variance + noise
        deviation, gain = np.sqrt(total), variance / total
        surplus = (k - events * p) / (events * p * (1 - p))
        if self._weights.curved:
            surplus = surplus - np.maximum(0.0, 1 - 2 * p) * self._deviation**2 / 2
        found = (surplus - self._wander[rows]) / deviation
        # with a share above one half it is below that single events lie far out
        cut = np.clip(found, -_CUT * np.maximum(1.0, np.sqrt(p / (1 - p))), _CUT)
        self._wander[rows] = np.clip(self._wander[rows] + gain * cut * deviation, -self._widest, self._widest)
        self._variance[rows] = (1 - gain) * variance
        self._log_null[rows] -= np.log(deviation) + np.abs(cut * found) - cut**2 / 2
        few = np.flatnonzero(p[:, 0] < 0.5)
        for track in self._tracks:
            effect = 1 - track.response[rows]
            track.response[rows] += gain * effect
            track.score[rows] += effect * cut / deviation
            information = effect**2 / total
            track.information[rows] += information
            if len(few):
                per_event = effect[few] * noise[few] / (total[few] * self._clumping)
                track.skew[rows[few]] += (self._skew(p[few], per_event) - 1) * information[few][:, :, None] * self._shifts**2 / 2

    def _skew(self, p: NDArray[Any], per_event: NDArray[Any]) -> NDArray[Any]:
        """By how much the binomial's cumulant exceeds the square, at least 1. ``per_event``: its weight at a shift of 1."""
        import numpy as np

        share = p[:, :, None]
        t = np.clip(per_event[:, :, None] * self._shifts, 1e-6, _STEEPEST)
        cumulant = np.log1p(share * np.expm1(t)) - share * t
        return np.asarray(np.maximum(1.0, 2 * cumulant / (share * (1 - share) * t**2)))

    def next_stage(self) -> None:
        """Ends the present stage; its evidence is kept."""
        self._ended.append(self._of(self._stage))
        self._stage = self._track()

    def _of(self, track: _Track) -> NDArray[Any]:
        import numpy as np

        null = self._log_null + self._log_weights
        gained = track.score[:, :, None] * self._shifts - track.information[:, :, None] * (self._shifts**2 / 2) - track.skew
        shifted = self._log_shift_weights + null[:, :, None] + gained
        return np.asarray(log_mean(shifted.reshape(self._tests, shifted.shape[1] * shifted.shape[2])) - log_mean(null))

    @property
    def log_e(self) -> NDArray[Any]:
        """Natural logarithm of each e-value so far."""
        import numpy as np

        whole = self._weights.whole
        if whole == 1:
            return self._of(self._whole)
        stages = [*self._ended, self._of(self._stage)]
        terms = [log(whole) + self._of(self._whole)]
        terms += [log((1 - whole) / (number * (number + 1))) + value for number, value in enumerate(stages, start=1)]
        terms.append(np.full(self._tests, log((1 - whole) / (len(stages) + 1))))
        return log_mean(np.stack(terms, axis=1)) + log(len(terms))

    @property
    def doubt(self) -> NDArray[Any]:
        """Of each test the probability, given everything so far, that the shift is at most 0; 1 where nothing was learned.

        With a flat prior on the shift its posterior under one roughness is normal, mean ``A / B``, variance ``1 / B``, and the
        roughness has the likelihood ``null * exp(A^2 / (2 B)) / sqrt(B)`` (Box & Tiao, "Bayesian inference in statistical
        analysis", 1973, section 2.4). Told the roughness it is the p-value of the generalised least-squares score. Where the
        binomial's cumulant exceeds the square, ``B`` is greater by as much.
        """
        import numpy as np

        track = self._whole
        learned = track.information > 0
        information = np.where(learned, track.information, 1.0)
        score = np.where(learned, track.score, 0.0)
        squares = information[:, :, None] * (self._shifts**2 / 2)
        nearest = np.abs(self._shifts - (score / information)[:, :, None]).argmin(axis=2)[:, :, None]
        skew = np.take_along_axis(track.skew / squares, nearest, axis=2)[:, :, 0]
        standing = self._log_null + self._log_weights + score**2 / (2 * information) - np.log(information) / 2
        likely = np.exp(standing - standing.max(axis=1, keepdims=True))
        above = _normal_tail(score / np.sqrt(information * (1 + skew)))
        found = (likely * above).sum(axis=1) / likely.sum(axis=1)
        return np.asarray(np.where(learned.any(axis=1), found, 1.0))


def _normal_tail(deviations: NDArray[Any]) -> NDArray[Any]:
    """Probability that a standard normal lies above each; by ``erfc``, which is exact where one less the rest is not."""
    import numpy as np

    return np.asarray([erfc(one / sqrt(2)) / 2 for one in deviations.ravel()]).reshape(deviations.shape)
