from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlpipeline.adapters import environment
from mlpipeline.adapters.environment import Environments, fingerprint, python_for
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.places import Places

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def write_wheel(wheelhouse: Path, name: str, version: str, needs: str = "") -> None:
    """A wheel with one module, made by hand, so that no test needs an index."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    wheelhouse.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheelhouse / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(path, text)


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    write_wheel(folder, "upper", "1.0", needs="lower>=2")
    write_wheel(folder, "lower", "2.0")
    write_wheel(folder, "lower", "1.0")
    return folder


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(project=tmp_path, home=tmp_path / "home", service="s")


def test_lock_pins_everything_with_hashes_and_names_no_place(places: Places, wheelhouse: Path) -> None:
    lock = Environments(places, wheelhouse).lock(["upper"], python=PYTHON)
    assert "upper==1.0" in lock.text and "lower==2.0" in lock.text
    assert lock.text.count("--hash=sha256:") >= 2
    assert str(wheelhouse) not in lock.text and "://" not in lock.text
    assert lock.python == PYTHON
    assert lock.digest == f"sha256:{hashlib.sha256(lock.text.encode()).hexdigest()}"


def test_same_requirements_are_locked_once_whatever_their_order(
    places: Places, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = Environments(places, wheelhouse)
    one = environments.lock(["upper", "lower>1"], python=PYTHON)
    monkeypatch.setattr(environment, "_uv", lambda *_, **__: pytest.fail("asked again"))
    assert environments.lock(["lower>1", "", "upper", "upper"], python=PYTHON) == one


def test_lock_is_the_same_on_another_machine_with_the_same_wheels(tmp_path: Path, wheelhouse: Path) -> None:
    locks = []
    for name in ("one", "two"):
        copy = tmp_path / name / "wheels"
        shutil.copytree(wheelhouse, copy)
        locks.append(Environments(Places(tmp_path, tmp_path / name / "home", "s"), copy).lock(["upper"], python=PYTHON))
    assert locks[0] == locks[1]


def test_new_wheel_in_the_wheelhouse_is_seen(places: Places, wheelhouse: Path) -> None:
    one = Environments(places, wheelhouse).lock(["lower"], python=PYTHON)
    write_wheel(wheelhouse, "lower", "3.0")
    assert Environments(places, wheelhouse).lock(["lower"], python=PYTHON) != one


def test_contradicting_requirements_are_a_configuration_error(places: Places, wheelhouse: Path) -> None:
    with pytest.raises(ConfigurationError, match="could not be locked") as caught:
        Environments(places, wheelhouse).lock(["upper", "lower==1.0"], python=PYTHON)
    assert "lower" in caught.value.facts["uv said"]


def test_missing_wheelhouse_is_a_configuration_error(places: Places, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="wheelhouse"):
        Environments(places, tmp_path / "absent").lock(["upper"], python=PYTHON)


def test_unreachable_index_is_the_machines_fault(places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(EnvironmentFault, match="could not be locked"):
        Environments(places).lock(["upper"], python=PYTHON)


def test_installed_environment_has_what_the_lock_says_and_is_installed_once(
    places: Places, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = Environments(places, wheelhouse)
    lock = environments.lock(["upper"], python=PYTHON)
    interpreter = environments.install(lock)
    assert interpreter == places.environments / lock.digest.removeprefix("sha256:") / "bin" / "python"
    printed = subprocess.run(
        [interpreter, "-c", "import upper, lower; print(lower.VERSION)"], check=True, capture_output=True, text=True
    )
    assert printed.stdout == "2.0\n"
    monkeypatch.setattr(environment, "_uv", lambda *_, **__: pytest.fail("installed again"))
    assert environments.install(lock) == interpreter


def test_half_an_environment_of_a_killed_installer_is_made_anew(places: Places, wheelhouse: Path) -> None:
    environments = Environments(places, wheelhouse)
    lock = environments.lock(["upper"], python=PYTHON)
    interpreter = environments.install(lock)
    folder = interpreter.parent.parent
    (folder / ".mlpipeline-complete").unlink()
    next(folder.glob("lib/python*/site-packages/lower.py")).unlink()
    environments.install(lock)
    assert subprocess.run([interpreter, "-c", "import lower"], check=False).returncode == 0


def test_failed_installation_leaves_nothing_that_looks_installed(places: Places, wheelhouse: Path) -> None:
    environments = Environments(places, wheelhouse)
    lock = environments.lock(["upper"], python=PYTHON)
    (wheelhouse / "lower-2.0-py3-none-any.whl").unlink()
    with pytest.raises((EnvironmentFault, ConfigurationError), match="could not be installed"):
        environments.install(lock)
    assert not (places.environments / lock.digest.removeprefix("sha256:")).exists()


def test_several_installers_at_once_agree(places: Places, wheelhouse: Path) -> None:
    lock = Environments(places, wheelhouse).lock(["upper"], python=PYTHON)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: Environments(places, wheelhouse).install(lock), range(3)))
    assert len(set(found)) == 1
    assert subprocess.run([found[0], "-c", "import upper"], check=False).returncode == 0


def test_content_other_than_locked_never_gets_in(places: Places, wheelhouse: Path) -> None:
    """Refused, or served from uv's cache of what was locked: never what stands under that name now."""
    environments = Environments(places, wheelhouse)
    lock = environments.lock(["upper"], python=PYTHON)
    with zipfile.ZipFile(wheelhouse / "lower-2.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("evil.py", "")
    try:
        environments.install(lock)
    except (EnvironmentFault, ConfigurationError) as error:
        assert "hash" in error.facts["uv said"].lower()
    assert not list(places.environments.rglob("evil.py"))


def test_a_python_that_nobody_has_is_told_as_such(places: Places, wheelhouse: Path) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        Environments(places, wheelhouse).lock(["upper"], python="2.7")
    assert "saved with a Python that this machine does not have" in caught.value.likely


def test_python_for_a_bundle_comes_from_its_own_lock(places: Places, wheelhouse: Path, tmp_path: Path) -> None:
    lock = Environments(places, wheelhouse).lock(["upper"], python=PYTHON)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    with pytest.raises(EnvironmentFault, match="no lock"):
        python_for(places, bundle)
    (bundle / "requirements.lock").write_text(lock.text)
    assert python_for(places, bundle, wheelhouse=wheelhouse) == Environments(places, wheelhouse).install(lock)


def test_fingerprint_names_the_python_on_the_path_and_changes_with_what_is_installed(
    places: Places, wheelhouse: Path, tmp_path: Path
) -> None:
    found = []
    for wanted in ("lower==1.0", "lower==2.0"):
        environments = Environments(places, wheelhouse)
        interpreter = environments.install(environments.lock([wanted], python=PYTHON))
        found.append(fingerprint({"PATH": str(interpreter.parent)}, tmp_path))
    assert found[0]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found[0]["fingerprint"].startswith("sha256:")
    assert found[0]["fingerprint"] != found[1]["fingerprint"]


def test_fingerprint_is_empty_without_python_or_an_answer(tmp_path: Path) -> None:
    assert fingerprint({"PATH": str(tmp_path)}, tmp_path) == {}
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "python").chmod(0o755)
    assert fingerprint({"PATH": f"{tmp_path}{os.pathsep}{os.defpath}"}, tmp_path, limit_seconds=0.2) == {}
