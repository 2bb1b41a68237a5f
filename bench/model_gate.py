"""The model gate's promises, measured: speed of the bootstrap, reuse of one holdout, labels needed, coverage of every interval.

Usage: ``python bench/model_gate.py [--trials N] [--seed S] [--only speed,reuse,labels,coverage]``. Everything is seeded. Rates
have exact (Clopper-Pearson) 95 % intervals.

* speed: 10,000 paired resamples of 1,000,000 rows, from the rows' terms to the bounds, beside the plain way (draw the rows, take
  the mean), which is timed on a few resamples and scaled.
* reuse: 50 challengers that are no better than the champion, on one holdout of 2,000 rows, 10 % of them answered differently.
  How often is at least one of them promoted as better?
* labels: rows with labels until ``n - o > 0.02 +/- 0.01`` is decided at reliability 0.9999 over 32 steps, when the truth is one
  tolerance beyond the margin, beside Bennett's bound for the same disagreement.
* coverage: how often each one-sided bound holds, on holdouts drawn from a world whose truth is known. The intervals shown are of
  95 %; "below" and "above" are said at 99.9 %.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from mlpipeline.core import fairness, grammar
from mlpipeline.core.calibration import ece_bounds
from mlpipeline.core.holdout import Use
from mlpipeline.core.intervals import newcombe, share_bounds
from mlpipeline.core.resampling import Design, compare, mcnemar, of_terms, own_bounds, resampled_means
from mlpipeline.core.scores import Answers, Truth, calibration_bins, value

Random = np.random.Generator
CONFIDENCE = 0.95
ONE_OF_MANY = 0.999
"""Of the exact interval that a coverage is held to. Some sixty are held at once, of which at 95 % three are off by chance."""


def exact(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson."""
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def rate(hits: int, trials: int) -> str:
    low, high = exact(hits, trials)
    return f"{100 * hits / trials:6.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


# --- speed --------------------------------------------------------------------------------------------------------------


def speed(seed: int) -> None:
    rows, resamples = 1_000_000, 10_000
    random = np.random.default_rng(seed)
    print(f"\npaired bootstrap, {resamples:,} resamples, {rows:,} rows (to reach: under 0.1 s)")
    kinds = {
        "0/1 (accuracy)": (random.random(rows) < 0.80, random.random(rows) < 0.79),
        "squared error": (random.standard_normal(rows) ** 2, 1.02 * random.standard_normal(rows) ** 2),
        "log loss, heavy tail": (random.gamma(0.4, 1, rows), random.gamma(0.4, 1.02, rows)),
        "Pareto 2.1": (random.pareto(2.1, rows), random.pareto(2.1, rows)),
    }
    for name, (ours, theirs) in kinds.items():
        candidate, champion = ours.astype(float), theirs.astype(float)
        took, worked = [], []
        for _ in range(7):
            begun, busy = time.perf_counter(), time.process_time()
            found = of_terms(candidate, champion, larger_is_better=True, confidence=0.95, resamples=resamples, seed=seed)
            took.append(time.perf_counter() - begun)
            worked.append(time.process_time() - busy)
        terms = candidate - champion
        begun = time.perf_counter()
        for _ in range(3):
            terms[random.integers(0, rows, rows)].mean()
        naive = (time.perf_counter() - begun) / 3 * resamples
        print(
            f"  {name:22} {min(took):.3f} s best of 7 ({min(worked):.3f} s of one core); drawing rows {naive:.0f} s "
            f"({naive / min(took):,.0f}x); bounds {found.low:+.6f} {found.high:+.6f}"
        )
    _same_distribution(seed)


def _same_distribution(seed: int) -> None:
    """Where the plain way is affordable: both ways' draws, compared by the largest distance of their distributions."""
    random = np.random.default_rng(seed + 1)
    draws = 20_000
    print(f"  the same draws as the plain way? largest distance of {draws:,} draws each; 1 % critical value of chance alone")
    for rows in (2_000, 20_000):
        terms = random.pareto(2.1, rows) - random.pareto(2.1, rows)
        plain = np.concatenate([terms[random.integers(0, rows, (500, rows))].mean(axis=1) for _ in range(draws // 500)])
        ours = resampled_means(terms[:, None], draws, np.random.default_rng(seed))[:, 0]
        distance = stats.ks_2samp(plain, ours).statistic
        print(f"    {rows:,} rows, Pareto 2.1: {distance:.4f} (critical {1.628 * math.sqrt(2 / draws):.4f})")


# --- reuse --------------------------------------------------------------------------------------------------------------


def reuse(seed: int, runs: int) -> None:
    rows, differ, challengers = 2_000, 0.10, 50
    random = np.random.default_rng(seed)
    gained = random.binomial(rows, differ / 2, (runs, challengers))
    lost = random.binomial(rows - gained, differ / 2 / (1 - differ / 2))
    chances = np.array(
        [[mcnemar(int(up), int(down)) for up, down in zip(*pair, strict=True)] for pair in zip(gained, lost, strict=True)]
    )
    levels = np.array([1 - Use(position, challengers).confidence(CONFIDENCE) for position in range(1, challengers + 1)])
    promoted = {
        "point estimate": (gained > lost).any(axis=1),
        "one point better": (gained - lost > 0.01 * rows).any(axis=1),
        "McNemar at 5 %, uncorrected": (chances < 0.05).any(axis=1),
        "with the holdout's budget": (chances < levels).any(axis=1),
    }
    print(f"\n{challengers} challengers no better than the champion, one holdout, {runs} seeded runs: at least one is promoted")
    for name, found in promoted.items():
        print(f"  {name:30} {rate(int(found.sum()), runs)}{'   (to reach: at most 5 %)' if 'budget' in name else ''}")
    adaptive = sum(_adaptive(np.random.default_rng([seed, run])) for run in range(runs))
    print(f"  {'with it, next one tuned on verdicts':30} {rate(adaptive, runs)}")


def _adaptive(random: Random) -> bool:
    """Each challenger changes the answers of the last one that looked best: what the verdicts alone let it learn."""
    rows, promoted = 2_000, False
    best = np.zeros(rows)
    closest = 1.0
    for position in range(1, 51):
        step = random.choice([-1.0, 0.0, 1.0], rows, p=[0.05, 0.9, 0.05])
        fresh = np.where(random.random(rows) < 0.5, best, step)
        p_value = mcnemar(int((fresh == 1).sum()), int((fresh == -1).sum()))
        passed = p_value < 1 - Use(position, 50).confidence(CONFIDENCE)
        promoted = promoted or passed
        if passed and p_value < closest:
            best, closest = fresh, p_value
    return promoted


# --- labels -------------------------------------------------------------------------------------------------------------


def labels(seed: int, runs: int) -> None:
    margin, tolerance, differ, steps, reliability = 0.02, 0.01, 0.10, 32, 1 - 1e-4
    clause = grammar.parse(f"n - o > {margin} +/- {tolerance}")[0]
    evidence = grammar.log_evidence_needed(reliability, 1, steps, "none")
    bennett = grammar.bennett_rows(evidence, differ, tolerance)
    hoeffding = math.ceil(2 * (evidence + math.log(2)) / tolerance**2)
    print(
        f"\nlabels until n - o > {margin} +/- {tolerance} is decided, reliability {reliability:.4f}, {steps} steps, "
        f"disagreement {differ}"
    )
    print(f"  Hoeffding {hoeffding:,}; Bennett {bennett:,}; to reach: at most 1/20 of Bennett = {bennett // 20:,}")
    for words, truth in (("margin + 1 tolerance", margin + tolerance), ("margin - 1 tolerance", margin - tolerance)):
        for mode in ("tolerance", "fp-free"):
            needed, right = [], 0
            for run in range(runs):
                count, verdict = _until(clause, np.random.default_rng([seed, run]), truth, differ, evidence, mode)
                needed.append(count)
                right += str(verdict) == ("pass" if truth > margin else "fail")
            mean, high = float(np.mean(needed)), float(np.quantile(needed, 0.9))
            print(
                f"  truth at {words}, mode {mode:9}: mean {mean:7,.0f} labels (1/{bennett / mean:.0f} of Bennett), "
                f"90 % of runs under {high:,.0f}; right in {rate(right, runs)}"
            )


def _until(clause: grammar.Clause, random: Random, truth: float, differ: float, evidence: float, mode: str) -> tuple[int, object]:
    """Labels, of rows on which the models disagree, until the verdict is no longer open; a look after every 100 rows or 2 %."""
    rows = 120_000
    drawn = random.choice([1, -1, 0], rows, p=[(differ + truth) / 2, (differ - truth) / 2, 1 - differ])
    up, down = np.cumsum(drawn == 1), np.cumsum(drawn == -1)
    seen = 100
    while seen < rows:
        seen = min(rows, max(seen + 100, round(1.02 * seen)))
        gained, lost = int(up[seen - 1]), int(down[seen - 1])
        values = {1.0: gained, -1.0: lost, 0.0: seen - gained - lost}
        decided = grammar.decide(clause, values, evidence, mode, gained + lost)  # type: ignore[arg-type]
        strict = mode == "fp-free" and str(decided.verdict) == "fail" and decided.high > clause.limit
        if str(decided.verdict) != "inconclusive" and not strict:
            return gained + lost, decided.verdict
    return int(up[-1] + down[-1]), "inconclusive"


# --- coverage -----------------------------------------------------------------------------------------------------------


def flights(random: Random, rows: int) -> tuple[Truth, Answers, Answers]:
    """Two classes; both models see the truth through their own and through common noise."""
    codes = (random.random(rows) < 0.4).astype(int)
    common = random.standard_normal(rows)

    def answers(strength: float) -> Answers:
        score = 1 / (1 + np.exp(-(strength * (codes - 0.4) + 0.7 * common + 0.7 * random.standard_normal(rows))))
        return Answers((score > 0.5).astype(int), score, np.where(codes == 1, score, 1 - score), score)

    return Truth(codes=codes, numbers=codes.astype(float), classes=2), answers(1.2), answers(1.0)


def users(random: Random, count: int) -> tuple[Truth, Answers, Answers, Design]:
    """As above, with 1 to 9 rows of each user, who is easy or hard for one of the models."""
    sizes = random.integers(1, 10, count)
    user = np.repeat(np.arange(count), sizes)
    skill = random.normal(0, 1, (count, 2))
    codes = (random.random(len(user)) < 0.4).astype(int)
    both = []
    for model, strength in ((0, 1.2), (1, 1.0)):
        pull = strength * (2 * codes - 1) + skill[user, model] * (2 * codes - 1)
        score = 1 / (1 + np.exp(-(pull + random.standard_normal(len(user)))))
        both.append(Answers((score > 0.5).astype(int), score, np.where(codes == 1, score, 1 - score)))
    return Truth(codes=codes, classes=2), both[0], both[1], Design(clusters=user)


def coverage(seed: int, trials: int) -> None:
    print(f"\ncoverage of one-sided bounds, nominal {100 * CONFIDENCE:g} %, {trials} holdouts each: lower and upper bound")
    big = flights(np.random.default_rng(seed + 7), 2_000_000)
    many = users(np.random.default_rng(seed + 8), 300_000)
    every = ("accuracy", "roc_auc", "f1", "balanced_accuracy", "log_loss", "brier", "mae", "rmse")
    for rows, names in ((500, every), (2_000, ("accuracy", "roc_auc", "f1", "log_loss"))):
        for name in names:
            truth = _difference(name, *big[:3])
            bounds = lambda random, name=name, rows=rows: _compared(name, *flights(random, rows))  # noqa: E731
            covered(f"{name}, difference, {rows} rows", truth, bounds, seed, trials)
    for name in ("accuracy", "roc_auc", "log_loss", "f1"):
        truth = _difference(name, *many[:3])
        runs = trials if name != "f1" else max(200, trials // 5)
        covered(f"{name}, difference, 400 users", truth, lambda random, name=name: _of_users(name, random), seed, runs)
    for name in ("accuracy", "roc_auc", "recall"):
        own = value(name, big[0], big[1])
        covered(
            f"{name}, own value, 500 rows", own, lambda random, name=name: _own(name, *flights(random, 500)[:2]), seed, trials
        )
    covered("share 0.5 of 200 rows, Wilson", 0.5, lambda random: _share(random, 0.5, 200), seed, 4 * trials)
    covered("share 0.9 of 1,000 rows, Wilson", 0.9, lambda random: _share(random, 0.9, 1000), seed, 4 * trials)
    covered(
        "Newcombe, 0.3 of 300 - 0.2 of 150",
        0.1,
        lambda random: newcombe(random.binomial(300, 0.3), 300, random.binomial(150, 0.2), 150, CONFIDENCE),
        seed,
        trials,
    )
    print("  bounds that promise at least the nominal level (over pairs, sides or every number of labels):")
    for share, rows in ((0.02, 300), (0.98, 1000)):
        bounds = lambda random, share=share, rows=rows: _share(random, share, rows)  # noqa: E731
        covered(f"share {share} of {rows} rows, exact", share, bounds, seed, 4 * trials)
    covered("fairness, largest of 6 gaps", 0.15, _gap, seed, trials)
    for tilt in (0.0, 0.5):
        covered(f"ECE, tilt {tilt}", _true_error(tilt), lambda random, tilt=tilt: _error(random, tilt), seed, trials)
    covered("bets, n - o, 2,000 rows", 0.03, _bets, seed, trials)


def covered(name: str, truth: float, bounds: Callable[[Random], tuple[float, float]], seed: int, trials: int) -> None:
    """Counts how often the truth is above the lower and below the upper bound, and holds both to the nominal level."""
    found = np.array([bounds(np.random.default_rng([seed, trial])) for trial in range(trials)])
    lower, upper = int((found[:, 0] <= truth + 1e-12).sum()), int((found[:, 1] >= truth - 1e-12).sum())
    words = []
    for hits in (lower, upper):
        low, high = exact(hits, trials, ONE_OF_MANY)
        words.append("below" if high < CONFIDENCE else "above" if low > CONFIDENCE else "within")
    print(f"  {name:38} {rate(lower, trials)} {words[0]:6}  {rate(upper, trials)} {words[1]}")


def _difference(name: str, truth: Truth, ours: Answers, theirs: Answers) -> float:
    from mlpipeline.core.scores import METRICS

    sign = 1 if METRICS[name].larger_is_better else -1
    return sign * (value(name, truth, ours) - value(name, truth, theirs))


def _compared(name: str, truth: Truth, ours: Answers, theirs: Answers) -> tuple[float, float]:
    found = compare(name, truth, ours, theirs, confidence=CONFIDENCE, resamples=1000, seed=0)
    return found.low, found.high


def _of_users(name: str, random: Random) -> tuple[float, float]:
    truth, ours, theirs, design = users(random, 400)
    found = compare(
        name, truth, ours, theirs, confidence=CONFIDENCE, resamples=1000 if name != "f1" else 400, seed=0, design=design
    )
    return found.low, found.high


def _own(name: str, truth: Truth, answers: Answers) -> tuple[float, float]:
    low, high, _ = own_bounds(name, truth, answers, confidence=CONFIDENCE, resamples=1000, seed=0)
    return low, high


def _share(random: Random, share: float, rows: int) -> tuple[float, float]:
    return share_bounds(int(random.binomial(rows, share)), rows, CONFIDENCE)[:2]


def _gap(random: Random) -> tuple[float, float]:
    groups = {name: np.arange(start, start + 400) for name, start in (("a", 0), ("b", 400), ("c", 800), ("d", 1200))}
    shares = np.repeat([0.30, 0.35, 0.40, 0.45], 400)
    said = random.random(1600) < shares
    found = fairness.gap("demographic_parity", said, said, groups, confidence=CONFIDENCE)
    return (found.low, found.high) if found is not None else (0.0, 1.0)


def _tilted(random: Random, rows: int, tilt: float) -> tuple[np.ndarray, np.ndarray]:
    score = random.beta(2, 3, rows)
    odds = np.log(score / (1 - score)) * (1 + tilt)
    return (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(float), score


def _true_error(tilt: float) -> float:
    """Over the bins of a very large holdout."""
    hits, score = _tilted(np.random.default_rng(1), 4_000_000, tilt)
    odds = np.log(score / (1 - score)) * (1 + tilt)
    gaps, bins = 1 / (1 + np.exp(-odds)) - score, calibration_bins(score)
    del hits
    return float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(score))


def _error(random: Random, tilt: float) -> tuple[float, float]:
    return ece_bounds(*_tilted(random, 2_000, tilt), CONFIDENCE)


def _bets(random: Random) -> tuple[float, float]:
    drawn = random.choice([1.0, -1.0, 0.0], 2_000, p=[0.065, 0.035, 0.9])
    return grammar.bounds(grammar.counted(drawn), (-1.0, 1.0), -math.log(1 - CONFIDENCE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="speed,reuse,labels,coverage")
    chosen = parser.parse_args()
    wanted = chosen.only.split(",")
    if "speed" in wanted:
        speed(chosen.seed)
    if "reuse" in wanted:
        reuse(chosen.seed, chosen.trials)
    if "labels" in wanted:
        labels(chosen.seed, max(50, chosen.trials // 5))
    if "coverage" in wanted:
        coverage(chosen.seed, chosen.trials)


if __name__ == "__main__":
    main()
