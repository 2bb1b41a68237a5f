"""Runs checks with the real library on a pandas frame, in memory, without telemetry, files or progress bars.

Its import takes seconds; nothing here may be imported before a check needs it.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlpipeline.core.expectation_results import plain
from mlpipeline.core.expectations import Check, Counts, Outcome
from mlpipeline.errors import ConfigurationError, EnvironmentFault

ENGINE = "gx"
_PLACE = "mlpipeline_place"


def run(table: Any, checks: Sequence[Check], sample_rows: int) -> list[Outcome]:
    """The outcome of each check, in their order.

    Args:
        table: A ``pyarrow.Table`` with the columns the checks read; converted to pandas with its default types, so
            that the library sees what ``pandas.read_parquet`` would show it.
        sample_rows: How many different failing values an outcome carries at most.

    Raises:
        ConfigurationError: The library refuses the arguments of a check.
    """
    with library() as context:
        source = context.data_sources.add_pandas("data")
        definition = source.add_dataframe_asset("data").add_batch_definition_whole_dataframe("data")
        return judged(definition.get_batch({"dataframe": _frame(table)}), checks, sample_rows, table.num_rows, ENGINE)


@contextlib.contextmanager
def library() -> Iterator[Any]:
    """The library without telemetry and progress bars, some of which are drawn whatever the setting."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of its other clients, about each other's versions
        try:
            import great_expectations as gx
        except SystemExit as ending:  # one of its clients ends a program that was started with -c, as if all were well
            raise EnvironmentFault("Great Expectations cannot be imported here", facts={"found": ending}) from ending

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    with contextlib.redirect_stderr(io.StringIO()):
        yield context


def judged(batch: Any, checks: Sequence[Check], sample_rows: int, rows: int, engine: str) -> list[Outcome]:
    """What the library says of a batch of data, whichever engine of its own the batch is of."""
    import great_expectations as gx

    suite = gx.ExpectationSuite(name="gate", expectations=[_expectation(check, place) for place, check in enumerate(checks)])
    # SUMMARY would count only among the first failing values
    result_format = {"result_format": "COMPLETE", "partial_unexpected_count": sample_rows}
    outcomes = {}
    for result in batch.validate(suite, result_format=result_format).results:
        # grouped by column and success, so that the place in the suite travels in the meta data
        place = int(result.expectation_config.meta[_PLACE])
        outcomes[place] = _outcome(checks[place], result, rows, sample_rows, engine)
    return [outcomes[place] for place in range(len(checks))]


def _frame(table: Any) -> Any:
    """Times in nanoseconds where they fit: the library compares no others with bounds."""
    import pandas as pd

    frame = table.to_pandas()
    for name, kind in frame.dtypes.items():
        if str(kind) in {"datetime64[s]", "datetime64[ms]", "datetime64[us]"}:
            with contextlib.suppress(pd.errors.OutOfBoundsDatetime):
                frame[name] = frame[name].astype("datetime64[ns]")
    return frame


def _expectation(check: Check, place: int) -> Any:
    from great_expectations.expectations.registry import get_expectation_impl

    try:
        return get_expectation_impl(check.type)(**check.kwargs, meta={_PLACE: place})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"Great Expectations refuses the arguments of {check.type}",
            facts={"arguments": check.kwargs, "found": " ".join(str(error).split())[:400]},
        ) from error


def _outcome(check: Check, result: Any, rows: int, sample_rows: int, engine: str) -> Outcome:
    details = dict(result.result or {})
    observed: Any = details.get("observed_value")
    by_rows = "element_count" in details
    counts = Counts(
        int(details.get("element_count") or rows),
        missing=details.get("missing_count") if by_rows else None,
        unexpected=details.get("unexpected_count") if by_rows else None,
        observed=plain(observed),
    )
    entries = details.get("partial_unexpected_counts") or []
    sample = tuple((str(entry["value"]), int(entry["count"])) for entry in entries if "value" in entry)[:sample_rows]
    if check.type == "expect_column_values_to_not_be_null" and counts.unexpected:
        sample = (("null", counts.unexpected),)
    found = dict(result.to_json_dict().get("result") or {})
    kept = {name: plain(value) for name, value in found.items() if name not in _ONLY_COMPLETE}
    return Outcome(check, bool(result.success), engine, counts, sample, _exception(result.exception_info), kept)


_ONLY_COMPLETE = frozenset(
    {"unexpected_list", "unexpected_index_list", "unexpected_index_query", "partial_unexpected_index_list"}
)
"""As long as the data: left out, as the form SUMMARY leaves most of them out."""


def _exception(information: Any) -> str:
    """The library nests what was raised by the name of the metric that raised it."""
    if not isinstance(information, Mapping):
        return ""
    if information.get("raised_exception"):
        return str(information.get("exception_message", "")).strip()
    for nested in information.values():
        if isinstance(nested, Mapping) and nested.get("raised_exception"):
            return str(nested.get("exception_message", "")).strip()
    return ""
