"""Errors say what happened, with which input, why likely, and what to try."""

from __future__ import annotations

import pytest

from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held, MlpipelineError


def test_a_rendered_error_has_all_its_parts() -> None:
    error = EnvironmentFault(
        "no verdict, the query returned 0 series",
        facts={"query": "sum(x)", "server": "http://prometheus:9090"},
        likely="green received no traffic",
        tries=("mlpipeline status", "mlpipeline doctor"),
    )
    assert error.render("verify") == "\n".join(
        [
            "verify: no verdict, the query returned 0 series    [exit 3]",
            "  query   sum(x)",
            "  server  http://prometheus:9090",
            "  likely  green received no traffic",
            "  try     mlpipeline status",
            "          mlpipeline doctor",
        ]
    )


def test_facts_of_several_lines_stay_aligned() -> None:
    assert Failed("training failed", facts={"log": "one\ntwo"}).render().splitlines()[1:] == ["  log  one", "       two"]


@pytest.mark.parametrize(
    ("kind", "code"), [(ConfigurationError, 2), (EnvironmentFault, 3), (Held, 3), (Failed, 10), (MlpipelineError, 70)]
)
def test_the_class_decides_the_exit_code(kind: type[MlpipelineError], code: int) -> None:
    assert kind("x").exit_code == code
    assert f"[exit {code}]" in kind("x").render()
