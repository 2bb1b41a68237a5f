"""No verb imports a client it does not use. Each check is a fresh interpreter, because imports stay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = frozenset(
    {
        *(
            "great_expectations",
            "mlflow",
            "dvc",
            "duckdb",
            "pandas",
            "numpy",
            "scipy",
            "sklearn",
            "pyarrow",
            "docker",
            "kubernetes",
        ),
        *(
            "jenkins",
            "prometheus_api_client",
            "requests",
            "envoy",
            "rich",
            "uvicorn",
            "starlette",
            "prometheus_client",
            "matplotlib",
        ),
    }
)
LIGHT = CLIENTS | {
    "yaml",
    "dataclasses",
    "sqlite3",
    "asyncio",
    "ssl",
    "http.client",
    "urllib.request",
    "subprocess",
    "hashlib",
    "difflib",
}

USED_AT_IMPORT: dict[str, frozenset[str]] = {}
"""Clients that importing a verb's module may bring in: none. A client is imported inside the function that needs it."""

VERBS = sorted(
    path.stem for path in (Path(__file__).resolve().parents[3] / "python" / "src" / "mlpipeline" / "verbs").glob("[a-z]*.py")
)


def loaded_by(code: str, folder: Path) -> set[str]:
    script = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    asked = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(asked.stdout.splitlines()[-1]))


@pytest.mark.parametrize("verb", VERBS)
def test_importing_a_verb_imports_no_client(verb: str, tmp_path: Path) -> None:
    loaded = loaded_by(f"import mlpipeline.verbs.{verb}", tmp_path)
    assert loaded & CLIENTS <= USED_AT_IMPORT.get(verb, frozenset())


def test_help_imports_next_to_nothing(tmp_path: Path) -> None:
    loaded = loaded_by("from mlpipeline.cli import main; main(['--help'])", tmp_path)
    assert not loaded & (LIGHT | {"msgspec"})


def test_config_imports_only_what_reads_yaml(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text("service: churn\ntrain:\n  command: dvc repro\n")
    loaded = loaded_by("from mlpipeline.cli import main; assert main(['config']) == 0", tmp_path)
    assert not loaded & (LIGHT - {"yaml"})


def test_status_imports_only_what_reads_yaml_and_files(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text("service: churn\ntrain:\n  command: dvc repro\n")
    status = "from mlpipeline.cli import main; assert main(['status']) == 0"
    loaded_by(status, tmp_path)  # the first time there is news to write down
    loaded = loaded_by(status, tmp_path)
    assert not loaded & (LIGHT - {"yaml"})
    assert "socket" not in loaded


def test_running_the_flow_imports_a_verb_only_when_its_turn_comes(tmp_path: Path) -> None:
    loaded = loaded_by("import mlpipeline.verbs.run", tmp_path)
    assert not {"mlpipeline.verbs.gate_model", "mlpipeline.verbs.train", "mlpipeline.verbs.verify"} & loaded


OUTSIDE = {
    "doctor_gpu": frozenset[str](),
    "jenkins_approve": frozenset[str](),
    "jenkins_health": frozenset[str](),
    "jenkins_reject": frozenset[str](),
    "jenkins_setup": frozenset({"subprocess"}),
    "jenkins_trigger": frozenset[str](),
}
"""Verbs that a build or a chat calls for one question, and what each of them may need besides: setup asks git."""


@pytest.mark.parametrize("verb", sorted(OUTSIDE))
def test_a_verb_for_one_question_imports_only_what_it_needs(verb: str, tmp_path: Path) -> None:
    loaded = loaded_by(f"import mlpipeline.verbs.{verb}", tmp_path)
    assert loaded & (LIGHT | {"pynvml", "xml", "importlib.metadata"}) <= OUTSIDE[verb]


def test_every_verb_that_needs_no_project_is_held_to_that() -> None:
    from mlpipeline.commands import COMMANDS

    assert {command.name.replace("-", "_") for command in COMMANDS if command.run == "outside"} == set(OUTSIDE)
