"""``gate model``: the candidate against the champion on the same rows, each in the environment it is served in."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpipeline.adapters.scoring import Holdout, Scored, model_columns, read_holdout, score
from mlpipeline.config.model import MetricGate
from mlpipeline.core.answers import Mismatch, Output, answers_of, missing, truth_of
from mlpipeline.core.model_gate import (
    Finding,
    Measured,
    Rules,
    SliceOutcome,
    evidence_row,
    judge,
    judge_latency,
    judge_slices,
)
from mlpipeline.core.resampling import Comparison, compare, identical
from mlpipeline.core.scores import METRICS, Answers, Truth, Undefined, value
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.ports import Artifact
from mlpipeline.record.files import read_own, write_atomically
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERB = "gate-model"
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


def run(context: Context, run: Run, *, interpreter: Interpreter | None = None) -> Result:
    """Scores both models and judges every rule of ``gate``.

    Args:
        interpreter: Where to score; by default the environment that is locked and installed for serving.

    Raises:
        ConfigurationError: The holdout, a column or a rule is not as configured.
        EnvironmentFault: The target cannot say who the champion is, or an environment cannot be installed.
    """
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
    inputs = _fingerprint(model_digest, holdout.digest, champion.digest if champion else "", gate, context.config.package)
    if previous is not None and previous.evidence.get("inputs") == inputs and previous.verdict in {Verdict.PASS, Verdict.FAIL}:
        context.console.say("gate model: nothing changed since the last verdict")
        return previous
    judged = _Judging(context, holdout, model_digest, champion, interpreter or _served_environment)
    findings, evidence = judged.judge(context.project / str(trained.evidence["model"]))
    reasons = [
        Reason(found.check, found.verdict, found.summary, found.numbers, found.sample) for found in _by_importance(findings)
    ]
    facts = {"holdout": holdout.digest, "model": model_digest, **({"champion": champion.digest} if champion else {})}
    return context.finish(run, VERB, started, reasons, evidence={**evidence, "inputs": inputs}, facts=facts)


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
    if not gate.metrics and gate.latency is None:
        raise ConfigurationError(
            "the model gate has a holdout and no rule", tries=("add gate.metrics, or remove gate.holdout to do without the gate",)
        )
    for metric in gate.metrics:
        if metric.metric not in METRICS:
            near = get_close_matches(metric.metric, METRICS, n=1)
            raise ConfigurationError(
                f"there is no metric {metric.metric!r}",
                facts={"metrics": ", ".join(METRICS)},
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


def _served_environment(context: Context, subject: Subject) -> Path:
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
class _Rows:
    """Some rows of the holdout with both models' answers; ``theirs`` is absent without usable ones."""

    truth: Truth
    ours: Answers
    theirs: Answers | None
    column: str = ""
    name: str = ""

    def slice(self, column: str, name: str, rows: NDArray[Any]) -> _Rows:
        theirs = None if self.theirs is None else self.theirs.take(rows)
        return _Rows(self.truth.take(rows), self.ours.take(rows), theirs, column, name)


class _Judging:
    """One judgement: both models' answers, then every rule."""

    def __init__(
        self, context: Context, holdout: Holdout, model_digest: str, champion: Artifact | None, interpreter: Interpreter
    ) -> None:
        self._context = context
        self._gate = context.config.gate
        self._holdout = holdout
        self._model_digest = model_digest
        self._champion = champion
        self._interpreter = interpreter
        self._findings: list[Finding] = []
        self._rows: list[Mapping[str, object]] = []

    def judge(self, model: Path) -> tuple[list[Finding], dict[str, object]]:
        gate = self._gate
        kinds = {METRICS[metric.metric].kind for metric in gate.metrics}
        labels = self._holdout.labels(gate.label)
        for metric in gate.metrics:
            for column in metric.slices:
                self._holdout.need(column, "slice (gate.metrics[].slices)")
        evidence: dict[str, object] = {
            "rows": len(self._holdout),
            "label": gate.label,
            "holdout_digest": self._holdout.digest,
            "holdout_uses": self._count_use(),
        }
        try:
            truth, classes = truth_of(labels, gate.positive, kinds)
        except Mismatch as error:
            raise ConfigurationError(
                f"the label does not fit the gate: {error}", facts={"holdout": self._holdout.path, "label": gate.label}
            ) from error
        ours, latency = self._candidate(model, truth, classes)
        theirs = self._champions(truth, classes) if self._needs_champion() and ours is not None else None
        if self._champion is not None:
            evidence["champion"] = {"digest": self._champion.digest, "model_version": self._champion.model_version}
        if ours is not None:
            for metric in gate.metrics:
                self._metric(metric, _Rows(truth, ours, theirs))
        if latency is not None:
            evidence["latency"] = latency
        evidence["metrics"] = self._rows
        return self._findings, evidence

    @property
    def _probabilities(self) -> bool:
        """Whether a metric needs probabilities."""
        return any(METRICS[metric.metric].kind in {"ranking", "probability"} for metric in self._gate.metrics)

    def _needs_champion(self) -> bool:
        return self._champion is not None and any(_rules(metric).needs_champion for metric in self._gate.metrics)

    def _candidate(self, model: Path, truth: Truth, classes: NDArray[Any]) -> tuple[Answers | None, dict[str, float] | None]:
        """The candidate's answers, absent when it has none (and a finding says why), and its latency."""
        limit = self._gate.latency
        with tempfile.TemporaryDirectory(prefix="mlpipeline-code-") as code:
            self._place_code(Path(code))
            subject = Subject("the candidate", model, code=Path(code))
            python = self._interpreter(self._context, subject)
            self._context.console.say(f"gate model: the candidate predicts {len(self._holdout)} rows")
            try:
                scored = self._score(python, subject, 0 if limit is None else limit.predictions)
            except Failed as failure:
                lines = tuple(failure.facts.get("last output", "").splitlines()[-5:])
                self._findings.append(Finding("candidate.scoring", Verdict.FAIL, failure.what, {}, lines))
                return None, None
        latency = None
        if limit is not None and scored.latency is not None:
            took = scored.latency
            self._findings.append(judge_latency(took.p50_seconds, took.p99_seconds, took.predictions, float(limit.p99)))
            latency = {"p50_seconds": took.p50_seconds, "p99_seconds": took.p99_seconds, "predictions": took.predictions}
        try:
            return self._answers(scored, truth, classes), latency
        except Mismatch as error:
            self._findings.append(
                Finding("candidate.predictions", Verdict.FAIL, f"the candidate's predictions are unusable: {error}")
            )
            return None, latency

    def _answers(self, scored: Scored, truth: Truth, classes: NDArray[Any]) -> Answers:
        output = Output(scored.predictions, scored.probabilities, scored.classes)
        gaps = missing(output)
        if gaps:
            raise Mismatch(f"{gaps} of {len(scored.predictions)} are NaN or empty")
        return answers_of(output, truth, classes)

    def _place_code(self, folder: Path) -> None:
        """The project's files that the model may import, laid out as the package will hold them; no others."""
        project = self._context.project.resolve()
        for name in self._context.config.package.include:
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
        """The champion's answers, from the cache or its bundle; trouble is an error finding, not the candidate's fault."""
        if self._champion is None:
            return None
        bundle = Path(self._champion.path)
        subject = Subject("the champion", bundle / "model", bundle, bundle / "code")
        try:
            scored = self._cached(subject)
            return self._answers(scored, truth, classes)
        except (Failed, Mismatch) as trouble:
            text = trouble.what if isinstance(trouble, Failed) else f"the champion's predictions are unusable: {trouble}"
            self._findings.append(Finding("champion.scoring", Verdict.ERROR, text))
            return None

    def _cached(self, subject: Subject) -> Scored:
        """Predictions of a bundle never change, so it is scored once per holdout."""
        if self._champion is None:
            raise Failed("there is no champion")
        # Predictions kept for a gate that asked for no probabilities would leave a later one without any, for good.
        key = _fingerprint(self._champion.digest, self._holdout.digest, self._probabilities)
        file = self._context.places.state / "scores" / f"{key}.npz"
        known = _load(file, len(self._holdout))
        if known is not None:
            return known
        python = self._interpreter(self._context, subject)
        self._context.console.say(f"gate model: the champion predicts {len(self._holdout)} rows")
        scored = self._score(python, subject, 0)
        write_atomically(file, _encode(scored))
        return scored

    def _score(self, python: Path, subject: Subject, latency_predictions: int) -> Scored:
        gate = self._gate
        columns = model_columns(subject.model) or [name for name in self._holdout.columns if name != gate.label]
        for column in columns:
            self._holdout.need(column, f"input of {subject.name}")
        return score(
            python,
            subject.model,
            self._holdout,
            columns,
            name=subject.name,
            probabilities=self._probabilities,
            latency_predictions=latency_predictions,
            timeout=SCORING_LIMIT,
            import_path=[subject.code] if subject.code is not None and subject.code.is_dir() else [],
        )

    def _metric(self, metric: MetricGate, rows: _Rows) -> None:
        """The metric on all rows, then on each slice."""
        measured = self._measure(_rules(metric), rows)
        findings = self._judged(measured)
        self._findings.extend(findings)
        self._rows.append(evidence_row(measured, findings))
        if measured.candidate is not None:
            for column in metric.slices:
                self._slices(metric, column, rows)

    def _slices(self, metric: MetricGate, column: str, rows: _Rows) -> None:
        policy = {"ignore": None, "inconclusive": Verdict.INCONCLUSIVE, "fail": Verdict.FAIL}[self._gate.too_small_slice]
        outcomes, small = [], []
        for name, chosen in self._holdout.groups(column).items():
            if len(chosen) < metric.min_rows:
                small.append(f"{column}={name} has {len(chosen)} rows")
                continue
            measured = self._measure(_rules(metric), rows.slice(column, name, chosen))
            if measured.candidate is None:
                small.append(f"{column}={name}: {measured.trouble}")
                continue
            findings = tuple(self._judged(measured))
            outcomes.append(SliceOutcome(measured, worst(finding.verdict for finding in findings), findings))
            self._rows.append(evidence_row(measured, findings))
        self._findings.append(judge_slices(metric.metric, column, outcomes, small, policy))

    def _judged(self, measured: Measured) -> list[Finding]:
        missing_champion = Verdict.PASS if self._gate.no_champion == "pass" else Verdict.FAIL
        return judge(measured, has_champion=self._champion is not None, no_champion=missing_champion)

    def _measure(self, rules: Rules, rows: _Rows) -> Measured:
        """Both values and the comparison on these rows; what cannot be computed is told in ``trouble``."""
        measured = Measured(rules, len(rows.truth), rows.column, rows.name)
        try:
            measured = replace(measured, candidate=value(rules.metric, rows.truth, rows.ours))
            if not rules.needs_champion or self._champion is None:
                return measured
            if rows.theirs is None:
                return replace(measured, trouble="the champion gave no usable predictions")
            return replace(measured, compared=self._compare(rules, rows.truth, rows.ours, rows.theirs))
        except Undefined as error:
            return replace(measured, trouble=str(error))

    def _compare(self, rules: Rules, truth: Truth, ours: Answers, theirs: Answers) -> Comparison:
        if self._champion_model() == self._model_digest:
            return identical(rules.metric, truth, ours, rules.confidence)
        return compare(
            rules.metric,
            truth,
            ours,
            theirs,
            confidence=rules.confidence,
            resamples=self._gate.resamples,
            seed=self._gate.seed,
        )

    def _champion_model(self) -> str:
        """The model digest that the champion's own run recorded; empty when that run is not in this checkout."""
        if self._champion is None or not self._champion.run:
            return ""
        trained = self._context.runs.result(self._champion.run, "train")
        return str(trained.evidence.get("model_digest", "")) if trained else ""

    def _count_use(self) -> int:
        """How many candidates this holdout has judged, this one included: each reuse wears it out a little."""
        file = self._context.places.state / "scores" / "uses.json"
        uses = read_own(file, dict[str, list[str]], "the count of the holdout's uses") if file.is_file() else {}
        judged = uses.setdefault(self._holdout.digest, [])
        if self._model_digest not in judged:
            judged.append(self._model_digest)
            write_atomically(file, json.dumps(uses, indent=2).encode() + b"\n")
        return len(judged)


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
