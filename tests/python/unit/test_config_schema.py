"""Schema and reference pages are made from the models and have not drifted from them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mlpipeline.config.schema import json_schema, written_schema

ROOT = Path(__file__).resolve().parents[3]


def test_generated_files_are_up_to_date() -> None:
    asked = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr


def test_the_schema_refuses_unknown_keys_and_describes_fields() -> None:
    schema = json.loads(written_schema())
    train = schema["$defs"]["Train"]
    assert train["additionalProperties"] is False
    assert train["required"] == ["command"]
    assert "MLmodel" in train["properties"]["model"]["description"]
    assert train["properties"]["timeout"]["default"] == "4h"


def test_every_section_of_the_schema_is_reachable() -> None:
    text = written_schema()
    for name in json_schema()["$defs"]:
        assert f'"#/$defs/{name}"' in text
