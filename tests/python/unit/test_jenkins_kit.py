"""The setup kit says what the steps really need: every plugin, and the properties of a GPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KIT = ROOT / "resources" / "mlpipeline"
PLUGIN_OF = {
    "archiveArtifacts": "workflow-aggregator",
    "build": "workflow-aggregator",
    "checkout": "git",
    "input": "workflow-aggregator",
    "junit": "junit",
    "libraryResource": "pipeline-groovy-lib",
    "lock": "lockable-resources",
    "mail": "mailer",
    "milestone": "pipeline-milestone-step",
    "publishHTML": "htmlpublisher",
    "readJSON": "pipeline-utility-steps",
    "sh": "workflow-aggregator",
    "withCredentials": "credentials-binding",
    "writeJSON": "pipeline-utility-steps",
}
"""Steps that come with a plugin, as recorded on a controller; ``mail`` is Pipeline's own and sends through mailer."""


def plugins() -> dict[str, str]:
    """Short name to what its comment says."""
    found: dict[str, str] = {}
    name = ""
    for line in (KIT / "plugins.txt").read_text().splitlines():
        plugin, _, comment = line.partition("#")
        name = plugin.strip() or (name if line.startswith(" ") else "")
        if name:
            found[name] = f"{found.get(name, '')} {comment.strip()}".strip()
    return found


def test_every_plugin_has_a_reason_and_a_consequence() -> None:
    assert plugins()
    for name, comment in plugins().items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert "; without it" in comment, name


def test_every_step_that_the_library_calls_comes_with_a_listed_plugin() -> None:
    """A step calls another by its name, a class through ``steps``."""
    sources = [*(ROOT / "vars").glob("*.groovy"), *(ROOT / "src").rglob("*.groovy")]
    text = "\n".join(path.read_text() for path in sources)
    used = {step for step in PLUGIN_OF if re.search(rf"((?<![.\w])|\bsteps\.){step}\(", text)}
    assert {"lock", "readJSON", "sh", "input", "junit"} <= used, "the pattern finds steps"
    assert {PLUGIN_OF[step] for step in used} <= set(plugins())


def test_the_example_leases_every_gpu_by_device_and_machine() -> None:
    example = yaml.safe_load((KIT / "jcasc.yaml").read_text())
    nodes = {node["permanent"]["name"]: node["permanent"] for node in example["jenkins"]["nodes"]}
    resources = example["unclassified"]["lockableResourcesManager"]["declaredResources"]
    assert resources
    for resource in resources:
        given = {one["name"]: one["value"] for one in resource["properties"]}
        assert re.fullmatch(r"[A-Za-z0-9-]+", given["DEVICE"]), "what mlGpu accepts"
        assert resource["labels"] in nodes[given["NODE"]]["labelString"].split()
    names = [resource["name"] for resource in resources]
    assert len(set(names)) == len(names)


def test_the_example_holds_no_secret_and_runs_nothing_on_the_controller() -> None:
    text = (KIT / "jcasc.yaml").read_text()
    example = yaml.safe_load(text)
    assert example["jenkins"]["numExecutors"] == 0
    for value in re.findall(r"^\s*(?:- )?(?:password|privateKey|secret|token): (.+)$", text, flags=re.MULTILINE):
        assert re.fullmatch(r"\$\{[A-Z_]+\}", value), value
    normal = [node for node in example["jenkins"]["nodes"] if node["permanent"]["mode"] == "NORMAL"]
    assert normal, "a step without a label needs an agent that takes it"


def test_the_example_pins_the_library_to_a_tag() -> None:
    (library,) = yaml.safe_load((KIT / "jcasc.yaml").read_text())["unclassified"]["globalLibraries"]["libraries"]
    assert library["name"] == "mlpipeline"
    assert re.fullmatch(r"v\d+\.\d+\.\d+", library["defaultVersion"])


def test_every_version_that_is_named_is_the_librarys() -> None:
    version = (KIT / "version.txt").read_text().split()[0]
    pages = [KIT / "jcasc.yaml", *(ROOT / "docs" / "how-to").glob("*.md")]
    named = [
        found
        for page in pages
        for found in re.findall(r"(?:mlpipeline(?:\[gpu\])?(?:@v|==)|: v)(\d+\.\d+\.\d+)", page.read_text())
    ]
    assert len(named) >= 4, "the pattern finds versions"
    assert set(named) == {version}


@pytest.mark.parametrize("page", ["how-to/jenkins.md", "how-to/gpu-agents.md", "explanation/threats.md"])
def test_pages_link_to_files_that_are_there(page: str) -> None:
    file = ROOT / "docs" / page
    for link in re.findall(r"\]\(([^)#]+)\)", file.read_text()):
        assert "://" in link or (file.parent / link).is_file(), link
    for path in re.findall(r"`((?:resources|docs|python|vars)/[\w./-]+)`", file.read_text()):
        assert (ROOT / path).exists(), path
