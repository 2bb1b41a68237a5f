"""Every input form is answered as MLflow's own scoring server answers it, word for word; the exceptions have their own tests."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from mlpipeline.serving.metrics import VALUE_BUCKETS
from mlpipeline.serving.rows import reader_for
from mlpipeline.serving.scoring import CSV, JSON, PARQUET, Scorer, load
from tiny_model import COLUMNS, save_tiny_model, tiny_request

ROWS = [[100.0, 5.0, 7.0], [2000.5, None, 23.0], [300.0, 90.0, 0.0]]
RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]


def as_json(**content: Any) -> bytes:
    return json.dumps(content).encode()


def as_parquet() -> bytes:
    import pandas

    buffer = io.BytesIO()
    pandas.DataFrame(ROWS, columns=list(COLUMNS)).to_parquet(buffer)
    return buffer.getvalue()


def mlflow_answer(scorer: Scorer, body: bytes, content_type: str) -> tuple[int, object]:
    """What MLflow's server would send, made by its own function as its own endpoint calls it."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    model = scorer._model
    try:
        answer = scoring_server.invocations(body, content_type, model, model.metadata.get_input_schema())
    except MlflowException as fault:
        told = json.loads(fault.serialize_as_json())
        return fault.get_http_status_code(), {"error_code": told["error_code"], "message": told["message"]}
    return answer.status, json.loads(answer.response) if answer.mimetype == JSON else answer.response


def our_answer(scorer: Scorer, body: bytes, content_type: str) -> tuple[int, object]:
    reply = scorer.score(body, content_type)
    return reply.status, json.loads(reply.body) if reply.media_type == JSON else reply.body.decode()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return load(save_tiny_model(tmp_path_factory.mktemp("tiny") / "model"))


GOOD = {
    "split": (as_json(dataframe_split={"columns": list(COLUMNS), "data": ROWS}), JSON),
    "split with index": (as_json(dataframe_split={"index": [5, 6, 7], "columns": list(COLUMNS), "data": ROWS}), JSON),
    "split, other order and one column more": (
        as_json(dataframe_split={"columns": ["hour", "extra", "delay", "distance"], "data": [[1.0, "x", 2.0, 3.0]]}),
        JSON,
    ),
    "records": (as_json(dataframe_records=RECORDS), JSON),
    "instances": (as_json(instances=RECORDS), JSON),
    "inputs": (as_json(inputs={name: [1.0, 2.0] for name in COLUMNS}), JSON),
    "with a charset": (tiny_request(2), "application/json; charset=UTF-8"),
    "csv": (b"distance,delay,hour\n100,5,7\n200,,8\n", CSV),
    "csv with a charset": (b"distance,delay,hour\n100,5,7\n", "text/csv; charset=utf-8"),
    "parquet": (as_parquet(), PARQUET),
}

BAD = {
    "no json": (b"{not json", JSON),
    "not utf-8": (b"\xff\xfe{}", JSON),
    "empty": (b"", JSON),
    "a list": (b"[1, 2]", JSON),
    "a number": (b"3", JSON),
    "no known key": (as_json(data=[1]), JSON),
    "two keys": (as_json(inputs=[1], instances=[1]), JSON),
    "records are no list": (as_json(dataframe_records={"distance": 1}), JSON),
    "split is no object": (as_json(dataframe_split=[1, 2]), JSON),
    "a column is missing": (as_json(dataframe_split={"columns": ["distance"], "data": [[1.0]]}), JSON),
    "a text for a number": (as_json(dataframe_records=[{**RECORDS[0], "delay": "late"}]), JSON),
    "csv not utf-8": (b"\xff\xfe,1", CSV),
    "csv with text for a number": (b"distance,delay,hour\nfar,5,7\n", CSV),
    "csv empty": (b"", CSV),
    "no parquet": (b"PAR?", PARQUET),
    "another type": (b"<xml/>", "application/xml"),
    "another charset": (tiny_request(), "application/json; charset=latin-1"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_input_gets_the_same_predictions(tiny: Scorer, name: str) -> None:
    ours = our_answer(tiny, *GOOD[name])
    assert ours[0] == 200
    assert ours == mlflow_answer(tiny, *GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_the_same_error(tiny: Scorer, name: str) -> None:
    ours = our_answer(tiny, *BAD[name])
    assert ours[0] in {400, 415}
    assert ours == mlflow_answer(tiny, *BAD[name])


def test_in_one_batch_every_request_gets_what_it_gets_alone_from_mlflow(tiny: Scorer) -> None:
    """Good and bad ones side by side: no schema error of one client reaches another."""
    assert tiny.score_many([tiny_request(), tiny_request(2)])[0].status == 200
    asked = [case for case in (*GOOD.values(), *BAD.values()) if case[1] == JSON]
    replies = tiny.score_many([body for body, _ in asked])
    ours = [(reply.status, json.loads(reply.body)) for reply in replies]
    assert ours == [mlflow_answer(tiny, *case) for case in asked]


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataframe_records":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"dataframe_split": {"columns": [{"a": 1}], "data": [[1]]}}',
    ],
    ids=["too deep", "a column that is no name"],
)
def test_a_body_that_breaks_the_parsing_is_no_fault_of_the_model(tiny: Scorer, body: bytes) -> None:
    reply = tiny.score(body, JSON)
    assert reply.status == 400
    assert json.loads(reply.body)["message"].startswith("The request cannot be read.")
    assert reply.problem


def test_no_content_type_and_unknown_parameters_are_415(tiny: Scorer) -> None:
    assert tiny.score(tiny_request(), "").status == 415
    assert tiny.score(tiny_request(), "application/json; profile=x").status == 415


def test_nulls_are_counted_per_column(tiny: Scorer) -> None:
    for name in ("split", "records", "instances", "parquet"):
        seen = tiny.score(*GOOD[name]).seen
        assert seen is not None
        assert dict(seen.nulls) == {"delay": 1}, name
        assert sum(seen.labels.values()) == 3


def test_the_input_example_warms_up_and_names_all_classes(tiny: Scorer) -> None:
    assert set(tiny.warm_up().labels) == {"late", "punctual"}


def test_a_model_that_raises_is_a_500_without_a_stack_trace(tmp_path: Path) -> None:
    broken = load(save_tiny_model(tmp_path / "model", broken=True))
    assert broken.score(tiny_request(), JSON).status == 200
    reply = broken.score(tiny_request(nulls=True), JSON)
    assert reply.status == 500
    told = json.loads(reply.body)
    assert told["error_code"] == "INTERNAL_ERROR"
    assert "contains NaN" in told["message"]
    assert set(told) == {"error_code", "message"}
    assert reply.details.startswith("Traceback")
    assert reply.seen is not None
    assert dict(reply.seen.nulls) == {"delay": 1}


def saved(folder: Path, model: object, **options: Any) -> Scorer:
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(str(folder), python_model=model, pip_requirements=["mlflow"], **options)
    return load(folder)


def model_of(function: Any, *, params: bool = False) -> object:
    from mlflow.pyfunc import PythonModel

    if params:

        class WithParams(PythonModel):  # type: ignore[misc]
            def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
                return function(model_input, params)

        return WithParams()

    class Plain(PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any) -> Any:
            return function(model_input)

    return Plain()


def body_of(form: str, names: list[str], rows: list[list[Any]]) -> bytes:
    if form == "records":
        return as_json(dataframe_records=[dict(zip(names, row, strict=True)) for row in rows])
    if form == "split in another order":
        return as_json(dataframe_split={"columns": names[::-1], "data": [row[::-1] for row in rows]})
    return as_json(dataframe_split={"columns": names, "data": rows})


def frame_of_mlflow(schema: Any, body: bytes) -> Any:
    """What MLflow hands to a model with this signature."""
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc import scoring_server

    data, _ = scoring_server._split_data_and_params(body)
    return _enforce_schema(scoring_server.infer_and_parse_data(data, schema), schema)


@pytest.mark.parametrize("form", ["split", "split in another order", "records"])
@pytest.mark.parametrize(
    ("types", "rows"),
    [
        ("double double", [[1, 2.5], [None, 3]]),
        ("double double", [[1, 2]]),
        ("double double", [[None, None]]),
        ("double double", [[2**70, math.inf], [math.nan, -0.0]]),
        ("long string", [[1, "x"], [2, "ü"]]),
        ("boolean double", [[True, 1]]),
        ("string double", [["", None]]),
        ("long long", [[2**63 - 1, -(2**63)]]),
    ],
)
def test_the_short_way_hands_the_model_the_same_frame(types: str, rows: list[list[Any]], form: str) -> None:
    import pandas
    from mlflow.types import ColSpec, Schema

    schema = Schema([ColSpec(kind, name) for kind, name in zip(types.split(), "ab", strict=True)])
    reader = reader_for(schema)
    assert reader is not None
    body = body_of(form, ["a", "b"], rows)
    frame = reader.read(body)
    assert frame is not None
    pandas.testing.assert_frame_equal(frame, frame_of_mlflow(schema, body))


@pytest.mark.parametrize(
    "body",
    [
        as_json(dataframe_split={"columns": ["a", "b"], "data": [[1.0, True]]}),
        as_json(dataframe_split={"columns": ["a", "b"], "data": [[1.0, "2"]]}),
        as_json(dataframe_split={"columns": ["a", "b"], "data": [[1.0]]}),
        as_json(dataframe_split={"columns": ["a", "a"], "data": [[1.0, 2.0]]}),
        as_json(dataframe_split={"columns": ["a", "b", "c"], "data": [[1.0, 2.0, 3.0]]}),
        as_json(dataframe_split={"columns": ["a", ["b"]], "data": [[1.0, 2.0]]}),
        as_json(dataframe_split={"columns": ["a", "b"], "data": []}),
        as_json(dataframe_split={"columns": ["a", "b"], "index": [3], "data": [[1.0, 2.0]]}),
        as_json(dataframe_records=[{"a": 1.0}]),
        as_json(dataframe_records=[{"a": 1.0, "b": [2.0]}]),
        as_json(dataframe_records=[{"a": 1.0, "b": 2.0}], params={"x": 1}),
        as_json(dataframe_records=[{"a": 1.0, "b": 10**400}]),
        as_json(inputs={"a": [1.0], "b": [2.0]}),
        b"{",
        b"\xff",
        b"[]",
    ],
)
def test_whatever_is_not_plain_is_left_to_mlflow(body: bytes) -> None:
    from mlflow.types import ColSpec, Schema

    reader = reader_for(Schema([ColSpec("double", "a"), ColSpec("double", "b")]))
    assert reader is not None
    assert reader.read(body) is None


@pytest.mark.parametrize("kind", ["integer", "float", "datetime", "binary"])
def test_a_signature_with_types_that_need_a_cast_is_left_to_mlflow(kind: str) -> None:
    from mlflow.types import ColSpec, Schema

    assert reader_for(Schema([ColSpec(kind, "a")])) is None
    assert reader_for(Schema([ColSpec("double", "a", required=False)])) is None


def test_a_model_without_signature_takes_every_form(tmp_path: Path) -> None:
    scorer = saved(tmp_path / "model", model_of(lambda data: [len(data)]))
    assert scorer.columns == ()
    for body in (as_json(inputs=[[1, 2], [3, 4]]), as_json(instances=[[1, 2]]), tiny_request(3)):
        ours = our_answer(scorer, body, JSON)
        assert ours[0] == 200
        assert ours == mlflow_answer(scorer, body, JSON)


def test_a_tensor_model_is_enforced_and_its_numbers_fill_the_histogram(tmp_path: Path) -> None:
    import numpy
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    signature = ModelSignature(
        Schema([TensorSpec(numpy.dtype("float64"), (-1, 2))]), Schema([TensorSpec(numpy.dtype("float64"), (-1,))])
    )
    scorer = saved(tmp_path / "model", model_of(lambda data: numpy.log(data[:, 0])), signature=signature)
    body = as_json(inputs=[[1.0, 2.0], [-1.0, 0.0]])
    reply = scorer.score(body, JSON)
    assert reply.status == 200
    first, second = json.loads(reply.body)["predictions"]
    assert first == 0.0
    assert math.isnan(second)
    assert reply.body.decode() == json.dumps({"predictions": [0.0, math.nan]})
    assert reply.seen is not None
    assert dict(reply.seen.labels) == {"NaN": 1}
    assert reply.seen.values[VALUE_BUCKETS.index(0.0)] == 1
    assert sum(reply.seen.values) == 1
    wrong = as_json(inputs=[[1.0, 2.0, 3.0]])
    assert our_answer(scorer, wrong, JSON) == mlflow_answer(scorer, wrong, JSON)
    assert scorer.score(wrong, JSON).status == 400


def test_params_are_passed_and_enforced(tmp_path: Path) -> None:
    import pandas
    from mlflow.models import infer_signature

    frame = pandas.DataFrame({"a": [1.0, 2.0]})
    signature = infer_signature(frame, frame, params={"factor": 2})
    scorer = saved(tmp_path / "model", model_of(lambda data, params: data * params["factor"], params=True), signature=signature)
    for params in ({"factor": 5}, {}, {"factor": "many"}):
        body = as_json(dataframe_split={"columns": ["a"], "data": [[3.0]]}, params=params)
        assert our_answer(scorer, body, JSON) == mlflow_answer(scorer, body, JSON)
    assert our_answer(scorer, as_json(dataframe_records=[{"a": 3.0}], params={"factor": 5}), JSON) == (
        200,
        {"predictions": [{"a": 15.0}]},
    )


def test_a_model_that_ends_the_process_only_fails_its_request(tmp_path: Path) -> None:
    def leave(_: Any) -> Any:
        raise SystemExit(3)

    scorer = saved(tmp_path / "model", model_of(leave))
    assert scorer.score(tiny_request(), JSON).status == 500


def test_an_optional_column_that_is_left_out_is_null_in_every_row(tmp_path: Path) -> None:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(Schema([ColSpec("double", "a"), ColSpec("double", "b", required=False)]))
    scorer = saved(tmp_path / "model", model_of(lambda data: data["a"]), signature=signature)
    reply = scorer.score(as_json(dataframe_split={"columns": ["a"], "data": [[1.0], [2.0]]}), JSON)
    assert reply.status == 200
    assert reply.seen is not None
    assert dict(reply.seen.nulls) == {"b": 2}
