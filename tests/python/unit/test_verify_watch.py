"""The verb verify and the watch that switch uses, against a simulated service scraped each second."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from fakes import START, FakeClock, FakeMetrics, FakeWorld
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.verification import (
    AccuracyRule,
    Condition,
    DisagreementRule,
    ErrorRule,
    LatencyRule,
    PredictionsRule,
    ScoredMetric,
    ScoreRule,
    VerdictExport,
    Verify,
)
from mlpipeline.config.values import Duration
from mlpipeline.core.conditions import UNTIL_THE_END
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.packs import find
from mlpipeline.ports import Sample
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import verify
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.late_labels import LateLabels
from mlpipeline.verbs.verify import Roles, Watch
from mlpipeline.verbs.verify_conditions import conditions
from mlpipeline.verbs.verify_planning import unfinished

ROLES = Roles(candidate=Colour.GREEN, champion=Colour.BLUE)
RUN = Run(id="r1", service="iris", commit="c" * 40, created="2026-03-01T03:00:00Z")
BOUNDS = (0.1, 0.25, 0.5)


@dataclass
class Behaviour:
    """Of one colour per second."""

    requests: int = 20
    errors: int = 0
    slow: int = 0
    late: int = 5
    traffic: str = "live"
    scraped: bool = True


@dataclass
class Simulated(FakeMetrics):
    """Both colours' counters, advanced once per second of the fake clock and scraped every so many; what a score reads, at steps
    of its own."""

    clock: FakeClock
    every: int = 1
    router: bool = True
    timeless: bool = False
    gauges_every: int = 1
    now: Callable[[float], None] = lambda _: None
    colours: dict[str, Behaviour] = field(default_factory=lambda: {"blue": Behaviour(), "green": Behaviour(traffic="mirror")})

    def __post_init__(self) -> None:
        super().__init__()
        self._totals: dict[tuple[tuple[str, str], ...], float] = {}
        self._scrapes: list[tuple[float, dict[tuple[tuple[str, str], ...], float]]] = []
        self._passed = -300
        self.advance()

    def advance(self) -> None:
        while self._passed < int(self.clock.passed):
            self._passed += 1
            self.now(self._passed)
            scrape: dict[tuple[tuple[str, str], ...], float] = {}
            for colour, behaviour in self.colours.items():
                self._count(colour, behaviour)
            for labels, total in self._totals.items():
                colour = dict(labels).get("colour")
                if colour is None or self.colours[colour].scraped:
                    scrape[labels] = total
            if self._passed % self.every == 0:
                self._scrapes.append((START.timestamp() + self._passed, scrape))

    def restart(self, colour: str) -> None:
        self._totals = {labels: 0.0 if dict(labels).get("colour") == colour else total for labels, total in self._totals.items()}

    def _count(self, colour: str, behaviour: Behaviour) -> None:
        for traffic in ("live", "mirror"):
            on = behaviour.traffic == traffic
            served = behaviour.requests if on else 0
            for code, number in (("2xx", served - behaviour.errors * on), ("5xx", behaviour.errors * on)):
                self._add(number, "mlpipeline_requests_total", colour=colour, traffic=traffic, code=code, instance=colour)
            for label, number in (("late", behaviour.late * on), ("punctual", served - behaviour.late * on)):
                name = "mlpipeline_predictions_total"
                self._add(number, name, colour=colour, traffic=traffic, label=label, instance=colour)
            for bound in BOUNDS:
                fast = served if bound == 0.5 else served - behaviour.slow * on
                self._add(
                    fast, "mlpipeline_request_seconds_bucket", colour=colour, traffic=traffic, le=str(bound), instance=colour
                )
            self._add(served, "mlpipeline_request_seconds_bucket", colour=colour, traffic=traffic, le="+Inf", instance=colour)
            if self.router:
                kind = "external" if traffic == "live" else "internal"
                for digit, number in (("2", served - behaviour.errors * on), ("5", behaviour.errors * on)):
                    name = f"envoy_cluster_{kind}_upstream_rq_xx"
                    self._add(number, name, envoy_cluster_name=colour, envoy_response_code_class=digit, instance="envoy")

    def _add(self, number: float, name: str, **labels: str) -> None:
        key = tuple(sorted({"__name__": name, "service": "iris", "job": "j", **labels}.items()))
        self._totals[key] = self._totals.get(key, 0.0) + number

    def instant(self, query: str, at: float | None = None) -> Sequence[Sample]:
        self._reach(query)
        self.advance()
        now = START.timestamp() + self.clock.passed
        if query == "time()":
            return [] if self.timeless else [Sample({}, now, now)]
        if query in self.instants:
            return self.instants[query]
        if query.startswith("label_replace(max(timestamp("):
            newest = START.timestamp() + self.clock.passed // self.gauges_every * self.gauges_every
            places = re.findall(r'"selector", "(\d+)"', query)
            return [Sample({"selector": place}, newest, now) for place in places]
        if not query.endswith("s]"):
            return []
        window, wanted = (
            float(query[query.rindex("[") + 1 : -2]),
            "envoy" if "envoy" in query else "mlpipeline_requests_total|mlp",
        )
        router = wanted == "envoy"
        return [
            Sample(dict(labels), value, moment)
            for moment, scrape in self._scrapes
            if now - window <= moment <= now
            for labels, value in scrape.items()
            if ("envoy" in dict(labels)["__name__"]) is router
        ]


def make(
    tmp_path: Path, *, router: bool = True, rollout: Rollout | None = None, **settings: object
) -> tuple[FakeWorld, Simulated, Context]:
    world = FakeWorld(tmp_path, verify=Verify(**settings), rollout=rollout or Rollout())  # type: ignore[arg-type]
    metrics = Simulated(clock=world.clock, router=router)
    world.metrics = metrics
    return world, metrics, world.context()


def watching(context: Context) -> Watch:
    return Watch(context, RUN, ROLES, prometheus="http://prometheus")


def evidence(context: Context, name: str = "evidence.json") -> Path:
    return context.runs.folder(RUN.id) / name


def test_a_healthy_candidate_passes_when_every_stage_was_watched(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    watch = watching(context)
    watch.check()
    assert watch.watch("mirror", 30, traffic="mirror").verdict is Verdict.PASS
    metrics.colours["green"] = Behaviour(requests=2, traffic="live")
    outcome = watch.watch("10 %", 60, traffic="live")
    assert (outcome.verdict, outcome.looks, outcome.seconds) == (Verdict.PASS, 30, 60.0)
    judged = watch.conclude()
    assert judged.verdict is Verdict.PASS
    assert {reason.verdict for reason in judged.reasons} == {Verdict.PASS}
    errors = judged.evidence["metrics"][0]  # type: ignore[index]
    assert errors["candidate_requests"] == 30 * 20 + 60 * 2
    assert errors["champion_requests"] == 90 * 20


def test_a_candidate_that_always_fails_is_caught_within_a_few_looks_at_15_requests_a_second(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    metrics.colours = {"blue": Behaviour(requests=15), "green": Behaviour(requests=15, errors=15, traffic="mirror")}
    outcome = watching(context).watch("mirror", 600, traffic="mirror")
    assert outcome.verdict is Verdict.FAIL
    assert outcome.looks <= 6
    assert "100 %" in outcome.summary


def test_a_slow_candidate_is_caught_after_a_healthy_stage(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    watch = watching(context)
    assert watch.watch("mirror", 300, traffic="mirror").verdict is Verdict.PASS
    metrics.colours["green"] = Behaviour(requests=10, slow=10, traffic="live")
    outcome = watch.watch("50 %", 600, traffic="live")
    assert outcome.verdict is Verdict.FAIL
    assert outcome.seconds <= 24
    assert outcome.reasons[0].check == "verify.latency"
    assert watch.conclude().verdict is Verdict.FAIL


def test_errors_that_only_the_router_sees_are_caught(tmp_path: Path) -> None:
    """A crashed process is scraped no more, and its own counters stand still; the router counts its 503s."""
    _, metrics, context = make(tmp_path)
    watch = watching(context)
    watch.check()
    metrics.colours["green"] = Behaviour(requests=15, errors=15, traffic="mirror", scraped=False)
    outcome = watch.watch("mirror", 300, traffic="mirror")
    assert outcome.verdict is Verdict.FAIL
    assert outcome.seconds <= 30


def test_without_the_router_the_processes_own_errors_count(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, router=False)
    metrics.colours["green"] = Behaviour(errors=20, traffic="mirror")
    assert watching(context).watch("mirror", 300, traffic="mirror").verdict is Verdict.FAIL


def test_silence_never_passes(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    metrics.colours = {"blue": Behaviour(requests=0), "green": Behaviour(requests=0, traffic="mirror")}
    watch = watching(context)
    outcome = watch.watch("mirror", 30, traffic="mirror")
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.seconds == 30.0
    assert watch.conclude().verdict is Verdict.INCONCLUSIVE


def test_a_candidate_silent_while_users_send_holds_and_never_passes(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, rollout=Rollout(hold=Duration(40)))
    metrics.colours["green"] = Behaviour(requests=0, traffic="mirror")
    outcome = watching(context).watch("mirror", 30, traffic="mirror")
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "answered nothing" in outcome.summary
    assert outcome.seconds > 40


def test_an_unreachable_prometheus_before_the_release_is_the_environments_fault(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    metrics.unreachable = True
    with pytest.raises(EnvironmentFault):
        watching(context).check()


def test_a_colour_that_prometheus_does_not_scrape_is_told_before_traffic_moves(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    for scrape in metrics._scrapes:
        for labels in [labels for labels in scrape[1] if dict(labels).get("colour") == "green"]:
            del scrape[1][labels]
    metrics.colours["green"].scraped = False
    with pytest.raises(EnvironmentFault, match="no recent scrape of green"):
        watching(context).check()


def test_a_short_outage_extends_the_stage_by_its_length(tmp_path: Path) -> None:
    world, metrics, context = make(tmp_path)
    watch = watching(context)
    watch.check()
    world.clock.on_sleep = lambda: setattr(metrics, "unreachable", 10 < world.clock.passed <= 30)
    outcome = watch.watch("mirror", 60, traffic="mirror")
    assert outcome.verdict is Verdict.PASS
    assert outcome.seconds == pytest.approx(80, abs=2)
    assert any("holding" in line for line in world.console.lines)
    (told,) = (reason for reason in watch.conclude().reasons if reason.check == "verify.outage")
    assert "the monitoring was out at" in told.summary and told.verdict is Verdict.PASS


def test_a_long_outage_is_inconclusive_not_a_failure(tmp_path: Path) -> None:
    world, metrics, context = make(tmp_path)
    watch = watching(context)
    watch.check()
    world.clock.on_sleep = lambda: setattr(metrics, "unreachable", world.clock.passed > 10)
    outcome = watch.watch("mirror", 60, traffic="mirror")
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "longer than rollout.hold" in outcome.summary
    assert watch.conclude().verdict is Verdict.INCONCLUSIVE


def test_stale_scrapes_are_an_outage(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, errors=ErrorRule(enabled=False))
    watch = watching(context)
    watch.check()
    metrics.colours["green"].scraped = False
    outcome = watch.watch("mirror", 20, traffic="mirror")
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "green" in outcome.summary


@pytest.mark.parametrize("every", [15, 60])
def test_slow_scrapes_are_no_outage(tmp_path: Path, every: int) -> None:
    world, metrics, context = make(tmp_path)
    metrics.every = every
    metrics._scrapes = [scrape for scrape in metrics._scrapes if int(scrape[0] - START.timestamp()) % every == 0]
    watch = watching(context)
    watch.check()
    outcome = watch.watch("mirror", 240, traffic="mirror")
    assert (outcome.verdict, outcome.seconds) == (Verdict.PASS, 240.0)
    assert not any("holding" in line for line in world.console.lines)
    metrics.colours["green"].scraped = False
    lost = watch.watch("10 %", 30, traffic="mirror")
    assert lost.verdict is Verdict.INCONCLUSIVE, "a scrape that stays away is still told"


def test_a_metric_that_falls_silent_at_one_colour_holds_and_never_passes(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, rollout=Rollout(hold=Duration(40)))
    watch = watching(context)
    watch.check()

    def silence(second: float) -> None:
        if second == 60:
            metrics._totals = {
                labels: total
                for labels, total in metrics._totals.items()
                if (dict(labels).get("colour"), dict(labels)["__name__"]) != ("green", "mlpipeline_request_seconds_bucket")
            }
            metrics._add = without_latency_of_green  # type: ignore[method-assign]

    add = metrics._add

    def without_latency_of_green(number: float, name: str, **labels: str) -> None:
        if (labels.get("colour"), name) != ("green", "mlpipeline_request_seconds_bucket"):
            add(number, name, **labels)

    metrics.now = silence
    outcome = watch.watch("mirror", 300, traffic="mirror")
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "the candidate answered nothing that latency could count" in outcome.summary
    assert watch.conclude().verdict is Verdict.INCONCLUSIVE


def test_conditions_wait_while_the_monitoring_is_out(tmp_path: Path) -> None:
    """Three minutes of measurements are wanted, and twenty seconds without answers are neither errors nor measurements."""
    wanted = Condition("drift", "drift", success="result < 0.1", interval=Duration(2), count=20, consecutive_error_limit=2)
    world, metrics, context = make(tmp_path, conditions=(wanted,))
    metrics.instants["drift"] = [Sample({}, 0.01, 0.0)]
    watch = watching(context)
    watch.check()
    world.clock.on_sleep = lambda: setattr(metrics, "unreachable", 10 < world.clock.passed <= 30)
    assert watch.watch("mirror", 60, traffic="mirror").verdict is Verdict.PASS
    judged = watch.conclude()
    assert judged.verdict is Verdict.PASS
    assert "drift: 20 pass" in str(judged.evidence)
    assert verify.replay(evidence(context)) == judged


def test_a_failure_is_seen_although_the_candidate_is_scraped_no_more(tmp_path: Path) -> None:
    wanted = Condition("up", "up", failure="result < 1", interval=Duration(1), count=300)
    _, metrics, context = make(
        tmp_path, conditions=(wanted,), errors=ErrorRule(enabled=False), rollout=Rollout(hold=Duration(60))
    )
    metrics.instants["up"] = [Sample({}, 1.0, 0.0)]
    watch = watching(context)
    watch.check()

    def down(second: float) -> None:
        if second == 20:
            metrics.colours["green"].scraped = False
        if second == 40:
            metrics.instants["up"] = [Sample({}, 0.0, 0.0)]

    metrics.now = down
    outcome = watch.watch("mirror", 300, traffic="mirror")
    assert outcome.verdict is Verdict.FAIL
    assert outcome.seconds < 45
    assert verify.replay(evidence(context)) == watch.conclude()


def test_access_that_is_refused_for_a_while_is_an_outage_too(tmp_path: Path) -> None:
    world, metrics, context = make(tmp_path)
    watch = watching(context)
    watch.check()
    asked = metrics.instant

    def refusing(query: str, at: float | None = None) -> Sequence[Sample]:
        if 10 < world.clock.passed <= 20:
            raise ConfigurationError("Prometheus refuses access")
        return asked(query, at)

    metrics.instant = refusing  # type: ignore[method-assign]
    outcome = watch.watch("mirror", 60, traffic="mirror")
    assert outcome.verdict is Verdict.PASS
    assert outcome.seconds == pytest.approx(70, abs=2)
    assert any("holding, Prometheus refuses access" in line for line in world.console.lines)


def test_a_restarted_process_does_not_lose_or_invent_requests(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, router=False)
    watch = watching(context)
    watch.check()
    restarts = iter([20])

    def restart_once(second: float) -> None:
        if second == 20 and next(restarts, None):
            metrics.restart("green")

    metrics.now = restart_once
    watch.watch("mirror", 60, traffic="mirror")
    errors = watch.conclude().evidence["metrics"][0]  # type: ignore[index]
    assert errors["candidate_requests"] == errors["champion_requests"] == 60 * 20


def test_both_colours_failing_everything_cannot_pass(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    metrics.colours = {"blue": Behaviour(errors=20), "green": Behaviour(errors=20, traffic="mirror")}
    watch = watching(context)
    watch.watch("mirror", 60, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "cannot pass" in judged.summary


def test_too_few_requests_are_inconclusive(tmp_path: Path) -> None:
    _, _, context = make(tmp_path, min_requests=10_000)
    watch = watching(context)
    assert watch.watch("mirror", 30, traffic="mirror").verdict is Verdict.PASS
    judged = watch.conclude()
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "10000" in judged.summary


def test_nothing_watched_is_inconclusive(tmp_path: Path) -> None:
    _, _, context = make(tmp_path)
    assert watching(context).conclude().verdict is Verdict.INCONCLUSIVE


def test_a_resumed_release_keeps_its_evidence(tmp_path: Path) -> None:
    _, _, context = make(tmp_path)
    watching(context).watch("mirror", 30, traffic="mirror")
    resumed = watching(context)
    resumed.watch("10 %", 30, traffic="mirror")
    judged = resumed.conclude()
    assert judged.evidence["stages"] == ["mirror", "10 %"]
    assert judged.evidence["metrics"][0]["candidate_requests"] == 1200  # type: ignore[index]


def test_evidence_of_other_rules_is_not_continued(tmp_path: Path) -> None:
    _, _, context = make(tmp_path)
    watching(context).watch("mirror", 30, traffic="mirror")
    swapped = Watch(context, RUN, Roles(candidate=Colour.BLUE, champion=Colour.GREEN), prometheus="http://prometheus")
    assert swapped.conclude().evidence["looks"] == 0


def test_a_replay_gives_the_same_verdict_byte_for_byte(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path)
    watch = watching(context)
    watch.watch("mirror", 40, traffic="mirror")
    metrics.colours["green"] = Behaviour(errors=9, traffic="live")
    watch.watch("50 %", 40, traffic="live")
    judged = watch.conclude()
    before = evidence(context).read_bytes()
    replayed = verify.replay(evidence(context))
    assert replayed == judged
    assert evidence(context).read_bytes() == before
    assert json.loads(before)["trace"]["errors"][-1]["log10_evidence"] > 2


def test_a_changed_record_does_not_replay_as_if_nothing_was(tmp_path: Path) -> None:
    _, _, context = make(tmp_path)
    watch = watching(context)
    watch.watch("mirror", 40, traffic="mirror")
    watch.conclude()
    document = json.loads(evidence(context).read_bytes())
    document["looks"][3]["counts"]["errors"] = [1000, 900, 1000, 0]
    evidence(context).write_text(json.dumps(document))
    assert verify.replay(evidence(context)).reasons[0].check == "verify.replay"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": 1, "plan": 3}', b"\xff\x00"])
def test_a_file_that_is_no_evidence_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "evidence.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError):
        verify.replay(file)
    with pytest.raises(ConfigurationError):
        verify.replay(tmp_path / "absent.json")


def test_an_objective_between_buckets_moves_to_the_nearest_and_says_so(tmp_path: Path) -> None:
    _, _, context = make(tmp_path, latency=LatencyRule(objective=Duration(0.3)))
    watch = watching(context)
    watch.watch("mirror", 30, traffic="mirror")
    latency = next(reason for reason in watch.conclude().reasons if reason.check == "verify.latency")
    assert "slower than 0.25 s (the bucket bound nearest to the objective of 0.3 s)" in latency.summary


def test_nothing_to_verify_is_a_configuration_error(tmp_path: Path) -> None:
    _, _, context = make(tmp_path, errors=ErrorRule(enabled=False), latency=LatencyRule(enabled=False))
    with pytest.raises(ConfigurationError, match="nothing is verified"):
        watching(context).check()


@pytest.mark.parametrize(
    "condition",
    [
        Condition("c", "q"),
        Condition("c", "q", success="result <"),
        Condition("c", "q", failure="rm()"),
        Condition("c", "q", failure="1 > 2"),
    ],
)
def test_a_condition_that_decides_nothing_is_refused_before_traffic_moves(tmp_path: Path, condition: Condition) -> None:
    _, _, context = make(tmp_path, conditions=(condition,))
    with pytest.raises(ConfigurationError):
        watching(context).check()


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((0.001,), Verdict.PASS), ((0.5,), Verdict.FAIL), ((float("nan"),), Verdict.INCONCLUSIVE), ((), Verdict.INCONCLUSIVE)],
)
def test_a_condition_takes_part_in_the_verdict(tmp_path: Path, values: tuple[float, ...], verdict: Verdict) -> None:
    _, metrics, context = make(
        tmp_path, conditions=(Condition("drift", "drift{colour='{{candidate}}'}", success="result < 0.1"),)
    )
    metrics.instants["drift{colour='green'}"] = [Sample({}, value, 0.0) for value in values]
    watch = watching(context)
    watch.watch("mirror", 30, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is verdict
    (told,) = (reason.summary for reason in judged.reasons if reason.check == "verify.condition.drift")
    assert ("the query answered" in told) is (verdict is not Verdict.PASS)
    assert verify.replay(evidence(context)) == judged


@pytest.mark.parametrize(("policy", "verdict"), [("inconclusive", Verdict.INCONCLUSIVE), ("ignore", Verdict.PASS)])
def test_an_answer_about_series_that_nobody_scrapes_any_more_is_stale(tmp_path: Path, policy: str, verdict: Verdict) -> None:
    wanted = Condition("drift", "rate(drift[5m]) / 2", success="result < 0.1", stale=policy)  # type: ignore[arg-type]
    _, metrics, context = make(tmp_path, conditions=(wanted,))
    metrics.instants["rate(drift[5m]) / 2"] = [Sample({}, 0.01, 0.0)]
    metrics.instants["max(timestamp(drift) or max_over_time(timestamp(drift)[600s:10s]))"] = [Sample({}, 1000.0, 1121.0)]
    watch = watching(context)
    watch.watch("mirror", 30, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is verdict
    assert verify.replay(evidence(context)) == judged


@pytest.mark.parametrize(("futility", "seconds"), [(True, 150), (False, 600)])
def test_a_stage_that_cannot_bring_the_evidence_ends_early_as_inconclusive(
    tmp_path: Path, futility: bool, seconds: float
) -> None:
    world, metrics, context = make(tmp_path, futility=futility, min_requests=5000)
    metrics.colours["green"].requests = 1
    watch = watching(context)
    outcome = watch.watch(verify.VERB, 600, traffic="mirror")
    judged = watch.conclude()
    assert world.clock.passed == pytest.approx(seconds, abs=4)
    assert judged.verdict is Verdict.INCONCLUSIVE
    if futility:
        assert outcome.verdict is Verdict.INCONCLUSIVE
        assert "not even 3 times that traffic brings the 5000" in outcome.summary
        assert "could not come in time" in judged.summary
    assert verify.replay(evidence(context)) == judged


@pytest.mark.parametrize("early", [True, False])
def test_a_stage_that_excludes_harm_ends_early_only_where_that_is_wanted(tmp_path: Path, early: bool) -> None:
    world, metrics, context = make(tmp_path, early_pass=early)
    for behaviour in metrics.colours.values():
        behaviour.requests, behaviour.errors, behaviour.slow = 200, 10, 12
    watch = watching(context)
    outcome = watch.watch("mirror", 1200, traffic="mirror", last=True)
    assert outcome.verdict is Verdict.PASS
    recorded = json.loads(evidence(context).read_bytes())["ends"]
    if early:
        assert 60 < world.clock.passed < 600
        assert "harm is excluded, so it ends early" in outcome.summary
        assert recorded == [{"stage": "mirror", "looks": outcome.looks, "watched": True, "excluded": True}]
    else:
        assert world.clock.passed == pytest.approx(1200, abs=4)
        assert recorded == [{"stage": "mirror", "looks": outcome.looks, "watched": True, "last": True}]
    judged = watch.conclude()
    assert judged.verdict is Verdict.PASS
    assert "harm is excluded for every metric" in judged.summary
    assert verify.replay(evidence(context)) == judged


def test_the_next_stage_is_not_over_because_the_one_before_excluded_harm(tmp_path: Path) -> None:
    world, metrics, context = make(tmp_path, early_pass=True)
    for behaviour in metrics.colours.values():
        behaviour.requests, behaviour.errors, behaviour.slow = 200, 10, 12
    watch = watching(context)
    assert "ends early" in watch.watch("mirror", 1200, traffic="mirror").summary
    metrics.colours["green"].traffic, between = "live", world.clock.passed
    assert "ends early" in watch.watch("step-50", 1200, traffic="live").summary
    assert 300 <= world.clock.passed - between < 1200
    assert "ended before their planned time because harm was excluded in them: stage mirror, step-50" in [
        reason.summary for reason in watch.conclude().reasons
    ]


def test_a_stage_without_an_error_is_not_over_before_a_quarter_of_it(tmp_path: Path) -> None:
    """However many requests there are: bursts come after seconds in which nothing happens."""
    world, metrics, context = make(tmp_path, early_pass=True)
    for behaviour in metrics.colours.values():
        behaviour.requests = 3000
    assert "ends early" in watching(context).watch("mirror", 400, traffic="mirror").summary
    assert world.clock.passed == pytest.approx(100, abs=4)


def test_a_break_too_small_for_any_look_is_found_at_the_last(tmp_path: Path) -> None:
    """Errors 5 against 9 in a hundred, on and off, so that they are rough too."""
    _, metrics, context = make(tmp_path)

    def rough(second: float) -> None:
        metrics.colours["blue"].errors = (0, 0, 0, 4)[int(second) % 4]
        metrics.colours["green"].errors = (0, 0, 7, 0)[int(second) % 4]

    metrics.now = rough
    for behaviour in metrics.colours.values():
        behaviour.requests = 20
    metrics.colours["green"].traffic = "mirror"
    for last, verdict in ((False, Verdict.PASS), (True, Verdict.FAIL)):
        watch = Watch(context, RUN, ROLES, prometheus="", file=f"{last}.json", resume=False)
        outcome = watch.watch("mirror", 300, traffic="mirror", last=last)
        assert outcome.verdict is verdict
    assert "at the last look, with a p-value of" in outcome.summary


def test_a_later_stage_with_more_traffic_is_waited_for(tmp_path: Path) -> None:
    rollout = Rollout(mirror=Duration(0), steps=(1, 50), step=Duration(300), bake=Duration(300), control=10)
    _, metrics, context = make(tmp_path, rollout=rollout, min_requests=1000)
    metrics.colours["green"].requests = 1
    watch = watching(context)
    assert watch.watch("step-1", 300, traffic="mirror").verdict is Verdict.PASS


def answering(world: FakeWorld, differing: int) -> None:
    """Ten requests a second are copied, of each hundred so many answered differently."""

    def answers(colour: Colour) -> dict[str, str]:
        newest = int(10 * world.clock.passed)
        wrong = "b" if colour is Colour.GREEN else "a"
        return {
            str(number): json.dumps({"predictions": [wrong if number % 100 < differing else "a"]})
            for number in range(max(0, newest - 200), newest)
        }

    world.target.answers = answers  # type: ignore[method-assign]


@pytest.mark.parametrize(("differing", "verdict"), [(0, Verdict.PASS), (40, Verdict.FAIL)])
def test_answers_to_mirrored_requests_take_part_in_the_verdict(tmp_path: Path, differing: int, verdict: Verdict) -> None:
    world, _, context = make(tmp_path, disagreement=DisagreementRule(enabled=True))
    answering(world, differing)
    watch = watching(context)
    watch.watch("mirror", 60, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is verdict
    assert "verify.disagreement" in {reason.check for reason in judged.reasons}
    assert verify.replay(evidence(context)) == judged


def test_a_colour_that_keeps_no_answers_makes_no_agreement(tmp_path: Path) -> None:
    _, _, context = make(tmp_path, disagreement=DisagreementRule(enabled=True))
    watch = watching(context)
    watch.watch("mirror", 60, traffic="mirror")
    assert watch.conclude().verdict is Verdict.INCONCLUSIVE


def labelling(world: FakeWorld, context: Context, wrong: dict[str, int]) -> None:
    """Before each look ten more answers of each colour have their label; so many of every ten are wrong."""
    context.project.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        lines = ["request_id,colour,prediction,label"]
        for number in range(int(world.clock.passed) * 5):
            for colour, bad in wrong.items():
                said = "b" if number % 10 < bad else "a"
                lines.append(f"{number},{colour},{said},{'' if number % 2 else 'a'}")
        (context.project / "answers.csv").write_text("\n".join(lines) + "\n")

    world.clock.on_sleep = write
    write()


@pytest.mark.parametrize(
    ("wrong", "verdict"), [({"green": 2, "blue": 2}, Verdict.PASS), ({"green": 8, "blue": 2}, Verdict.FAIL), ({}, Verdict.PASS)]
)
def test_late_labels_take_part_in_the_verdict_and_missing_ones_do_not(
    tmp_path: Path, wrong: dict[str, int], verdict: Verdict
) -> None:
    rule = AccuracyRule(enabled=True, predictions="answers.csv", interval=Duration(10))
    world, _, context = make(tmp_path, accuracy=rule)
    labelling(world, context, wrong)
    watch = watching(context)
    watch.check()
    watch.watch("mirror", 200, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is verdict, judged
    reason = next(reason for reason in judged.reasons if reason.check == "verify.accuracy")
    assert (reason.numbers["candidate_requests"] > 0) is bool(wrong)
    assert verify.replay(evidence(context)) == judged


def test_late_labels_as_counters_of_prometheus(tmp_path: Path) -> None:
    rule = AccuracyRule(enabled=True, labelled_query="n{c='{{colour}}'}", wrong_query="k{c='{{colour}}'}", interval=Duration(2))
    world, metrics, context = make(tmp_path, accuracy=rule)

    def advance() -> None:
        for colour, wrong in (("green", 9), ("blue", 2)):
            metrics.instants[f"n{{c='{colour}'}}"] = [Sample({}, 10 * world.clock.passed, 0.0)]
            metrics.instants[f"k{{c='{colour}'}}"] = [Sample({}, wrong * world.clock.passed, 0.0)]

    world.clock.on_sleep = advance
    watch = watching(context)
    outcome = watch.watch("bake", 120, traffic="mirror")
    assert outcome.verdict is Verdict.FAIL
    assert outcome.reasons[0].check == "verify.accuracy"


def test_labels_never_count_twice_whatever_becomes_of_their_file(tmp_path: Path) -> None:
    rule = AccuracyRule(enabled=True, predictions="answers.csv", interval=Duration(1))
    _, _, context = make(tmp_path, accuracy=rule)
    labels = LateLabels(context, ROLES, None, 0.0)
    context.project.mkdir(parents=True, exist_ok=True)

    def known(*rows: str) -> tuple[int, int, int, int] | None:
        (context.project / "answers.csv").write_text("\n".join(["request_id,colour,prediction,label", *rows]) + "\n")
        context.clock.sleep(1)
        return labels.new()

    first = [f"{number},green,b,a" for number in range(10)]
    assert known("0,blue,a,") is None
    assert known(*first) == (10, 10, 0, 0)
    assert known(*first[:2]) is None, "half of it is written again"
    assert known(*first, "10,green,a,a") == (1, 0, 0, 0)
    corrected = ["0,green,b,b", *first[1:], "10,green,a,a"]
    assert known(*corrected) is None
    assert known(*corrected, "11,green,b,a", "12,green,b,a", "13,blue,a,a") == (2, 1, 1, 0)


def test_counters_that_begin_anew_or_are_gone_for_a_while_do_not_count_their_past_again(tmp_path: Path) -> None:
    rule = AccuracyRule(enabled=True, labelled_query="n{c='{{colour}}'}", wrong_query="k{c='{{colour}}'}", interval=Duration(1))
    _, metrics, context = make(tmp_path, accuracy=rule)
    labels = LateLabels(context, ROLES, metrics, 0.0)

    def known(labelled: int | None, wrong: int | None) -> tuple[int, int, int, int] | None:
        for name, value in (("n", labelled), ("k", wrong)):
            metrics.instants[f"{name}{{c='green'}}"] = [] if value is None else [Sample({}, float(value), 0.0)]
        context.clock.sleep(1)
        return labels.new()

    assert known(1000, None) is None
    assert known(1010, 2) == (10, 2, 0, 0)
    assert known(None, None) is None
    assert known(1020, 3) == (10, 1, 0, 0)
    assert known(600, 1) is None, "one of two processes began anew"
    assert known(605, 2) == (5, 1, 0, 0)


def test_a_query_with_more_than_one_series_is_told_with_what_to_write(tmp_path: Path) -> None:
    rule = AccuracyRule(enabled=True, labelled_query="n{c='{{colour}}'}", wrong_query="k{c='{{colour}}'}")
    _, metrics, context = make(tmp_path, accuracy=rule)
    metrics.instants["n{c='blue'}"] = [Sample({}, 1.0, 0.0), Sample({}, 2.0, 0.0)]
    with pytest.raises(ConfigurationError, match="has 2 series as answer") as caught:
        watching(context).check()
    assert "sum(n{c='blue'})" in caught.value.render()


def test_queries_that_nothing_answers_are_told_before_traffic_moves(tmp_path: Path) -> None:
    rule = AccuracyRule(enabled=True, labelled_query="n{c='{{colour}}'}", wrong_query="k{c='{{colour}}'}")
    world, _, context = make(tmp_path, accuracy=rule)
    watching(context).check()
    assert any("no series answers verify.accuracy.wrong_query, k{c='blue'}" in line for line in world.console.lines)


def test_labels_that_cannot_be_read_are_told_before_traffic_moves(tmp_path: Path) -> None:
    _, _, context = make(tmp_path, accuracy=AccuracyRule(enabled=True, predictions="none.csv"))
    with pytest.raises(ConfigurationError, match="predictions do not exist"):
        watching(context).check()


@pytest.mark.parametrize(("late", "verdict"), [(5, Verdict.PASS), (18, Verdict.FAIL), (0, Verdict.FAIL)])
def test_the_distribution_of_predictions_takes_part_in_the_verdict_both_ways(tmp_path: Path, late: int, verdict: Verdict) -> None:
    _, metrics, context = make(tmp_path, predictions=PredictionsRule(enabled=True))
    metrics.colours["green"].late = late
    watch = watching(context)
    watch.watch("mirror", 300, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is verdict, judged
    assert {"verify.predictions.late", "verify.predictions.punctual"} <= {reason.check for reason in judged.reasons}
    if verdict is Verdict.FAIL:
        assert "another share than the champion's" in judged.summary
    assert verify.replay(evidence(context)) == judged


def test_a_champion_that_predicts_no_classes_is_told_before_traffic_moves(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, predictions=PredictionsRule(enabled=True))
    for key in [key for key in metrics._totals if "predictions" in dict(key)["__name__"]]:
        metrics._totals[key] = 0.0
    metrics.colours["blue"].requests = metrics.colours["blue"].late = 0
    metrics._scrapes.clear()
    metrics.clock.sleep(5)
    with pytest.raises(ConfigurationError, match="no class and no number"):
        watching(context).check()


@pytest.mark.parametrize(("high", "verdict"), [(6, Verdict.PASS), (17, Verdict.FAIL), (0, Verdict.FAIL)])
def test_the_distribution_of_predicted_numbers_takes_part_in_the_verdict(tmp_path: Path, high: int, verdict: Verdict) -> None:
    """Of 20 predictions a second, so many lie above 0.5; the champion's are six."""
    _, metrics, context = make(tmp_path, predictions=PredictionsRule(enabled=True))
    for key in [key for key in metrics._totals if "predictions" in dict(key)["__name__"]]:
        del metrics._totals[key]

    def numbers(_: float) -> None:
        for colour, above in (("blue", 6), ("green", high)):
            traffic = metrics.colours[colour].traffic
            for bound, count in (("0.0", 0), ("0.5", 20 - above), ("1.0", 20), ("+Inf", 20)):
                metrics._add(
                    count, "mlpipeline_prediction_value_bucket", colour=colour, traffic=traffic, le=bound, instance=colour
                )

    metrics.now = numbers
    metrics._scrapes.clear()
    metrics.clock.sleep(5)
    watch = watching(context)
    for behaviour in metrics.colours.values():
        behaviour.late = 0
    watch.watch("mirror", 300, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is verdict, judged
    reasons = {reason.check: reason for reason in judged.reasons}
    assert "predicted above 0.5" in reasons["verify.predictions.above-0.5"].summary
    assert verify.replay(evidence(context)) == judged


def exported(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_the_verdict_and_its_distance_to_the_threshold_are_exported_after_each_look(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, export=VerdictExport(textfile="collector/mlpipeline.prom"))
    watch = watching(context)
    watch.watch("mirror", 20, traffic="mirror")
    file = context.project / "collector" / "mlpipeline.prom"
    calm = exported(file.read_text())
    assert calm['mlpipeline_verify_verdict{service="iris",verdict="fail"}'] == 0
    assert calm['mlpipeline_verify_distance{service="iris"}'] >= 2
    metrics.colours["green"].errors = 15
    watch.watch("bake", 600, traffic="mirror")
    harmed = exported(file.read_text())
    assert harmed['mlpipeline_verify_verdict{service="iris",verdict="fail"}'] == 1
    assert harmed['mlpipeline_verify_distance{service="iris"}'] == 0
    assert harmed['mlpipeline_verify_metric_distance{service="iris",metric="latency"}'] > 1
    assert harmed['mlpipeline_verify_metric_ratio_low{service="iris",metric="errors"}'] > 1
    assert (context.places.state / "verify.prom").read_text() == file.read_text()


def test_an_export_that_fails_is_said_once_and_changes_no_verdict(tmp_path: Path) -> None:
    world, _, context = make(tmp_path, export=VerdictExport(textfile="file/mlpipeline.prom"))
    context.project.mkdir(parents=True)
    (context.project / "file").write_text("in the way")
    watch = watching(context)
    outcome = watch.watch("mirror", 20, traffic="mirror")
    assert outcome.verdict is Verdict.PASS
    assert len([line for line in world.console.lines if "cannot be exported" in line]) == 1


def test_a_pushgateway_that_is_dead_is_told_once_in_one_readable_line(tmp_path: Path) -> None:
    world, _, context = make(tmp_path, export=VerdictExport(pushgateway="http://127.0.0.1:1"))
    watching(context).watch("mirror", 6, traffic="mirror")
    (line,) = (line for line in world.console.lines if "Pushgateway" in line)
    assert line.startswith("verify: the Pushgateway cannot be reached (server: http://127.0.0.1:1/metrics/job/mlpipeline")
    assert line.endswith("Connection refused)") and not set("{}<>'") & set(line)


def gpu_query(name: str) -> str:
    (found,) = (condition.query for condition in find("dcgm").conditions if condition.name == name)
    return found.replace("{{service}}", "iris").replace("{{candidate}}", "green")


@pytest.mark.parametrize(("xid", "verdict"), [(0.0, Verdict.PASS), (1.0, Verdict.FAIL), (None, Verdict.INCONCLUSIVE)])
def test_conditions_of_the_pack_take_part_in_the_verdict(tmp_path: Path, xid: float | None, verdict: Verdict) -> None:
    _, metrics, context = make(tmp_path, pack="dcgm")
    answers = {"gpu-xid": xid, "gpu-row-remap": 0.0, "gpu-temperature": 61.0}
    for name, value in answers.items():
        metrics.instants[gpu_query(name)] = [] if value is None else [Sample({}, value, 0.0)]
    watch = watching(context)
    watch.watch("mirror", 40, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is verdict
    assert {f"verify.condition.{name}" for name in answers} <= {reason.check for reason in judged.reasons}


def test_a_gpu_that_breaks_late_fails(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, pack="dcgm")
    for name in ("gpu-xid", "gpu-row-remap", "gpu-temperature"):
        metrics.instants[gpu_query(name)] = [Sample({}, 0.0, 0.0)]

    def hot(passed: float) -> None:
        if passed == 200:
            metrics.instants[gpu_query("gpu-temperature")] = [Sample({}, 105.0, 0.0)]

    metrics.now = hot
    watch = watching(context)
    assert watch.watch("mirror", 300, traffic="mirror").verdict is Verdict.FAIL
    assert "gpu-temperature: 20 pass, 1 fail" in watch.conclude().summary


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, (10.0, 1)),
        ({"count": 3}, (10.0, 3)),
        ({"interval": Duration(5)}, (5.0, UNTIL_THE_END)),
        ({"interval": Duration(5), "count": 3}, (5.0, 3)),
    ],
)
def test_an_interval_without_a_count_is_until_the_end(
    tmp_path: Path, fields: dict[str, object], wanted: tuple[float, int]
) -> None:
    own = Condition("drift", "drift", success="result < 1", **fields)  # type: ignore[arg-type]
    _, _, context = make(tmp_path, conditions=(own,))
    (planned,) = conditions(context.config, ROLES)
    assert (planned.interval, planned.count) == wanted


def test_a_prometheus_that_tells_no_time_is_an_outage(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, rollout=Rollout(hold=Duration(20)))
    watch = watching(context)
    watch.check()
    metrics.timeless = True
    outcome = watch.watch("mirror", 30, traffic="mirror")
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "does not tell its time" in outcome.summary


@pytest.mark.parametrize(("back", "verdict"), [(140, Verdict.PASS), (200, Verdict.INCONCLUSIVE)])
def test_an_exporter_may_restart_and_may_not_stay_away(tmp_path: Path, back: int, verdict: Verdict) -> None:
    _, metrics, context = make(tmp_path, pack="dcgm")
    there = [Sample({}, 0.0, 0.0)]
    for name in ("gpu-xid", "gpu-row-remap", "gpu-temperature"):
        metrics.instants[gpu_query(name)] = there

    def restarted(passed: float) -> None:
        if passed in (115, back):
            metrics.instants[gpu_query("gpu-temperature")] = there if passed == back else []

    metrics.now = restarted
    watch = watching(context)
    watch.watch("mirror", 300, traffic="mirror")
    assert watch.conclude().verdict is verdict


def test_a_condition_of_the_project_replaces_the_one_of_the_pack_with_its_name(tmp_path: Path) -> None:
    own = Condition("gpu-temperature", "hottest", failure="result > 70")
    _, _, context = make(tmp_path, pack="dcgm", conditions=(own,))
    planned = {condition.name: condition.query for condition in conditions(context.config, ROLES)}
    assert planned == {"gpu-temperature": "hottest"} | {name: gpu_query(name) for name in ("gpu-xid", "gpu-row-remap")}


def plan(world: FakeWorld, **fields: object) -> None:
    world.target.plan = TrafficPlan(live=Colour.BLUE, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{}, {"share": 100}])
def test_no_concurrent_control_no_verdict(tmp_path: Path, fields: Mapping[str, object]) -> None:
    world, _, context = make(tmp_path)
    plan(world, **fields)
    result = verify.run(context, RUN)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no concurrent control" in result.summary


def test_the_verb_watches_the_plan_of_the_target_and_leaves_the_releases_evidence_alone(tmp_path: Path) -> None:
    world, _, context = make(tmp_path)
    plan(world, mirror=True)
    result = verify.run(context, RUN, seconds=40)
    assert (result.verb, result.verdict) == ("verify", Verdict.PASS)
    assert result.links == {"evidence": "verify-evidence.json"}
    assert not evidence(context).exists()
    assert context.runs.result(RUN.id, "verify") == result


def test_named_colours_are_compared_without_asking_the_target(tmp_path: Path) -> None:
    world, metrics, context = make(tmp_path, prometheus="http://prometheus", pack="serving")
    world.target.plan = None
    metrics.colours["green"] = Behaviour(errors=9, traffic="live")
    result = verify.run(context, RUN, seconds=40, candidate="green")
    assert (result.verdict, result.reasons[0].check) == (Verdict.FAIL, "verify.errors")


def test_named_colours_of_which_one_is_silent_get_no_verdict(tmp_path: Path) -> None:
    _, metrics, context = make(tmp_path, prometheus="http://prometheus")
    metrics.colours["green"] = Behaviour(requests=0, traffic="live")
    assert verify.run(context, RUN, seconds=40, candidate="green").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("candidate", "prometheus"), [("red", "http://prometheus"), ("green", "")])
def test_named_colours_need_a_right_name_and_a_prometheus(tmp_path: Path, candidate: str, prometheus: str) -> None:
    _, _, context = make(tmp_path, prometheus=prometheus)
    with pytest.raises(ConfigurationError):
        verify.run(context, RUN, candidate=candidate)


def planning(tmp_path: Path, requests: float, errors: float, **rollout: object) -> Result:
    """What is expected where the champion answered so many requests per second with so many errors, and is alone."""
    world, metrics, context = make(tmp_path, rollout=Rollout(**rollout))  # type: ignore[arg-type]
    plan(world)
    metrics.colours = {"blue": Behaviour()}

    def series(query: str, start: float, end: float, step: float) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
        of_errors = 'response_code_class=~"5"' in query or "le=~" in query
        per_second = errors if "envoy" in query and of_errors else 0.0 if "envoy" not in query and of_errors else requests
        if "le=~" in query:
            per_second = requests - errors
        return {(): [(start + step * number, per_second * step * number) for number in range(int((end - start) / step))]}

    metrics.series = series  # type: ignore[method-assign]
    return verify.run(context, RUN, expect=True)


def test_a_plan_lists_the_conditions(tmp_path: Path) -> None:
    own = (
        Condition("often", "drift", success="result < 1", interval=Duration(5)),
        Condition("thrice", "drift", failure="result > 1", count=3),
        Condition("once", "drift", success="result < 1", dry_run=True),
    )
    world, _, context = make(tmp_path, conditions=own)
    plan(world)
    told = [reason.summary for reason in verify.run(context, RUN, expect=True).reasons if "condition" in reason.check]
    assert told == [
        "condition often is measured every 5 s until the end (result < 1)",
        "condition thrice is measured 3 times, 10 s apart (fails at result > 1)",
        "condition once is measured once (result < 1), a dry run",
    ]


def test_a_dry_run_that_fails_is_told_as_such_and_not_first(tmp_path: Path) -> None:
    own = tuple(Condition(name, name, success="result < 0.1", dry_run=name == "dry") for name in ("dry", "real"))
    _, metrics, context = make(tmp_path, conditions=own)
    metrics.instants |= {name: [Sample({}, 0.5, 0.0)] for name in ("dry", "real")}
    watch = watching(context)
    watch.watch("mirror", 30, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is Verdict.FAIL
    assert judged.reasons[0].check == "verify.condition.real"
    assert [reason.summary for reason in judged.reasons if "dry run, no part of the verdict" in reason.summary]


def test_a_plan_that_cannot_find_the_harm_in_its_time_is_told_with_the_numbers(tmp_path: Path) -> None:
    result = planning(tmp_path, requests=5.0, errors=0.05)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "2 times 1 % of 5 requests/s" in result.summary
    assert "not enough" in result.summary


def test_what_cannot_be_judged_in_its_time_is_said_before_traffic_moves(tmp_path: Path) -> None:
    slow = Condition("drift", "drift", success="result < 1", interval=Duration(600), count=10)
    world, _, context = make(tmp_path, conditions=(slow,))
    watching(context).check()
    assert any("condition drift needs 90 min for 10 measurements" in line for line in world.console.lines)
    assert any("errors: the champion answers no requests now" in line for line in world.console.lines)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"interval": 3.0, "count": 8}, 29),  # at 2, 6, ..., 26 and, as the time is over, at 29
        ({"interval": 4.0, "count": 8}, 30),
        ({"interval": 0.5, "count": 8}, 15),
        ({"interval": 3.0, "count": 2, "initial_delay": 5.0}, 11),
        ({"interval": 3.0, "initial_delay": 5.0}, 7),
        ({"interval": 3.0}, 1),  # shorter than the time between two looks
    ],
)
def test_a_condition_takes_the_time_that_its_looks_take(tmp_path: Path, fields: Mapping[str, float], seconds: float) -> None:
    times = {name: Duration(value) for name, value in fields.items() if name != "count"}
    own = Condition("drift", "drift", success="result < 1", count=int(fields.get("count", 1)), **times)  # type: ignore[arg-type]
    _, metrics, context = make(tmp_path, conditions=(own,))
    metrics.instants["drift"] = [Sample({}, 0.5, 0.0)]

    def late(given: float) -> bool:
        return bool(unfinished([("watch", given, 1.0, 1.0)], conditions(context.config, ROLES), 2.0))

    assert not late(seconds) and late(seconds - 1) is (seconds > 1)
    watch = watching(context)
    watch.watch("mirror", seconds, traffic="mirror")
    (found,) = watch.conclude().evidence["conditions"]  # type: ignore[misc]
    assert found["verdict"] == "pass", found["summary"]


def test_a_plan_with_time_enough_is_told_too_and_nothing_is_recorded(tmp_path: Path) -> None:
    result = planning(tmp_path, requests=200.0, errors=10.0, mirror=Duration(3600))
    assert result.verdict is Verdict.PASS
    assert [reason.check for reason in result.reasons] == ["verify.plan.errors", "verify.plan.latency"]
    assert not list(tmp_path.rglob("*evidence.json"))


@pytest.mark.parametrize(
    ("scrapes", "words"),
    [(0, "are counted for 0 s"), (1, "too little history yet"), (6, "are counted for 50 s"), (20, "answers no requests now")],
)
def test_a_champion_whose_counters_are_hardly_known_is_not_said_to_answer_nothing(
    tmp_path: Path, scrapes: int, words: str
) -> None:
    world, metrics, context = make(tmp_path)
    plan(world)
    metrics.colours = {"blue": Behaviour()}

    def series(query: str, start: float, end: float, step: float) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
        return {(): [(end - step * number, 500.0) for number in range(scrapes)][::-1]} if scrapes else {}

    def instant(query: str, at: float | None = None) -> Sequence[Sample]:
        return [Sample({}, 500.0, 0.0)] if query.startswith("sum(") else Simulated.instant(metrics, query, at)

    metrics.series, metrics.instant = series, instant  # type: ignore[method-assign]
    result = verify.run(context, RUN, expect=True)
    assert result.verdict is Verdict.INCONCLUSIVE and words in result.summary


def test_a_plan_for_a_champion_without_requests_says_so(tmp_path: Path) -> None:
    result = planning(tmp_path, requests=0.0, errors=0.0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "answers no requests now" in result.summary


def predicted(tmp_path: Path, late: float, **rollout: object) -> Result:
    """What is expected where the champion answers 20 predictions a second, so many of them late."""
    rules = PredictionsRule(enabled=True)
    world, metrics, context = make(tmp_path, predictions=rules, rollout=Rollout(**rollout))  # type: ignore[arg-type]
    plan(world)
    metrics.colours = {"blue": Behaviour()}

    def series(query: str, start: float, end: float, step: float) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
        per_second = late if 'label="late"' in query else 20 - late if 'label="punctual"' in query else 20.0
        return {(): [(start + step * number, per_second * step * number) for number in range(int((end - start) / step))]}

    metrics.series = series  # type: ignore[method-assign]
    return verify.run(context, RUN, expect=True)


def test_a_plan_tells_of_the_most_and_the_least_frequent_class(tmp_path: Path) -> None:
    result = predicted(tmp_path, late=0.1, mirror=Duration(900))
    often, rarely = (reason for reason in result.reasons if ".predictions." in reason.check)
    assert (often.check, rarely.check) == ("verify.plan.predictions.late", "verify.plan.predictions.punctual") or (
        (often.check, rarely.check) == ("verify.plan.predictions.punctual", "verify.plan.predictions.late")
    )
    by_check = {reason.check: reason for reason in result.reasons}
    punctual, late = by_check["verify.plan.predictions.punctual"], by_check["verify.plan.predictions.late"]
    assert punctual.verdict is Verdict.PASS and late.verdict is Verdict.INCONCLUSIVE
    assert "times as often or as rarely as now, 99.5 % of 20 predictions/s is found in about" in punctual.summary
    assert "not enough" in late.summary and "0.5 % of 20 predictions/s" in late.summary


def planned_labels(tmp_path: Path, rows: list[str], *, mirror: float = 3600, **fields: object) -> Reason:
    """What is expected of late labels; a row is the age of an answer in seconds, what was said, and its label."""
    rule = AccuracyRule(enabled=True, predictions="answers.csv", **fields)  # type: ignore[arg-type]
    world, metrics, context = make(tmp_path, accuracy=rule, rollout=Rollout(mirror=Duration(mirror)))
    plan(world)
    metrics.colours = {"blue": Behaviour()}
    context.project.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{number},blue,{START.timestamp() - float(row.split(',')[0])},{row.split(',', 1)[1]}" for number, row in enumerate(rows)
    ]
    (context.project / "answers.csv").write_text("\n".join(["request_id,colour,at,prediction,label", *lines]) + "\n")
    result = verify.run(context, RUN, expect=True)
    return next(reason for reason in result.reasons if reason.check == "verify.plan.accuracy")


def labels_of_an_hour(each: float, wrong: int) -> list[str]:
    """An answer each so many seconds, so many of ten wrong; those of the last minute have no label yet."""
    return [
        f"{each * number},a,{'' if each * number < 60 else 'b' if number % 10 < wrong else 'a'}"
        for number in range(int(3600 / each))
    ]


def test_a_plan_tells_how_many_labels_harm_takes_and_how_soon_they_come(tmp_path: Path) -> None:
    told = planned_labels(tmp_path, labels_of_an_hour(0.5, 3), time="at", margin=2.0)
    assert told.verdict is Verdict.PASS
    assert "2 times 30 % takes about" in told.summary and "about 7200 come in an hour, 60 s after the answer" in told.summary
    assert told.numbers["labels_per_hour"] == pytest.approx(7200, rel=0.01)
    assert told.numbers["delay_seconds"] == pytest.approx(60, abs=1)


def test_a_plan_tells_when_labels_come_too_seldom_or_too_late(tmp_path: Path) -> None:
    seldom = planned_labels(tmp_path / "seldom", labels_of_an_hour(60, 3), time="at")
    assert seldom.verdict is Verdict.INCONCLUSIVE and "the 62 min of all stages are not enough, about" in seldom.summary
    assert " h would be" in seldom.summary
    days = [f"{number},a," for number in range(0, 86400, 600)] + [
        f"{86400 + number},a,{'ab'[number % 3 == 0]}" for number in range(5000)
    ]
    late = planned_labels(tmp_path / "late", days, time="at", margin=2.0)
    assert "about 3600 come in an hour, 24.0 h after the answer: it is found in 0 % of releases" in late.summary


@pytest.mark.parametrize(
    ("rows", "verdict", "words"),
    [
        (["60,a,"], Verdict.PASS, "no label of an answer of the champion has come yet"),
        (["60,a,a"] * 9, Verdict.INCONCLUSIVE, "0 of the champion's 9 newest labelled answers are wrong, of which 1.5 times"),
        (["60,a,b", "60,a,a"] * 9, Verdict.INCONCLUSIVE, "as verify.accuracy.time names no column"),
    ],
)
def test_a_plan_says_plainly_what_labels_cannot_tell(tmp_path: Path, rows: list[str], verdict: Verdict, words: str) -> None:
    told = planned_labels(tmp_path, rows)
    assert told.verdict is verdict and words in told.summary


def test_labels_that_cannot_be_read_do_not_fail_a_plan(tmp_path: Path) -> None:
    told = planned_labels(tmp_path, ["60,a,a"], truth="outcome")
    assert told.verdict is Verdict.INCONCLUSIVE and "no column 'outcome'" in told.summary


def test_a_plan_counts_labels_of_counters_over_the_last_hour(tmp_path: Path) -> None:
    rule = AccuracyRule(enabled=True, labelled_query="n{c='{{colour}}'}", wrong_query="k{c='{{colour}}'}", margin=2.0)
    world, metrics, context = make(tmp_path, accuracy=rule, rollout=Rollout(mirror=Duration(3600)))
    plan(world)
    metrics.colours = {"blue": Behaviour()}

    def series(query: str, start: float, end: float, step: float) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
        each = {"n{c='blue'}": 100.0, "k{c='blue'}": 30.0}.get(query, 0.0)
        known = range(int((end - start) / step) - 6, int((end - start) / step) + 1)  # for a minute only
        return {(): [(start + step * number, each * number) for number in known]}

    metrics.series = series  # type: ignore[method-assign]
    result = verify.run(context, RUN, expect=True)
    told = next(reason for reason in result.reasons if reason.check == "verify.plan.accuracy")
    assert told.numbers["labels_per_hour"] == 36000
    assert "180 of the champion's 600 newest labelled answers are wrong" in told.summary
    assert told.verdict is Verdict.PASS, told


def test_each_look_carries_what_the_plots_need(tmp_path: Path) -> None:
    _, _, context = make(tmp_path)
    watching(context).watch("mirror", 10, traffic="mirror")
    look = json.loads(evidence(context).read_bytes())["looks"][-1]
    assert look["users"]["blue"]["requests_per_second"] == 20.0
    assert 0 < look["users"]["green"]["p50_seconds"] < look["users"]["green"]["p99_seconds"] <= 0.1


SCORED = ScoredMetric("queue", "depth{colour='{{colour}}'}", group="load", effect=0.1)


def scored(tmp_path: Path, candidate: float | None, **fields: object) -> tuple[Simulated, Watch, Context]:
    """A release whose score watches a gauge that stands at ``candidate`` for green and at 10 for blue."""
    metric = msgspec.structs.replace(SCORED, **fields)
    _, metrics, context = make(tmp_path, score=ScoreRule(metrics=(metric,), groups={"load": 100.0}))
    metrics.instants["depth{colour='green'}"] = [] if candidate is None else [Sample({}, candidate, 0.0)]
    metrics.instants["depth{colour='blue'}"] = [Sample({}, 10.0, 0.0)]
    return metrics, watching(context), context


@pytest.mark.parametrize(
    ("candidate", "fields", "verdict"),
    [
        (10.5, {}, Verdict.PASS),
        (20.0, {}, Verdict.FAIL),
        (20.0, {"mute": False, "direction": "decrease"}, Verdict.PASS),
        (None, {"critical": True}, Verdict.FAIL),
        (float("nan"), {"critical": True}, Verdict.FAIL),
    ],
)
def test_a_score_takes_part_in_the_verdict(
    tmp_path: Path, candidate: float | None, fields: dict[str, object], verdict: Verdict
) -> None:
    _, watch, context = scored(tmp_path, candidate, **fields)
    assert watch.watch("mirror", 30, traffic="mirror").verdict is verdict
    judged = watch.conclude()
    assert judged.verdict is verdict
    assert {"verify.score", "verify.score.queue"} <= {reason.check for reason in judged.reasons}
    assert verify.replay(evidence(context)) == judged


def test_a_score_of_too_few_looks_is_inconclusive(tmp_path: Path) -> None:
    _, watch, _ = scored(tmp_path, 20.0)
    watch.watch("mirror", 8, traffic="mirror")
    judged = watch.conclude()
    assert (judged.verdict, judged.reasons[0].verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert "too few" in judged.summary


def test_what_one_scrape_answers_at_many_looks_is_one_sample(tmp_path: Path) -> None:
    metrics, watch, context = scored(tmp_path, 20.0)
    metrics.gauges_every = 15
    watch.watch("mirror", 30, traffic="mirror")
    judged = watch.conclude()
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "3 and 3 samples are too few to compare, nothing new was scraped at 12 of 15 looks" in judged.summary
    assert verify.replay(evidence(context)) == judged
    watch.watch("10 %", 60, traffic="mirror")
    assert "n 7 and 7" in watch.conclude().summary


def test_an_outage_is_no_missing_data_of_a_critical_metric(tmp_path: Path) -> None:
    world, metrics, context = make(tmp_path, score=ScoreRule(metrics=(msgspec.structs.replace(SCORED, critical=True, group=""),)))
    for colour in ("green", "blue"):
        metrics.instants[f"depth{{colour='{colour}'}}"] = [Sample({}, 10.0, 0.0)]
    watch = watching(context)
    watch.check()
    world.clock.on_sleep = lambda: setattr(metrics, "unreachable", 10 < world.clock.passed <= 30)
    assert watch.watch("mirror", 60, traffic="mirror").verdict is Verdict.PASS
    assert watch.conclude().verdict is Verdict.PASS
