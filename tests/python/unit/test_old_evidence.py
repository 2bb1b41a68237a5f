"""Evidence that earlier versions recorded. Never written anew: a change that breaks it needs rules of its own beside the old."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlpipeline.core.judge import RULES
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs.verify import replay
from mlpipeline.verbs.verify_evidence import Evidence, folded

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "evidence"
VERDICTS = {
    "passed": Verdict.PASS,
    "failed": Verdict.FAIL,
    "taken-back-late": Verdict.FAIL,
    "taken-back-late-by-rules-2": Verdict.FAIL,
    "taken-back-late-by-rules-3": Verdict.FAIL,
    "taken-back-late-by-rules-4": Verdict.FAIL,
    "taken-back-late-by-rules-5": Verdict.FAIL,
    "taken-back-at-the-last-look": Verdict.FAIL,
    "passed-early": Verdict.PASS,
}


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_old_evidence_is_judged_as_it_was_to_the_last_byte(name: str) -> None:
    recorded = (FOLDER / f"{name}.json").read_bytes()
    old = msgspec.json.decode(recorded, type=Evidence)
    judge = folded(old)
    trace = {metric: tuple(state.trace) for metric, state in judge.metrics.items()}
    again = msgspec.structs.replace(old, trace=trace, judgement=judge.judgement())
    assert msgspec.json.encode(again) + b"\n" == recorded


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_old_evidence_replays_to_its_verdict(name: str) -> None:
    judged = replay(FOLDER / f"{name}.json")
    assert judged.verdict is VERDICTS[name]
    assert "verify.replay" not in {reason.check for reason in judged.reasons}


def test_a_last_look_in_evidence_of_rules_that_know_none_is_refused(tmp_path: Path) -> None:
    late = msgspec.json.decode((FOLDER / "taken-back-at-the-last-look.json").read_bytes(), type=Evidence)
    file = tmp_path / "evidence.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(late, plan=msgspec.structs.replace(late.plan, rules=4))))
    with pytest.raises(ConfigurationError, match="no evidence of a release"):
        replay(file)


def test_there_is_evidence_of_every_rule() -> None:
    plans = [msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Evidence).plan for name in VERDICTS]
    assert {plan.rules for plan in plans} == set(range(1, RULES + 1))


def test_every_recorded_file_is_replayed() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(VERDICTS)
