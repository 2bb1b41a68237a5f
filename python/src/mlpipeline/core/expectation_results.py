"""Results in the form of Great Expectations' own JSON, whichever engine found them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from mlpipeline.core.expectations import AGGREGATES, NULLNESS, ROW_WISE, Check, Counts, Outcome

_SEVERITY = "critical"


def body(check: Check, counts: Counts, values: Sequence[object], frequencies: Sequence[tuple[object, int]]) -> dict[str, object]:
    """What stands under ``result``.

    Args:
        values: The first values that break a row-wise check, in the order of the rows.
        frequencies: The most frequent of them with how often they occur, in the order they were met.
    """
    if check.type not in ROW_WISE:
        if check.type in AGGREGATES and counts.observed is None:
            return {"observed_value": None}
        observed = {} if counts.observed is None and counts.details else {"observed_value": plain(counts.observed)}
        return {} if check.type == "expect_column_to_exist" else {**observed, **counts.details}
    elements, unexpected = counts.elements, counts.unexpected or 0
    total = 100 * unexpected / elements if elements else None
    missing: dict[str, object] = {}
    share = total
    if check.type not in NULLNESS:
        left_out = counts.missing or 0
        present = elements - left_out
        share = unexpected / present * 100 if present and elements else None
        missing = {
            "missing_count": left_out,
            "missing_percent": left_out / elements * 100 if elements else None,
            "unexpected_percent_total": unexpected / elements * 100 if elements else None,
            "unexpected_percent_nonmissing": share,
        }
    return {
        "element_count": elements,
        "unexpected_count": unexpected,
        "unexpected_percent": share,
        "partial_unexpected_list": [plain(value) for value in values],
        **missing,
        **_counted(frequencies),
    }


def _counted(frequencies: Sequence[tuple[object, int]]) -> dict[str, object]:
    """By how often, then by value; the library says nothing where values cannot be ordered, such as text and nothing."""
    try:
        ordered = sorted(frequencies, key=lambda entry: (-entry[1], _orderable(entry[0])))
    except TypeError:
        return {}
    return {"partial_unexpected_counts": [{"value": plain(value), "count": times} for value, times in ordered]}


def _orderable(value: Any) -> Any:
    """Missing is not a number to pandas, which can be compared with numbers."""
    if isinstance(value, tuple):
        return tuple(_orderable(one) for one in value)
    return math.nan if value is None else value


def plain(value: object) -> object:
    """JSON-compatible: times in ISO form, NaN as null, as the library writes them; numbers of other libraries as Python's."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, int):
        return int(value)
    return _plain_container(value)


def _plain_container(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    item = getattr(value, "item", None)
    return plain(item()) if callable(item) and getattr(value, "shape", None) == () else str(value)


def validation(suite: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The whole of one file's results, as ``ExpectationSuiteValidationResult.to_json_dict`` has it."""
    passed = sum(outcome.success for outcome in outcomes)
    total = len(outcomes)
    return {
        "success": passed == total,
        "results": [_result(outcome) for outcome in outcomes],
        "suite_name": suite,
        "suite_parameters": {},
        "statistics": {
            "evaluated_expectations": total,
            "successful_expectations": passed,
            "unsuccessful_expectations": total - passed,
            "success_percent": 100 * passed / total if total else None,
        },
        "meta": {"engines": sorted({outcome.engine for outcome in outcomes})},
    }


def _result(outcome: Outcome) -> dict[str, object]:
    message = outcome.error or None
    return {
        "success": outcome.success,
        "expectation_config": {
            "type": outcome.check.type,
            "kwargs": plain(outcome.check.kwargs),
            "meta": {},
            "severity": _SEVERITY,
        },
        "result": outcome.result,
        "meta": {"engine": outcome.engine},
        "exception_info": {"raised_exception": bool(message), "exception_traceback": None, "exception_message": message},
    }
