"""The look into an image: stand-ins that answer in the form of trivy and grype, and what they are told and may not read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from image_parts import small_base
from mlpipeline.adapters.scanners.image import Image
from mlpipeline.core.findings import NothingToDo, NotRun
from mlpipeline.ports import Scanned

TRIVY = {
    "SchemaVersion": 2,
    "Trivy": {"Version": "0.70.0"},
    "Results": [
        {
            "Target": "debian",
            "Class": "os-pkgs",
            "Packages": [{"Name": "libc6"}, {"Name": "zlib1g"}],
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-1",
                    "Severity": "CRITICAL",
                    "PkgName": "libc6",
                    "InstalledVersion": "2",
                    "FixedVersion": "3",
                }
            ],
        }
    ],
}
GRYPE = {
    "matches": [
        {
            "vulnerability": {"id": "CVE-1", "severity": "Critical", "fix": {"versions": ["3"], "state": "fixed"}},
            "artifact": {"name": "libc6", "version": "2"},
        }
    ],
    "ignoredMatches": [{}],
    "descriptor": {"name": "grype", "version": "0.121.2", "db": {"status": {"built": "2026-11-20T00:00:00Z"}}},
}


def program(folder: Path, name: str, lines: str) -> dict[str, str]:
    """A stand-in of that name that writes down how it was called; returns the environment that finds it."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f'#!/bin/sh\necho "$@" >{folder}/arguments\nls -A >{folder}/lying\nenv >{folder}/environment\n{lines}\n')
    file.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def trivy(folder: Path, said: Mapping[str, object] = TRIVY) -> dict[str, str]:
    return program(folder, "trivy", f"cat <<'END'\n{json.dumps(said)}\nEND")


def grype(folder: Path, said: Mapping[str, object] = GRYPE, packages: int = 2) -> dict[str, str]:
    listed = json.dumps({"components": [{"type": "library"}] * packages + [{"type": "operating-system"}]})
    keep = 'for one in "$@"; do case $one in cyclonedx-json=*) out=${one#*=};; esac; done\n'
    return program(folder, "grype", f"{keep}printf '%s' '{listed}' >\"$out\"\ncat <<'END'\n{json.dumps(said)}\nEND")


@pytest.mark.parametrize("make", [trivy, grype])
def test_what_was_found_and_how_much_was_looked_at(tmp_path: Path, make: object) -> None:
    environment = make(tmp_path / "bin")  # type: ignore[operator]
    scan = Image().scan(Scanned(project=tmp_path, environment=environment, image="registry/x@sha256:1"))
    assert [(one.id, one.level, one.where, one.text) for one in scan.findings] == [
        ("CVE-1", "critical", "libc6==2", "fixed in 3")
    ]
    assert scan.targets == 2 and scan.version in {"0.70.0", "0.121.2"}


def test_the_age_of_the_advisories_and_what_was_left_out_are_told(tmp_path: Path) -> None:
    scan = Image().scan(Scanned(project=tmp_path, environment=grype(tmp_path / "bin"), image="x"))
    assert scan.notes == ("advisories of 2026-11-20T00:00:00Z", "1 matches left out by grype's own rules")


def test_an_image_in_which_nothing_was_recognised_is_not_clean(tmp_path: Path) -> None:
    for environment in (
        grype(tmp_path / "g", {"matches": []}, packages=0),
        trivy(tmp_path / "t", {"Results": [{"Target": "x"}]}),
    ):
        with pytest.raises(NotRun, match="found no package in the image"):
            Image().scan(Scanned(project=tmp_path, environment=environment, image="x"))


def test_findings_without_a_list_of_packages_stay_findings(tmp_path: Path) -> None:
    said = json.loads(json.dumps(TRIVY))
    del said["Results"][0]["Packages"]
    scan = Image().scan(Scanned(project=tmp_path, environment=trivy(tmp_path / "bin", said), image="x"))
    assert (scan.targets, len(scan.findings)) == (1, 1)


@pytest.mark.parametrize("name", ["trivy", "grype"])
def test_a_program_without_its_advisories_has_not_run(tmp_path: Path, name: str) -> None:
    environment = program(tmp_path / "bin", name, "echo 'failed to load vulnerability db: not found' >&2; exit 1")
    with pytest.raises(NotRun, match=f"{name} ended with 1: failed to load vulnerability db"):
        Image().scan(Scanned(project=tmp_path, environment=environment, image="x"))


def test_a_file_of_the_project_cannot_leave_findings_out(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".trivyignore").write_text("CVE-1\n")
    environment = trivy(tmp_path / "bin")
    loud = {**environment, "TRIVY_IGNOREFILE": "/x", "TRIVY_SEVERITY": "LOW", "TRIVY_CACHE_DIR": "/cache"}
    Image().scan(Scanned(project=tmp_path / "project", environment=loud, image="x"))
    assert (tmp_path / "bin" / "lying").read_text() == ""
    told = (tmp_path / "bin" / "environment").read_text()
    assert "TRIVY_CACHE_DIR=/cache" in told
    assert "IGNOREFILE" not in told and "SEVERITY" not in told


def test_of_several_images_in_a_layout_the_packaged_one_is_looked_into(tmp_path: Path) -> None:
    digest = small_base(tmp_path / "layout").rpartition("@")[2]
    index = tmp_path / "layout" / "index.json"
    known = json.loads(index.read_text())
    other = {**known["manifests"][0], "digest": f"sha256:{'0' * 64}"}
    index.write_text(json.dumps({**known, "manifests": [other, *known["manifests"]]}))
    keep = f'cp "$9/index.json" {tmp_path}/seen.json\nls "$9/blobs/sha256" >{tmp_path}/blobs\n'
    environment = program(tmp_path / "bin", "trivy", f"{keep}cat <<'END'\n{json.dumps(TRIVY)}\nEND")
    Image().scan(Scanned(project=tmp_path, environment=environment, image="layout", image_digest=digest))
    assert [one["digest"] for one in json.loads((tmp_path / "seen.json").read_text())["manifests"]] == [digest]
    assert digest.removeprefix("sha256:") in (tmp_path / "blobs").read_text()
    with pytest.raises(NotRun, match="2 images in"):
        Image().scan(Scanned(project=tmp_path, environment=environment, image="layout"))
    with pytest.raises(NotRun, match="any more"):
        Image().scan(Scanned(project=tmp_path, environment=environment, image="layout", image_digest="sha256:1"))


def test_an_absent_program_and_an_absent_image_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="no image yet"):
        Image().scan(Scanned(project=tmp_path, environment=trivy(tmp_path / "bin")))
    with pytest.raises(NotRun, match="neither trivy nor grype"):
        Image().scan(Scanned(project=tmp_path, environment={"PATH": ""}, image="x"))
