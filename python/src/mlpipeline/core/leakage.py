"""What of a test set is known from its training set, and how a label is spread: verdicts from counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mlpipeline.core.volume import Finding


def overlap(found: int, rows: int, at_most: float, *, what: str) -> Finding:
    """Rows of the test that are known from the training.

    Args:
        what: What they share with it, as in ``3 of 10 test rows <what>``.
    """
    share = found / rows if rows else 0.0
    numbers: dict[str, int | float | str] = {"found": found, "rows": rows, "share": share}
    return Finding(share <= at_most, f"{found:,} of {rows:,} test rows {what} ({share:.2%}, allowed {at_most:.2%})", numbers)


def order(train_last: str, test_first: str, column: str) -> Finding:
    """Whether all of the training is before all of the test; without times on a side nothing can be told, which fails."""
    if not train_last or not test_first:
        return Finding(False, f"{column} holds no times in the {'test' if train_last else 'training'} data")
    numbers: dict[str, int | float | str] = {"train_last": train_last, "test_first": test_first}
    return Finding(train_last < test_first, f"the training ends {train_last}, the test begins {test_first}", numbers)


def balance(counts: Mapping[str, int], *, at_least: float, classes: int) -> Finding:
    """Whether there are enough classes and none of them too rare. Missing labels are no class."""
    total = sum(counts.values())
    numbers: dict[str, int | float | str] = {"classes": len(counts), "rows": total}
    if len(counts) < classes:
        named = f", only {next(iter(counts))}" if len(counts) == 1 else ""
        return Finding(False, f"the label has {len(counts)} class(es){named}, {classes} needed", numbers)
    rarest = min(counts, key=lambda name: counts[name])
    share = counts[rarest] / total
    numbers |= {"rarest": rarest, "share": share}
    shown = f"the rarest of {len(counts)} classes is {rarest} with {counts[rarest]:,} rows ({share:.2%}, at least {at_least:.2%})"
    return Finding(share >= at_least, shown, numbers)
