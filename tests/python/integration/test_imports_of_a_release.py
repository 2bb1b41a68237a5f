"""What each verb of a real release brings in when it runs: the clients it uses, and no other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from small_project import SmallProject

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

CLIENTS = frozenset(
    {
        *("great_expectations", "mlflow", "dvc", "duckdb", "pandas", "sklearn", "scipy", "docker", "kubernetes", "jenkins"),
        *("prometheus_api_client", "envoy", "rich", "uvicorn", "psycopg", "cyclonedx", "securesystemslib", "matplotlib"),
    }
)
BROUGHT_BY_MLFLOW = frozenset({"pandas", "scipy", "sklearn", "docker"})
"""MLflow's own choice: no verb of ours asks for these beside it."""

FLOW = {
    "doctor": {"envoy"},
    "gate data": {"duckdb"},
    "train": {"mlflow"},
    "gate model": set[str](),
    "package": {"cyclonedx"},
    "register": {"mlflow"},
    "deploy": set[str](),
    "approve": set[str](),
    "switch": {"envoy"},
    "settle": {"mlflow"},
    "report": set[str](),
    "status": set[str](),
    "history": set[str](),
    "stop": set[str](),
}
"""In the order of a release. The envoy package is a small one that says where its program lies."""

_SETTINGS = """
service: tiny
data: {{files: {{rows: {{path: rows.csv, expect: [{{column: hour, between: [0, 23]}}]}}}}}}
train: {{command: "{python} train.py", metrics: metrics.json}}
target: {{local: {{port: {port}, ready_timeout: 5m}}}}
"""
_RUN = """
import json, sys
from mlpipeline.cli import main
code = main(sys.argv[1:])
with open("loaded.json", "w") as file:
    json.dump([code, sorted(sys.modules)], file)
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[SmallProject]:
    made = SmallProject(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (made.folder / "mlpipeline.yaml").write_text(_SETTINGS.format(python=sys.executable, port=port))
    (made.folder / "rows.csv").write_text("hour\n1\n")
    with (made.folder / ".gitignore").open("a") as ignored:
        ignored.write("loaded.json\n")
    made.git("add", "--all")
    made.git("commit", "--quiet", "-m", "release it")
    try:
        yield made
    finally:
        call(made, "stop")


def call(project: SmallProject, verb: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RUN, *verb.split()],
        cwd=project.folder,
        env={**os.environ, "MLPIPELINE_HOME": str(project.places.home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_verb_of_a_release_imports_the_clients_it_uses_and_no_other(project: SmallProject) -> None:
    used = {}
    for verb in FLOW:
        called = call(project, verb)
        code, modules = json.loads((project.folder / "loaded.json").read_text())
        assert code == 0, f"{verb}: {called.stderr}"
        loaded = CLIENTS & set(modules)
        used[verb] = loaded - BROUGHT_BY_MLFLOW if "mlflow" in loaded else loaded
    assert used == FLOW
