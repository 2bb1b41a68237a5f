"""The verb ``verify``: candidate against champion over the same seconds, in Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlpipeline import __version__
from mlpipeline.clock import iso
from mlpipeline.config.limits import LONGEST
from mlpipeline.config.model import Config
from mlpipeline.config.sections.verification import Condition
from mlpipeline.core.conditions import ConditionPlan, ConditionState, Measurement, parse
from mlpipeline.core.disagreement import DisagreementPlan, Join
from mlpipeline.core.futility import hopeless_condition, hopeless_requests, ripe
from mlpipeline.core.judge import RULES, Judge, Judgement, Look, MetricPlan, MetricVerdict, Plan, StageEnd, TracePoint
from mlpipeline.core.promql import newest_scrape_query, selectors
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.core.weighted_score import Classified, Sampled, Score, ScorePlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.packs import find
from mlpipeline.packs.shape import PackCondition, Traffic
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.exporting import Exporter
from mlpipeline.verbs.late_labels import NAME as ACCURACY
from mlpipeline.verbs.late_labels import LateLabels
from mlpipeline.verbs.looking import PREDICTIONS, VALUES, Reader, Roles, Scrapes, queries

__all__ = ["JudgedRelease", "Roles", "StageOutcome", "Watch", "asked", "conditions", "replay", "run"]

VERB = "verify"
RELEASE_EVIDENCE = "evidence.json"
"""Of a release: all stages of ``switch``, in the run's folder."""
WATCH_EVIDENCE = "verify-evidence.json"
"""Of the verb on its own, so that looking never changes what a release is judged by."""
_SILENT_LOOKS = 5
_SILENT_REQUESTS = 200


@dataclass(frozen=True)
class StageOutcome:
    """How one stage of a rollout came out. ``seconds`` includes what an outage added."""

    verdict: Verdict
    summary: str
    reasons: tuple[Reason, ...]
    seconds: float
    looks: int


@dataclass(frozen=True)
class JudgedRelease:
    """The verdict over all looks of all stages. ``evidence`` is the summary that a result carries."""

    verdict: Verdict
    summary: str
    reasons: tuple[Reason, ...]
    evidence: dict[str, object]


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """``evidence.json``: everything a verdict rests on, in the order it happened, and how each metric stood after each look."""

    schema: int
    plan: Plan
    looks: tuple[Look, ...] = ()
    ends: tuple[StageEnd, ...] = ()
    trace: dict[str, tuple[TracePoint, ...]] = {}
    judgement: Judgement | None = None


class Watch:
    """Watches one release. Earlier evidence of the run is loaded, so that a resumed switch keeps it.

    Args:
        prometheus: URL of the Prometheus that scrapes the target.
        file: Name of the evidence in the run's folder; evidence of other rules or colours is not continued.
    """

    def __init__(
        self, context: Context, run: Run, roles: Roles, *, prometheus: str, file: str = RELEASE_EVIDENCE, resume: bool = True
    ) -> None:
        self._context = context
        self._run = run
        self._roles = roles
        self._settings = context.config.verify
        self._source = context.world.metrics(prometheus)
        self._reader = Reader(
            self._source,
            context.config.service,
            roles,
            self._settings.interval,
            self._settings.pack,
            predictions=self._settings.predictions.enabled,
        )
        self._name = file
        self._path = context.runs.folder(run.id) / file
        self._judge: Judge | None = None
        self._looks: list[Look] = []
        self._ends: list[StageEnd] = []
        self._silence = _Silence()
        self._exporter = Exporter(context)
        self._join = Join(float(self._settings.disagreement.tolerance))
        self._labels: LateLabels | None = None
        if resume:
            self._resume()

    def check(self) -> None:
        """Raises EnvironmentFault when Prometheus cannot be reached or does not see both colours within
        ``rollout.hold``, ConfigurationError for conditions or an objective it cannot answer. Moves nothing."""
        self._check_settings()
        if self._settings.accuracy.enabled:
            LateLabels(self._context, self._roles, self._source, self._context.clock.now().timestamp()).check()
        for condition in conditions(self._context.config, self._roles):
            self._source.instant(condition.query)
        plan = _score(self._context.config, self._roles)
        for query in (query for metric in plan.metrics for query in metric.queries) if plan else ():
            self._source.instant(query)
        now = self._wait_for_both()
        if self._judge is None:
            self._judge = Judge(self._planned(now))
        for reason in self._expected(self._judge.plan, now):
            if reason.verdict is not Verdict.PASS:
                self._context.console.say(f"verify: {reason.summary}")

    def expectations(self) -> tuple[Reason, ...]:
        """Of every metric, how long it needs at the traffic of now; and the conditions that cannot finish. Reads only."""
        now = self._wait_for_both()
        return self._expected(self._planned(now), now)

    def _expected(self, plan: Plan, now: float) -> tuple[Reason, ...]:
        from mlpipeline.verbs.verify_planning import expectation, unfinished

        prompt = [metric for metric in plan.metrics if not metric.late and not metric.label]
        usual = {metric.name: self._reader.usual(metric, now) for metric in prompt}
        found = tuple(expectation(self._context.config, plan, metric, usual[metric.name]) for metric in prompt)
        return (*found, *unfinished(self._context.config, plan.conditions))

    def watch(self, stage: str, seconds: float, *, traffic: Traffic) -> StageOutcome:
        """Looks every ``verify.interval`` and returns at once on a failure, else after ``seconds``.

        An outage of the monitoring (unreachable, stale, or a colour silent while users send) extends the stage by its
        length; more than ``rollout.hold`` of it in one stage makes the stage inconclusive. So does evidence that cannot come
        in time, as :mod:`mlpipeline.core.futility` says, and then at once.
        """
        judge = self._judging()
        clock, hold = self._context.clock, self._context.config.rollout.hold
        began = last = clock.monotonic()
        silent_seconds, outage, looks, measured, futile = 0.0, "", 0, 0.0, ""
        self._silence = _Silence()
        self._base_line(stage, traffic)
        while not judge.failed and not futile and measured < seconds and silent_seconds <= hold:
            clock.sleep(min(self._settings.interval, seconds - measured) if not outage else self._settings.interval)
            outage = self._look(stage, traffic)
            looks += 1
            now = clock.monotonic()
            if outage:
                silent_seconds += now - last
                self._context.console.say(f"verify: {stage}: holding, {outage}")
            else:
                measured += now - last
            last = now
            futile = "" if outage or measured >= seconds else self._futile(stage, measured, seconds)
            self._context.console.progress(self._progress(stage, outage), min(measured, seconds), seconds)
        given_up = outage if silent_seconds > hold else ""
        watched = not judge.failed and not given_up and not futile
        self._ended(StageEnd(stage, judge.looks, watched, given_up, "" if judge.failed else futile))
        return self._outcome(stage, given_up, futile, clock.monotonic() - began, looks)

    def conclude(self) -> JudgedRelease:
        """The verdict over the whole release; inconclusive when nothing was watched."""
        self._write()
        return _judged(self._judging(), self._name, self._looks)

    def _check_settings(self) -> None:
        settings = self._settings
        if not (settings.errors.enabled or settings.latency.enabled or settings.conditions or settings.score.metrics):
            raise ConfigurationError(
                "nothing is verified: errors and latency are off and there is no condition and no score",
                facts={"key": "verify"},
                tries=("verify.errors.enabled: true",),
            )
        for condition in conditions(self._context.config, self._roles):
            try:
                ConditionState(condition)
                for expression in (condition.success, condition.failure):
                    if expression:
                        parse(expression)
            except ValueError as error:
                raise ConfigurationError(
                    str(error), facts={"key": f"verify.conditions, {condition.name}"}, tries=("success: result < 0.01",)
                ) from error

    def _wait_for_both(self) -> float:
        """Until Prometheus has scraped both colours; returns its time."""
        clock = self._context.clock
        deadline = clock.monotonic() + self._context.config.rollout.hold
        while True:
            now = self._reader.now()
            reason = self._reader.absent(self._reader.scrapes(now), now)
            if not reason:
                return now
            if clock.monotonic() >= deadline:
                raise EnvironmentFault(
                    f"the comparison has no data: {reason}",
                    facts={"query": self._reader.queries[self._reader.main]},
                    likely="it does not scrape the colour, or the labels service and colour do not tell colours apart",
                    tries=("mlpipeline status", "look at the targets page of Prometheus"),
                )
            clock.sleep(min(1.0, self._settings.interval))

    def _planned(self, now: float) -> Plan:
        scrapes = self._reader.scrapes(now)
        metrics = []
        errors, latency = self._settings.errors, self._settings.latency
        if errors.enabled and self._reader.counts("errors"):
            source = self._reader.error_source(scrapes)
            metrics.append(MetricPlan("errors", "answered with 5xx or not at all", source, errors.tolerate, errors.margin))
        if latency.enabled and self._reader.counts("latency"):
            bound = self._reader.bound(scrapes, latency.objective)
            moved = (
                "" if bound == latency.objective else f" (the bucket bound nearest to the objective of {latency.objective:g} s)"
            )
            metrics.append(
                MetricPlan(
                    "latency", f"slower than {bound:g} s{moved}", self._reader.main, latency.tolerate, latency.margin, bound=bound
                )
            )
        metrics.extend(self._distribution(scrapes))
        calibrated = [
            msgspec.structs.replace(metric, calibration=self._reader.calibration(metric, now, self._settings.interval))
            for metric in metrics
        ]
        accuracy = self._settings.accuracy
        if accuracy.enabled:
            event = "answered wrongly, as their labels say"
            calibrated.append(MetricPlan(ACCURACY, event, "labels", accuracy.tolerate, accuracy.margin, late=True))
        return Plan(
            service=self._context.config.service,
            run=self._run.id,
            candidate=self._roles.candidate,
            champion=self._roles.champion,
            false_alarm=self._settings.false_alarm,
            interval=float(self._settings.interval),
            min_requests=self._settings.min_requests,
            metrics=tuple(calibrated),
            conditions=conditions(self._context.config, self._roles),
            queries=self._reader.queries,
            score=_score(self._context.config, self._roles),
            disagreement=_disagreement(self._context.config),
            rules=RULES,
        )

    def _distribution(self, scrapes: dict[str, Scrapes]) -> list[MetricPlan]:
        rule = self._settings.predictions
        if not rule.enabled:
            return []
        classes, bounds = self._reader.classes(scrapes), self._reader.value_bounds(scrapes)
        if not classes and not bounds:
            raise ConfigurationError(
                "the champion has predicted no class and no number yet, so no distribution can be compared",
                facts={"query": self._reader.queries[PREDICTIONS]},
                likely="nothing has been asked of it since it started, or it answers one and the same number",
                tries=("verify.predictions.enabled: false",),
            )
        of_classes = [
            MetricPlan(f"predictions.{label}", f"predicted as {label}", PREDICTIONS, 0.0, rule.margin, rule.effect, label=label)
            for label in classes
        ]
        of_numbers = [
            MetricPlan(
                f"predictions.above-{bound:g}",
                f"predicted above {bound:g}",
                VALUES,
                0.0,
                rule.margin,
                rule.effect,
                bound=bound,
                label=f"above {bound:g}",
            )
            for bound in bounds
        ]
        return [*of_classes, *of_numbers]

    def _judging(self) -> Judge:
        if self._judge is None:
            self._judge = Judge(self._planned(self._wait_for_both()))
        return self._judge

    def _base_line(self, stage: str, traffic: Traffic) -> None:
        """Requests of the time between two stages followed another plan and count for neither."""
        self._compared(traffic)
        if self._settings.accuracy.enabled and self._labels is None:
            self._labels = LateLabels(self._context, self._roles, self._source, self._context.clock.now().timestamp())
            self._labels.new()
        try:
            self._reader.look(stage, traffic, ())
        except EnvironmentFault as fault:
            self._context.console.say(f"verify: {stage}: no base line yet, {fault.what}")

    def _look(self, stage: str, traffic: Traffic) -> str:
        """One look; returns why it was an outage, or nothing."""
        judge = self._judging()
        metrics, out = [metric for metric in judge.plan.metrics if not metric.late], ""
        try:
            look = self._reader.look(stage, traffic, metrics)
        except EnvironmentFault as fault:
            at, out = self._context.clock.now().timestamp(), fault.what
            look = Look(round(at, 3), stage, traffic, 0.0, missing=dict.fromkeys((m.name for m in metrics), fault.what))
        labelled = self._labels.new() if self._labels is not None else None
        look = msgspec.structs.replace(
            look,
            counts=look.counts if labelled is None else {**look.counts, ACCURACY: labelled},
            conditions=self._measured(judge, look.at),
            scores=self._sampled(judge.plan),
            compared=self._compared(traffic),
        )
        self._looks.append(look)
        judge.add(look)
        self._write()
        return out or next(iter(look.missing.values()), "") or self._silence.add(look)

    def _compared(self, traffic: Traffic) -> tuple[int, float]:
        """New pairs of answers to one request. A colour that does not tell its answers is silence, never agreement."""
        if not self._settings.disagreement.enabled or traffic != "mirror":
            return 0, 0.0
        target = self._context.world.target()
        try:
            return self._join.add(target.answers(self._roles.candidate), target.answers(self._roles.champion))
        except EnvironmentFault as fault:
            self._context.console.say(f"verify: no answers to compare, {fault.what}")
            return 0, 0.0

    def _futile(self, stage: str, measured: float, seconds: float) -> str:
        """Why watching on is in vain; empty while it is not."""
        judge = self._judging()
        if not self._settings.futility or judge.failed or not ripe(measured, seconds):
            return ""
        from mlpipeline.verbs.verify_planning import still_to_come

        left = still_to_come(self._context.config, stage, seconds - measured)
        found = hopeless_condition(judge.conditions.values(), sum(stretch[0] for stretch in left))
        if not found and judge.metrics:
            whole, here = judge.answered()
            found = hopeless_requests(whole, here, measured, left, judge.plan.min_requests)
        return found

    def _measured(self, judge: Judge, at: float) -> dict[str, Measurement]:
        found = {}
        for name, state in judge.conditions.items():
            state.start(at)
            if state.due(at):
                try:
                    samples = self._source.instant(state.plan.query)
                    age = self._age(state.plan) if samples else 0.0
                    found[name] = Measurement(tuple(repr(sample.value) for sample in samples), age=age)
                except (EnvironmentFault, ConfigurationError) as error:
                    found[name] = Measurement(error=error.what)
        return found

    def _age(self, plan: ConditionPlan) -> float:
        """Seconds since the newest scrape of what the condition reads, of the selector that is oldest.

        A rate over five minutes answers for five minutes after the last scrape, so the answer itself does not tell.
        Selectors without any series are left out: many queries read errors that never happened.
        """
        if plan.stale == "ignore":
            return 0.0
        found = (self._source.instant(newest_scrape_query(selector)) for selector in selectors(plan.query))
        return round(max((newest.at - newest.value for answer in found for newest in answer), default=0.0), 3)

    def _sampled(self, plan: Plan) -> dict[str, Sampled]:
        """One sample per metric of the score; none of any metric while the monitoring is out."""
        found: dict[str, Sampled] = {}
        for metric in plan.score.metrics if plan.score else ():
            try:
                answers = [tuple(repr(sample.value) for sample in self._source.instant(query)) for query in metric.queries]
                found[metric.name] = Sampled(answers[0], answers[1])
            except ConfigurationError as error:
                found[metric.name] = Sampled(error=error.what)
            except EnvironmentFault:
                return {}
        return found

    def _ended(self, end: StageEnd) -> None:
        self._ends.append(end)
        self._judging().end(end)
        self._write()

    def _outcome(self, stage: str, given_up: str, futile: str, seconds: float, looks: int) -> StageOutcome:
        judge = self._judging()
        judgement = judge.judgement()
        if judge.failed:
            verdict, summary = Verdict.FAIL, judgement.summary
        elif given_up:
            verdict, summary = Verdict.INCONCLUSIVE, f"monitoring was out longer than rollout.hold: {given_up}"
        elif futile:
            verdict, summary = Verdict.INCONCLUSIVE, f"the evidence for a pass cannot come in time: {futile}"
        elif judge.metrics and not judge.both_answered:
            verdict, summary = Verdict.INCONCLUSIVE, f"not both colours answered requests in stage {stage}"
        else:
            verdict, summary = Verdict.PASS, f"{stage}: no harm seen in {looks} looks, {_standing(judgement)}"
        return StageOutcome(verdict, summary, _reasons(judgement, verdict, summary), round(seconds, 3), looks)

    def _progress(self, stage: str, outage: str) -> str:
        if outage:
            return f"{stage}: holding, {outage}"
        return f"{stage}: {_standing(self._judging().judgement())}"

    def _resume(self) -> None:
        try:
            evidence = _read(self._path)
        except (FileNotFoundError, ConfigurationError):
            return
        if not self._same_rules(evidence.plan):
            return
        self._judge = _folded(evidence)
        self._looks, self._ends = list(evidence.looks), list(evidence.ends)

    def _same_rules(self, plan: Plan) -> bool:
        settings = self._settings
        named = (("errors", settings.errors), ("latency", settings.latency), (ACCURACY, settings.accuracy))
        rules = {name: rule for name, rule in named if rule.enabled}
        known = {metric.name: (metric.tolerate, metric.margin) for metric in plan.metrics if not metric.label}
        classes = {(metric.effect, metric.margin) for metric in plan.metrics if metric.label}
        predictions = {(settings.predictions.effect, settings.predictions.margin)} if settings.predictions.enabled else set()
        return (
            plan.run == self._run.id
            and (plan.candidate, plan.champion) == (self._roles.candidate, self._roles.champion)
            and (plan.false_alarm, plan.min_requests) == (settings.false_alarm, settings.min_requests)
            and known == {name: (rule.tolerate, rule.margin) for name, rule in rules.items()}
            and plan.conditions == conditions(self._context.config, self._roles)
            and plan.score == _score(self._context.config, self._roles)
            and classes == predictions
            and plan.disagreement == _disagreement(self._context.config)
            and plan.queries == self._reader.queries
            and plan.rules == RULES
        )

    def _write(self) -> None:
        judge = self._judging()
        evidence = Evidence(
            schema=1,
            plan=judge.plan,
            looks=tuple(self._looks),
            ends=tuple(self._ends),
            trace={name: tuple(state.trace) for name, state in judge.metrics.items()},
            judgement=judge.judgement(),
        )
        write_atomically(self._path, msgspec.json.encode(evidence) + b"\n")
        self._exporter.export(judge, self._looks[-1] if self._looks else None)


def conditions(config: Config, roles: Roles) -> tuple[ConditionPlan, ...]:
    """The project's conditions, then those of the metric pack whose names it does not use."""
    own = config.verify.conditions
    taken = {condition.name for condition in own}
    packed = [condition for condition in find(config.verify.pack).conditions if condition.name not in taken]
    wanted: list[Condition | PackCondition] = [*own, *packed]
    names = {"service": config.service, "candidate": str(roles.candidate), "champion": str(roles.champion)}
    return tuple(_condition(condition, names) for condition in wanted)


def asked(config: Config) -> tuple[str, ...]:
    """Every query that a release would be judged by, as if green were the candidate: for checks before there is one."""
    roles = Roles(candidate=Colour.GREEN, champion=Colour.BLUE)
    plan = _score(config, roles)
    scored = (query for metric in plan.metrics for query in metric.queries) if plan else ()
    selectors = queries(config.service, config.verify.pack, predictions=config.verify.predictions.enabled).values()
    return (*selectors, *(condition.query for condition in conditions(config, roles)), *scored)


def _disagreement(config: Config) -> DisagreementPlan | None:
    rule = config.verify.disagreement
    return DisagreementPlan(rule.allowed, rule.tolerance) if rule.enabled else None


def _score(config: Config, roles: Roles) -> ScorePlan | None:
    if not config.verify.score.metrics:
        return None
    from mlpipeline.config.score_plan import score_plan

    return score_plan(config.verify.score, config.service, str(roles.candidate), str(roles.champion))


def _condition(condition: Condition | PackCondition, names: dict[str, str]) -> ConditionPlan:
    query = condition.query
    for name, value in names.items():
        query = query.replace("{{" + name + "}}", value)
    fields: dict[str, object] = {**msgspec.structs.asdict(condition), "query": query}
    # Plain numbers: a Duration is a float of the configuration's own and has no place in a record.
    return msgspec.convert(
        {name: float(field) if isinstance(field, float) else field for name, field in fields.items()}, ConditionPlan
    )


class _Silence:
    """Notices a colour that answers nothing for long while the other answers plenty."""

    def __init__(self) -> None:
        self._looks = self._candidate = self._champion = 0

    def add(self, look: Look) -> str:
        if not look.counts:
            return ""
        candidate = max(counts[0] for counts in look.counts.values())
        champion = max(counts[2] for counts in look.counts.values())
        if candidate and champion:
            self._looks = self._candidate = self._champion = 0
            return ""
        self._looks += 1
        self._candidate += candidate
        self._champion += champion
        if self._looks < _SILENT_LOOKS or max(self._candidate, self._champion) < _SILENT_REQUESTS:
            return ""
        who, number = ("candidate", self._champion) if self._champion >= self._candidate else ("champion", self._candidate)
        return f"the {who} answered nothing while the other answered {number} requests"


def run(context: Context, run: Run, *, seconds: float | None = None, candidate: str = "", expect: bool = False) -> Result:
    """Watches the plan that the target follows now; without a concurrent control the verdict is inconclusive.

    Args:
        seconds: How long; ``rollout.bake`` when not given.
        candidate: This colour is compared with the other, the target is not asked: for colours that something else
            runs and routes to. That both answer requests at the same time then shows in the counts alone.
        expect: Nothing is watched or recorded; says how long each metric would need at the traffic of now.

    Raises ConfigurationError for an unknown candidate, or one without ``verify.prometheus``, and for impossible ``seconds``.
    """
    started = context.clock.monotonic()
    if seconds is not None and not 0 < seconds <= LONGEST:
        raise ConfigurationError(
            f"--seconds must be more than 0, not {seconds:g}",
            facts={"at most": f"{LONGEST:g}"},
            tries=("mlpipeline verify --seconds 60",),
        )
    prometheus = context.config.verify.prometheus
    traffic: Traffic = "live"
    if candidate:
        roles = _named_roles(candidate, prometheus)
    else:
        target = context.world.target()
        plan = target.observe().plan
        if plan is None or not (expect or plan.mirror or 0 < plan.share < 100):
            reason = Reason("verify.control", Verdict.INCONCLUSIVE, _no_control(plan))
            return context.finish(run, VERB, started, (reason,))
        roles = _roles(context, run, plan)
        prometheus = prometheus or target.monitoring()
        traffic = "mirror" if plan.mirror else "live"
    if expect:
        return _expected(context, run, roles, prometheus)
    watch = Watch(context, run, roles, prometheus=prometheus, file=WATCH_EVIDENCE, resume=False)
    watch.check()
    watch.watch(VERB, context.config.rollout.bake if seconds is None else seconds, traffic=traffic)
    judged = watch.conclude()
    return context.finish(
        run,
        VERB,
        started,
        judged.reasons,
        verdict=judged.verdict,
        summary=judged.summary,
        evidence=judged.evidence,
        links={"evidence": WATCH_EVIDENCE},
    )


def replay(file: Path) -> JudgedRelease:
    """Recomputes a verdict from its recorded evidence alone; writes nothing.

    A verdict that differs from the recorded one is reported as inconclusive: the file was changed, or another version
    judged it. Raises ConfigurationError for a file that is no evidence.
    """
    try:
        evidence = _read(file)
    except FileNotFoundError as error:
        raise ConfigurationError("there is no such evidence file", facts={"file": file}, tries=("mlpipeline status",)) from error
    judge = _folded(evidence)
    judged = _judged(judge, file.name, evidence.looks)
    recorded = evidence.judgement
    if recorded is not None and msgspec.json.encode(recorded) != msgspec.json.encode(judge.judgement()):
        summary = f"the recorded verdict {recorded.verdict} is not what its looks say, which is {judged.verdict}"
        reason = Reason("verify.replay", Verdict.INCONCLUSIVE, summary)
        return JudgedRelease(Verdict.INCONCLUSIVE, summary, (reason, *judged.reasons), judged.evidence)
    return judged


def _read(file: Path) -> Evidence:
    try:
        evidence = msgspec.json.decode(file.read_bytes(), type=Evidence)
        Judge(evidence.plan)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError("this is no evidence of a release", facts={"file": file, "found": error}) from error
    return evidence


def _folded(evidence: Evidence) -> Judge:
    judge = Judge(evidence.plan)
    ends = list(evidence.ends)
    for number, look in enumerate(evidence.looks):
        while ends and ends[0].looks <= number:
            judge.end(ends.pop(0))
        judge.add(look)
    for end in ends:
        judge.end(end)
    return judge


def _judged(judge: Judge, file: str, looks: list[Look] | tuple[Look, ...]) -> JudgedRelease:
    judgement = judge.judgement()
    return JudgedRelease(
        judgement.verdict,
        judgement.summary,
        _reasons(judgement, judgement.verdict, judgement.summary),
        {
            "file": file,
            "looks": len(looks),
            "stages": list(dict.fromkeys(look.stage for look in looks)),
            "false_alarm": judge.plan.false_alarm,
            "evidence": judgement.evidence,
            "threshold": judgement.threshold,
            "metrics": [msgspec.to_builtins(metric) for metric in judgement.metrics],
            "conditions": [
                {"name": name, "verdict": str(verdict), "summary": text} for name, verdict, text in judgement.conditions
            ],
        },
    )


def _reasons(judgement: Judgement, verdict: Verdict, summary: str) -> tuple[Reason, ...]:
    """The deciding ones first. While the whole passes, metrics that show no harm pass with it."""
    reasons = [_metric_reason(metric, verdict) for metric in judgement.metrics]
    reasons.extend(Reason(f"verify.condition.{name}", found, text) for name, found, text in judgement.conditions)
    if judgement.score is not None:
        reasons.extend(_score_reasons(judgement.score))
    if verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR):
        told = dict.fromkeys((summary.removeprefix("no verdict, "), *judgement.problems))
        reasons = [*(Reason("verify.evidence", verdict, text) for text in told), *reasons]
    return tuple(sorted(reasons, key=lambda reason: reason.verdict is not verdict))


def _score_reasons(score: Score) -> list[Reason]:
    """The score, then its metrics; a metric that harms a passing score is no reason against the release."""
    parts = [
        Reason(
            f"verify.score.{metric.name}",
            Verdict.PASS if score.verdict is Verdict.PASS else _class_verdict(metric),
            metric.summary,
        )
        for metric in score.metrics
    ]
    return [Reason("verify.score", score.verdict, score.summary, {"points": score.points}), *parts]


def _class_verdict(metric: Classified) -> Verdict:
    if metric.harmed and metric.counted:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if metric.found in ("few", "no data") and metric.counted else Verdict.PASS


def _metric_reason(metric: MetricVerdict, whole: Verdict) -> Reason:
    verdict = Verdict.PASS if whole is Verdict.PASS and metric.verdict is not Verdict.FAIL else metric.verdict
    numbers: dict[str, bool | int | float | str] = {
        name: value for name, value in msgspec.structs.asdict(metric).items() if name not in ("name", "verdict", "summary")
    }
    return Reason(f"verify.{metric.name}", verdict, metric.summary, numbers)


def _standing(judgement: Judgement) -> str:
    requests = max((metric.candidate_requests for metric in judgement.metrics), default=0)
    return f"{requests} requests to the candidate, evidence of harm {judgement.evidence:g} of {judgement.threshold:g}"


def _no_control(plan: TrafficPlan | None) -> str:
    if plan is None:
        return "no verdict, no traffic is routed, so there is nothing to compare"
    return f"no verdict, all traffic goes to {plan.live if plan.share == 0 else plan.live.other}: there is no concurrent control"


def _expected(context: Context, run: Run, roles: Roles, prometheus: str) -> Result:
    at, started = context.clock.now(), context.clock.monotonic()
    # only the champion needs to be there: it stands in for a candidate that may not be deployed yet
    alone = Roles(candidate=roles.champion, champion=roles.champion)
    reasons = Watch(context, run, alone, prometheus=prometheus, file=WATCH_EVIDENCE, resume=False).expectations()
    short = [reason for reason in reasons if reason.verdict is not Verdict.PASS]
    return Result(
        verb=VERB,
        service=context.config.service,
        run=run.id,
        verdict=Verdict.INCONCLUSIVE if short else Verdict.PASS,
        summary="; ".join(reason.summary for reason in short or reasons) or "no metric is compared",
        reasons=(*short, *(reason for reason in reasons if reason not in short)),
        started=iso(at),
        seconds=round(context.clock.monotonic() - started, 3),
        worker=__version__,
    )


def _named_roles(candidate: str, prometheus: str) -> Roles:
    if candidate not in list(Colour):
        raise ConfigurationError(f"there is no colour {candidate!r}", tries=("mlpipeline verify --candidate green",))
    if not prometheus:
        raise ConfigurationError(
            "colours that are named, not deployed here, need a Prometheus that is named too",
            facts={"key": "verify.prometheus"},
            tries=("verify: {prometheus: http://prometheus:9090}",),
        )
    colour = Colour(candidate)
    return Roles(candidate=colour, champion=colour.other)


def _roles(context: Context, run: Run, plan: TrafficPlan) -> Roles:
    """The candidate is the colour this run deployed; without a deployment the one that is not live."""
    deployed = context.runs.result(run.id, "deploy")
    colour = deployed.evidence.get("colour") if deployed else None
    candidate = Colour(colour) if isinstance(colour, str) else plan.live.other
    return Roles(candidate=candidate, champion=candidate.other)
