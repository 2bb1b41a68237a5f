"""The tests by which releases were judged first, so that evidence recorded then replays to the last byte.

Plans name their rules; those that name none mean these. Nothing new is judged by them: their vote gave a tick with one
event as much weight as one with twenty. Nothing here may change.
"""

from __future__ import annotations

from math import exp, log, log1p

from mlpipeline.core.sequential import Calibration, Tick, binomial_log_likelihood, log_mean_exp, share

_LOG_CAP = log(4.0)
_LOG_RESERVE = log1p(0.005 * (4.0 - 1))
_WIDEST = 40.0
_POINTS = 14
_BETS = (0.1, 0.25, 0.5, 0.75, 0.95)


class FirstHarmTest:
    """E-process against "the candidate's rate is at most ``effect`` times the champion's".

    Half the mean of capped, tempered binomial likelihood ratios over ratios from 1.1 to 40 times ``effect``, half the vote:
    ``prod (1 + bet * (candidate's share of the events - share(effect)) / share(effect))``, meaned over the bets.
    Non-inferiority is the same test with the roles swapped and ``effect = 1 / margin``.

    Args:
        effect: The largest ratio that is no harm.
    """

    def __init__(self, effect: float, calibration: Calibration) -> None:
        self._effect = effect
        self._calibration = calibration
        step = log(_WIDEST / 1.1) / (_POINTS - 1)
        self._ratios = [effect * 1.1 * exp(step * index) for index in range(_POINTS)]
        self._likelihood = [0.0] * _POINTS
        self._votes = [0.0] * len(_BETS)

    def add(self, tick: Tick) -> None:
        """Takes in one tick; one without events or without one of the colours changes nothing."""
        if not tick.comparable:
            return
        events, hits = tick.candidate_events + tick.champion_events, tick.candidate_events
        rho = self._calibration.overdispersion
        expected = share(self._effect, tick)
        null = binomial_log_likelihood(events, hits, expected, rho)
        for index, ratio in enumerate(self._ratios):
            gain = binomial_log_likelihood(events, hits, share(ratio, tick), rho) - null
            self._likelihood[index] += min(gain, _LOG_CAP) - _LOG_RESERVE
        surplus = (hits / events - expected) / expected
        for index, bet in enumerate(_BETS):
            self._votes[index] += log1p(bet * surplus)

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value so far; 0 before any evidence."""
        votes = log_mean_exp([value / self._calibration.dependence for value in self._votes])
        return log_mean_exp([log_mean_exp(self._likelihood), votes])
