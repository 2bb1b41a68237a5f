"""How far predicted probabilities are from what happens: expected calibration error with bounds."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mlpipeline.core.scores import calibration_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ece_bounds(hits: NDArray[Any], score: NDArray[Any], confidence: float, seed: int = 0) -> tuple[float, float]:
    """One-sided bounds for the expected calibration error over the bins of :func:`calibration_bins`.

    The plain estimate never falls to 0, because chance alone moves every bin: it serves for the upper bound. For the lower one
    the side on which each bin errs is taken from one half of the rows and the error from the other half, so that chance
    cannot add to it.
    """
    import numpy as np

    bins = calibration_bins(score)
    gaps = hits - score
    size = int(bins.max(initial=0)) + 1
    first = np.random.default_rng(seed).permutation(len(score)) < len(score) // 2
    side = np.sign(np.bincount(bins[first], weights=gaps[first], minlength=size))
    quantile = NormalDist().inv_cdf(confidence)
    low = _beyond(side[bins[~first]] * gaps[~first], -quantile)
    total = np.bincount(bins, weights=gaps, minlength=size)
    return max(0.0, low), _beyond(np.sign(total)[bins] * gaps, quantile)


def _beyond(terms: NDArray[Any], quantile: float) -> float:
    """The mean and so many of its standard errors."""
    import numpy as np

    return float(terms.mean()) + quantile * float(np.std(terms)) / math.sqrt(len(terms))
