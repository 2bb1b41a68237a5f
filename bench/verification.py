"""False alarms and detection of the release verdict by seeded simulation, beside the rules that other tools use.

Usage: ``python bench/verification.py [--runs N] [--seed S] [--only PART]``. Prints tables with exact (Clopper-Pearson) 95 %
intervals, and beside the times to detection what rules could reach that were told how rough the traffic is (``bench/oracle.py``).

A release is 30 minutes of 10-second ticks, at equal traffic for both colours unless said otherwise, preceded by 10 minutes
of the champion alone, on which our test calibrates itself as it does in a release. Base rate of events 0.5 %. Regimes:

* iid: independent requests.
* shared: an AR(1) 0.9 and a daily wave in the logarithm of rate and load, common to both colours.
* hard: besides, AR(1) 0.6 of its own for each colour, Pareto bursts in 1 % of the ticks, and retry clusters.
* hard2: as hard with AR(1) 0.9 of its own for each colour.

Latency: lognormal; slower than the champion's p99 counts. How much a factor tells depends on the spread: with a p99 30 % higher
these are 5.5 times as many where the logarithm deviates by 0.35, and 2.5 times as many at 0.7. Wrong predictions: disagreement on
mirrored requests, each a draw of its own.

The peers' rules are written from their documentation: error thresholds with a failure limit, a ratio with a limit, a
z-test at each look, and Kayenta's Mann-Whitney judge at 98 % with its tolerance and an effect size of 1.2, looked at each
minute over the rates of the minutes (and the bare test over the rates of the ticks, which alarms far more often).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import product
from math import log

import numpy as np
import oracle
from scipy import stats

from mlpipeline.core.blocks import OF_RULES_5, BlockedBank, ExclusionBank
from mlpipeline.core.disagreement import WEIGHT
from mlpipeline.core.judge import EFFECT, PASS_ERROR, RULES, Judge, Look, MetricPlan, Plan
from mlpipeline.core.proportions import AboveTest
from mlpipeline.core.sequential import Calibration, RatioInterval, Tick, calibrate, log_weighted_sum
from mlpipeline.core.weighted_score import TOLERANCE, relative_change, shift

REGIMES = ("iid", "shared", "hard", "hard2")
TICK_SECONDS = 10
TICKS = 180
HISTORY = 60
BASE = 0.005
ALPHA = 0.01
PEERS = 200
"""How many releases a cell the slower rules of others get."""
STAGE_ENDS = (30, 60, 90)
Counts = np.ndarray
Found = list[int | None]
"""Of each release the tick at which it was taken back."""
Rule = Callable[[Counts, Counts], Found]
"""From the histories and looks of many releases."""
OWN = 0.3
"""Deviation of the wander that each colour has of its own, in the logarithm of its rate."""
CLUMPING = 1.86
"""Of retries: the mean square of their number over its mean."""
ERRORS_WANDER = (0.6, OWN * float(np.sqrt(2)), CLUMPING)
LATENCY_WANDER = (0.6, 0.4, 1.0)
"""What the oracle is told of hard: memory, deviation and clumping of the difference of the two logarithms of the rate."""


def autoregression(rng: np.random.Generator, runs: int, ticks: int, memory: float, deviation: float) -> Counts:
    noise = rng.normal(0, deviation * np.sqrt(1 - memory**2), (runs, ticks))
    noise[:, 0] = rng.normal(0, deviation, runs)
    for tick in range(1, ticks):
        noise[:, tick] += memory * noise[:, tick - 1]
    return noise


def releases(
    rng: np.random.Generator, regime: str, runs: int, *, per_second: float, harm: float, part: float = 0.5, own: float = OWN
) -> tuple[Counts, Counts]:
    """History ``(runs, ticks, 2)`` of the champion and looks ``(runs, ticks, 4)`` in the order of :class:`Tick`.

    ``part`` of twice ``per_second`` is the candidate's traffic; ``own`` the deviation of each colour's own wander.
    """
    ticks = HISTORY + TICKS
    common = np.zeros((runs, ticks))
    if regime != "iid":
        wave = 0.3 * np.sin(np.linspace(0, 2 * np.pi, ticks) + rng.uniform(0, 2 * np.pi, (runs, 1)))
        common = autoregression(rng, runs, ticks, 0.9, 0.4) + wave
    columns = []
    for factor, share in ((harm, 2 * part), (1.0, 2 * (1 - part))):
        requests = rng.poisson(share * per_second * TICK_SECONDS * np.exp(0.3 * common))
        columns += [requests, events(rng, regime, requests, common, factor, own)]
    found = np.stack(columns, axis=-1)
    return found[:, :HISTORY, 2:], found[:, HISTORY:]


def events(rng: np.random.Generator, regime: str, requests: Counts, common: Counts, factor: float, deviation: float) -> Counts:
    if regime in ("iid", "shared"):
        return rng.binomial(requests, np.minimum(1, BASE * factor * np.exp(common)))
    own = autoregression(rng, *requests.shape, 0.6 if regime == "hard" else 0.9, deviation)
    bursts = (rng.random(requests.shape) < 0.01) * np.minimum(3 * rng.pareto(1.5, requests.shape), 60)
    first = rng.binomial(requests, np.minimum(1, BASE * (factor * np.exp(common + own) + bursts)))
    retries = np.where(first > 0, rng.negative_binomial(np.maximum(first, 1), 0.7), 0)
    return np.minimum(requests, first + retries)


def calibrations(history: Counts) -> list[Calibration]:
    return [calibrate([(int(n), int(k)) for n, k in one]) for one in history]


def ours(history: Counts, looks: Counts, metrics: int = 1, parts: int = 1) -> Found:
    """Of releases with so many metrics each, which follow each other in ``history`` and ``looks``; so many looks are one tick."""
    del history
    bank = BlockedBank([EFFECT] * len(looks))
    found: Found = [None] * (len(looks) // metrics)

    def decide(tick: int) -> None:
        evidence = np.logaddexp.reduce(bank.log_e.reshape(-1, metrics), axis=1) - log(metrics)
        for run in np.flatnonzero(evidence >= -log(ALPHA)):
            found[run] = found[run] or tick

    for look in range(looks.shape[1]):
        bank.add(looks[:, look], TICK_SECONDS / parts)
        decide(look // parts + 1)
        if (look + 1) % parts == 0 and look // parts in STAGE_ENDS:
            bank.next_stage()
    bank.last([ALPHA * OF_RULES_5.last_look / metrics] * len(looks))
    decide(looks.shape[1] // parts)
    return found


def divided(rng: np.random.Generator, looks: Counts, parts: int) -> Counts:
    """The same releases seen in so many looks a tick: each request, and with it its event, falls into one of them by chance."""
    found = np.repeat(np.zeros_like(looks), parts, axis=1)
    left = looks.copy()
    for part in range(parts):
        for colour in (0, 2):
            requests, events_left = left[..., colour], left[..., colour + 1]
            now = rng.binomial(requests, 1 / (parts - part))
            hits = rng.hypergeometric(events_left, requests - events_left, now)
            found[:, part::parts, colour], found[:, part::parts, colour + 1] = now, hits
            left[..., colour], left[..., colour + 1] = requests - now, events_left - hits
    return found


def other_releases(rng: np.random.Generator, runs: int, *, per_second: float, harm: float, memory: float) -> Counts:
    """Looks of another make: Poisson events whose rate is gamma distributed from tick to tick (shape 4), around an AR(1) of each
    colour of its own with deviation 0.3 and this memory in seconds, and a common one. No bursts, no retries."""
    common = autoregression(rng, runs, TICKS, 0.95, 0.5)
    columns = []
    for factor in (harm, 1.0):
        own = autoregression(rng, runs, TICKS, float(np.exp(-TICK_SECONDS / memory)), 0.3)
        requests = rng.poisson(per_second * TICK_SECONDS * np.exp(0.2 * common))
        rate = 2 * BASE * factor * np.exp(common + own) * rng.gamma(4, 1 / 4, requests.shape)
        columns += [requests, np.minimum(requests, rng.poisson(requests * rate))]
    return np.stack(columns, axis=-1)


def rougher_releases(rng: np.random.Generator, runs: int, *, per_second: float, harm: float) -> Counts:
    """Looks as in hard2 but rougher: each colour has a burst of its own every eight minutes, of ten seconds or a few times that,
    and each failure is retried once on average, half of the retries in the next tick."""
    common = autoregression(rng, runs, TICKS, 0.95, 0.5)
    columns = []
    for factor in (harm, 1.0):
        own = autoregression(rng, runs, TICKS, 0.9, OWN) - OWN**2 / 2
        burst = np.ones((runs, TICKS))
        for run, tick in np.argwhere(rng.random((runs, TICKS)) < 0.02):
            burst[run, tick : tick + rng.geometric(0.6)] = min(50.0, 2 * (1 + rng.pareto(1.5)))
        requests = rng.poisson(per_second * TICK_SECONDS * np.exp(0.3 * common))
        first = rng.binomial(requests, np.minimum(0.5, BASE / 2 * factor * np.exp(common + own) * burst))
        retries = np.where(first > 0, rng.negative_binomial(np.maximum(first, 1), 0.5), 0)
        late = rng.binomial(retries, 0.5)
        events = first + retries - late
        events[:, 1:] += late[:, :-1]
        columns += [requests + retries, np.minimum(requests + retries, events)]
    return np.stack(columns, axis=-1)


def promoted(looks: Counts) -> Found:
    """Tick at which harm of twice the rate is excluded, so that the metric passes early."""
    bank = ExclusionBank([2.0] * len(looks))
    found: Found = [None] * len(looks)
    for tick in range(looks.shape[1]):
        bank.add(looks[:, tick, [2, 3, 0, 1]], TICK_SECONDS)
        for run in np.flatnonzero(bank.log_e >= -log(PASS_ERROR)):
            found[run] = found[run] or tick + 1
    return found


def singly(rule: Callable[[Counts], int | None]) -> Rule:
    """A peer's rule, which looks at one release at a time and knows no history."""
    return lambda _, looks: [rule(one) for one in looks[:PEERS]]


def rates(looks: Counts) -> tuple[Counts, Counts]:
    return looks[:, 1] / np.maximum(looks[:, 0], 1), looks[:, 3] / np.maximum(looks[:, 2], 1)


def after_limit(broken: Counts, limit: int) -> int | None:
    """Tick at which more than ``limit`` looks in all were broken."""
    reached = np.flatnonzero(np.cumsum(broken) > limit)
    return int(reached[0]) + 1 if len(reached) else None


def threshold(limit: int, most: float) -> Callable[[Counts], int | None]:
    return lambda looks: after_limit(rates(looks)[0] >= most, limit)


def ratio(looks: Counts) -> int | None:
    candidate, champion = rates(looks)
    return after_limit(candidate > 1.5 * np.maximum(champion, 1e-9), 3)


def z_test(looks: Counts) -> int | None:
    n, k, m, h = np.cumsum(looks, axis=0).T
    pooled = (k + h) / np.maximum(n + m, 1)
    deviation = np.sqrt(np.maximum(pooled * (1 - pooled) * (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1)), 1e-12))
    return after_limit((k / np.maximum(n, 1) - h / np.maximum(m, 1)) / deviation > stats.norm.isf(ALPHA), 0)


def mann_whitney(looks: Counts) -> int | None:
    """Kayenta's judge: the interval of the shift lies beyond a quarter of its estimate, and the mean is a fifth higher."""
    minutes = looks[: len(looks) // 6 * 6].reshape(-1, 6, 4).sum(axis=1)
    candidate, champion = rates(minutes)
    for end in range(5, len(minutes) + 1):
        left, right = candidate[:end], champion[:end]
        found = shift(left, right, 0.98)
        if found is not None and found.low > TOLERANCE * abs(found.estimate) and relative_change(left, right) > 0.2:
            return 6 * end
    return None


def mann_whitney_alone(looks: Counts) -> int | None:
    """Without Kayenta's tolerance, on the rates of the ticks: quicker, and far more often wrong."""
    candidate, champion = rates(looks)
    for end in range(12, len(looks) + 1, 6):
        left, right = candidate[:end], champion[:end]
        if left.mean() > 1.2 * right.mean() and stats.mannwhitneyu(left, right, alternative="two-sided").pvalue < 0.02:
            return end
    return None


KAYENTA = "Mann-Whitney 98 %, each minute"
ALL_RULES: dict[str, Rule] = {
    "ours": ours,
    KAYENTA: singly(mann_whitney),
    "Mann-Whitney p < 2 %, each minute": singly(mann_whitney_alone),
    "threshold 1 %, limit 0": singly(threshold(0, 0.01)),
    "threshold 2 %, limit 3": singly(threshold(3, 0.02)),
    "ratio 1.5, limit 3": singly(ratio),
    "z-test 1 %, each look": singly(z_test),
}
JUDGES = {name: ALL_RULES[name] for name in ("ours", KAYENTA)}


WITHIN = {2.0: 780, 5.0: 240, 20.0: 150}
"""Seconds within which errors so many times as frequent are to be found."""
LATENCY_WITHIN = {1.3: 120, 2.0: 60}
SPREADS = (0.35, 0.7)
"""Deviation of the logarithm of the latency: of a service that answers evenly, and of one that does not."""


def slow_releases(rng: np.random.Generator, regime: str, runs: int, factor: float, spread: float) -> tuple[Counts, Counts]:
    """As ``releases`` at 50 requests/s, events being answers slower than the champion's p99; the candidate's latencies are
    multiplied by ``factor``. Wander shifts the latency by so much of its spread that these events wander about as errors do."""
    ticks = HISTORY + TICKS
    common = np.zeros((runs, ticks)) if regime == "iid" else autoregression(rng, runs, ticks, 0.9, 0.4)
    own_memory = {"iid": 0.0, "shared": 0.0, "hard": 0.6, "hard2": 0.9}[regime]
    columns = []
    for times in (factor, 1.0):
        own = autoregression(rng, runs, ticks, own_memory, 0.3) if own_memory else np.zeros((runs, ticks))
        requests = rng.poisson(50 * TICK_SECONDS * np.exp(0.3 * common))
        above = stats.norm.sf(stats.norm.ppf(0.99) - log(times) / spread - 0.36 * (common + own))
        columns += [requests, rng.binomial(requests, above)]
    found = np.stack(columns, axis=-1)
    return found[:, :HISTORY, 2:], found[:, HISTORY:]


def within(found: Sequence[int | None], seconds: int) -> str:
    hits = sum(tick is not None and tick * TICK_SECONDS <= seconds for tick in found)
    return f"{described(found)}; within {seconds} s {exact(hits, len(found))}"


def deadlines(rng: np.random.Generator, runs: int) -> None:
    print("\nDetection in 30 minutes, its median time, and how much of it comes in time, hard, 50 requests/s")
    healthy = [releases(rng, regime, 2000, per_second=50, harm=1.0)[1] for regime in ("hard", "hard2")]
    for harm, seconds in WITHIN.items():
        history, looks = releases(rng, "hard", runs, per_second=50, harm=harm)
        timed(rng, f"errors x{harm:g}", history, looks, seconds)
        reachable(healthy, looks, ERRORS_WANDER, seconds)
    healthy = [slow_releases(rng, regime, 2000, 1.0, 1.0)[1] for regime in ("hard", "hard2")]
    for spread, (factor, seconds) in product(SPREADS, LATENCY_WITHIN.items()):
        history, looks = slow_releases(rng, "hard", runs, factor, spread)
        timed(rng, f"p99 x{factor:g}, spread {spread:g}", history, looks, seconds)
        reachable(healthy, looks, LATENCY_WANDER, seconds)


def timed(rng: np.random.Generator, harm: str, history: Counts, looks: Counts, seconds: int) -> None:
    for name, rule in JUDGES.items():
        print(f"  {harm:22} {name:32} {within(rule(history, looks), seconds)}", flush=True)
    often = divided(rng, looks, 5)
    print(f"  {harm:22} {'ours, a look each 2 s':32} {within(ours(often, often, parts=5), seconds)}", flush=True)


def reachable(healthy: Sequence[Counts], harmed: Counts, roughness: tuple[float, float, float], seconds: int) -> None:
    """Of rules that are told the roughness. ``healthy``: in hard and in hard2."""
    ticks = seconds // TICK_SECONDS
    cells = {
        "one look at the deadline": oracle.fixed(healthy[0], harmed, roughness, ticks, ALPHA),
        "any time": oracle.any_time(harmed[:, :ticks], roughness, ALPHA),
        "one look, either hard or hard2": oracle.either(healthy, harmed, roughness, ticks, ALPHA),
        "torn between hard and hard2": oracle.torn(harmed[:, :ticks], roughness[2], ALPHA),
    }
    told = "; ".join(f"{name} {exact(int(hits.sum()), len(hits))}" for name, hits in cells.items())
    print(f"    told the roughness: {told}", flush=True)


def disagreement(rng: np.random.Generator, runs: int) -> None:
    """In a judge beside two quiet metrics, so with half the budget of 1 %."""
    print("\nWrong predictions on mirrored traffic, 5 % disagreement allowed: caught within 1000 requests, median, within 100")
    for true in (0.05, 0.1, 0.15, 0.3):
        caught: list[int | None] = []
        for _ in range(runs):
            test, number = AboveTest(0.05), 0
            while number < 1000 and log_weighted_sum([(1 - WEIGHT, 0.0), (WEIGHT, test.log_e)]) < -log(ALPHA):
                number += 1
                test.add(1, int(rng.random() < true))
            caught.append(number if number < 1000 else None)
        hits = [number for number in caught if number is not None]
        median = f"{np.median(hits):5.0f} requests" if hits else "    -"
        soon = sum(number <= 100 for number in hits)
        print(f"  {true:5.0%} differ: {exact(len(hits), runs)} {median}, within 100 {exact(soon, runs)}", flush=True)


def exact(hits: int, runs: int) -> str:
    low = stats.beta.ppf(0.025, hits, runs - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, runs - hits) if hits < runs else 1.0
    return f"{100 * hits / runs:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def described(found: Sequence[int | None]) -> str:
    hits = [tick for tick in found if tick is not None]
    median = f"{np.median(hits) * TICK_SECONDS:5.0f} s" if hits else "    -  "
    return f"{exact(len(hits), len(found))} {median}"


def table(title: str, rows: dict[str, Rule], cases: dict[str, tuple[Counts, Counts]]) -> None:
    print(f"\n{title}\n{'':32}" + "".join(f"{name:>32}" for name in cases))
    for name, rule in rows.items():
        cells = [described(rule(*case)) for case in cases.values()]
        print(f"{name:32}" + "".join(f"{cell:>32}" for cell in cells), flush=True)


def ten_metrics(rng: np.random.Generator, runs: int) -> None:
    print("\nAny false rollback over ten metrics, 50 requests/s")
    for regime in REGIMES:
        history, looks = releases(rng, regime, 10 * runs, per_second=50, harm=1.0)
        found = ours(history, looks, 10)
        peers = min(runs, PEERS)
        alarms = sum(any(mann_whitney(looks[at]) for at in range(10 * run, 10 * run + 10)) for run in range(peers))
        ours_alarms = sum(tick is not None for tick in found)
        print(f"  {regime:8} ours {exact(ours_alarms, runs)}   Mann-Whitney {exact(alarms, peers)}", flush=True)


def speed(_: np.random.Generator, __: int) -> None:
    metrics = tuple(MetricPlan(f"metric-{number}", "bad", "simulation", 0.001, 2.0) for number in range(10))
    judge = Judge(Plan("s", "r", "green", "blue", ALPHA, 2.0, 50, metrics, rules=RULES))
    counts = {metric.name: (100, 3, 100, 2) for metric in metrics}
    for number in range(900):
        judge.add(Look(2.0 * number, "bake", "live", 2.0, counts))
    judge.judgement()
    began, worked = time.perf_counter(), time.process_time()
    for number in range(900, 1000):
        judge.add(Look(2.0 * number, "bake", "live", 2.0, counts))
        judge.judgement()
    spent = time.process_time() - worked
    print(
        f"\nOne look of 10 metrics after 900 looks, with its verdict: {(time.perf_counter() - began) * 10:.2f} ms, "
        f"{spent * 10:.2f} ms of them at work"
    )
    many = tuple(MetricPlan(f"metric-{number}", "bad", "simulation", 0.001, 2.0) for number in range(100))
    judge, counts = (
        Judge(Plan("s", "r", "green", "blue", ALPHA, 2.0, 50, many, rules=RULES)),
        {m.name: (100, 3, 100, 2) for m in many},
    )
    began, worked = time.perf_counter(), time.process_time()
    for number in range(180):
        judge.add(Look(2.0 * number, "bake", "live", 2.0, counts))
    judge.judgement()
    spent = time.process_time() - worked
    print(f"100 metrics over 180 looks: {time.perf_counter() - began:.2f} s, {spent:.2f} s of them at work")


def alarms(rng: np.random.Generator, runs: int) -> None:
    for per_second in (200, 50, 5):
        healthy = {regime: releases(rng, regime, runs, per_second=per_second, harm=1.0) for regime in REGIMES}
        table(f"False rollback of a healthy release, {per_second} requests/s per colour", ALL_RULES, healthy)
    for part, per_second in ((0.1, 25), (0.9, 25), (0.1, 500), (0.25, 500), (0.9, 500)):
        split = {regime: releases(rng, regime, runs, per_second=per_second, harm=1.0, part=part) for regime in REGIMES}
        title = f"False rollback with {part:.0%} of {2 * per_second} requests/s at the candidate"
        table(title, {"ours": ours}, split)


def looks(rng: np.random.Generator, runs: int) -> None:
    """At the default interval of looks, and on traffic of another make."""
    print("\nFalse rollback of a healthy release, a look each 2 seconds")
    for regime in REGIMES:
        for per_second in (50, 5):
            healthy = divided(rng, releases(rng, regime, runs, per_second=per_second, harm=1.0)[1], 5)
            print(f"  {regime:6} {per_second:3} requests/s {described(ours(healthy, healthy, parts=5))}", flush=True)
    print("\nFalse rollback in hard2, a look each 10 seconds, 50 requests/s, by the deviation of each colour's own wander")
    for own in (OWN, 0.4, 0.5):
        healthy = releases(rng, "hard2", runs, per_second=50, harm=1.0, own=own)[1]
        peers = JUDGES[KAYENTA](healthy, healthy)
        print(f"  {own:g} ours {described(ours(healthy, healthy))}   {KAYENTA} {described(peers)}", flush=True)
    print("\nFalse rollback on other traffic, a look each 10 seconds, 50 requests/s, by the memory of each colour's own wander")
    for memory in (30, 60, 90, 150):
        healthy = other_releases(rng, runs, per_second=50, harm=1.0, memory=memory)
        print(f"  {memory:3} s {described(ours(healthy, healthy))}", flush=True)
    print("\nFalse rollback on rougher traffic, a look each 10 seconds, 50 requests/s, one metric and any of ten")
    healthy = rougher_releases(rng, runs, per_second=50, harm=1.0)
    peers = JUDGES[KAYENTA](healthy, healthy)
    ten = ours(healthy[: len(healthy) // 10 * 10], healthy[: len(healthy) // 10 * 10], 10)
    print(f"  one ours {described(ours(healthy, healthy))}   {KAYENTA} {described(peers)}")
    print(f"  ten ours {described(ten)}", flush=True)


SOON = (60, 120, 150, 240, 480, 780, 1200, 1800)
BEHIND = 0.05


def judges(rng: np.random.Generator, runs: int) -> None:
    """Ours and Kayenta's judge on the same releases, by regime, effect and time. A star: ours is more than 5 points behind."""
    print(f"\nFound within so many seconds, %, ours/Kayenta's, of {runs} (x1: of healthy releases, taken back)")
    print(f"{'':30}" + "".join(f"{seconds:>13}" for seconds in SOON))
    for regime in REGIMES:
        cases = {f"errors x{harm:g}": releases(rng, regime, runs, per_second=50, harm=harm)[1] for harm in (1, 1.5, 2, 5, 20)}
        cases |= {"p99 x1": slow_releases(rng, regime, runs, 1.0, 1.0)[1]}
        for spread, factor in product(SPREADS, (1.1, 1.3, 2)):
            cases[f"p99 x{factor:g}, spread {spread:g}"] = slow_releases(rng, regime, runs, factor, spread)[1]
        for name, case in cases.items():
            both = [
                np.array([tick or TICKS + 1 for tick in rule]) for rule in (ours(case, case), [mann_whitney(one) for one in case])
            ]
            shares = [[(found * TICK_SECONDS <= seconds).mean() for seconds in SOON] for found in both]
            told = (f"{100 * o:5.1f}/{100 * k:5.1f}{'*' if o < k - BEHIND else ' '}" for o, k in zip(*shares, strict=True))
            print(f"{regime:7}{name:23}" + "".join(f"{cell:>13}" for cell in told), flush=True)


def detection(rng: np.random.Generator, runs: int) -> None:
    for regime in REGIMES[2:]:
        harmed = {f"x{harm:g}": releases(rng, regime, runs, per_second=50, harm=harm) for harm in (1.5, 2, 5, 20)}
        table(f"Detection in 30 minutes and its median time, {regime}, 50 requests/s", JUDGES, harmed)


def early_passes(rng: np.random.Generator, runs: int) -> None:
    """Also on traffic of another make."""
    for harm, what in ((1.0, "a good release"), (2.0, "harm at the margin")):
        print(f"\nEarly pass of {what} (x{harm:g}, margin 2) and its median time")
        for per_second in (50, 5):
            cases = {regime: releases(rng, regime, runs, per_second=per_second, harm=harm)[1] for regime in REGIMES}
            for memory in (60, 90, 150):
                cases[f"other, {memory} s"] = other_releases(rng, runs, per_second=per_second, harm=harm, memory=memory)
            for name, looks in cases.items():
                print(f"  {per_second:3} requests/s {name:12} {described(promoted(looks))}", flush=True)


def intervals(rng: np.random.Generator, runs: int) -> None:
    """How often the interval that is shown leaves out the true ratio at any look of 30 minutes; 5 % are allowed."""
    print("\nThe 95 % interval of the ratio leaves out the true one, 1.5, at any of 180 blocks")
    for regime in REGIMES:
        history, looks = releases(rng, regime, runs, per_second=50, harm=1.5)
        missed = 0
        for calibration, one in zip(calibrations(history), looks, strict=True):
            interval = RatioInterval(0.95, calibration)
            for counts in one.tolist():
                interval.add(Tick(*counts))
            missed += any(not found.low <= 1.5 <= found.high for found in interval.intervals())
        print(f"  {regime:8}{exact(missed, runs)}", flush=True)


PARTS: dict[str, Callable[[np.random.Generator, int], None]] = {
    "alarms": alarms,
    "detection": detection,
    "deadlines": deadlines,
    "disagreement": disagreement,
    "early-passes": early_passes,
    "ten-metrics": lambda rng, runs: ten_metrics(rng, max(20, runs // 4)),
    "speed": speed,
    "looks": looks,
    "judges": judges,
    "intervals": lambda rng, runs: intervals(rng, min(runs, PEERS)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="releases per cell; slower rules of others get at most PEERS")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--only", choices=PARTS, help="one part; each has numbers of its own, so that it prints the same alone")
    chosen = parser.parse_args()
    for place, (name, part) in enumerate(PARTS.items()):
        if chosen.only in (None, name):
            part(np.random.default_rng([chosen.seed, place]), chosen.runs)


if __name__ == "__main__":
    main()
