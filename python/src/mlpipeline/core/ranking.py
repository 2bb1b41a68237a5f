"""Normalised discounted cumulative gain, one number per ranking (query)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpipeline.core.scores import Undefined

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ndcg_terms(relevance: NDArray[Any], score: NDArray[Any], queries: NDArray[Any], top: int = 0) -> NDArray[Any]:
    """The gain of each ranking, in the order of the sorted query codes; equal scores share their places' discounts.

    Rankings without a relevant row have no gain to reach and are left out, as scikit-learn's zero would punish both models alike.

    Args:
        queries: Code of each row's ranking.
        top: Places that count; 0: all.

    Raises:
        Undefined: A relevance is negative, a score is not finite, or no ranking has a relevant row.
    """
    import numpy as np

    if not np.isfinite(relevance).all() or (relevance < 0).any():
        raise Undefined("ndcg needs labels that are finite and not negative")
    if not np.isfinite(score).all():
        raise Undefined(f"{int((~np.isfinite(score)).sum())} of {len(score)} predictions are NaN or infinite")
    order = np.lexsort((-score, queries))
    relevance, score, queries = relevance[order], score[order], queries[order]
    starts = np.flatnonzero(np.concatenate(([True], queries[1:] != queries[:-1])))
    sizes = np.diff(np.append(starts, len(queries)))
    place = np.arange(len(queries)) - np.repeat(starts, sizes)
    discounts = 1.0 / np.log2(place + 2.0)
    if top:
        discounts = np.where(place < top, discounts, 0.0)
    ideal_order = np.lexsort((-relevance, queries))
    ideal = np.add.reduceat(relevance[ideal_order] * discounts, starts)
    tied = np.concatenate(([True], (score[1:] != score[:-1]) | (queries[1:] != queries[:-1])))
    runs = np.flatnonzero(tied)
    lengths = np.diff(np.append(runs, len(score)))
    shared = np.repeat(np.add.reduceat(discounts, runs) / lengths, lengths)
    gained = np.add.reduceat(relevance * shared, starts)
    known = ideal > 0
    if not known.any():
        raise Undefined("ndcg needs rankings with a relevant row")
    terms: NDArray[Any] = gained[known] / ideal[known]
    return terms
