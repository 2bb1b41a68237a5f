"""From the body of a request to the body of its answer, by MLflow's scoring protocol.

Parsing, the signature and the shape of answers are MLflow's own functions, so that a client cannot tell the servers apart. Two
things differ on purpose: who is at fault is told apart (a model that raises is a 500, a body that breaks the parsing a 400), and
no answer carries a stack trace.
"""

from __future__ import annotations

import inspect
import json
import os
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpipeline.serving.batches import LOADERS, Shown, show
from mlpipeline.serving.metrics import NOT_A_NUMBER, VALUE_BUCKETS, Seen
from mlpipeline.serving.repeating import repeated
from mlpipeline.serving.rows import reader_for

if TYPE_CHECKING:
    import numpy
    from mlflow.pyfunc import PyFuncModel

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
TEXT_LIMIT = 2000
"""Characters of a model's exception or of echoed input that an error message may carry."""


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        status: HTTP status.
        body: What is sent.
        media_type: Its type.
        seen: What the metrics learn from it.
        problem: What the log says, in one line without the data of the request; empty when all went well.
        details: A traceback for the log.
        allow: The methods that the path does take, when it refused one.
    """

    status: int
    body: bytes
    media_type: str = JSON
    seen: Seen | None = None
    problem: str = ""
    details: str = ""
    allow: str = ""


def refusal(status: int, error_code: str, message: str, *, allow: str = "") -> Reply:
    """An error in MLflow's shape."""
    body = json.dumps({"error_code": error_code, "message": message}).encode()
    return Reply(status, body, problem=f"{error_code}: {message}", allow=allow)


class Parsed(NamedTuple):
    """A request as the model gets it.

    ``bare``: answered without the ``predictions`` key, as chat clients expect. ``enforced``: already as the signature wants it.
    """

    data: Any
    params: dict[str, Any] | None = None
    bare: bool = False
    enforced: bool = False


class NotSupported(Exception):
    """The content type cannot be scored (415)."""


class Unreadable(Exception):
    """The body breaks the parsing instead of being refused by it (400)."""


class Scorer:
    """A loaded model and what is known of it. ``score`` may be called from several threads at once."""

    _shown = Shown()

    def __init__(self, model: PyFuncModel, folder: Path) -> None:
        from mlflow.pyfunc import scoring_server
        from mlflow.version import VERSION

        self._mlflow = scoring_server
        self._model = model
        self._folder = folder
        self._schema = model.metadata.get_input_schema()
        self._takes_params = "params" in inspect.signature(model.predict).parameters
        self._direct = _direct_predict(model)
        self._rows = reader_for(self._schema) if self._direct is not None else None
        self.mlflow_version: str = VERSION
        self.columns: tuple[str, ...] = (
            tuple(self._schema.input_names()) if self._schema is not None and self._schema.has_input_names() else ()
        )

    @property
    def batches(self) -> bool:
        """Whether ``score_many`` may be used, which ``warm_up`` finds out."""
        return self._shown.together

    @property
    def shown(self) -> Shown:
        """What the model has shown of itself."""
        return self._shown

    def warm_up(self, rows: int = 0) -> Seen:
        """Scores the model's own input example as if a client had sent it, when it has one.

        Args:
            rows: Then so many rows of it in one request, the largest that is to come.

        Returns:
            What the model's predictions look like, with every class that it names.

        Raises:
            RuntimeError: The model does not answer its own example, or not so many rows at once; the message says why.
        """
        labels = dict.fromkeys(_classes(self._model), 0)
        example = self._folder / "serving_input_example.json"
        if not example.is_file():
            if rows:
                raise RuntimeError("the model was saved without an input example, so there are no rows to warm it up with")
            return Seen(labels=labels)
        reply = self.score(example.read_bytes(), JSON)
        if reply.status != 200:
            raise RuntimeError(f"the model does not answer its own input example: {reply.problem}\n{reply.details}".rstrip())
        if rows:
            largest = self.score(repeated(example.read_bytes(), rows), JSON)
            if largest.status != 200:
                raise RuntimeError(
                    f"the model does not answer {rows} rows at once: {largest.problem}\n{largest.details}".rstrip()
                )
        seen = reply.seen or Seen()
        self._shown = self._show(example.read_bytes())
        if self._shown.arrays:
            # What is left out is what scikit-learn would warn of, at every request.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
        return Seen(labels={**labels, **seen.labels} if not seen.values else {NOT_A_NUMBER: 0}, values=seen.values)

    def _show(self, example: bytes) -> Shown:
        flavour = self._model.metadata.flavors.get("python_function", {}).get("loader_module", "")
        if self._rows is None or self._direct is None or flavour not in LOADERS:
            return Shown()
        arrays = flavour == "mlflow.sklearn" and _takes_arrays(self._model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return show(self._direct, self._rows, example, arrays=arrays)
        except Exception:  # noqa: BLE001 - rows near the example may be too much for it; it is called request by request then
            return Shown()

    def score_many(self, bodies: Sequence[bytes]) -> list[Reply]:
        """Answers requests of JSON, each as ``score`` would, in one call of the model where that is possible."""
        quick = self._quickly(bodies) if len(bodies) > 1 else []
        if not quick:
            return [self.score(body, JSON) for body in bodies]
        return [known or self.score(body, JSON) for known, body in zip(quick, bodies, strict=True)]

    def _quickly(self, bodies: Sequence[bytes]) -> list[Reply | None]:
        """Answers to the plain requests among them by one call of the model; none at all when it has anything to say to that,
        as only one by one it shows whose request it was."""
        reader, predict = self._rows, self._direct
        if reader is None or predict is None:
            return []
        found = [reader.rows(body) for body in bodies]
        plain = [rows for rows in found if rows]
        if not plain:
            return []
        every = plain[0] if len(plain) == 1 else [row for rows in plain for row in rows]
        try:
            data = reader.array(every) if self._shown.arrays else reader.frame(every)
            raw = predict(data)
            if not _splits(raw, len(every)):
                return []
            ready = iter(self._parts(data, raw, plain))
        except (Exception, SystemExit):  # noqa: BLE001 - see above
            return []
        return [next(ready) if rows else None for rows in found]

    def _parts(self, data: Any, raw: Any, plain: Sequence[Sequence[Any]]) -> list[Reply]:
        """The answer to each request out of the one to all of them."""
        clean = not _has_nulls(data)
        replies = []
        start = 0
        for rows in plain:
            end = start + len(rows)
            own = raw[start:end]
            nulls = {} if clean else _nulls(data[start:end], self.columns)
            labels, values, total = _look_at(own)
            body = json.dumps({"predictions": own.tolist()}).encode()
            replies.append(Reply(200, body, seen=Seen(nulls, labels, values, total)))
            start = end
        return replies

    def score(self, body: bytes, content_type: str) -> Reply:
        """Answers one request. Raises nothing but what ends the process."""
        from mlflow.exceptions import MlflowException

        if self._shown.arrays and content_type == JSON and (quick := self._quickly([body])) and quick[0] is not None:
            return quick[0]
        seen = Seen()
        try:
            parsed = self._read(body, content_type)
            nulls = _nulls(parsed.data, self.columns)
            seen = Seen(nulls=nulls)
            raw = self._predict(parsed)
            labels, values, total = _look_at(raw)
            return Reply(200, self._encode(raw, parsed.bare), seen=Seen(nulls, labels, values, total))
        except NotSupported as fault:
            return Reply(415, str(fault).encode(), "text/plain", problem=str(fault))
        except MlflowException as fault:
            text = {"error_code": fault.error_code, "message": fault.message}
            status = fault.get_http_status_code()
            problem = f"{fault.error_code}: " + (
                "the request does not fit the model" if status < 500 else fault.message[:TEXT_LIMIT]
            )
            return Reply(status, json.dumps(text).encode(), seen=seen, problem=problem)
        except Unreadable as fault:
            return refusal(400, "BAD_REQUEST", f"The request cannot be read. {fault}"[:TEXT_LIMIT])
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - whatever the model does, the server goes on
            reply = refusal(
                500, "INTERNAL_ERROR", f"The model failed on this request. {type(fault).__name__}: {fault}"[:TEXT_LIMIT]
            )
            return Reply(500, reply.body, seen=seen, problem=reply.problem, details=traceback.format_exc())

    def _read(self, body: bytes, content_type: str) -> Parsed:
        """Raises Unreadable where MLflow's own parsing breaks on a request: the model never saw it, so it is no fault of its."""
        from mlflow.exceptions import MlflowException

        try:
            return self._parse(body, content_type)
        except (MlflowException, NotSupported, ImportError, MemoryError):
            raise
        except Exception as fault:
            raise Unreadable(f"{type(fault).__name__}: {fault}") from fault

    def _parse(self, body: bytes, content_type: str) -> Parsed:
        media_type = _media_type(content_type)
        if media_type == JSON and self._rows is not None and (frame := self._rows.read(body)) is not None:
            return Parsed(frame, enforced=True)
        if media_type == JSON:
            return Parsed(*self._mlflow._parse_json_data(body, self._model.metadata, self._schema))
        if media_type == CSV:
            return Parsed(self._mlflow.parse_csv_input(StringIO(_text(body)), schema=self._schema))
        if media_type == PARQUET:
            return Parsed(self._mlflow.parse_parquet_input(BytesIO(body)))
        raise NotSupported(
            "This predictor only supports the following content types:"
            f" Types: {self._mlflow.CONTENT_TYPES}. Got '{content_type}'."
        )

    def _predict(self, parsed: Parsed) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            if parsed.enforced and self._direct is not None:
                return self._direct(parsed.data)
            if self._takes_params:
                return self._model.predict(parsed.data, params=parsed.params)
            return self._model.predict(parsed.data)
        except MlflowException as fault:
            fault.message = f"Failed to predict data '{str(parsed.data)[:TEXT_LIMIT]}'. \nError: {fault.message}"
            raise

    def _encode(self, raw: Any, bare: bool) -> bytes:
        from mlflow.utils.proto_json_utils import NumpyEncoder, _get_jsonable_obj

        answer = _get_jsonable_obj(raw, pandas_orient="records")
        # The same text as MLflow's own json.dump, which never uses the fast encoder.
        return json.dumps(answer if bare else {"predictions": answer}, cls=NumpyEncoder).encode()


def load(folder: Path) -> Scorer:
    """Loads the model in ``folder`` as MLflow does. Takes seconds; raises whatever MLflow or the model's code raises."""
    if not (folder / "MLmodel").is_file():
        raise FileNotFoundError(f"{folder} is no MLflow model: it has no file named MLmodel")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT

    # Models with their own code may ask whether they are being served.
    os.environ[_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name] = "true"
    return Scorer(mlflow.pyfunc.load_model(str(folder)), folder)


def _direct_predict(model: PyFuncModel) -> Callable[[Any], Any] | None:
    """The model's own function behind MLflow's enforcement, for data that needs none; nothing where enforcement does more."""
    metadata = model.metadata
    function = getattr(model, "_predict_fn", None)
    if function is None or metadata.get_params_schema() is not None:
        return None
    if metadata._is_signature_from_type_hint() or metadata._is_type_hint_from_example():
        return None
    params = inspect.signature(function).parameters.get("params")
    if params is not None and params.kind != inspect.Parameter.VAR_KEYWORD:
        return partial(function, params=None)
    return partial(function)


def _has_nulls(data: Any) -> bool:
    import numpy

    return bool(numpy.isnan(data).any() if isinstance(data, numpy.ndarray) else data.isna().to_numpy().any())


def _takes_arrays(model: PyFuncModel) -> bool:
    """Whether all of the model is scikit-learn's own, and nothing of it asks for columns by name."""
    try:
        whole = model.get_raw_model()
        parts = [whole, *(part for part in whole.get_params(deep=True).values() if hasattr(part, "get_params"))]
    except Exception:  # noqa: BLE001 - whatever is no such model has other ways
        return False
    return all(
        type(part).__module__.startswith("sklearn.")
        and type(part).__name__ not in {"ColumnTransformer", "FunctionTransformer"}
        and not getattr(part, "_sklearn_output_config", None)
        for part in parts
    )


def _splits(raw: Any, rows: int) -> bool:
    """Whether the answer has one part per row, of a kind that is written as it is."""
    import numpy

    return isinstance(raw, numpy.ndarray) and raw.ndim in {1, 2} and len(raw) == rows and raw.dtype.kind in "biufUO"


def _media_type(content_type: str) -> str:
    """The type without its parameters. Raises NotSupported for another charset than UTF-8 and for unknown parameters."""
    if content_type == JSON:
        return JSON
    header = Message()
    header["content-type"] = content_type
    media_type, *others = header.get_params() or [("", "")]
    parameters = {name.lower(): value for name, value in others}
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        raise NotSupported("The scoring server only supports UTF-8")
    if unknown := sorted(parameters.keys() - {"charset"}):
        raise NotSupported(f"Unrecognized content type parameters: {', '.join(unknown)}.")
    return str(media_type[0]).lower()


def _text(body: bytes) -> str:
    from mlflow.utils.proto_json_utils import MlflowInvalidInputException

    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise MlflowInvalidInputException(f"Ensure that input is a valid UTF-8 encoded string. Error: '{fault!r}'") from fault


def _nulls(data: Any, columns: tuple[str, ...]) -> dict[str, int]:
    """Nulls per column of the signature. A column that is left out is null in every row."""
    import numpy
    import pandas

    if not columns:
        return {}
    if isinstance(data, numpy.ndarray):
        found = numpy.isnan(data).sum(axis=0).tolist()
        return {name: count for name, count in zip(columns, found, strict=True) if count}
    if isinstance(data, pandas.DataFrame):
        rows = len(data)
        counts = dict(zip(data.columns, data.isna().to_numpy().sum(axis=0).tolist(), strict=True))
        return {name: count for name in columns if (count := counts.get(name, rows))}
    if isinstance(data, Mapping):
        arrays = {name: numpy.asarray(data[name]) for name in columns if name in data}
        return {name: count for name, array in arrays.items() if (count := int(pandas.isna(array).sum()))}
    return {}


def _look_at(raw: Any) -> tuple[dict[str, int], list[int], float]:
    """Classes counted, or numbers per bucket with their sum; of several columns the last, which is the positive class's."""
    import numpy
    import pandas

    if not isinstance(raw, (numpy.ndarray, pandas.DataFrame, pandas.Series, list)):
        return {}, [], 0.0
    try:
        column = numpy.asarray(raw)
    except ValueError:  # rows of unequal length, which only a list can have
        return {}, [], 0.0
    column = column.reshape(len(column), -1)[:, -1] if column.ndim > 1 and column.size else column.reshape(-1)
    return _numbers(column) if column.dtype.kind == "f" else (_labels(column), [], 0.0)


def _labels(column: numpy.ndarray[Any, Any]) -> dict[str, int]:
    plain = [
        value if isinstance(value, (str, int, float, bool)) or value is None else type(value).__name__
        for value in column.tolist()
    ]
    return dict(Counter(map(str, plain)))


def _numbers(column: numpy.ndarray[Any, Any]) -> tuple[dict[str, int], list[int], float]:
    import numpy

    finite = column[numpy.isfinite(column)]
    buckets = numpy.bincount(numpy.searchsorted(VALUE_BUCKETS, finite), minlength=len(VALUE_BUCKETS) + 1).tolist()
    missing = len(column) - len(finite)
    return ({NOT_A_NUMBER: missing} if missing else {}), buckets, float(finite.sum())


def _classes(model: PyFuncModel) -> list[str]:
    """The classes a scikit-learn-like classifier names itself; none for all other models."""
    try:
        names = model.get_raw_model().classes_
        return [str(name) for name in names.tolist()]
    except Exception:  # noqa: BLE001 - any model may raise anything here, and none has to answer
        return []
