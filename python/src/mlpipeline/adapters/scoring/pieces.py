"""A model in its own environment that predicts a batch piece by piece: what is in memory does not grow with the batch."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlpipeline.adapters.scoring.process import SCRIPT, end, failure, of_model
from mlpipeline.errors import EnvironmentFault, Failed


class PieceScorer:
    """One process for all pieces; a context manager, which ends it.

    Args:
        python: Of the model's environment.
        name: Who predicts, for messages.
        timeout: Seconds that loading, and each piece, may take.
        import_path: Folders the model's own code is imported from.
    """

    def __init__(self, python: Path, model: Path, *, name: str, timeout: float, import_path: Sequence[Path]) -> None:
        self._python, self._model, self._name, self._timeout = python, model, name, timeout
        self._import_path = import_path

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="mlpipeline-batch-"))
        ours, theirs = os.pipe()
        try:
            request = {"model": str(self._model.absolute()), "pieces": theirs}
            (self._folder / "request.json").write_text(json.dumps(request))
            with (self._folder / "output.txt").open("wb") as log:
                self._process = subprocess.Popen(
                    [str(self._python), "-P", str(SCRIPT), str(self._folder), str(os.getpid())],
                    cwd=self._folder,
                    env=of_model(self._import_path),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(theirs,),
                )
        except OSError as error:
            os.close(ours)
            shutil.rmtree(self._folder, ignore_errors=True)
            raise EnvironmentFault(
                f"{self._name} cannot score: its Python does not start", facts={"python": self._python, "found": error}
            ) from error
        finally:
            os.close(theirs)
        self._told = ours
        try:
            self._await("load")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end(self._process)
        os.close(self._told)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def predict(self, piece: Any) -> list[tuple[str, Any]]:
        """Every column of the answer: its name (empty for an only one) and an Arrow array of one value for each row.

        Args:
            piece: A ``pyarrow.RecordBatch`` of the model's columns.

        Raises:
            Failed: The model raises, crashes, does not answer in time, or answers another number of rows.
            EnvironmentFault: The process was killed, or the disk is full.
        """
        place = self._folder / "piece"
        place.mkdir()
        try:
            (place / "columns.json").write_text(json.dumps(_write(piece, place)))
            with suppress(BrokenPipeError):
                assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
                self._process.stdin.write(f"{place}\n".encode())
                self._process.stdin.flush()
            self._await("predict")
            found = [(one["name"], _read(place, number, one["kind"])) for number, one in enumerate(_answer(place))]
        finally:
            shutil.rmtree(place, ignore_errors=True)
        for _, column in found:
            if len(column) != piece.num_rows:
                raise Failed(f"{self._name} answered {len(column)} predictions for {piece.num_rows} rows")
        return found

    def _await(self, doing: str) -> None:
        """Until it says that it has done it."""
        ready, _, _ = select.select([self._told], [], [], self._timeout)
        if not ready:
            raise Failed(
                f"{self._name} did not {doing} within {self._timeout:g} s",
                likely="the model hangs, or a piece is larger than it can predict in this time",
                tries=("lower score.piece_rows", "raise score.timeout"),
            )
        if not os.read(self._told, 16):
            code = self._process.wait()
            if code == 0:
                raise Failed(f"{self._name} ended its own process while it scored", likely="the model calls exit()")
            raise failure(self._folder, self._folder / "output.txt", self._name, code)


def _answer(place: Path) -> list[dict[str, str]]:
    answer: list[dict[str, str]] = json.loads((place / "answer.json").read_text())
    return answer


def _write(piece: Any, place: Path) -> list[dict[str, str]]:
    """One file per column, in the form that ``score.py`` reads."""
    import numpy as np
    import pyarrow as pa

    written = []
    for number, name in enumerate(piece.schema.names):
        column = piece.column(number)
        plain = pa.types.is_floating(column.type) or (
            not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))
        )
        if plain or pa.types.is_timestamp(column.type):
            values = column.to_numpy(zero_copy_only=False)
            np.save(place / f"{number}.npy", values)
            written.append({"name": name, "kind": "array"})
        else:
            (place / f"{number}.json").write_text(json.dumps(column.to_pylist()))
            written.append({"name": name, "kind": "json"})
    return written


def _read(place: Path, number: int, kind: str) -> Any:
    import numpy as np
    import pyarrow as pa

    if kind == "array":
        return pa.array(np.load(place / f"said-{number}.npy", allow_pickle=False))
    return pa.array(json.loads((place / f"said-{number}.json").read_text()), type=pa.string())
