"""One judgement of the model gate: the answers of both models, then every rule."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpipeline.adapters.scoring import Holdout, Scored, model_columns, score
from mlpipeline.config.metrics import NDCG
from mlpipeline.config.sections.model_gate import MetricGate
from mlpipeline.core.answers import Mismatch, Output, answers_of, listed, missing, truth_of
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
from mlpipeline.core.resampling import Comparison, Design, compare, identical, own_bounds
from mlpipeline.core.scores import METRICS, Answers, Kind, Truth, Undefined, value
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.ports import Artifact
from mlpipeline.record.files import read_own, write_atomically
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.model_budget import budget_finding, position_of
from mlpipeline.verbs.model_outside import Outside
from mlpipeline.verbs.model_rows import Group, Rows, rules_of
from mlpipeline.verbs.model_subjects import Interpreter, Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray


SCORING_LIMIT = 3600.0
"""Seconds one model may take to load and predict the holdout."""


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
        if kinds - {"number"} and len(classes) < 2 and not gaps:
            text = f"all {len(labels)} rows of the holdout have the label {listed(classes)}: whoever always says so is right"
            self.findings.append(Finding("holdout.label", Verdict.INCONCLUSIVE, text, {"classes": len(classes)}))
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
                self.holdout.need_plain(metric.by, "ranking (gate.metrics[].by)")
        return found

    # --- the models ---------------------------------------------------------------------------------------------------

    @property
    def _probabilities(self) -> bool:
        """Whether a metric needs probabilities."""
        asked = (METRICS[metric.metric].kind if metric.metric in METRICS else "probability" for metric in self.gate.metrics)
        return any(kind in {"ranking", "probability"} for kind in asked)

    def needs_champion(self) -> bool:
        """Whether a rule is about the champion, and there is one."""
        rules = any(rules_of(metric).needs_champion for metric in self.gate.metrics)
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
        key = fingerprint(self.champion.digest, self.holdout.digest, self._probabilities)
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
        signed = model_columns(subject.model)
        for column in signed:
            rows.need_plain(column, f"input of {subject.name}")
        columns = signed or [name for name in rows.columns if name != self.gate.label]
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
        rules = fingerprint(self.gate)[:16]
        position = position_of(
            self.context.ledger.read(), self.holdout.digest, model=self._model_digest, champion=self.champion.digest, rules=rules
        )
        self.facts = {"comparison": str(position), "rules": rules}
        use = self._use = Use(position, reuse.budget, reuse.correct)
        self.evidence["holdout_budget"] = {"comparison": position, "budget": reuse.budget, "left": use.left}
        if position > 1 or use.used_up:
            self.findings.append(budget_finding(use, reuse.used_up))

    @property
    def use(self) -> Use | None:
        return self._use

    def _corrected(self, metric: MetricGate) -> Rules:
        rules = rules_of(metric)
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


def _numbered(rows: int) -> NDArray[Any]:
    import numpy as np

    return np.arange(rows)


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


def fingerprint(*parts: object) -> str:
    """What these values are, in one word: the same for the same values."""
    return hashlib.sha256(msgspec.json.encode(parts, enc_hook=float)).hexdigest()
