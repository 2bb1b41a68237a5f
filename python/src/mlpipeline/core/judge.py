"""From a plan and the looks at a release to verdicts; pure, so that a replay gives the same bytes.

The budget: the mean of the metrics' e-values against "the candidate is at most ``effect`` times as bad as the champion" is
itself an e-process, whatever the metrics have to do with each other. A release fails when it reaches ``1 / false_alarm`` at
any look; by Ville's inequality a healthy release does so with at most that probability over all metrics and all looks
(under the assumptions that :mod:`mlpipeline.core.sequential` lists). A metric whose rate at the candidate is within
``tolerate`` adds at most 1 to that mean, which only makes a failure rarer.

A metric passes early when "harm of at least ``margin``" is excluded with 95 % confidence, also anytime-valid. All metrics
have to, so no correction is needed (intersection-union). Otherwise a release passes when the planned evidence is in:
every stage watched to its end with both colours answering, and the least number of requests reached.

At the planned end of the last stage a part of the budget is spent on one last look (:mod:`mlpipeline.core.blocks`), divided among
the metrics as the mean divides it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import exp, inf, isinf, log, log10
from typing import Literal

import msgspec

from mlpipeline.core.blocks import OF_RULES_5, lasts_a_block
from mlpipeline.core.concurrency import silent, together
from mlpipeline.core.conditions import ConditionPlan, ConditionState, Measurement
from mlpipeline.core.disagreement import NAME, WEIGHT, DisagreementPlan, DisagreementState
from mlpipeline.core.plausibility import check_look, check_plan, names_of
from mlpipeline.core.rules import LAST_LOOKS, NOTHING, tests_of
from mlpipeline.core.sequential import (
    Calibration,
    Interval,
    RatioInterval,
    Tick,
    closed_culprits,
    log_mean_exp,
    log_weighted_sum,
    rate_ratio,
)
from mlpipeline.core.verdict import Verdict, failing_first
from mlpipeline.core.weighted_score import Sampled, Score, ScorePlan, check, score

PASS_ERROR = 0.05
"""Probability of passing a metric early although its harm is at the margin."""
INTERVAL_CONFIDENCE = 0.95
RULES: Literal[5] = 5
"""The rules of today, for new plans."""
EFFECT = 1.1
"""Ratio up to which a candidate counts as no worse: a tenth more is no reason to take a release back."""
ALWAYS_FAILING = 0.5
_LEAST = 1e-12
"""P-values below are told as this."""
_RECENT_LOOKS = 15


class MetricPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """One comparison of event rates.

    Args:
        name: ``errors`` or ``latency``.
        event: What is counted, in words ("answered with 5xx").
        source: Which series count it, in words.
        tolerate: Rate of the candidate below which no difference is harm.
        margin: Ratio that is harm.
        bound: Seconds; the bucket bound that stands for the latency objective, 0 for other metrics.
        label: The predicted class whose share is compared, in both directions; empty for other metrics.
        late: Its events become known later, perhaps after the release: without any it is left out.
    """

    name: str
    event: str
    source: str
    tolerate: float
    margin: float
    effect: float = EFFECT
    bound: float = 0.0
    calibration: Calibration = Calibration()
    late: bool = False
    label: str = ""


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is judged, and by which rules."""

    service: str
    run: str
    candidate: str
    champion: str
    false_alarm: float
    interval: float
    min_requests: int
    metrics: tuple[MetricPlan, ...] = ()
    conditions: tuple[ConditionPlan, ...] = ()
    queries: dict[str, str] = {}
    score: ScorePlan | None = None
    disagreement: DisagreementPlan | None = None
    """Whether answers to mirrored requests are compared."""
    rules: Literal[1, 2, 3, 4, 5] = 1
    """Which tests judge, see :mod:`mlpipeline.core.rules`; 1 for evidence that names none."""

    @property
    def classes(self) -> int:
        """How many classes of predictions, or bounds of them, are compared."""
        return sum(bool(metric.label) for metric in self.metrics)

    @property
    def parts(self) -> int:
        """Among how many the budget of the metrics is divided: all classes of predictions together count as one."""
        return len(self.metrics) - self.classes + bool(self.classes)


class Look(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one look found.

    Args:
        at: Unix seconds up to which both colours were read.
        seconds: Since the look before; 0 at the first of a stage, which only sets the base line.
        counts: Metric to ``(candidate requests, events, champion requests, events)`` of exactly these seconds.
        missing: Metric to why it could not be read.
        conditions: What the conditions that were due measured.
        scores: What the metrics of the score answered.
        compared: Mirrored requests that both colours answered, and the sum of their disagreements.
        users: For plots only: per colour ``requests_per_second``, ``p50_seconds``, ``p99_seconds`` and ``traffic``.
        asked: Unix seconds at which the conditions were asked, by the worker's clock; 0 in evidence of earlier versions, which
            took ``at``.
    """

    at: float
    stage: str
    traffic: str
    seconds: float
    counts: dict[str, tuple[int, int, int, int]] = {}
    missing: dict[str, str] = {}
    conditions: dict[str, Measurement] = {}
    users: dict[str, dict[str, float]] = {}
    scores: dict[str, Sampled] = {}
    compared: tuple[int, float] = (0, 0.0)
    asked: float = 0.0


class StageEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stage was over after ``looks`` looks in all.

    Args:
        watched: To its planned end, or until harm was excluded.
        outage: Why monitoring was given up, if it was.
        futile: Why watching on could bring no pass.
        excluded: It ended early because harm of every metric's margin was excluded in it.
        last: It was the last one and reached its planned end, so the last look is due.
    """

    stage: str
    looks: int
    watched: bool
    outage: str = ""
    futile: str = ""
    excluded: bool = False
    last: bool = False


class TracePoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a metric stood after a look; after the last look once more. ``high`` is absent (0) while nothing above is excluded.

    ``log10_evidence`` is the e-value against "no harm"; ``log10_excluded`` the one against "harm of the margin".
    """

    at: float
    estimate: float
    low: float
    high: float
    log10_evidence: float
    log10_excluded: float


_NO_INTERVAL = Interval(1.0, 0.0, inf)


class MetricState:
    """Running evidence of one metric. The e-values against harm and its absence are handed in, see ``weigh``.

    Args:
        blocks: Whether its interval is computed from blocks of seconds, as from rules 5 on, or look by look.
    """

    def __init__(self, plan: MetricPlan, *, blocks: bool = True) -> None:
        self.plan = plan
        self.totals = self.stage = NOTHING
        self.excluded = False
        self.last_look = 0.0
        self.failed_at_last = False
        self._blocks = blocks
        self._block, self._block_seconds = NOTHING, 0.0
        self.log_e = self.log_excluded = 0.0
        self._recent: deque[Tick] = deque()
        self._lately = [0, 0]
        self.blocks_of_stage: list[tuple[int, int]] = []
        self._interval = RatioInterval(INTERVAL_CONFIDENCE, plan.calibration)
        self._known = 0
        self._untold: list[tuple[float, float, float, int, float]] = []
        self._found: list[Interval] = []
        self._trace: list[TracePoint] = []

    def next_stage(self) -> None:
        self.stage = NOTHING
        self.blocks_of_stage = []

    def end_stage(self) -> None:
        """What is left of a block counts too."""
        if self._block != NOTHING:
            self._end_block()
        else:
            self.blocks_of_stage.append((0, 0))
            self._block_seconds = 0.0

    def add(self, tick: Tick) -> None:
        self.totals = _sum(self.totals, tick)
        self.stage = _sum(self.stage, tick)
        if tick.candidate:
            self._remember(tick)
        self._block = _sum(self._block, tick)
        if not self._blocks:
            self._end_block()

    def passed(self, seconds: float) -> None:
        """Time goes on, also where a look found nothing of this metric."""
        self._block_seconds += seconds
        if self._blocks and lasts_a_block(self._block_seconds):
            self._end_block()

    def _end_block(self) -> None:
        self._interval.add(self._block)
        self.blocks_of_stage.append((self._block.candidate, self._block.champion))
        self._known += 1
        self._block, self._block_seconds = NOTHING, 0.0

    def _remember(self, tick: Tick) -> None:
        self._recent.append(tick)
        gone = self._recent.popleft() if len(self._recent) > _RECENT_LOOKS else NOTHING
        self._lately[0] += tick.candidate - gone.candidate
        self._lately[1] += tick.candidate_events - gone.candidate_events

    def weigh(self, harm: float, excluded: float) -> None:
        """Logarithms of the e-values against "no harm" and against "harm of the margin", as they stand now; that of harm is at
        most 0 (an e-value of 1) while the rate is tolerated."""
        self.log_e = min(0.0, harm) if self.tolerated else harm
        self.log_excluded = excluded

    def looked(self, at: float) -> None:
        """A look at this metric is complete."""
        excluded = self.log_excluded
        self.excluded = self.excluded or excluded >= -log(PASS_ERROR)
        self._untold.append((at, self.log_e, excluded, self._known, rate_ratio(self.totals)))

    @property
    def trace(self) -> list[TracePoint]:
        """How it stood after each look. Computed for all looks since the last time at once."""
        self._compute()
        untold, self._untold = self._untold, []
        for at, harm, excluded, known, ratio in untold:
            _, low, high = self._found[known - 1] if known else _NO_INTERVAL
            self._trace.append(
                TracePoint(
                    round(at, 3),
                    round(ratio, 4),
                    round(low, 4),
                    0.0 if isinf(high) else round(high, 4),
                    round(harm / log(10), 3),
                    round(excluded / log(10), 3),
                )
            )
        return self._trace

    def _compute(self) -> None:
        self._found.extend(self._interval.intervals())

    @property
    def rate(self) -> float:
        """The candidate's events per request, over everything or the last looks, whichever is worse."""
        requests, events = self._lately
        return max(_rate(events, requests), _rate(self.totals.candidate_events, self.totals.candidate))

    @property
    def tolerated(self) -> bool:
        return not self.plan.label and self.rate <= self.plan.tolerate

    @property
    def interval(self) -> tuple[float, float, float]:
        """Estimate of everything so far, and the bounds of the last block."""
        self._compute()
        _, low, high = self._found[-1] if self._found else _NO_INTERVAL
        return rate_ratio(self.totals), low, high


class MetricVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """One metric of the whole release. ``high`` is 0 while nothing above is excluded; ``threshold`` is ``1 / false_alarm``;
    ``last_look`` is the p-value of the last look, 0 while none was taken."""

    name: str
    verdict: Verdict
    summary: str
    candidate_requests: int
    candidate_events: int
    champion_requests: int
    champion_events: int
    ratio: float
    low: float
    high: float
    evidence: float
    threshold: float
    decided_at: float = 0.0
    last_look: float = 0.0


class Judgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole release so far. ``problems`` say what evidence is missing, most important first."""

    verdict: Verdict
    summary: str
    metrics: tuple[MetricVerdict, ...]
    conditions: tuple[tuple[str, Verdict, str], ...] = ()
    problems: tuple[str, ...] = ()
    evidence: float = 1.0
    threshold: float = 0.0
    score: Score | None = None


class Judge:
    """Folds looks and stage ends, in the order they happened. The cost of a look does not grow with the history.

    Raises ValueError for a plan whose conditions cannot be read, or whose score or numbers would mean nothing.
    """

    def __init__(self, plan: Plan) -> None:
        check_plan(plan)
        self.plan = plan
        self._names = names_of(plan)
        self.metrics = {metric.name: MetricState(metric, blocks=plan.rules >= LAST_LOOKS) for metric in plan.metrics}
        self._tests = tests_of(plan.rules, plan.metrics)
        self._weigh()
        self.conditions = {condition.name: ConditionState(condition) for condition in plan.conditions}
        self.disagreement = None if plan.disagreement is None else DisagreementState(plan.disagreement, INTERVAL_CONFIDENCE)
        self.failed_at = 0.0
        self.culprits: tuple[str, ...] = ()
        self.looks = 0
        self._at = 0.0
        self._last_look_taken = self._stage_over = False
        self._stage: str | None = None
        self._ends: dict[str, StageEnd] = {}
        self._answered: dict[str, bool] = {}
        self._peak = 0.0
        self._samples: dict[str, list[Sampled]] = {}
        self.score: Score | None = None
        if plan.score is not None:
            check(plan.score)

    def add(self, look: Look) -> Verdict:
        """Takes in one look; ``fail`` when the release has failed, else ``inconclusive``. After the end of a stage, one of the
        same name begins anew. Raises ValueError for a look that cannot have been, and takes in nothing of it."""
        check_look(self._names, look)
        self._enter(look.stage)
        self.looks += 1
        ticks = {name: Tick(*counts) for name, counts in look.counts.items()}
        self._tests.add(ticks, look.seconds)
        for name, tick in ticks.items():
            self.metrics[name].add(tick)
        for state in self.metrics.values():
            state.passed(look.seconds)
        self._weigh()
        self._at = look.at
        for name in ticks:
            self.metrics[name].looked(look.at)
        if self.disagreement is not None:
            self.disagreement.add(*look.compared)
        asked = look.asked or look.at
        for condition in self.conditions.values():
            condition.start(asked)
        for name, measurement in look.conditions.items():
            self.conditions[name].add(asked, measurement)
        for name, sampled in look.scores.items():
            self._samples.setdefault(name, []).append(sampled)
        self._decide(look.at)
        return Verdict.FAIL if self.failed else Verdict.INCONCLUSIVE

    def end(self, end: StageEnd) -> None:
        """A stage is over. Watched again under the same name, its last end counts. The score is taken now, over all looks."""
        self._enter(end.stage)
        self._ends[end.stage] = end
        for state in self.metrics.values():
            state.end_stage()
        self._answered[end.stage] = self.both_answered
        if end.last and self.metrics and not (self.failed or self._last_look_taken):
            self._look_last()
        self._stage_over = self.plan.rules >= LAST_LOOKS
        if self.plan.score is not None and end.watched:
            self.score = score(self.plan.score, self._samples)

    def _look_last(self) -> None:
        """Spends what was kept for it; once, even when the stage is watched again."""
        self._last_look_taken = True
        kept = self.plan.false_alarm * OF_RULES_5.last_look
        found = self._tests.last({name: kept * part for name, part in self._parts().items()})
        self._weigh()
        for name, state in self.metrics.items():
            if state.totals != NOTHING:
                state.last_look = max(found[name], _LEAST)
                state.looked(self._at)
        self._decide(self._at)
        for name in self.culprits:
            if name in found:
                self.metrics[name].failed_at_last = True

    @property
    def ended_early(self) -> tuple[str, ...]:
        """The stages that ended because harm was excluded in them."""
        return tuple(end.stage for end in self._ends.values() if end.excluded)

    def _parts(self) -> dict[str, float]:
        """By which part each metric counts in the evidence of the release, see ``log_evidence``."""
        whole = (1.0 if self.disagreement is None else 1 - WEIGHT) / self.plan.parts
        return {metric.name: whole / self.plan.classes if metric.label else whole for metric in self.plan.metrics}

    @property
    def excluded_in_stage(self) -> bool:
        """Whether the present stage alone excludes harm of every metric's margin, so that nothing has to be waited for: the
        metrics, answers and conditions are all in, and there is no score, which is taken over whole stages. Labels that come
        late are waited for only once there are some."""
        if self.failed or self.plan.score is not None or not self.both_answered or self._problems():
            return False
        found = self._tests.log_excluded_in_stage()
        needed = (name for name, state in self.metrics.items() if not state.plan.late or state.totals.candidate)
        within = self.disagreement is None or self.disagreement.within
        return within and all(found[name] >= -log(PASS_ERROR) for name in needed)

    def answered(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Requests of candidate and champion, of the metric that counted fewest: in the whole release, in the present stage."""
        states = self._prompt
        whole = min((state.totals for state in states), key=lambda tick: min(tick.candidate, tick.champion))
        stage = min((state.stage for state in states), key=lambda tick: min(tick.candidate, tick.champion))
        return (whole.candidate, whole.champion), (stage.candidate, stage.champion)

    @property
    def both_answered(self) -> bool:
        """Whether both colours answered requests, by every metric, in the present stage; from rules 5 on at the same time, see
        :mod:`mlpipeline.core.concurrency`."""
        if not all(state.stage.candidate and state.stage.champion for state in self._prompt):
            return False
        return bool(self._prompt) and (self.plan.rules < LAST_LOOKS or self._together)

    @property
    def _together(self) -> bool:
        blocks = [state.blocks_of_stage for state in self._prompt]
        most = max(blocks, key=lambda counted: sum(map(sum, counted)))
        return all(together(counted) and not silent(counted, most) for counted in blocks)

    @property
    def _prompt(self) -> list[MetricState]:
        """The metrics that have to have evidence at once."""
        return [state for state in self.metrics.values() if not state.plan.late]

    @property
    def failed(self) -> bool:
        return bool(self.failed_at) or self._condition_verdict is Verdict.FAIL or self._score_failed

    @property
    def _score_failed(self) -> bool:
        return self.score is not None and self.score.verdict is Verdict.FAIL

    @property
    def log_evidence(self) -> float:
        """Of the whole release now: the mean e-value's logarithm. All classes of predictions together count as one metric; half
        of the whole is the disagreement's where that is looked at."""
        single = [state.log_e for state in self.metrics.values() if not state.plan.label]
        classes = [state.log_e for state in self.metrics.values() if state.plan.label]
        parts = [*single, log_mean_exp(classes)] if classes else single
        counted = log_mean_exp(parts) if parts else 0.0
        if self.disagreement is None:
            return counted
        return log_weighted_sum([(1 - WEIGHT, counted), (WEIGHT, self.disagreement.log_e)])

    def judgement(self) -> Judgement:
        """The verdict over everything taken in so far."""
        metrics = tuple(self._metric(name) for name in self.metrics)
        if self.disagreement is not None:
            metrics = (*metrics, self._disagreement(self.disagreement))
        conditions = tuple((name, state.verdict, state.summary) for name, state in self.conditions.items())
        problems = self._problems()
        verdict, summary = self._overall(metrics, problems)
        return Judgement(
            verdict,
            summary,
            metrics,
            conditions,
            problems,
            _number(self._peak if self.failed_at else self.log_evidence),
            round(1 / self.plan.false_alarm, 6),
            self.score,
        )

    def _enter(self, stage: str) -> None:
        if self._stage is not None and (stage != self._stage or self._stage_over):
            self._tests.next_stage()
            for state in self.metrics.values():
                state.next_stage()
            self._weigh()
        self._stage, self._stage_over = stage, False

    def _weigh(self) -> None:
        for name, found in self._tests.log_e().items():
            self.metrics[name].weigh(*found)

    def _decide(self, at: float) -> None:
        if self.failed_at or self.log_evidence < -log(self.plan.false_alarm):
            return
        self.failed_at, self._peak = at, self.log_evidence
        names = list(self.metrics)
        evidence = [state.log_e for state in self.metrics.values()]
        named = closed_culprits(evidence, self.plan.false_alarm)
        self.culprits = tuple(names[index] for index in named)
        if self.disagreement is not None and log(WEIGHT) + self.disagreement.log_e >= -log(self.plan.false_alarm):
            self.culprits = (*self.culprits, NAME)
        if not self.culprits:
            everything = dict(zip(names, evidence, strict=True))
            if self.disagreement is not None:
                everything[NAME] = self.disagreement.log_e
            self.culprits = (max(everything, key=everything.__getitem__),)

    @property
    def _condition_verdict(self) -> Verdict:
        return next((state.verdict for state in self._decisive), Verdict.PASS)

    @property
    def _decisive(self) -> list[ConditionState]:
        """The conditions that count; the worst first."""
        found = [state for state in self.conditions.values() if not state.plan.dry_run]
        return sorted(found, key=lambda state: failing_first(state.verdict))

    @property
    def _judges(self) -> bool:
        """Whether there is anything that a verdict could rest on: late metrics are nothing while they have no label."""
        late = any(state.totals.candidate for state in self.metrics.values())
        return bool(self._prompt or late or self._decisive) or self.disagreement is not None or self.plan.score is not None

    def _overall(self, metrics: Sequence[MetricVerdict], problems: Sequence[str]) -> tuple[Verdict, str]:
        if self.failed:
            broken = [state.summary for state in self._decisive if state.verdict is Verdict.FAIL]
            harmful = [metric.summary for metric in metrics if metric.verdict is Verdict.FAIL]
            scored = [self.score.summary] if self.score is not None and self._score_failed else []
            return Verdict.FAIL, (*harmful, *broken, *scored)[0]
        if self._condition_verdict is Verdict.ERROR:
            return Verdict.ERROR, f"no verdict, {problems[0]}"
        if problems:
            return Verdict.INCONCLUSIVE, f"no verdict, {problems[0]}"
        requests = max((metric.candidate_requests for metric in metrics), default=0)
        how = "harm is excluded for every metric" if self._excluded else "the planned evidence is in and shows no harm"
        if not requests:
            return Verdict.PASS, f"{how}, by {self._held}, in {self.looks} looks"
        return Verdict.PASS, f"{how}: {requests} requests to the candidate in {self.looks} looks"

    @property
    def _held(self) -> str:
        """What a pass rests on where no requests are compared."""
        names = [state.plan.name for state in self._decisive]
        found = [f"the condition{'s' if len(names) > 1 else ''} {', '.join(names)}"] if names else []
        if self.score is not None:
            found.append(f"a score of {self.score.points:g}")
        return " and ".join(found)

    @property
    def _excluded(self) -> bool:
        within = self.disagreement is None or self.disagreement.within
        needed = [state for state in self.metrics.values() if not state.plan.late or state.totals.candidate]
        return bool(self._prompt) and within and all(state.excluded for state in needed)

    def _problems(self) -> tuple[str, ...]:
        if not self._judges:
            return ("nothing was compared: no metric, no condition that counts and no score",)
        found = [state.summary for state in self._decisive if state.verdict is not Verdict.PASS]
        if self.plan.score is not None and self.score is None:
            found.append("there is no score: no stage was watched to its end")
        elif self.score is not None and self.score.verdict is not Verdict.PASS:
            found.append(self.score.summary)
        for state in self._prompt:
            totals = state.totals
            if not totals.candidate or not totals.champion:
                who = "candidate" if not totals.candidate else "champion"
                found.append(f"the {who} answered no request that {state.plan.name} could count")
            elif state.rate >= ALWAYS_FAILING and state.plan.name == "errors":
                found.append(
                    f"the candidate fails {state.rate:.0%} of its requests, which cannot pass whatever the champion does"
                )
        if self.disagreement is not None and not self.disagreement.compared:
            found.append("no mirrored request could be compared: the answers of both colours to one request were never seen")
        if not found and not self._excluded:
            found.extend(self._missing_evidence())
        elif not found and self.plan.rules >= LAST_LOOKS:
            found.extend([*self._silent(), *self._too_few()])
        return tuple(dict.fromkeys(found))

    def _missing_evidence(self) -> list[str]:
        """Why the planned evidence is not in; empty when it is."""
        if not self._ends and self.metrics:
            return ["no stage was watched to its end"]
        found = [
            f"stage {end.stage} was ended early, the evidence could not come in time: {end.futile}"
            if end.futile
            else f"monitoring was out in stage {end.stage}: {end.outage}"
            if end.outage
            else f"stage {end.stage} was not watched to its end"
            for end in self._ends.values()
            if not end.watched
        ]
        return [*found, *self._silent(), *self._too_few()]

    def _silent(self) -> list[str]:
        when = " at the same time" if self.plan.rules >= LAST_LOOKS else ""
        stages = [stage for stage, both in self._answered.items() if not both] if self._prompt else []
        return [f"not both colours answered requests{when} in stage {stage}" for stage in stages]

    def _too_few(self) -> list[str]:
        found = []
        if self.disagreement is not None and self.disagreement.compared < self.plan.min_requests:
            found.append(
                f"{self.disagreement.compared} compared answers are fewer than the {self.plan.min_requests} that a verdict needs"
            )
        for state in self._prompt:
            least = min(state.totals.candidate, state.totals.champion)
            if least < self.plan.min_requests:
                found.append(f"{least} requests of one colour are fewer than the {self.plan.min_requests} that a verdict needs")
        return found

    def _disagreement(self, state: DisagreementState) -> MetricVerdict:
        """In the form of the others: all requests are both colours', the events the candidate's, ratios are of the allowed."""
        failed = NAME in self.culprits
        verdict = Verdict.FAIL if failed else Verdict.PASS if state.within else Verdict.INCONCLUSIVE
        meaning = {Verdict.FAIL: "harm", Verdict.PASS: "no more than is allowed"}.get(verdict, "neither more nor less is proven")
        ratio, low, high = (round(share / state.plan.allowed, 4) for share in state.interval)
        return MetricVerdict(
            NAME,
            verdict,
            state.summary(meaning),
            state.compared,
            round(state.differing),
            state.compared,
            0,
            ratio,
            low,
            high,
            _number(state.log_e),
            round(1 / self.plan.false_alarm, 6),
            round(self.failed_at, 3) if failed else 0.0,
        )

    def _metric(self, name: str) -> MetricVerdict:
        state = self.metrics[name]
        estimate, low, high = state.interval
        failed = name in self.culprits
        verdict = Verdict.FAIL if failed else Verdict.PASS if state.excluded else Verdict.INCONCLUSIVE
        totals = state.totals
        return MetricVerdict(
            name,
            verdict,
            _describe(state, verdict),
            totals.candidate,
            totals.candidate_events,
            totals.champion,
            totals.champion_events,
            round(estimate, 4),
            round(low, 4),
            0.0 if isinf(high) else round(high, 4),
            _number(state.log_e),
            round(1 / self.plan.false_alarm, 6),
            round(self.failed_at, 3) if failed else 0.0,
            float(f"{state.last_look:.3g}") if state.last_look else 0.0,
        )


def _describe(state: MetricState, verdict: Verdict) -> str:
    totals, plan = state.totals, state.plan
    candidate = f"{_percent(totals.candidate_events, totals.candidate)} ({totals.candidate_events} of {totals.candidate})"
    champion = f"{_percent(totals.champion_events, totals.champion)} ({totals.champion_events} of {totals.champion})"
    estimate, low, high = state.interval
    upper = "no upper bound" if high == inf else f"{high:.3g}"
    at_last = f", at the last look, with a p-value of {state.last_look:.2g}" if state.failed_at_last else ""
    meaning = {
        Verdict.FAIL: ("another share than the champion's" if plan.label else "harm") + at_last,
        Verdict.PASS: f"{plan.margin:g} times {'more or less' if plan.label else 'worse'} is excluded",
        Verdict.INCONCLUSIVE: "within what is tolerated" if state.tolerated else "neither harm nor its absence is proven",
    }.get(verdict, "")
    return (
        f"{plan.name}: candidate {candidate}, champion {champion} {plan.event}; "
        f"ratio {estimate:.3g}, 95 % interval {low:.3g} to {upper}; "
        f"{meaning}"
    )


def _sum(left: Tick, right: Tick) -> Tick:
    return Tick(left[0] + right[0], left[1] + right[1], left[2] + right[2], left[3] + right[3])


def _rate(events: int, requests: int) -> float:
    return events / requests if requests else 0.0


def _percent(events: int, requests: int) -> str:
    return f"{100 * events / requests:.3g} %" if requests else "none"


def _number(log_e: float) -> float:
    """An e-value in three digits; never infinite, so that it can be written as JSON."""
    value = exp(min(log_e, 700.0))
    return round(value, 2 - int(log10(value))) if value > 1e-300 else 0.0
