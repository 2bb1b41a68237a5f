"""Evidence that somebody wrote into: it breaks nothing, and what was changed is told and never a pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs.verify import replay

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "evidence"
SCORED = {"name": "size", "queries": ["a", "b"]}


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], object], name: str = "passed-early") -> Path:
    evidence = msgspec.json.decode((FOLDER / f"{name}.json").read_bytes())
    change(evidence)
    file = tmp_path / "evidence.json"
    file.write_bytes(msgspec.json.encode(evidence))
    return file


def plan(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda evidence: evidence["plan"].update(fields)


def metric(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda evidence: evidence["plan"]["metrics"][0].update(fields)


def look(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda evidence: evidence["looks"][3].update(fields)


def condition(failure: str, value: str = "1") -> Callable[[dict[str, Any]], object]:
    def change(evidence: dict[str, Any]) -> None:
        evidence["plan"]["conditions"] = [{"name": "own", "query": "q", "failure": failure}]
        evidence["looks"][3]["conditions"] = {"own": {"values": [value]}}

    return change


def score(value: str = "1", **fields: object) -> Callable[[dict[str, Any]], object]:
    def change(evidence: dict[str, Any]) -> None:
        evidence["plan"]["score"] = {"metrics": [SCORED], **fields}
        evidence["looks"][3]["scores"] = {"size": {"candidate": [value], "champion": ["1"]}}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (look(counts={"foo": [5, 0, 5, 0]}), "look 4: the plan has no metric named 'foo'"),
        (look(conditions={"foo": {}}), "look 4: the plan has no condition named 'foo'"),
        (look(scores={"foo": {}}), "look 4: the plan has no metric of the score named 'foo'"),
        (look(counts={"errors": [5, 9, 5, 0]}), "look 4: 9 events of 5 requests in 'errors'"),
        (look(counts={"errors": [5, 0, -5, -6]}), "look 4: -6 events of -5 requests in 'errors'"),
        (look(counts={"errors": [2**60, 0, 5, 0]}), "0 events of 1152921504606846976 requests"),
        (look(seconds=-5.0), "look 4: -5 seconds"),
        (look(compared=[1, 2.0]), "look 4: 2 of 1 compared answers differ"),
        (condition("result > 0.5", "abc"), "look 4: 'own' answered 'abc', which is no number"),
        (condition("foo bar"), "cannot read 'foo bar'"),
        (score("abc"), "look 4: 'size' answered 'abc', which is no number"),
        (plan(false_alarm=0.0), "false_alarm 0 is not between 0 and 1"),
        (plan(false_alarm=-1), "false_alarm -1 is not"),
        (plan(metrics=[]), "look 1: the plan has no metric named"),
        (plan(champion="green"), "candidate and champion are both 'green'"),
        (plan(disagreement={"allowed": 0.0}), "allowed disagreement 0 is not"),
        (metric(margin=0.0), "metric 'errors': a margin of 0"),
        (metric(tolerate=2.0), "metric 'errors': tolerate 2 is not"),
        (metric(calibration={"dependence": 0.0}), "metric 'errors': its calibration is none"),
        (lambda all_of_it: all_of_it["plan"].update(metrics=2 * all_of_it["plan"]["metrics"]), "two metrics named 'errors'"),
        (lambda all_of_it: all_of_it["ends"][0].update(looks=10**9), "ends after 1000000000 looks, and there are 93"),
        (lambda all_of_it: all_of_it["ends"][1].update(looks=1), "ends after 1 looks, before"),
        (lambda all_of_it: all_of_it.update(schema=0), "schema 0"),
    ],
)
def test_what_no_watch_records_is_no_evidence(tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    with pytest.raises(ConfigurationError, match="no evidence of a release") as caught:
        replay(changed(tmp_path, change))
    assert words in caught.value.facts["found"]


@pytest.mark.parametrize(
    "change",
    [lambda all_of_it: all_of_it.update(schema=2, looks={}), plan(rules=99), score(rules=99)],
    ids=["schema", "rules", "rules of the score"],
)
def test_evidence_of_a_version_to_come_is_named_as_that(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(ConfigurationError, match="written by a newer version"):
        replay(changed(tmp_path, change))


@pytest.mark.parametrize("name", ["passed", "passed-early", "taken-back-late-by-rules-2"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda all_of_it: all_of_it.pop("judgement"), "there is no recorded verdict to compare with"),
        (lambda all_of_it: all_of_it["judgement"].update(evidence=0.5), "the recorded numbers are not those of its looks"),
        (lambda all_of_it: all_of_it.update(trace={}), "the recorded curves"),
        (lambda all_of_it: all_of_it["trace"]["errors"][0].update(estimate=0.123), "the recorded curves"),
    ],
)
def test_what_differs_from_its_looks_is_inconclusive(
    tmp_path: Path, name: str, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    judged = replay(changed(tmp_path, change, name))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert words in judged.summary
    assert judged.reasons[0].check == "verify.replay"
