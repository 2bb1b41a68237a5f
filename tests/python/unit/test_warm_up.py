from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipeline.serving import scoring
from mlpipeline.serving.repeating import repeated
from mlpipeline.serving.scoring import load
from tiny_model import save_tiny_model


@pytest.mark.parametrize(
    ("example", "name"),
    [
        ({"dataframe_split": {"index": [0, 1], "columns": ["a"], "data": [[1], [2]]}}, "dataframe_split"),
        ({"dataframe_records": [{"a": 1}, {"a": 2}], "params": {"k": [1]}}, "dataframe_records"),
        ({"inputs": {"a": [1, 2], "b": [3, 4]}}, "inputs"),
        ({"instances": [[1], [2]]}, "instances"),
    ],
)
def test_the_example_is_repeated_up_to_the_largest_request(example: dict[str, object], name: str) -> None:
    found = json.loads(repeated(json.dumps(example).encode(), 5))
    value = found[name]["data"] if name == "dataframe_split" else found[name]
    lengths = {len(column) for column in value.values()} if isinstance(value, dict) else {len(value)}
    assert lengths == {5}
    assert found.get("params") == example.get("params") and "index" not in found.get("dataframe_split", {})


def test_the_largest_request_is_answered_before_the_model_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = load(save_tiny_model(tmp_path / "model"))
    sizes: list[int] = []
    real = scorer.score

    def counted(body: bytes, kind: str) -> scoring.Reply:
        sizes.append(len(json.loads(body)["dataframe_split"]["data"]))
        return real(body, kind)

    monkeypatch.setattr(scorer, "score", counted)
    assert set(scorer.warm_up(700).labels) == {"late", "punctual"}
    assert sizes == [3, 700]
    (tmp_path / "model" / "serving_input_example.json").unlink()
    with pytest.raises(RuntimeError, match="without an input example"):
        scorer.warm_up(700)
