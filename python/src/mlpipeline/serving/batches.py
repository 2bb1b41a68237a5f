"""Requests that wait at the same moment are predicted in one call: a model's call costs more than its rows.

Nothing waits for a batch to fill. What has come in while the model was busy is taken together, and only where the model has
shown on its own example that a row's answer does not depend on the rows beside it, to the last bit. In the same way a model of
scikit-learn's own parts may show that it takes bare numbers for a frame, which spares it most of its checks.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mlpipeline.serving.rows import RowReader
    from mlpipeline.serving.scoring import Reply

REQUESTS = 64
"""Requests of one batch."""
BODY_LIMIT = 16 * 1024
"""Bytes of the largest body that shares a batch: a large one would hold up the others."""
LOADERS = frozenset({"mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost"})
"""MLflow flavours whose models are functions of a row. A project's own code may be anything, and is called row by row."""
SHOWN_ROWS = 32
SHOWN_SECONDS = 1.0
"""Work that the proof may be at the start; a model that is slower is called request by request."""
SHOWN_WITHIN_SECONDS = 3.0
"""Time that it may take, however busy the machine is."""
_PARTS = ((32,), (2, 3, 4, 5, 7, 11), (16, 8, 8), (31, 1))


class Batcher:
    """Hands waiting bodies to the pool, as many at once as came in. All of it runs in the event loop's thread.

    Args:
        pool: Where ``score`` runs.
        batches: How many of them at once.
        released: Called for each request whose work is over, whether or not somebody still waits for its answer.
    """

    def __init__(self, pool: Executor, batches: int, released: Callable[[], None]) -> None:
        self._pool = pool
        self._most = batches
        self._released = released
        self._waiting: deque[tuple[bytes, asyncio.Future[Reply]]] = deque()
        self._running = 0
        self._planned = False

    async def answer(self, body: bytes, score: Callable[[Sequence[bytes]], list[Reply]]) -> Reply:
        """The answer to this body. Cancelled while it still waits, it is never scored."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        place = (body, future)
        self._waiting.append(place)
        if not self._planned:
            # After what else arrives in this very turn of the loop.
            self._planned = True
            loop.call_soon(self._start, loop, score)
        try:
            return await future
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
                self._released()
            raise

    def _start(self, loop: asyncio.AbstractEventLoop, score: Callable[[Sequence[bytes]], list[Reply]]) -> None:
        self._planned = False
        while self._waiting and self._running < self._most:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), REQUESTS))]
            self._running += 1
            job = self._pool.submit(score, [body for body, _ in taken])
            job.add_done_callback(lambda done, taken=taken: _tell(loop, self._end, loop, score, taken, done))  # type: ignore[misc]

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        score: Callable[[Sequence[bytes]], list[Reply]],
        taken: Sequence[tuple[bytes, asyncio.Future[Reply]]],
        done: Future[list[Reply]],
    ) -> None:
        self._running -= 1
        error = done.exception()
        replies = [] if error is not None else done.result()
        for number, (_, future) in enumerate(taken):
            self._released()
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(replies[number])
        self._start(loop, score)


def _tell(loop: asyncio.AbstractEventLoop, end: Callable[..., None], *arguments: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(end, *arguments)


class Shown(NamedTuple):
    """What a model has shown of itself at the start.

    ``together``: a row's answer does not depend on the rows beside it. ``arrays``: nor on whether the columns have names.
    """

    together: bool = False
    arrays: bool = False


def show(predict: Callable[[Any], Any], reader: RowReader, example: bytes, *, arrays: bool) -> Shown:
    """Whether the model answers rows of its example, and rows near them, alike to the last bit however they are handed over.

    Args:
        predict: The model's own function.
        example: A request as a client would send it.
        arrays: Whether arrays may be tried in place of frames.
    """
    rows = _near(reader.rows(example) or [])
    limit = _Limit()
    alone: list[Any] = []
    for row in rows:
        alone.append(predict(reader.frame([row])))
        if limit.over:
            return Shown()
    if not alone or not all(_is_array(one, 1) and one.dtype.kind == alone[0].dtype.kind for one in alone):
        return Shown()
    wanted = [_bits(one) for one in alone]
    return Shown(
        together=_alike(predict, reader.frame, rows, wanted, partitions=_PARTS, limit=limit),
        arrays=arrays
        and reader.only_numbers
        and _alike(predict, reader.array, rows, wanted, partitions=((1,) * SHOWN_ROWS, *_PARTS[:1]), limit=limit),
    )


class _Limit:
    """What the proof may take, from now on."""

    def __init__(self) -> None:
        self._work, self._begun = thread_time(), monotonic()

    @property
    def over(self) -> bool:
        return thread_time() - self._work > SHOWN_SECONDS or monotonic() - self._begun > SHOWN_WITHIN_SECONDS


def _alike(
    predict: Callable[[Any], Any],
    make: Callable[[list[list[Any]]], Any],
    rows: list[list[Any]],
    wanted: Sequence[object],
    *,
    partitions: Sequence[Sequence[int]],
    limit: _Limit,
) -> bool:
    """Whether the rows are answered as wanted in parts of these sizes."""
    for sizes in partitions:
        start = 0
        for size in sizes:
            answer = predict(make(rows[start : start + size]))
            if limit.over or not _is_array(answer, size):
                return False
            if [_bits(answer[place : place + 1]) for place in range(size)] != list(wanted[start : start + size]):
                return False
            start += size
    return True


def _near(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """``SHOWN_ROWS`` rows: the example's own, then numbers moved a little, and other values as they stand somewhere in it."""
    draw = random.Random(0)  # noqa: S311 - the same rows at every start
    if not rows:
        return []
    columns = list(zip(*rows, strict=True))
    made = [list(row) for row in rows[:SHOWN_ROWS]]
    while len(made) < SHOWN_ROWS:
        made.append([_moved(draw, draw.choice(column)) for column in columns])
    return made


def _moved(draw: random.Random, value: Any) -> Any:
    return value * (1 + draw.gauss(0, 0.3)) + draw.gauss(0, 0.01) if type(value) is float else value


def _is_array(value: Any, rows: int) -> bool:
    import numpy

    return isinstance(value, numpy.ndarray) and value.ndim in {1, 2} and len(value) == rows


def _bits(array: Any) -> object:
    """Everything that a client could see of an answer: numbers to the last bit, texts and objects as they are written."""
    if array.dtype.kind in "biuf":
        return array.dtype.str, array.shape, array.tobytes()
    return array.shape, repr(array.tolist())
