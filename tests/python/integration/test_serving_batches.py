"""Requests that are answered together get, to the last bit, the answer that MLflow's own server gives to each alone."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlpipeline.serving.batches import Batcher
from mlpipeline.serving.scoring import JSON, Reply, Scorer, load

NAMES = ("a", "b", "c")


def saved(folder: Path, model: Any, frame: Any, loader: str = "sklearn", **more: Any) -> Scorer:
    import importlib

    from mlflow.models import infer_signature

    flavour = importlib.import_module(f"mlflow.{loader}")
    signature = infer_signature(frame, model.predict(frame))
    if loader == "sklearn":
        more = {"serialization_format": "cloudpickle", **more}
    flavour.save_model(
        model, str(folder), signature=signature, input_example=frame.head(4), pip_requirements=["scikit-learn"], **more
    )
    scorer = load(folder)
    scorer.warm_up()
    return scorer


def frame_and_labels() -> tuple[Any, Any]:
    import numpy
    import pandas

    draw = numpy.random.default_rng(1)
    frame = pandas.DataFrame(draw.normal(size=(200, 3)), columns=list(NAMES))
    return frame, numpy.where(frame["a"] + frame["b"] ** 2 > 0.5, "yes", "no")


def models() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "pipeline": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
        "forest": RandomForestClassifier(5, random_state=0),
        "boosting": HistGradientBoostingClassifier(max_iter=5),
        "numbers of trees": GradientBoostingRegressor(n_estimators=5),
        "a line": LinearRegression(),
    }


def bodies() -> list[bytes]:
    draw = random.Random(7)
    made = []
    for number in range(20):
        rows = [[draw.gauss(0, 1) for _ in NAMES] for _ in range(1 + number % 3)]
        if number % 4:
            made.append(json.dumps({"dataframe_split": {"columns": list(NAMES), "data": rows}}).encode())
        else:
            made.append(json.dumps({"dataframe_records": [dict(zip(NAMES, row, strict=True)) for row in rows]}).encode())
    return made


@pytest.fixture(scope="module", params=list(models()))
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    model = models()[request.param]
    frame, labels = frame_and_labels()
    target = frame["a"] * 3 + frame["b"] if hasattr(model, "coef_") or "Regress" in type(model).__name__ else labels
    return saved(tmp_path_factory.mktemp("model") / "m", model.fit(frame, target), frame)


def together(scorer: Scorer, sent: list[bytes]) -> list[Reply]:
    """As the application asks: together only where the model has shown that it may."""
    return scorer.score_many(sent) if scorer.batches else [scorer.score(body, JSON) for body in sent]


@pytest.fixture(autouse=True, scope="module")
def patient() -> Iterator[None]:
    """A machine that is shared lets a model look slower than it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlpipeline.serving.batches.SHOWN_SECONDS", 60.0)
        patch.setattr("mlpipeline.serving.batches.SHOWN_WITHIN_SECONDS", 300.0)
        yield


def mlflow_text(scorer: Scorer, body: bytes) -> bytes:
    from mlflow.pyfunc import scoring_server

    model = scorer._model
    answer = scoring_server.invocations(body, JSON, model, model.metadata.get_input_schema())
    assert answer.status == 200
    return str(answer.response).encode()


def test_answers_alone_and_together_are_mlflows_bit_for_bit(scorer: Scorer) -> None:
    sent = bodies()
    expected = [mlflow_text(scorer, body) for body in sent]
    assert [scorer.score(body, JSON).body for body in sent] == expected
    replies = together(scorer, sent)
    assert [reply.body for reply in replies] == expected
    assert all(reply.status == 200 for reply in replies)


def test_what_the_metrics_learn_is_the_same_together(scorer: Scorer) -> None:
    sent = bodies()
    alone = [scorer.score(body, JSON).seen for body in sent]
    assert [reply.seen for reply in together(scorer, sent)] == alone


def test_a_request_that_does_not_fit_spoils_no_other(scorer: Scorer) -> None:
    good = bodies()[1]
    sent = [good, b"{not json", b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', good]
    replies = together(scorer, sent)
    assert [reply.status for reply in replies] == [200, 400, 400, 200]
    assert replies[0].body == mlflow_text(scorer, good)
    assert replies[1] == scorer.score(sent[1], JSON)


def test_trees_and_a_pipeline_of_labels_are_answered_together(tmp_path: Path) -> None:
    frame, labels = frame_and_labels()
    made = models()
    for name in ("pipeline", "forest", "boosting"):
        assert saved(tmp_path / name.replace(" ", ""), made[name].fit(frame, labels), frame).batches, name


def test_a_null_that_breaks_the_model_is_only_its_own_requests_fault(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    frame, labels = frame_and_labels()
    scorer = saved(tmp_path / "m", LogisticRegression().fit(frame, labels), frame)
    bad = json.dumps({"dataframe_split": {"columns": list(NAMES), "data": [[1.0, None, 2.0]]}}).encode()
    good = bodies()[1]
    replies = scorer.score_many([good, bad, good])
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert b"NaN" in replies[1].body
    assert replies[1].seen is not None
    assert replies[1].seen.nulls == {"b": 1}


def test_a_model_whose_rows_look_at_each_other_is_never_called_together(tmp_path: Path) -> None:
    """Its answer is the row's rank in the request: another client's rows would change it."""
    from sklearn.base import BaseEstimator, RegressorMixin

    class Ranks(RegressorMixin, BaseEstimator):
        def fit(self, rows: Any, labels: Any) -> Ranks:
            self.fitted_ = True
            return self

        def predict(self, rows: Any) -> Any:
            import numpy

            return numpy.asarray(rows)[:, 0].argsort().astype("float64")

    frame, _ = frame_and_labels()
    scorer = saved(tmp_path / "m", Ranks().fit(frame, None), frame)
    assert not scorer.batches


def test_a_projects_own_code_is_called_request_by_request(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    class Own(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input["a"].to_numpy()

    frame, _ = frame_and_labels()
    mlflow.pyfunc.save_model(
        str(tmp_path / "m"),
        python_model=Own(),
        signature=infer_signature(frame, frame["a"].to_numpy()),
        input_example=frame.head(2),
        pip_requirements=["mlflow"],
    )
    scorer = load(tmp_path / "m")
    scorer.warm_up()
    assert not scorer.batches


# --- the batcher alone ------------------------------------------------------------------------------------------------


class Model:
    """Answers bodies with themselves and notes what came together; waits while ``gate`` is closed."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.gate = threading.Event()

    def __call__(self, bodies: Sequence[bytes]) -> list[Reply]:
        self.calls.append(list(bodies))
        assert self.gate.wait(60)
        return [Reply(200, body) for body in bodies]


def test_what_comes_in_while_the_model_is_busy_is_taken_together() -> None:
    async def scenario() -> None:
        model, released = Model(), []
        with ThreadPoolExecutor(2) as pool:
            batcher = Batcher(pool, 1, lambda: released.append(1))
            asked = [asyncio.create_task(batcher.answer(b"0", model))]
            while not model.calls:
                await asyncio.sleep(0.001)
            asked += [asyncio.create_task(batcher.answer(str(number).encode(), model)) for number in range(1, 6)]
            await asyncio.sleep(0)
            asked[3].cancel()
            await asyncio.sleep(0)
            model.gate.set()
            answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [len(call) for call in model.calls] == [1, 4]
        assert b"3" not in model.calls[1]
        assert [one.body if isinstance(one, Reply) else None for one in answers] == [b"0", b"1", b"2", None, b"4", b"5"]
        assert len(released) == 6

    asyncio.run(scenario())


def test_a_model_that_breaks_the_call_itself_answers_nobody_but_frees_every_place() -> None:
    async def scenario() -> None:
        released: list[int] = []

        def broken(bodies: Sequence[bytes]) -> list[Reply]:
            raise RuntimeError("no")

        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(pool, 1, lambda: released.append(1))
            answers = await asyncio.gather(*(batcher.answer(b"x", broken) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in answers] == [RuntimeError] * 3
        assert len(released) == 3

    asyncio.run(scenario())
