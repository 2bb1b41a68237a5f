"""tools/setup_kubernetes.sh leaves a person's cluster alone and hands it its images by the person's own command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "setup_kubernetes.sh"


def setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("MLPIPELINE_TEST_")}
    return subprocess.run([SCRIPT, *arguments], env=kept | environment, capture_output=True, text=True, check=False)


def test_a_named_cluster_is_taken_as_it_is_and_never_ended(tmp_path: Path) -> None:
    file, started = tmp_path / "kubeconfig", tmp_path / "started"
    file.write_text("{}")
    named = {"MLPIPELINE_TEST_KUBECONFIG": str(file), "MLPIPELINE_TEST_CLUSTER_STARTED": str(started)}
    assert setup("kubeconfig", **named).stdout == f"{file}\n"
    done = setup(**named)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert setup("down", **named).returncode == 0
    assert not started.exists(), "nobody is told that it was started here"


def test_a_kubeconfig_that_is_not_there_is_told() -> None:
    done = setup(MLPIPELINE_TEST_KUBECONFIG="/nowhere/kubeconfig")
    assert done.returncode == 3
    assert "/nowhere/kubeconfig, which is no file" in done.stderr


def test_images_of_a_named_cluster_go_through_its_own_loader(tmp_path: Path) -> None:
    named = {"MLPIPELINE_TEST_KUBECONFIG": str(tmp_path / "kubeconfig")}
    assert "kind load image-archive" in setup("load", "a.tar", **named).stderr
    done = setup("load", "a.tar", "b.tar", **named, MLPIPELINE_TEST_IMAGE_LOADER="echo load --from")
    assert done.stdout == "load --from a.tar\nload --from b.tar\n"
