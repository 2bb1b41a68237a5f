"""``gate model``: the candidate against the champion on the same rows, each in the environment it is served in."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpipeline.adapters.scoring import (
    Holdout,
    Job,
    Measurement,
    Scored,
    Side,
    measure_outside,
    model_columns,
    project_python,
    read_holdout,
    score,
)
from mlpipeline.config.combinations.model_gate import has_rule
from mlpipeline.config.metrics import NDCG, SCORERS, is_function, known_metric
from mlpipeline.config.sections.model_gate import MetricGate
from mlpipeline.core.answers import Mismatch, Output, answers_of, missing, truth_of
from mlpipeline.core.gpu import bytes_of
from mlpipeline.core.holdout import Use
from mlpipeline.core.intervals import holm
from mlpipeline.core.model_gate import (
    Finding,
    Measured,
    Rules,
    SliceOutcome,
    evidence_row,
    judge,
    judge_bytes,
    judge_latency,
    judge_shown,
    judge_slices,
)
from mlpipeline.core.resampling import Comparison, Design, compare, enough, identical, of_draws, of_terms, own_bounds
from mlpipeline.core.scores import METRICS, Answers, Kind, Truth, Undefined, value
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.ports import Artifact
from mlpipeline.record.files import read_own, write_atomically
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERB = "gate-model"
OUTSIDE_RESAMPLES = 500
"""How often the rows are drawn anew for a metric of the project's own that is no mean over rows: each draw calls it twice."""
SCORING_LIMIT = 3600.0
"""Seconds one model may take to load and predict the holdout."""


@dataclass(frozen=True)
class Subject:
    """A model to be scored.

    Args:
        name: ``the candidate`` or ``the champion``.
        model: Folder of the MLflow model.
        bundle: Its bundle; absent for the candidate, which is not packaged yet.
        code: Folder its own code is imported from.
    """

    name: str
    model: Path
    bundle: Path | None = None
    code: Path | None = None


Interpreter = Callable[[Context, Subject], Path]
"""Gives the Python of a model's environment."""


def run(context: Context, run: Run, *, interpreter: Interpreter | None = None, plan: bool = False) -> Result:
    """Scores both models and judges every rule of ``gate``.

    Args:
        interpreter: Where to score; by default the environment that is locked and installed for serving.
        plan: Judge nothing: say how many labels the rules need, and which rows to label first.

    Raises:
        ConfigurationError: The holdout, a column or a rule is not as configured.
        EnvironmentFault: The target cannot say who the champion is, or an environment cannot be installed.
    """
    if plan:
        from mlpipeline.verbs.gate_model_plan import run as planned

        return planned(context, run, interpreter=interpreter)
    from mlpipeline.verbs.waive import known_waivers, under_waivers

    started = context.clock.monotonic()
    gate = context.config.gate
    if not gate.holdout:
        reason = Reason("gate.off", Verdict.PASS, "no model gate: gate.holdout is not set")
        return context.finish(run, VERB, started, [reason])
    _check_rules(context)
    trained = context.needed(run, "train", VERB)
    previous = context.runs.result(run.id, VERB)
    champion = champion_of(context)
    if champion is not None and champion.run == run.id and previous is not None:
        return previous
    holdout = read_holdout(context.project / gate.holdout)
    model_digest = str(trained.evidence["model_digest"])
    waivers = known_waivers(context, model_digest)
    waived = [(waiver.entry, waiver.expired(context.clock.now())) for waiver in waivers]
    inputs = _fingerprint(
        model_digest,
        holdout.digest,
        champion.digest if champion else "",
        gate,
        context.config.package,
        *([waived] if waived else []),
    )
    if previous is not None and previous.evidence.get("inputs") == inputs and previous.verdict in {Verdict.PASS, Verdict.FAIL}:
        context.console.say("gate model: nothing changed since the last verdict")
        return previous
    judged = Judging(context, holdout, model_digest, champion, interpreter=interpreter or served_environment)
    findings, evidence = judged.judge(context.project / str(trained.evidence["model"]))
    reasons = [
        Reason(found.check, found.verdict, found.summary, found.numbers, found.sample) for found in _by_importance(findings)
    ]
    reasons, told = under_waivers(context, reasons, waivers, model_digest)
    if told:
        evidence["waivers"] = told
    if changes := changes_since(context, trained, champion):
        evidence["changes"] = changes
    facts = {"holdout": holdout.digest, "model": model_digest, **({"champion": champion.digest} if champion else {})}
    return context.finish(run, VERB, started, reasons, evidence={**evidence, "inputs": inputs}, facts=facts | judged.facts)


def changes_since(context: Context, trained: Result, champion: Artifact | None) -> list[dict[str, str]]:
    """What the candidate was made of that the champion was not, as far as the champion's run is in this checkout."""
    before = context.runs.result(champion.run, "train") if champion is not None and champion.run else None
    if before is None or before.run == trained.run:
        return []
    found = []
    for what in ("commit", "model_digest"):
        old, new = (str(one.evidence.get(what, "")).removeprefix("sha256:")[:12] for one in (before, trained))
        if old != new:
            found.append({"what": what.replace("_", " "), "champion": old or "-", "candidate": new or "-"})
    for what, words in (
        ("data_version", "data"),
        ("params", "parameter"),
        ("environment", "environment"),
        ("metrics", "training metric"),
    ):
        was, now = (_mapping(one.evidence.get(what)) for one in (before, trained))
        found += [
            {"what": f"{words} {name}", "champion": str(was.get(name, "-"))[:40], "candidate": str(now.get(name, "-"))[:40]}
            for name in sorted({*was, *now})
            if was.get(name) != now.get(name)
        ]
    return found


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _by_importance(findings: list[Finding]) -> list[Finding]:
    """The worst first; among equals the metrics before the latency."""
    order = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 3}
    return sorted(findings, key=lambda found: (order[found.verdict], found.check.startswith("latency.")))


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, enc_hook=float)).hexdigest()


def _check_rules(context: Context) -> None:
    gate = context.config.gate
    if not gate.label:
        raise ConfigurationError("gate.holdout is set and gate.label is not", tries=("name the label's column in gate.label",))
    if not has_rule(context.config):
        raise ConfigurationError(
            "the model gate has a holdout and no rule", tries=("add gate.metrics, or remove gate.holdout to do without the gate",)
        )
    for metric in gate.metrics:
        if not known_metric(metric.metric):
            near = get_close_matches(metric.metric, [*METRICS, NDCG, *SCORERS], n=1)
            raise ConfigurationError(
                f"there is no metric {metric.metric!r}",
                facts={
                    "metrics": ", ".join([*METRICS, NDCG]),
                    "also": "any scikit-learn scorer, or module:function of the project",
                },
                tries=(f"did you mean {near[0]}?",) if near else (),
            )
        if not _rules(metric).names():
            raise ConfigurationError(
                f"the gate's metric {metric.metric} has no rule",
                tries=("add at_least, at_most, no_worse_than_champion or better_than_champion",),
            )


def _rules(metric: MetricGate) -> Rules:
    bound = metric.no_worse_than_champion
    return Rules(
        metric=metric.metric,
        at_least=metric.at_least,
        at_most=metric.at_most,
        margin=None if bound is None else float(bound.margin),
        confidence=0.95 if bound is None else float(bound.confidence),
        better=metric.better_than_champion,
        limit_confidence=metric.limit_confidence,
        upwards=metric.larger_is_better if is_function(metric.metric) else True,
    )


def champion_of(context: Context) -> Artifact | None:
    """What users are on now, by the target's own word; raises an EnvironmentFault where that cannot be said."""
    observed = context.world.target().observe()
    if observed.plan is None:
        if observed.colours and observed.router != "up":
            raise EnvironmentFault(
                "the router is down, so nobody can say which model is the champion",
                facts={"service": context.config.service, "router": observed.router},
                likely="the machine was restarted, or the service was stopped",
                tries=("mlpipeline rollback    # starts again what users were on", "mlpipeline status"),
            )
        return None
    live = observed.colours.get(observed.plan.live)
    if live is None:
        raise EnvironmentFault(
            f"users are on {observed.plan.live}, of which the target knows nothing, so there is no champion to compare with",
            facts={"service": context.config.service},
            likely="files of the target were removed",
            tries=("mlpipeline rollback    # starts again what users were on", "mlpipeline status"),
        )
    return live.artifact


def served_environment(context: Context, subject: Subject) -> Path:
    """The environment the model is served in: the bundle's own, or the one that ``package`` will lock for the candidate."""
    from mlpipeline.adapters.bundle import verify
    from mlpipeline.adapters.environment import Environments, python_for
    from mlpipeline.verbs.package import python_version, requirements, wheelhouse

    if subject.bundle is not None:
        verify(subject.bundle)
        return python_for(context.places, subject.bundle, wheelhouse=wheelhouse(context))
    context.console.say("gate model: preparing the environment the candidate will be served in")
    environments = Environments(context.places, wheelhouse(context))
    return environments.install(environments.lock(requirements(context, subject.model), python=python_version(subject.model)))


@dataclass(frozen=True)
class Rows:
    """Some rows of the holdout with both models' answers; ``theirs`` is absent without usable ones."""

    truth: Truth
    ours: Answers
    theirs: Answers | None
    numbers: NDArray[Any]
    design: Design
    column: str = ""
    name: str = ""
    expression: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def slice(self, group: Group) -> Rows:
        chosen = group.rows
        theirs = None if self.theirs is None else self.theirs.take(chosen)
        return Rows(
            self.truth.take(chosen),
            self.ours.take(chosen),
            theirs,
            self.numbers[chosen],
            self.design.take(chosen),
            group.column,
            group.name,
            group.expression,
        )


@dataclass(frozen=True)
class Group:
    """One slice: rows with one value of a column, or those that meet an expression."""

    column: str
    name: str
    rows: NDArray[Any]
    expression: bool = False

    @property
    def spoken(self) -> str:
        return self.column if self.expression else f"{self.column}={self.name}"


class Judging:
    """One judgement: both models' answers, then every rule."""

    def __init__(
        self, context: Context, holdout: Holdout, model_digest: str, champion: Artifact | None, *, interpreter: Interpreter
    ) -> None:
        self.context = context
        self.gate = context.config.gate
        self.holdout = holdout
        self.champion = champion
        self.facts: dict[str, str] = {"compared": "no"}
        self.findings: list[Finding] = []
        self.evidence: dict[str, object] = {}
        self._model_digest = model_digest
        self._interpreter = interpreter
        self._rows: list[Mapping[str, object]] = []
        self._outside = Outside(self)
        self._pythons: dict[str, Path] = {}
        self._use: Use | None = None
        self._unusable: Verdict | None = None
        self.ours: Scored | None = None
        self.theirs: Scored | None = None

    def judge(self, model: Path) -> tuple[list[Finding], dict[str, object]]:
        """Everything; the findings and the evidence."""
        from mlpipeline.verbs.model_checks import check_before, judge_conditions, judge_more

        truth, classes, labelled = self.truth()
        groups = self._groups()
        design = self.design()
        check_before(self, model)
        self.evidence = {
            "rows": len(self.holdout),
            "label": self.gate.label,
            "holdout_digest": self.holdout.digest,
            "holdout_uses": self._count_use(),
        }
        with self.candidate(model) as subject:
            self._candidate(subject)
            ours = self.answers(self.ours, truth, classes) if self.ours is not None else None
            if isinstance(ours, Mismatch):
                text = f"the candidate's predictions are unusable: {ours}"
                self.findings.append(Finding("candidate.predictions", Verdict.FAIL, text))
                ours = None
            theirs = self._champions(truth, classes) if self.needs_champion() and ours is not None else None
            if self.champion is not None:
                self.evidence["champion"] = {"digest": self.champion.digest, "model_version": self.champion.model_version}
            if ours is not None and (self.gate.metrics or self.gate.conditions):
                self._take_use(theirs)
            if ours is not None:
                whole = Rows(truth, ours, theirs, _numbered(len(self.holdout)), design)
                if labelled is None or not self.gate.metrics:
                    self._metrics(whole, groups)
                judge_conditions(self, whole, labelled)
                if labelled is None:
                    judge_more(self, subject, whole)
        self.evidence["metrics"] = self._rows
        return self.findings, self.evidence

    # --- the holdout --------------------------------------------------------------------------------------------------

    def truth(self) -> tuple[Truth, NDArray[Any], NDArray[Any] | None]:
        """The labels for what is to be measured, the classes, and which rows have a label (absent: all have)."""
        gate = self.gate
        kinds: set[Kind] = {METRICS[metric.metric].kind for metric in gate.metrics if metric.metric in METRICS}
        if any(metric.metric == NDCG for metric in gate.metrics):
            kinds.add("number")
        if gate.conditions or gate.fairness:
            kinds.add("classes")
        gaps = bool(gate.conditions) and not gate.metrics
        labels = self.holdout.labels(gate.label, gaps=gaps)
        try:
            truth, classes = truth_of(labels, gate.positive, kinds)
        except Mismatch as error:
            raise ConfigurationError(
                f"the label does not fit the gate: {error}", facts={"holdout": self.holdout.path, "label": gate.label}
            ) from error
        known = self.holdout.labelled(gate.label)
        return truth, classes, None if known.all() else known

    def design(self) -> Design:
        """Entities and strata of the rows."""
        gate = self.gate
        clusters = self.holdout.codes(gate.cluster, "entity (gate.cluster)") if gate.cluster else None
        strata = self.holdout.codes(gate.stratify, "stratum (gate.stratify)") if gate.stratify else None
        if clusters is not None and strata is not None:
            pairs = len({*zip(clusters.tolist(), strata.tolist(), strict=True)})
            if pairs > int(clusters.max()) + 1:
                raise ConfigurationError(
                    f"an entity of {gate.cluster} has rows with different values of {gate.stratify}",
                    facts={"holdout": self.holdout.path},
                    tries=("leave gate.stratify out, or stratify by something that is one for each entity",),
                )
        return Design(clusters, strata)

    def _groups(self) -> dict[str, list[Group]]:
        """The slices of all metrics, by what was written for them; refused here, before anything is predicted."""
        found: dict[str, list[Group]] = {}
        for text in dict.fromkeys(text for metric in self.gate.metrics for text in metric.slices):
            if text in self.holdout.columns or text.isidentifier():
                rows = self.holdout.groups(text)
                found[text] = [Group(text, name, chosen) for name, chosen in rows.items()]
            else:
                found[text] = [Group(text, "", self.holdout.chosen(text), expression=True)]
        for metric in self.gate.metrics:
            if metric.metric == NDCG:
                self.holdout.need(metric.by, "ranking (gate.metrics[].by)")
        return found

    # --- the models ---------------------------------------------------------------------------------------------------

    @property
    def _probabilities(self) -> bool:
        """Whether a metric needs probabilities."""
        asked = (METRICS[metric.metric].kind if metric.metric in METRICS else "probability" for metric in self.gate.metrics)
        return any(kind in {"ranking", "probability"} for kind in asked)

    def needs_champion(self) -> bool:
        """Whether a rule is about the champion, and there is one."""
        rules = any(_rules(metric).needs_champion for metric in self.gate.metrics)
        return self.champion is not None and (rules or bool(self.gate.conditions))

    @contextlib.contextmanager
    def candidate(self, model: Path) -> Iterator[Subject]:
        """The candidate with the project's files that it may import."""
        with tempfile.TemporaryDirectory(prefix="mlpipeline-code-") as code:
            self._place_code(Path(code))
            yield Subject("the candidate", model, code=Path(code))

    def _candidate(self, subject: Subject) -> None:
        """Scores the candidate, and judges its latency, size and memory; a finding says why when it has no answers."""
        limit = self.gate.latency
        try:
            scored = self.predict(subject, self.holdout, latency_predictions=0 if limit is None else limit.predictions)
        except Failed as failure:
            lines = tuple(failure.facts.get("last output", "").splitlines()[-5:])
            self.findings.append(Finding("candidate.scoring", Verdict.FAIL, failure.what, {}, lines))
            return
        self.ours = scored
        if limit is not None and scored.latency is not None:
            took = scored.latency
            self.findings.append(judge_latency(took.p50_seconds, took.p99_seconds, took.predictions, float(limit.p99)))
            self.evidence["latency"] = {
                "p50_seconds": took.p50_seconds,
                "p99_seconds": took.p99_seconds,
                "predictions": took.predictions,
            }
        self._footprint(subject, scored)

    def _footprint(self, subject: Subject, scored: Scored) -> None:
        if self.gate.max_size:
            size = sum(file.stat().st_size for file in subject.model.rglob("*") if file.is_file())
            self.evidence["model_bytes"] = size
            self.findings.append(judge_bytes("model.size", "the model's files have", size, bytes_of(self.gate.max_size)))
        if self.gate.max_memory:
            limit, what = bytes_of(self.gate.max_memory), "loading the model and predicting the holdout took"
            if not scored.memory_bytes:
                self.findings.append(Finding("model.memory", Verdict.ERROR, "the scoring process did not tell its memory"))
                return
            self.evidence["memory_bytes"] = scored.memory_bytes
            self.findings.append(judge_bytes("model.memory", what, scored.memory_bytes, limit))

    def answers(self, scored: Scored, truth: Truth, classes: NDArray[Any]) -> Answers | Mismatch:
        """What the metrics need of a model's output, or why it is unusable."""
        output = Output(scored.predictions, scored.probabilities, scored.classes)
        gaps = missing(output)
        if gaps:
            return Mismatch(f"{gaps} of {len(scored.predictions)} are NaN or empty")
        if truth.codes is None and truth.numbers is None:
            return Answers()  # only metrics of the project's own are asked for
        try:
            return answers_of(output, truth, classes)
        except Mismatch as error:
            return error

    def _place_code(self, folder: Path) -> None:
        """The project's files that the model may import, laid out as the package will hold them; no others."""
        project = self.context.project.resolve()
        for name in self.context.config.package.include:
            place = (project / name).resolve()
            if not place.exists() or not place.is_relative_to(project):
                raise ConfigurationError(
                    "a path in package.include is not in the project",
                    facts={"path": name, "project": project},
                    tries=("correct package.include",),
                )
            link = folder / place.relative_to(project)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(place)

    def _champions(self, truth: Truth, classes: NDArray[Any]) -> Answers | None:
        """The champion's answers, from the cache or its bundle; trouble is not the candidate's fault."""
        if self.champion is None:
            return None
        bundle = Path(self.champion.path)
        subject = Subject("the champion", bundle / "model", bundle, bundle / "code")
        if self._lacks_column(subject):
            return None
        try:
            self.theirs = self._cached(subject)
            answers = self.answers(self.theirs, truth, classes)
            text = f"the champion's predictions are unusable: {answers}"
        except Failed as failure:
            answers, text = Mismatch(failure.what), failure.what
        except (ConfigurationError, EnvironmentFault) as fault:
            if self.gate.champion_unusable == "error":
                raise
            answers, text = Mismatch(fault.what), fault.what
        if isinstance(answers, Mismatch):
            self.theirs = None
            self._give_up("champion.scoring", text, self.gate.champion_unusable)
            return None
        return answers

    def champions_output(self) -> Scored:
        """What the champion says about the holdout, as it came. Raises Failed when it says nothing."""
        bundle = Path(self.champion.path) if self.champion is not None else Path()
        return self._cached(Subject("the champion", bundle / "model", bundle, bundle / "code"))

    def _lacks_column(self, subject: Subject) -> bool:
        """Whether the holdout lacks what the champion needs, where the policy is not to stop at that."""
        policy = self.gate.champion_lacks_column
        if policy == "stop" or not (subject.model / "MLmodel").is_file():
            return False
        lacking = [name for name in model_columns(subject.model) if name not in self.holdout.columns]
        if lacking:
            self._give_up("champion.columns", f"the holdout has no column {', '.join(lacking)} of the champion's inputs", policy)
        return bool(lacking)

    def _give_up(self, check: str, text: str, policy: str) -> None:
        """The champion cannot be compared with: what that means is declared."""
        self._unusable = {"error": Verdict.ERROR, "pass": Verdict.PASS, "fail": Verdict.FAIL}[policy]
        self.findings.append(Finding(check, self._unusable, text))

    def _cached(self, subject: Subject) -> Scored:
        """Predictions of a bundle never change, so it is scored once per holdout."""
        if self.champion is None:
            raise Failed("there is no champion")
        # Predictions kept for a gate that asked for no probabilities would leave a later one without any, for good.
        key = _fingerprint(self.champion.digest, self.holdout.digest, self._probabilities)
        file = self.context.places.state / "scores" / f"{key}.npz"
        known = _load(file, len(self.holdout))
        if known is not None:
            return known
        scored = self.predict(subject, self.holdout)
        write_atomically(file, _encode(scored))
        return scored

    def predict(self, subject: Subject, rows: Holdout, *, latency_predictions: int = 0) -> Scored:
        """What a model says about rows, in its own environment.

        Raises:
            Failed: It cannot.
            ConfigurationError: The rows lack a column it needs.
        """
        python = self._pythons.get(subject.name) or self._interpreter(self.context, subject)
        self._pythons[subject.name] = python
        self.context.console.say(f"gate model: {subject.name} predicts {len(rows)} rows")
        columns = model_columns(subject.model) or [name for name in rows.columns if name != self.gate.label]
        for column in columns:
            rows.need(column, f"input of {subject.name}")
        return score(
            python,
            subject.model,
            rows,
            columns,
            name=subject.name,
            probabilities=self._probabilities,
            latency_predictions=latency_predictions,
            timeout=SCORING_LIMIT,
            import_path=[subject.code] if subject.code is not None and subject.code.is_dir() else [],
        )

    # --- how often the holdout was used -------------------------------------------------------------------------------

    def same_model(self) -> bool:
        """Whether candidate and champion are one model."""
        return self.champion is not None and self._champion_model() == self._model_digest

    def _take_use(self, theirs: Answers | None) -> None:
        """Which comparison on this holdout this one is; none is taken where nothing is compared."""
        if theirs is None or self.champion is None or self.same_model():
            return
        reuse = self.gate.reuse
        rules = _fingerprint(self.gate)[:16]
        position = position_of(
            self.context.ledger.read(), self.holdout.digest, model=self._model_digest, champion=self.champion.digest, rules=rules
        )
        self.facts = {"comparison": str(position), "rules": rules}
        use = self._use = Use(position, reuse.budget, reuse.correct)
        self.evidence["holdout_budget"] = {"comparison": position, "budget": reuse.budget, "left": use.left}
        if position > 1 or use.used_up:
            self.findings.append(_told(use, reuse.used_up))

    @property
    def use(self) -> Use | None:
        return self._use

    def _corrected(self, metric: MetricGate) -> Rules:
        rules = _rules(metric)
        if self._use is None or not self._use.correct or not rules.needs_champion:
            return rules
        return replace(rules, confidence=self._use.confidence(rules.confidence), overall=rules.confidence)

    # --- metrics ------------------------------------------------------------------------------------------------------

    def _metrics(self, whole: Rows, groups: Mapping[str, list[Group]]) -> None:
        self._outside.prepare(whole, groups)
        for metric in self.gate.metrics:
            self._metric(metric, whole, groups)

    def _metric(self, metric: MetricGate, rows: Rows, groups: Mapping[str, list[Group]]) -> None:
        """The metric on all rows, then on each slice."""
        rules = self._corrected(metric)
        measured = self._measure(metric, rules, rows)
        findings = self._judged(measured)
        self.findings.extend(findings)
        self._rows.append(evidence_row(measured, findings))
        if measured.candidate is not None:
            self._slices(metric, rules, rows, groups)

    def _slices(self, metric: MetricGate, rules: Rules, rows: Rows, groups: Mapping[str, list[Group]]) -> None:
        """Measures all slices of the metric, corrects for their number, and judges them by what was written."""
        measured: dict[str, list[Measured]] = {}
        small: dict[str, list[str]] = {}
        for text in metric.slices:
            measured[text], small[text] = [], []
            for group in groups[text]:
                if len(group.rows) < metric.min_rows:
                    small[text].append(f"{group.spoken} has {len(group.rows)} rows")
                    continue
                one = self._measure(metric, rules, rows.slice(group))
                if one.candidate is None:
                    small[text].append(f"{group.spoken}: {one.trouble}")
                else:
                    measured[text].append(one)
        every = [one for found in measured.values() for one in found]
        chances = [one.compared.harm_probability if one.compared is not None else None for one in every]
        known = holm([chance for chance in chances if chance is not None])
        adjusted = iter(known)
        harm = {id(one): next(adjusted) for one, chance in zip(every, chances, strict=True) if chance is not None}
        for text in metric.slices:
            outcomes = [self._outcome(replace(one, harm=harm.get(id(one)))) for one in measured[text]]
            self._rows.extend(evidence_row(outcome.measured, outcome.findings) for outcome in outcomes)
            policy = self._too_small(groups[text])
            self.findings.append(judge_slices(metric.metric, text, outcomes, small[text], policy))

    def _too_small(self, groups: list[Group]) -> Verdict | None:
        """What slices count as that cannot be judged. An expression that no row meets is never ignored: it may be misspelled."""
        policy = {"ignore": None, "inconclusive": Verdict.INCONCLUSIVE, "fail": Verdict.FAIL}[self.gate.too_small_slice]
        empty = any(group.expression and not len(group.rows) for group in groups)
        return Verdict.INCONCLUSIVE if empty and policy is None else policy

    def _outcome(self, measured: Measured) -> SliceOutcome:
        findings = self._judged(measured)
        if self.gate.slice_verdict == "shown" and (shown := judge_shown(measured)) is not None:
            findings = [shown if found.check == shown.check else found for found in findings]
        return SliceOutcome(measured, worst(finding.verdict for finding in findings), tuple(findings))

    def _judged(self, measured: Measured) -> list[Finding]:
        missing_champion = Verdict.PASS if self.gate.no_champion == "pass" else Verdict.FAIL
        return judge(measured, has_champion=self.champion is not None, no_champion=missing_champion)

    def _measure(self, metric: MetricGate, rules: Rules, rows: Rows) -> Measured:
        """Both values and the comparison on these rows; what cannot be computed is told in ``trouble``."""
        measured = Measured(rules, len(rows), rows.column, rows.name, expression=rows.expression, unusable=self._unusable)
        try:
            if metric.metric not in METRICS:
                return self._outside.measured(metric, rows, measured)
            measured = replace(measured, candidate=value(rules.metric, rows.truth, rows.ours))
            measured = replace(measured, own=self._own(rules, rows))
            if not rules.needs_champion or self.champion is None:
                return measured
            if rows.theirs is None:
                return replace(measured, trouble="the champion gave no usable predictions")
            return replace(measured, compared=self._compare(rules, rows, rows.theirs))
        except Undefined as error:
            return replace(measured, trouble=str(error))

    def _own(self, rules: Rules, rows: Rows) -> tuple[float, float, str] | None:
        """Bounds of the candidate's own value where they decide, or are the point of the metric."""
        if rules.limit_confidence is None and rules.metric != "ece":
            return None
        try:
            return own_bounds(
                rules.metric,
                rows.truth,
                rows.ours,
                confidence=rules.limit_confidence or rules.confidence,
                resamples=self.gate.resamples,
                seed=self.gate.seed,
                design=rows.design,
            )
        except Undefined:
            return None

    def _compare(self, rules: Rules, rows: Rows, theirs: Answers) -> Comparison:
        if self.same_model():
            return identical(rules.metric, rows.truth, rows.ours, rules.confidence)
        return compare(
            rules.metric,
            rows.truth,
            rows.ours,
            theirs,
            confidence=rules.confidence,
            resamples=self.gate.resamples,
            seed=self.gate.seed,
            design=rows.design,
            margin=rules.margin or 0.0,
        )

    def _champion_model(self) -> str:
        """The model digest that the champion's own run recorded; empty when that run is not in this checkout."""
        if self.champion is None or not self.champion.run:
            return ""
        trained = self.context.runs.result(self.champion.run, "train")
        return str(trained.evidence.get("model_digest", "")) if trained else ""

    def _count_use(self) -> int:
        """How many candidates this holdout has judged, this one included: each reuse wears it out a little."""
        file = self.context.places.state / "scores" / "uses.json"
        uses = read_own(file, dict[str, list[str]], "the count of the holdout's uses") if file.is_file() else {}
        judged = uses.setdefault(self.holdout.digest, [])
        if self._model_digest not in judged:
            judged.append(self._model_digest)
            write_atomically(file, json.dumps(uses, indent=2).encode() + b"\n")
        return len(judged)


class Outside:
    """Metrics of the gate that :mod:`mlpipeline.core.scores` does not know: measured together, before they are judged."""

    def __init__(self, judging: Judging) -> None:
        self._judging = judging
        self._known: dict[tuple[str, str, str], Measurement] = {}

    def prepare(self, whole: Rows, groups: Mapping[str, list[Group]]) -> None:
        """Measures scorers and functions on all rows and every slice, in one process for each environment."""
        gate = self._judging.gate
        jobs: dict[bool, list[tuple[tuple[str, str, str], Job]]] = {True: [], False: []}
        for metric in gate.metrics:
            if metric.metric in METRICS or metric.metric == NDCG:
                continue
            parts = [whole, *(whole.slice(one) for text in metric.slices for one in groups[text])]
            for rows in parts:
                if len(rows) and (not rows.column or len(rows) >= metric.min_rows):
                    key = (metric.metric, rows.column, rows.name)
                    compared = _rules(metric).needs_champion and rows.theirs is not None and not self._judging.same_model()
                    bounds = compared or metric.limit_confidence is not None
                    draws = min(gate.resamples, OUTSIDE_RESAMPLES) if bounds else 0
                    jobs[is_function(metric.metric)].append((key, Job(metric.metric, rows.numbers, compared, draws)))
        for functions, found in jobs.items():
            if found:
                self._run(functions, found, whole)

    def _run(self, functions: bool, found: list[tuple[tuple[str, str, str], Job]], whole: Rows) -> None:
        judging, context = self._judging, self._judging.context
        if judging.ours is None:
            return
        context.console.say(f"gate model: {len(found)} measurements with {', '.join(sorted({job.metric for _, job in found}))}")
        champion = Side(judging.theirs, whole.theirs.score) if judging.theirs is not None and whole.theirs is not None else None
        try:
            measurements = measure_outside(
                project_python(context.environment or os.environ) if functions else Path(sys.executable),
                [job for _, job in found],
                judging.holdout,
                judging.holdout.labels(judging.gate.label),
                candidate=Side(judging.ours, whole.ours.score),
                champion=champion,
                design=(whole.design.clusters, whole.design.strata),
                seed=judging.gate.seed,
                import_path=[context.project] if functions else [],
            )
        except Failed as failure:
            measurements = [Measurement(trouble=failure.what)] * len(found)
        self._known.update(zip((key for key, _ in found), measurements, strict=True))

    def measured(self, metric: MetricGate, rows: Rows, measured: Measured) -> Measured:
        """The metric on these rows, with the comparison where a rule needs one. Raises Undefined when there is none."""
        if metric.metric == NDCG:
            return self._gain(metric, rows, measured)
        known = self._known.get((metric.metric, rows.column, rows.name))
        if known is None or known.trouble:
            return replace(measured, trouble=known.trouble if known is not None else "there are no rows")
        measured = replace(measured, candidate=known.candidate)
        if metric.limit_confidence is not None and (own := self._own(metric.limit_confidence, known, rows.design)) is not None:
            measured = replace(measured, own=own)
        if not measured.rules.needs_champion or self._judging.champion is None:
            return measured
        if self._judging.same_model():
            return replace(measured, compared=_same(known.candidate, measured.rules.confidence))
        if rows.theirs is None:
            return replace(measured, trouble="the champion gave no usable predictions")
        return replace(measured, compared=self._comparison(known, rows, measured.rules))

    def _comparison(self, known: Measurement, rows: Rows, rules: Rules) -> Comparison:
        gate, sign = self._judging.gate, 1.0 if rules.larger_is_better else -1.0
        if known.terms:
            return of_terms(
                *known.terms,
                larger_is_better=rules.larger_is_better,
                confidence=rules.confidence,
                resamples=gate.resamples,
                seed=gate.seed,
                design=rows.design,
                margin=rules.margin or 0.0,
            )
        if known.draws is None:
            raise Undefined("it was not drawn anew")
        enough(rows.design, len(rows))
        difference = sign * (known.candidate - known.champion)
        return of_draws(
            known.candidate,
            known.champion,
            difference,
            sign * known.draws,
            confidence=rules.confidence,
            margin=rules.margin or 0.0,
        )

    def _own(self, confidence: float, known: Measurement, design: Design) -> tuple[float, float, str] | None:
        """Bounds of the candidate alone, where it was measured alone or by terms."""
        import numpy as np

        gate = self._judging.gate
        if not known.terms:
            return None
        nothing = np.zeros(len(known.terms[0]))
        alone = of_terms(
            known.terms[0],
            nothing,
            larger_is_better=True,
            confidence=confidence,
            resamples=gate.resamples,
            seed=gate.seed,
            design=design,
        )
        return alone.low, alone.high, "bootstrap"

    def _gain(self, metric: MetricGate, rows: Rows, measured: Measured) -> Measured:
        """Normalised discounted cumulative gain: one term per ranking."""
        queries = self._judging.holdout.codes(metric.by, "ranking (gate.metrics[].by)")[rows.numbers]
        _refuse_design_of_rows(rows.design)
        ours = _gains(rows.truth, rows.ours, queries, metric.top)
        measured = replace(measured, candidate=float(ours.mean()))
        rules = measured.rules
        if not rules.needs_champion or self._judging.champion is None:
            return measured
        if self._judging.same_model():
            return replace(measured, compared=_same(float(ours.mean()), rules.confidence))
        if rows.theirs is None:
            return replace(measured, trouble="the champion gave no usable predictions")
        theirs = _gains(rows.truth, rows.theirs, queries, metric.top)
        return replace(measured, compared=self._comparison(Measurement(terms=(ours, theirs)), rows, rules))


def _gains(truth: Truth, answers: Answers, queries: NDArray[Any], top: int) -> NDArray[Any]:
    from mlpipeline.core.ranking import ndcg_terms

    said = answers.score if answers.score is not None else answers.numbers
    if truth.numbers is None or said is None:
        raise Undefined("ndcg needs labels and predictions that are numbers")
    return ndcg_terms(truth.numbers, said, queries, top)


def _refuse_design_of_rows(design: Design) -> None:
    """Whole rankings are drawn; entities and strata of rows have no meaning for them."""
    if not design.plain:
        raise Undefined("ndcg draws whole rankings, so gate.cluster and gate.stratify cannot be set with it")


def _same(own: float, confidence: float) -> Comparison:
    return Comparison(own, own, 0.0, 0.0, 0.0, confidence, "identical")


def _numbered(rows: int) -> NDArray[Any]:
    import numpy as np

    return np.arange(rows)


def _told(use: Use, policy: str) -> Finding:
    """The holdout's budget as a finding: silent only at its first use."""
    numbers: dict[str, bool | int | float | str] = {"comparison": use.position, "budget": use.budget, "left": use.left}
    if use.used_up:
        verdict = {"inconclusive": Verdict.INCONCLUSIVE, "fail": Verdict.FAIL, "warn": Verdict.PASS}[policy]
        text = (
            f"this holdout is used up: comparison {use.position} of a budget of {use.budget} (gate.reuse); "
            "fresh rows are needed before another candidate can be shown to be no worse"
        )
        return Finding("holdout.budget", verdict, text, numbers)
    judged = (
        "each judged with a confidence that keeps the configured one over all of them" if use.correct else "not corrected for"
    )
    text = f"comparison {use.position} of {use.budget} on this holdout, {judged}; {use.left} left"
    return Finding("holdout.budget", Verdict.PASS, text, numbers)


def position_of(entries: Iterable[Entry], holdout: str, *, model: str, champion: str, rules: str) -> int:
    """Which comparison on the holdout this is: the same one again keeps its place.

    Counted from the ledger, which shows an edit. Entries of earlier versions of this program name no place and no rules: each
    pair of models in them counts once.
    """
    seen: dict[tuple[str, str, str], int] = {}
    for entry in entries:
        facts = entry.facts
        if entry.event == VERB and facts.get("holdout") == holdout and facts.get("champion") and _compared(facts, entry):
            seen.setdefault((facts.get("model", ""), facts["champion"], facts.get("rules", "")), len(seen) + 1)
    return seen.get((model, champion, rules), len(seen) + 1)


def _compared(facts: Mapping[str, str], entry: Entry) -> bool:
    """Whether the models were compared. An entry without the number of a comparison is of a version that did not count, or of a
    gate that compared nothing; such a gate writes ``compared: no``."""
    return "comparison" in facts or (facts.get("compared") != "no" and entry.verdict in {"pass", "fail"})


def _encode(scored: Scored) -> bytes:
    import numpy as np

    parts = {"predictions": scored.predictions}
    if scored.probabilities is not None and scored.classes is not None:
        parts |= {"probabilities": scored.probabilities, "classes": scored.classes}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **parts)  # type: ignore[arg-type]  # the stubs take the names for options
    return buffer.getvalue()


def _load(file: Path, rows: int) -> Scored | None:
    """The cached predictions; absent when there are none or the file is damaged."""
    import zipfile

    import numpy as np

    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as parts:
            scored = Scored(parts["predictions"], parts.get("probabilities"), parts.get("classes"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return scored if len(scored.predictions) == rows else None
