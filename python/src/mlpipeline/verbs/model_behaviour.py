"""Tests of what a model says, from a file: invariance, direction and minimum functionality (Ribeiro et al., ACL 2020)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlpipeline.adapters.scoring import Holdout
from mlpipeline.core.answers import Output, missing
from mlpipeline.core.intervals import share_bounds
from mlpipeline.core.model_gate import Finding
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpipeline.verbs.model_judging import Judging
    from mlpipeline.verbs.model_rows import Rows
    from mlpipeline.verbs.model_subjects import Subject

Value = str | int | float | bool | None
MOST_ROWS = 500
NUMBERS = ("increases", "decreases", "does_not_increase", "does_not_decrease")


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to one column: one of these."""

    set: Value | msgspec.UnsetType = msgspec.UNSET
    add: float | None = None
    multiply: float | None = None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row, and what the model must say to it."""

    input: dict[str, Value]
    expect: str | int | float | bool


class Test(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test; see the how-to page of the model gate."""

    name: str
    kind: Literal["invariance", "direction", "minimum"]
    change: dict[str, Change] = {}
    rows: str = ""
    most_rows: Annotated[int, Meta(ge=1)] = MOST_ROWS
    expect: Literal["", "increases", "decreases", "does_not_increase", "does_not_decrease"] = ""
    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    allowed: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    cases: tuple[Case, ...] = ()


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tests: Annotated[tuple[Test, ...], Meta(min_length=1)]


def read_suite(path: Path) -> Suite:
    """The file's tests; whatever is not understood is a ConfigurationError."""
    import yaml

    facts = {"file": path}
    try:
        suite = msgspec.convert(yaml.safe_load(path.read_bytes()), Suite)
    except FileNotFoundError as error:
        raise ConfigurationError("the file of behaviour tests does not exist", facts=facts) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigurationError(
            "the file of behaviour tests cannot be read",
            facts={**facts, "found": error},
            tries=("see docs/how-to/gate-a-model.md",),
        ) from error
    names = [test.name for test in suite.tests]
    for test in suite.tests:
        if wrong := _fault(test) or ("its name is taken" if names.count(test.name) > 1 else ""):
            raise ConfigurationError(f"the behaviour test {test.name!r}: {wrong}", facts=facts)
    return suite


def _fault(test: Test) -> str:
    if test.kind == "minimum":
        if not test.cases or test.change or test.rows or test.expect:
            return "minimum needs cases, each with input and expect, and nothing else"
        return ""
    if test.cases or not test.change:
        return f"{test.kind} needs change, and no cases"
    for column, change in test.change.items():
        given = [change.set is not msgspec.UNSET, change.add is not None, change.multiply is not None]
        if sum(given) != 1:
            return f"the change of {column} needs one of set, add and multiply"
    if (test.kind == "direction") != bool(test.expect):
        return f"direction needs expect: {', '.join(NUMBERS)}" if test.kind == "direction" else "invariance needs no expect"
    return ""


def check_columns(judging: Judging, suite: Suite) -> None:
    """Refuses a test of columns that the holdout does not have."""
    for test in suite.tests:
        for column in sorted({*test.change, *(name for case in test.cases for name in case.input)}):
            judging.holdout.need(column, f"input of the behaviour test {test.name!r}")
            change = test.change.get(column)
            numeric = judging.holdout.frame[column].dtype.kind in "fiu"
            if change is not None and change.set is msgspec.UNSET and not numeric:
                raise ConfigurationError(
                    f"the behaviour test {test.name!r} adds to or multiplies {column}, which holds no numbers"
                )
        if test.rows:
            judging.holdout.chosen(test.rows)


def judge_behaviour(judging: Judging, subject: Subject, rows: Rows) -> None:
    """Predicts the rows of all tests in one go, and adds a finding for each test."""
    import pandas as pd

    path = judging.context.project / judging.gate.behaviour.file
    suite = read_suite(path)
    frames, sizes = [], []
    for test in suite.tests:
        made = _made(judging, test)
        frames.extend(made)
        sizes.append([len(frame) for frame in made])
    whole = pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)
    if not len(whole):
        judging.findings.append(Finding("behaviour", Verdict.INCONCLUSIVE, "no row of the holdout fits any behaviour test"))
        return
    try:
        scored = judging.predict(subject, Holdout(path, "", whole))
    except Failed as failure:
        judging.findings.append(Finding("behaviour", Verdict.FAIL, f"on the rows of the behaviour tests, {failure.what}"))
        return
    gaps = missing(Output(scored.predictions, scored.probabilities, scored.classes))
    if gaps:
        judging.findings.append(Finding("behaviour", Verdict.FAIL, f"{gaps} answers to behaviour tests are NaN or empty"))
        return
    said = scored.predictions if scored.predictions.ndim == 1 else scored.predictions.argmax(axis=1).astype(float)
    level = _level(judging, scored.probabilities, scored.classes, said, rows)
    place = 0
    told = []
    for test, (first, *rest) in zip(suite.tests, sizes, strict=True):
        size = first + sum(rest)
        finding = _judged(test, said[place : place + size], None if level is None else level[place : place + size], first)
        judging.findings.append(finding)
        told.append({"name": test.name, "kind": test.kind, "verdict": str(finding.verdict), "summary": finding.summary})
        place += size
    judging.evidence["behaviour"] = told


def _level(
    judging: Judging, probabilities: NDArray[Any] | None, classes: NDArray[Any] | None, said: NDArray[Any], rows: Rows
) -> NDArray[Any] | None:
    """The number that may rise or fall: the probability of the positive class, else the predicted number."""
    if probabilities is not None and classes is not None and rows.truth.codes is not None:
        labels = judging.truth()[1]
        found = [place for place, value in enumerate(classes.tolist()) if value == labels[rows.truth.positive]]
        if found:
            column: NDArray[Any] = probabilities[:, found[0]]
            return column
    return said if said.dtype.kind == "f" else None


def _made(judging: Judging, test: Test) -> list[Any]:
    """The rows to predict: those of the holdout and their changed copies, or the cases on a row of the holdout each."""
    import numpy as np
    import pandas as pd

    frame = judging.holdout.frame.drop(columns=[judging.gate.label])
    if test.kind == "minimum":
        made = []
        for case in test.cases:
            row = frame.iloc[[0]].copy()
            for column, value in case.input.items():
                row[column] = pd.Series([value], index=row.index, dtype=object if isinstance(value, str) else None)
            made.append(row)
        return [pd.concat(made, ignore_index=True)]
    chosen = np.arange(len(frame))
    if test.rows:
        chosen = judging.holdout.chosen(test.rows)
    chosen = np.random.default_rng(judging.gate.seed).permutation(chosen)[: test.most_rows]
    before = frame.iloc[chosen].reset_index(drop=True)
    after = before.copy()
    for column, change in test.change.items():
        after[column] = _changed(after[column], change)
    return [before, after]


def _changed(series: Any, change: Change) -> Any:
    import pandas as pd

    if change.set is not msgspec.UNSET:
        return pd.Series([change.set] * len(series), index=series.index, dtype=series.dtype if change.set is not None else None)
    return series + change.add if change.add is not None else series * change.multiply


def _judged(test: Test, said: NDArray[Any], level: NDArray[Any] | None, first: int) -> Finding:
    import numpy as np

    check = f"behaviour.{test.name}"
    if test.kind == "minimum":
        wanted = [case.expect for case in test.cases]
        good = np.array([_equal(one, want, test.tolerance) for one, want in zip(said.tolist(), wanted, strict=True)])
    elif not first:
        return Finding(check, Verdict.INCONCLUSIVE, f"{test.name}: no row of the holdout fits {test.rows!r}")
    elif test.kind == "invariance":
        before, after = said[:first], said[first:]
        numeric = level is not None and (said.dtype.kind == "f" or test.tolerance > 0)
        if numeric and level is not None:
            good = np.abs(level[first:] - level[:first]) <= test.tolerance + 1e-12
        else:
            good = before == after
    else:
        if level is None:
            return Finding(check, Verdict.ERROR, f"{test.name}: direction needs a model that answers numbers or probabilities")
        moved = level[first:] - level[:first]
        good = {
            "increases": moved > test.tolerance,
            "decreases": moved < -test.tolerance,
            "does_not_increase": moved <= test.tolerance,
            "does_not_decrease": moved >= -test.tolerance,
        }[test.expect]
    return _share(check, test, good)


def _share(check: str, test: Test, good: NDArray[Any]) -> Finding:
    rows, bad = len(good), int((~good).sum())
    low, high, _ = share_bounds(bad, rows, 0.95)
    verdict = Verdict.PASS if bad / rows <= test.allowed else Verdict.FAIL
    kinds = {"minimum": "cases are answered wrongly", "invariance": "rows change their answer", "direction": "rows do not follow"}
    text = (
        f"{test.name}: {bad} of {rows} {kinds[test.kind]} ({100 * bad / rows:.3g} %, "
        f"bounds {100 * low:.3g} to {100 * high:.3g} %); allowed are {100 * test.allowed:g} %"
    )
    return Finding(check, verdict, text, {"bad": bad, "rows": rows, "allowed": test.allowed})


def _equal(said: object, wanted: object, tolerance: float) -> bool:
    if isinstance(said, float) and isinstance(wanted, bool | int | float):
        return abs(said - float(wanted)) <= tolerance
    return str(said) == str(wanted)
