"""``gate model``: the candidate against the champion on the same rows, each in the environment it is served in."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from mlpipeline.adapters.scoring import read_holdout
from mlpipeline.config.combinations.model_gate import has_rule
from mlpipeline.config.metrics import NDCG, SCORERS, known_metric
from mlpipeline.core.model_gate import Finding
from mlpipeline.core.scores import METRICS
from mlpipeline.core.verdict import Verdict, failing_first
from mlpipeline.errors import ConfigurationError
from mlpipeline.ports import Artifact
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.model_budget import VERB
from mlpipeline.verbs.model_judging import Judging, fingerprint
from mlpipeline.verbs.model_rows import rules_of
from mlpipeline.verbs.model_subjects import Interpreter, champion_of, served_environment


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
    inputs = fingerprint(
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
    return sorted(findings, key=lambda found: (failing_first(found.verdict), found.check.startswith("latency.")))


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
        if not rules_of(metric).names():
            raise ConfigurationError(
                f"the gate's metric {metric.metric} has no rule",
                tries=("add at_least, at_most, no_worse_than_champion or better_than_champion",),
            )
