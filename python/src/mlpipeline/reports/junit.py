"""JUnit XML of a verb's result, so that a build server lists each check by name."""

from __future__ import annotations

from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.reports.markup import Markup, element, join


def junit(result: Result) -> bytes:
    """One test suite of the verb, one case per check: fail is a failure, inconclusive and error are errors."""
    reasons = result.reasons or (Reason(result.verb, result.verdict, result.summary),)
    cases = [_case(result, reason, result.seconds if index == 0 else 0.0) for index, reason in enumerate(reasons)]
    failures = sum(reason.verdict is Verdict.FAIL for reason in reasons)
    errors = sum(reason.verdict in {Verdict.ERROR, Verdict.INCONCLUSIVE} for reason in reasons)
    suite = element(
        "testsuite",
        *cases,
        name=f"{result.service}.{result.verb}",
        tests=len(reasons),
        failures=failures,
        errors=errors,
        skipped=0,
        time=f"{result.seconds:.3f}",
        timestamp=result.started.removesuffix("Z") or None,
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{element("testsuites", suite)}\n'.encode()


def _case(result: Result, reason: Reason, seconds: float) -> Markup:
    """The verb's time goes to its first case: the time of a single check is not known."""
    detail = join([reason.summary, *(f"{name}: {value}" for name, value in reason.numbers.items()), *reason.sample], "\n")
    kind = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "error"}.get(reason.verdict)
    outcome = [element(kind, detail, message=reason.summary, type=str(reason.verdict))] if kind else []
    return element("testcase", *outcome, name=reason.check, classname=f"{result.service}.{result.verb}", time=f"{seconds:.3f}")
