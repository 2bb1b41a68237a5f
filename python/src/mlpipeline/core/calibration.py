"""How far predicted probabilities are from what happens: expected calibration error with bounds."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mlpipeline.core.scores import calibration_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 10


def ece_bounds(hits: NDArray[Any], score: NDArray[Any], confidence: float, seed: int = 0) -> tuple[float, float]:
    """One-sided bounds for the expected calibration error over the bins of :func:`calibration_bins`.

    The plain estimate never falls to 0, because chance alone moves every bin: it serves for the upper bound. For the lower one
    the side on which each bin errs is taken from the other nine tenths of the rows, so that chance cannot add to the error.
    """
    import numpy as np

    bins = calibration_bins(score)
    gaps = hits - score
    size = int(bins.max(initial=0)) + 1
    fold = np.random.default_rng(seed).permutation(len(score)) % FOLDS
    total = np.bincount(bins, weights=gaps, minlength=size)
    own = np.bincount(fold * size + bins, weights=gaps, minlength=FOLDS * size).reshape(FOLDS, size)
    signed = np.sign(total[None] - own)[fold, bins] * gaps
    plain = np.sign(total)[bins] * gaps
    reach = NormalDist().inv_cdf(confidence) / math.sqrt(len(score))
    centred = gaps - (total / np.maximum(np.bincount(bins, minlength=size), 1))[bins]
    spread = math.sqrt(float(np.mean(centred**2)) + float(np.var(np.abs(total)[bins] / len(score))))
    return max(0.0, float(signed.mean()) - reach * spread), float(plain.mean()) + reach * spread
