"""The holdout: the rows both models are judged on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_INTEGERS = 2**53
"""Beyond it floating point has no longer a number for every integer, so that two labels may become one."""
CSV_SUFFIXES = {".csv", ".gz", ".zip", ".bz2", ".xz"}


@dataclass(frozen=True)
class Holdout:
    """Rows of a table.

    Args:
        digest: ``sha256:...`` of the file.
        frame: A pandas DataFrame.
    """

    path: Path
    digest: str
    frame: Any

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> list[str]:
        return [str(column) for column in self.frame.columns]

    def need(self, column: str, what: str) -> None:
        """Raises ConfigurationError when there is no such column; ``what`` says what it was for."""
        if column not in self.columns:
            raise ConfigurationError(
                f"the holdout has no column {column!r}, the {what}",
                facts={"holdout": self.path, "columns": ", ".join(self.columns[:20])},
                tries=("name one of its columns in mlpipeline.yaml, or write the column in training",),
            )

    def need_plain(self, column: str, what: str) -> None:
        """As :meth:`need`; raises also for a column of lists or records: they are no labels, groups or values to compare."""
        self.need(column, what)
        series = self.frame[column]
        first = series.first_valid_index() if series.dtype == object else None
        if first is not None and _is_nested(series[first]):
            raise ConfigurationError(
                f"the holdout's column {column!r}, the {what}, holds lists or records, not single values",
                facts={"holdout": self.path, "found": repr(series[first])[:80]},
                tries=("write each part of it as a column of its own in training",),
            )

    def labels(self, column: str, *, gaps: bool = False) -> NDArray[Any]:
        """The label of each row: numbers and booleans as float64, all else as text.

        Args:
            gaps: Rows without a label are allowed; they get the label of the first row that has one, see :meth:`labelled`.
        """
        import numpy as np

        self.need_plain(column, "label (gate.label)")
        series = self.frame[column]
        facts = {"holdout": self.path, "label": column}
        if series.dtype.kind in "iuf":
            beyond = int((series.abs() > EXACT_INTEGERS).sum()) if series.dtype.kind != "f" else 0
            endless = int(np.isinf(series.to_numpy(dtype=float, na_value=np.nan)).sum())
            if beyond:
                raise ConfigurationError(
                    f"{beyond} labels are integers beyond 2^53, which are not told apart as numbers",
                    facts=facts,
                    tries=("write the label as text",),
                )
            if endless:
                raise ConfigurationError(f"{endless} of {len(series)} labels of the holdout are infinite", facts=facts)
        empty = int(series.isna().sum())
        if gaps and 0 < empty < len(series):
            return _plain(series.where(series.notna(), series.dropna().iloc[0]).infer_objects())
        if empty:
            raise ConfigurationError(
                f"{empty} of {len(series)} rows of the holdout have no label",
                facts={"holdout": self.path, "label": column},
                tries=("leave rows without a label out of the holdout",),
            )
        return _plain(series)

    def labelled(self, column: str) -> NDArray[Any]:
        """Which rows have a label."""
        known: NDArray[Any] = self.frame[column].notna().to_numpy()
        return known

    def codes(self, column: str, what: str) -> NDArray[Any]:
        """The values of a column as numbers from 0; empty values are refused, because nobody knows which belong together."""
        import pandas as pd

        self.need_plain(column, what)
        empty = int(self.frame[column].isna().sum())
        if empty:
            raise ConfigurationError(
                f"{empty} of {len(self)} rows of the holdout have no {column}, the {what}", facts={"holdout": self.path}
            )
        codes: NDArray[Any] = pd.factorize(self.frame[column], sort=True)[0]
        return codes

    def chosen(self, text: str) -> NDArray[Any]:
        """Numbers of the rows that meet an expression."""
        import numpy as np

        from mlpipeline.core.slices import BadExpression, parse

        try:
            expression = parse(text)
            for column in expression.columns:
                self.need_plain(column, f"slice {text!r} (gate.metrics[].slices)")
            return np.flatnonzero(expression.rows({name: self.frame[name] for name in expression.columns}))
        except BadExpression as error:
            raise ConfigurationError(
                f"the holdout has no column {text!r}, the slice (gate.metrics[].slices), and it is no expression: {error}",
                facts={"holdout": self.path, "columns": ", ".join(self.columns[:20])},
                tries=("name a column, or write an expression such as distance > 1000 and origin == 'JFK'",),
            ) from error

    def groups(self, column: str) -> dict[str, NDArray[Any]]:
        """Row numbers by value of the column, as text; empty values are a group named ``(empty)``."""
        import numpy as np

        self.need_plain(column, "slice (gate.metrics[].slices)")
        series = self.frame[column]
        names = series.astype(object).where(series.notna(), "(empty)").astype(str).to_numpy().astype(str)
        values, codes = np.unique(names, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(values) + 1))
        return {str(value): order[edges[index] : edges[index + 1]] for index, value in enumerate(values)}

    def write(self, folder: Path, columns: Sequence[str]) -> list[dict[str, str]]:
        """One file per column for :mod:`score`; returns what it reads them by."""
        import numpy as np

        written = []
        for number, column in enumerate(columns):
            series = self.frame[column]
            kind = getattr(series.dtype, "kind", "O")
            if not isinstance(series.dtype, np.dtype) and kind in "fiu":
                series = series.astype("float64") if series.isna().any() else series.astype(series.dtype.numpy_dtype)
            if kind in "fiubM" and isinstance(series.dtype, np.dtype):
                np.save(folder / f"{number}.npy", series.to_numpy())
                written.append({"name": column, "kind": "array"})
            else:
                values = [None if empty else _json(value) for value, empty in zip(series, series.isna(), strict=True)]
                (folder / f"{number}.json").write_text(json.dumps(values))
                written.append({"name": column, "kind": "json"})
        return written


def _is_nested(value: object) -> bool:
    return isinstance(value, dict | list | tuple) or getattr(value, "ndim", 0) > 0


def _json(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | int | float | str) else str(value)


def _plain(series: Any) -> NDArray[Any]:
    import numpy as np

    if series.dtype.kind in "fiub":
        numbers: NDArray[Any] = series.to_numpy().astype(float)
        return numbers
    return np.asarray(series.astype(str), dtype=str)


def read_holdout(path: Path) -> Holdout:
    """Reads Parquet or CSV. A missing, unreadable or empty file is a ConfigurationError."""
    import pandas as pd

    tries = ("write it in training (train.command), with the label and the columns the model needs",)
    facts = {"holdout": path}
    if not path.is_file():
        raise ConfigurationError("the holdout does not exist", facts=facts, likely="gate.holdout names another file", tries=tries)
    text = path.suffix.lower() in CSV_SUFFIXES
    try:
        frame = pd.read_csv(path) if text else pd.read_parquet(path)
        names = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna() if text else frame.columns
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "the holdout is not UTF-8 text",
            facts={**facts, "found": error},
            likely="it was written in another encoding, such as Latin-1 or UTF-16",
            tries=("write it as UTF-8, or as Parquet",),
        ) from error
    except Exception as error:
        raise ConfigurationError(
            "the holdout cannot be read",
            facts={**facts, "found": f"{type(error).__name__}: {error}"},
            likely="it was cut off while it was written, or is neither Parquet nor CSV",
            tries=tries,
        ) from error
    if not len(frame):
        raise ConfigurationError("the holdout has no rows", facts=facts, tries=tries)
    twice = sorted(
        {str(name) for name in names[names.duplicated()]}
    )  # of CSV as written: pandas gives the second one another name
    if twice:
        raise ConfigurationError(
            "columns of the holdout have the same name", facts={**facts, "names": ", ".join(twice)}, tries=tries
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Holdout(path, f"sha256:{digest}", frame.reset_index(drop=True))


def model_columns(model: Path) -> list[str]:
    """The input columns the model's signature requires, in order; empty when it names none."""
    import yaml

    try:
        description = yaml.safe_load((model / "MLmodel").read_text())
        inputs = json.loads((description.get("signature") or {}).get("inputs") or "[]")
    except (OSError, AttributeError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(
            "the model's description cannot be read",
            facts={"file": model / "MLmodel", "found": error},
            tries=("save the model with mlflow.<flavour>.save_model(..., signature=...)",),
        ) from error
    return [str(column["name"]) for column in inputs if "name" in column and column.get("required", True)]
