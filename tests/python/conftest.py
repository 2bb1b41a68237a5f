"""What all tests share: a state folder of their own, and honesty about missing parts.

A test that needs a real part asks for it through a fixture or :func:`missing_part`. On a laptop such a test is skipped
and says which part is missing; under CI (``CI=true``) it fails.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A starved machine is slow, not wrong; and what lands is decided by the same examples every time.
settings.register_profile(
    "mlpipeline", deadline=None, derandomize=os.environ.get("CI") == "true", suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("mlpipeline")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background so, and every worker would inherit it; the tests press Ctrl-C on some.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if not hasattr(sys.modules["__main__"], "__file__"):
    # The process of a part of the tests has a main module without a file, which pyspark takes for its own doctests, and ends.
    sys.modules["__main__"].__file__ = __file__

RERUNS_OF_REAL_PARTS = 2
"""Real servers on a starved machine miss deadlines that say nothing about the code. A repeated test is reported as such."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS_OF_REAL_PARTS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where every part must be there: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the state of the person who runs it."""
    folder = tmp_path / "mlpipeline-home"
    monkeypatch.setenv("MLPIPELINE_HOME", str(folder))
    for name in [name for name in os.environ if name.startswith("MLPIPELINE__")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("MLPIPELINE_DEFAULTS", raising=False)
    return folder
