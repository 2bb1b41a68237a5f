"""The metrics that the model gate knows by name."""

from __future__ import annotations

METRICS = (
    *("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "f1", "precision", "recall", "log_loss", "brier"),
    *("mae", "mse", "rmse", "r2", "ece"),
)
NDCG = "ndcg"
SCORERS = (
    *("adjusted_mutual_info_score", "adjusted_rand_score", "completeness_score", "d2_absolute_error_score", "d2_brier_score"),
    *("d2_log_loss_score", "explained_variance", "f1_macro", "f1_micro", "f1_samples", "f1_weighted", "fowlkes_mallows_score"),
    *("homogeneity_score", "jaccard", "jaccard_macro", "jaccard_micro", "jaccard_samples", "jaccard_weighted"),
    *("matthews_corrcoef", "mutual_info_score", "neg_brier_score", "neg_log_loss", "neg_max_error"),
    *("neg_mean_absolute_error", "neg_mean_absolute_percentage_error", "neg_mean_gamma_deviance", "neg_mean_poisson_deviance"),
    *("neg_mean_squared_error", "neg_mean_squared_log_error", "neg_median_absolute_error", "neg_negative_likelihood_ratio"),
    *("neg_root_mean_squared_error", "neg_root_mean_squared_log_error", "normalized_mutual_info_score"),
    *("positive_likelihood_ratio", "precision_macro", "precision_micro", "precision_samples", "precision_weighted", "rand_score"),
    *("recall_macro", "recall_micro", "recall_samples", "recall_weighted", "roc_auc_ovo", "roc_auc_ovo_weighted", "roc_auc_ovr"),
    *("roc_auc_ovr_weighted", "top_k_accuracy", "v_measure_score"),
)
"""scikit-learn's, besides those that this program computes itself; a test holds the list to the library."""


def is_function(metric: str) -> bool:
    """Whether it is ``module:function`` of the project."""
    module, _, name = metric.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(name) and all(part.isidentifier() for part in parts)


def known_metric(metric: str) -> bool:
    return metric in METRICS or metric == NDCG or metric in SCORERS or is_function(metric)
