"""Watches a release while it is rolled out: looks, holds during an outage, and stops when the evidence is in or cannot come."""

from __future__ import annotations

import msgspec

from mlpipeline.core.conditions import Measurement, measure
from mlpipeline.core.disagreement import Join
from mlpipeline.core.futility import hopeless_condition, hopeless_requests, ripe
from mlpipeline.core.judge import Judge, Look, Plan, StageEnd
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.packs.shape import Traffic
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Reason
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.exporting import Exporter
from mlpipeline.verbs.late_labels import NAME as ACCURACY
from mlpipeline.verbs.late_labels import LateLabels
from mlpipeline.verbs.looking import Reader, Roles
from mlpipeline.verbs.verify_conditions import conditions, measured, score_of
from mlpipeline.verbs.verify_evidence import RELEASE_EVIDENCE, SCHEMA, Evidence, folded, read, traces
from mlpipeline.verbs.verify_rules import Rules
from mlpipeline.verbs.verify_samples import Samples
from mlpipeline.verbs.verify_words import JudgedRelease, StageOutcome, judged, reasons_of, standing

_SILENT_LOOKS = 5
_SILENT_REQUESTS = 200
_OF_AN_OUTAGE = frozenset({Verdict.INCONCLUSIVE, Verdict.ERROR})


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
        self._rules = Rules(context.config, run.id, roles, self._reader)
        self._name = file
        self._path = context.runs.folder(run.id) / file
        self._judge: Judge | None = None
        self._looks: list[Look] = []
        self._ends: list[StageEnd] = []
        self._samples = Samples(self._source)
        self._silence = _Silence()
        self._exporter = Exporter(context)
        self._join = Join(float(self._settings.disagreement.tolerance))
        self._epoch = context.clock.now().timestamp() - context.clock.monotonic()
        self._labels: LateLabels | None = None
        if resume:
            self._resume()

    def check(self, seconds: float | None = None) -> None:
        """Says what cannot be judged in the time of all stages, or in ``seconds``. Moves nothing.

        Raises:
            EnvironmentFault: Prometheus cannot be reached, or does not see both colours within ``rollout.hold``.
            ConfigurationError: It cannot answer a condition or the objective.
        """
        self._rules.check()
        if self._settings.accuracy.enabled:
            for strange in self._late_labels().check():
                self._context.console.say(f"verify: labels: {strange}")
        for condition in conditions(self._context.config, self._roles):
            self._source.instant(condition.query)
        plan = score_of(self._context.config, self._roles)
        for query in (query for metric in plan.metrics for query in metric.queries) if plan else ():
            self._source.instant(query)
        now = self._wait_for_both()
        if self._judge is None:
            self._judge = Judge(self._rules.planned(now))
        for reason in self._expected(self._judge.plan, now, seconds):
            if reason.verdict is not Verdict.PASS:
                self._context.console.say(f"verify: {reason.summary}")

    def expectations(self, seconds: float | None = None) -> tuple[Reason, ...]:
        """Of every metric, how long it needs at the traffic of now; of every condition, how often it is measured. Reads only.

        Args:
            seconds: Of a single stage in which both answer as much as the champion does now; else those of the rollout count.
        """
        now = self._wait_for_both()
        return self._expected(self._rules.planned(now), now, seconds)

    def _expected(self, plan: Plan, now: float, seconds: float | None) -> tuple[Reason, ...]:
        from mlpipeline.verbs.verify_planning import expectation, of_answers, of_conditions, of_labels, of_predictions, stages

        watched = list(stages(self._context.config)) if seconds is None else [("watch", seconds, 1.0, 1.0)]
        prompt = [metric for metric in plan.metrics if not metric.late]
        usual = {metric.name: self._reader.usual(metric, now) for metric in prompt}
        found = [expectation(watched, plan, metric, usual[metric.name]) for metric in prompt if not metric.label]
        requests = (usual[metric.name][0] for metric in prompt if not metric.label)
        answers = of_answers(watched, plan, max(requests, default=0.0))
        late = [of_labels(watched, plan, metric, self._late_labels().known) for metric in plan.metrics if metric.late]
        return (
            *found,
            *of_predictions(watched, plan, usual),
            *([answers] if answers else ()),
            *late,
            *of_conditions(watched, plan.conditions, plan.interval),
        )

    def _late_labels(self) -> LateLabels:
        return LateLabels(self._context, self._roles, self._source, self._context.clock.now().timestamp())

    def watch(self, stage: str, seconds: float, *, traffic: Traffic, last: bool = False) -> StageOutcome:
        """Looks every ``verify.interval`` and returns at once on a failure, else after ``seconds``; with ``verify.early_pass``
        also once harm is excluded.

        An outage of the monitoring (unreachable, stale, or a colour silent while users send) extends the stage by its
        length; more than ``rollout.hold`` of it in one stage makes the stage inconclusive. So does evidence that cannot come
        in time, as :mod:`mlpipeline.core.futility` says, and then at once.

        Args:
            last: No stage follows in which both colours answer, so that the last look is taken at its end.
        """
        judge = self._judging()
        clock, hold = self._context.clock, self._context.config.rollout.hold
        began = looked = clock.monotonic()
        silent_seconds, outage, looks, measured, futile, excluded = 0.0, "", 0, 0.0, "", False
        self._silence = _Silence()
        self._base_line(stage, traffic)
        while not (judge.failed or futile or excluded) and measured < seconds and silent_seconds <= hold:
            clock.sleep(min(self._settings.interval, seconds - measured) if not outage else self._settings.interval)
            outage = self._look(stage, traffic)
            looks += 1
            now = clock.monotonic()
            if outage:
                silent_seconds += now - looked
                self._context.console.say(f"verify: {stage}: holding, {outage}")
            else:
                measured += now - looked
            looked = now
            if not outage and measured < seconds:
                excluded = self._settings.early_pass and ripe(measured, seconds) and judge.excluded_in_stage
                futile = "" if excluded else self._futile(stage, measured, seconds)
            self._context.console.progress(self._progress(stage, outage), min(measured, seconds), seconds)
        given_up = outage if silent_seconds > hold else ""
        watched = not judge.failed and not given_up and not futile
        due = last and watched and not excluded
        futile_end = "" if judge.failed else futile
        self._ended(StageEnd(stage, judge.looks, watched, given_up, futile_end, excluded=excluded, last=due))
        return self._outcome(stage, given_up, futile, clock.monotonic() - began, looks)

    def conclude(self) -> JudgedRelease:
        """The verdict over the whole release; inconclusive when nothing was watched."""
        self._write()
        return judged(self._judging(), self._name, self._looks)

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

    def _judging(self) -> Judge:
        if self._judge is None:
            self._judge = Judge(self._rules.planned(self._wait_for_both()))
        return self._judge

    def _base_line(self, stage: str, traffic: Traffic) -> None:
        """Requests of the time between two stages followed another plan and count for neither."""
        self._compared(traffic)
        if self._settings.accuracy.enabled and self._labels is None:
            self._labels = self._late_labels()
            self._labels.new()
        try:
            self._reader.look(stage, traffic, ())
        except (EnvironmentFault, ConfigurationError) as fault:
            self._context.console.say(f"verify: {stage}: no base line yet, {fault.what}")

    def _look(self, stage: str, traffic: Traffic) -> str:
        """One look; returns why it was an outage, or nothing."""
        judge = self._judging()
        look, out = self._counted(stage, traffic)
        outage = out or next(iter(look.missing.values()), "") or self._silence.add(look)
        labelled = self._labels.new() if self._labels is not None else None
        look = msgspec.structs.replace(
            look,
            counts=look.counts if labelled is None else {**look.counts, ACCURACY: labelled},
            conditions={} if out else self._measured(held=bool(outage)),
            scores={} if out else self._samples.take(judge.plan.score),
            compared=self._compared(traffic),
            asked=self._now() if judge.conditions else 0.0,
        )
        self._looks.append(look)
        judge.add(look)
        self._write()
        return outage

    def _counted(self, stage: str, traffic: Traffic) -> tuple[Look, str]:
        """What both colours did, or why the monitoring could not say. Queries that it refuses are an outage too: it ran them
        before the watch began."""
        metrics = [metric for metric in self._judging().plan.metrics if not metric.late]
        try:
            return self._reader.look(stage, traffic, metrics), ""
        except (EnvironmentFault, ConfigurationError) as fault:
            at = self._looks[-1].at if self._looks else self._now()
            return Look(at, stage, traffic, 0.0, missing=dict.fromkeys((m.name for m in metrics), fault.what)), fault.what

    def _measured(self, *, held: bool) -> dict[str, Measurement]:
        """What the conditions that are due answer. While the stage is held, what is inconclusive or breaks is the outage's doing:
        it counts for nothing, and what fails still fails."""
        states, now = self._judging().conditions, self._now()
        found = measured(self._source, states, now)
        for name in [name for name, one in found.items() if held and measure(states[name].plan, one) in _OF_AN_OUTAGE]:
            states[name].pass_over(now)
            del found[name]
        return found

    def _now(self) -> float:
        """Unix seconds of the worker, as steady as its monotonic clock: what a query answers may stand still."""
        return round(self._epoch + self._context.clock.monotonic(), 3)

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
        found = hopeless_condition(judge.conditions.values(), sum(stretch[0] for stretch in left), judge.plan.interval)
        if not found and judge.metrics:
            whole, here = judge.answered()
            found = hopeless_requests(whole, here, measured, left, judge.plan.min_requests)
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
            verdict, summary = Verdict.INCONCLUSIVE, f"not both colours answered requests at the same time in stage {stage}"
        else:
            how = "harm is excluded, so it ends early" if self._ends[-1].excluded else "no harm seen"
            verdict, summary = Verdict.PASS, f"{stage}: {how} in {looks} looks, {standing(judgement)}"
        return StageOutcome(verdict, summary, reasons_of(judge, judgement, verdict, summary), round(seconds, 3), looks)

    def _progress(self, stage: str, outage: str) -> str:
        if outage:
            return f"{stage}: holding, {outage}"
        return f"{stage}: {standing(self._judging().judgement())}"

    def _resume(self) -> None:
        try:
            evidence = read(self._path)
        except (FileNotFoundError, ConfigurationError):
            return
        if not self._rules.same(evidence.plan):
            return
        self._judge = folded(evidence)
        self._looks, self._ends = list(evidence.looks), list(evidence.ends)

    def _write(self) -> None:
        judge = self._judging()
        evidence = Evidence(
            schema=SCHEMA,
            plan=judge.plan,
            looks=tuple(self._looks),
            ends=tuple(self._ends),
            trace=traces(judge),
            judgement=judge.judgement(),
        )
        write_atomically(self._path, msgspec.json.encode(evidence) + b"\n")
        self._exporter.export(judge, self._looks[-1] if self._looks else None)


class _Silence:
    """Notices a colour that answers nothing for long while the other answers plenty, by any metric."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, int, int]] = {}

    def add(self, look: Look) -> str:
        found = ""
        for name, (candidate, _, champion, _) in look.counts.items():
            looks, of_candidate, of_champion = self._since.get(name, (0, 0, 0))
            quiet = looks + 1, of_candidate + candidate, of_champion + champion
            self._since[name] = (0, 0, 0) if candidate and champion else quiet
            found = found or _silence(name, *self._since[name])
        return found


def _silence(metric: str, looks: int, candidate: int, champion: int) -> str:
    """Of so many looks at which not both answered."""
    if looks < _SILENT_LOOKS or max(candidate, champion) < _SILENT_REQUESTS:
        return ""
    who, number = ("candidate", champion) if champion >= candidate else ("champion", candidate)
    return f"the {who} answered nothing that {metric} could count while the other answered {number} requests"
