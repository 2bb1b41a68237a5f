"""Who the ledger says it was."""

from __future__ import annotations

import os

import pytest

from mlpipeline.verbs.wiring import actor


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"USER": "jenkins", "BUILD_USER_ID": "ada"}, "ada"),
        ({"MLPIPELINE_ACTOR": "bot", "BUILD_USER_ID": "ada"}, "bot"),
        ({"USER": "", "LOGNAME": "ada"}, "ada"),
    ],
)
def test_the_nearest_name_is_taken(environment: dict[str, str], expected: str) -> None:
    assert actor(environment) == expected


def test_without_any_name_the_user_of_the_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert actor({})
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert actor({}) == "4000000000"
