"""Records of made-up releases, as the verbs write them, for tests of what is made out of records."""

from __future__ import annotations

import math

import numpy as np

from mlpipeline.core.judge import Judge, Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.reports.release import Recorded

BEGIN = 1_772_334_000.0
RUN = Run(
    id="20260301-030000-1a2b3c4",
    service="flights",
    commit="1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d",
    created="2026-03-01T03:00:00Z",
    reason="commit",
    requester="ada",
)


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def result(verb: str, verdict: Verdict, summary: str, *reasons: Reason, **evidence: object) -> Result:
    return Result(
        verb=verb,
        service=RUN.service,
        run=RUN.id,
        verdict=verdict,
        summary=summary,
        reasons=reasons,
        evidence=evidence,
        started="2026-03-01T03:00:05Z",
        seconds=4.25,
        worker="0.1.0",
    )


def row(name: str, numbers: tuple[float, float, float, float, float], verdict: str, piece: str = "") -> dict[str, object]:
    candidate, champion, difference, low, high = numbers
    measured: dict[str, object] = {"name": name, "rows": 1840 if piece else 5523, "rules": ["no_worse_than_champion margin 0.01"]}
    measured |= {"candidate": candidate, "champion": champion, "difference": difference, "low": low, "high": high}
    measured |= {"confidence": 0.95, "verdict": verdict, "method": "delong"}
    return measured | ({"slice": piece} if piece else {})


def offline(verdict: Verdict = Verdict.PASS) -> dict[str, Result]:
    """The steps up to the model gate."""
    good = verdict is Verdict.PASS
    auc = (0.771, 0.725, 0.046, 0.0372, 0.0551) if good else (0.666, 0.685, -0.019, -0.0271, -0.0112)
    words = "better by 0.046 [+0.0372, +0.0551]" if good else "worse by 0.019 [-0.0271, -0.0112]; worse than the allowed 0.01"
    check = "metric.roc_auc.no_worse_than_champion"
    return {
        "gate-data": result(
            "gate-data",
            Verdict.PASS,
            "41 checks of 2 files pass",
            Reason("data.flights.schema", Verdict.PASS, "all 19 columns have their types"),
            data_version={"data/flights.csv": "md5:" + "7" * 32},
            files={
                "flights": {
                    "path": "data/flights.csv",
                    "rows": 336776,
                    "columns": 19,
                    "expectations": 33,
                    "failed": 0,
                    "engine": "query",
                },
                "weather": {
                    "path": "data/weather.csv",
                    "rows": 26115,
                    "columns": 15,
                    "expectations": 8,
                    "failed": 0,
                    "engine": "query",
                },
            },
        ),
        "train": result(
            "train",
            Verdict.PASS,
            "trained in 42.1 s",
            model_digest=digest("b"),
            environment={"python": "3.11.2", "fingerprint": digest("e")},
        ),
        "gate-model": result(
            "gate-model",
            verdict,
            f"roc_auc {auc[0]} against the champion's {auc[1]}: {words}",
            Reason(check, verdict, f"roc_auc {auc[0]} against the champion's {auc[1]}: {words}", {"margin": 0.01}),
            Reason("metric.roc_auc.slice.origin", Verdict.PASS, "all 3 slices pass; worst is origin=JFK: better by +0.031"),
            Reason(
                "latency.p99",
                Verdict.PASS,
                "single predictions take 3.1 ms (p50), 6.8 ms (p99 of 200); within the limit of 50 ms",
            ),
            rows=5523,
            label="late",
            holdout_digest=digest("d"),
            holdout_uses=3,
            champion={"digest": digest("c"), "model_version": "1"},
            metrics=[
                row("roc_auc", auc, str(verdict)),
                row("log_loss", (0.412, 0.447, 0.035, 0.021, 0.05), "pass"),
                row("accuracy", (0.861, 0.858, 0.003, -0.0021, 0.0082), "pass"),
                row("roc_auc", (0.781, 0.73, 0.051, 0.033, 0.068), "pass", "origin=EWR"),
                row("roc_auc", (0.752, 0.721, 0.031, 0.012, 0.049), "pass", "origin=JFK"),
            ],
        ),
    }


def released(verdict: Verdict = Verdict.PASS) -> dict[str, Result]:
    """All steps, or those of a release that was taken back in production."""
    good = verdict is Verdict.PASS
    steps = offline() | {
        "package": result("package", Verdict.PASS, "bundle of 12 files, 3.1 MB", digest=digest("f"), environment=digest("9")),
        "register": result("register", Verdict.PASS, "flights version 2", name="flights", version="2"),
        "deploy": result(
            "deploy", Verdict.PASS, "ready on green", colour="green", digest=digest("f"), model_version="2", first=False
        ),
        "approve": result(
            "approve",
            Verdict.PASS,
            "approved by grace",
            approvals=[{"who": "grace", "when": "2026-03-01T03:04:00Z", "why": "better on summer", "decision": "approve"}],
        ),
        "switch": result(
            "switch",
            verdict,
            "users are on green; blue stood still after 4 ms"
            if good
            else "errors: candidate 9.1 % (52 of 571), champion 0 % of 611",
            colour="green",
            stages=[
                {
                    "name": "mirror",
                    "plan": {"live": "blue", "mirror": True},
                    "verdict": "pass",
                    "seconds": 30.4,
                    "moved": {"applied_seconds": 0.011, "old_last_seconds": 0.0},
                },
                {
                    "name": "10 %",
                    "plan": {"live": "blue", "share": 10},
                    "verdict": str(verdict),
                    "seconds": 30.2,
                    "moved": {"applied_seconds": 0.008, "old_last_seconds": 0.004},
                },
            ],
        ),
    }
    judged = "harm is excluded for every metric" if good else "errors: candidate 9.1 % (52 of 571), champion 0 % of 611"
    steps["verify"] = result("verify", verdict, judged, Reason("verify.errors", verdict, judged))
    return steps | {"settle": result("settle", Verdict.PASS, "version 2 is champion")} if good else steps


def watched(verdict: Verdict = Verdict.PASS) -> Recorded:
    """Production evidence that a real judge has judged; a failing candidate answers 8 % with errors from the first step on."""
    random = np.random.default_rng(4)
    metrics = (
        MetricPlan("errors", "answered with 5xx", "serving", 0.001, 2.0),
        MetricPlan("latency", "slower than 0.25 s", "serving", 0.01, 2.0, bound=0.25),
    )
    plan = Plan(RUN.service, RUN.id, "green", "blue", 0.01, 2.0, 50, metrics)
    judge, looks, ends, at = Judge(plan), [], [], BEGIN
    for stage, share, seconds in (("mirror", 0, 30), ("10 %", 10, 30), ("50 %", 50, 30), ("bake", 90, 60)):
        looks.append(Look(at, stage, "live" if share else "mirror", 0))
        judge.add(looks[-1])
        for _ in range(seconds // 2):
            at += 2.0
            looks.append(_look(random, at, stage, share, broken=verdict is Verdict.FAIL and share > 0))
            if judge.add(looks[-1]) is Verdict.FAIL:
                break
        ends.append(StageEnd(stage, judge.looks, not judge.failed))
        judge.end(ends[-1])
        if judge.failed:
            break
    trace = {name: tuple(state.trace) for name, state in judge.metrics.items()}
    return Recorded(plan, tuple(looks), tuple(ends), judge.judgement(), trace)


def _look(random: np.random.Generator, at: float, stage: str, share: int, *, broken: bool) -> Look:
    mine, theirs = int(random.poisson(2 * (share or 100) * 0.6)), int(random.poisson(2 * (100 - share) * 0.6))
    errors = int(random.binomial(mine, 0.08)) if broken else 0
    users = {}
    for colour, requests, slow in (("green", mine, 1.4 if broken else 0.95), ("blue", theirs, 1.0)):
        users[colour] = {"requests_per_second": requests / 2} | (
            {
                "p50_seconds": slow * (0.0042 + 0.0006 * math.sin(at / 7) + 0.0002 * float(random.standard_normal())),
                "p99_seconds": slow * (0.021 + 0.004 * abs(float(random.standard_normal()))),
            }
            if requests
            else {}
        )
    counts = {"errors": (mine, errors, theirs, 0), "latency": (mine, 0, theirs, 0)}
    return Look(at, stage, "live" if share else "mirror", 2.0, counts, {}, {}, users)


def entries() -> list[Entry]:
    return [
        Entry(
            1, "2026-03-01T03:00:05Z", RUN.service, "gate-data", RUN.id, "pass", "41 checks of 2 files pass", "ada", hash="a" * 64
        ),
        Entry(2, "2026-03-01T03:05:05Z", RUN.service, "live", RUN.id, facts={"colour": "green", "share": "10"}, hash="b" * 64),
    ]
