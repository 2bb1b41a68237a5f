"""The same bundle, layers, image, archive and bill of materials, made on two machines that share nothing but what goes in."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

import pytest

import second_machine
from image_builder import everything, wheel_of, write_wheel
from image_parts import not_allowed, small_base
from tiny_model import save_tiny_model

_ABOUT = (
    "import json, os, platform, ssl, time; "
    "print(json.dumps([list(platform.libc_ver()), platform.python_version(), ssl.OPENSSL_VERSION, platform.node(), "
    "os.getuid(), time.time(), time.tzname[0]]))"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A model with weights, its wheels, compiled ones too, and a base."""
    folder = tmp_path_factory.mktemp("inputs")
    save_tiny_model(folder / "model")
    (folder / "model" / "ä weights.bin").write_bytes(os.urandom(3_000_000))
    (folder / "model" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "model" / "run.sh").chmod(0o755)
    for name in ("alpha", "beta"):
        write_wheel(folder / "wheels", name)
    wheel_of(folder / "wheels", "msgspec")
    return folder / "model", folder / "wheels", small_base(folder / "base")


def reachable(folder: Path) -> None:
    """Another user may read it, whatever the umask of this one."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))


@pytest.mark.real
def test_a_second_fresh_machine_makes_the_same_bytes(made: tuple[Path, Path, str], tmp_path: Path) -> None:
    here = second_machine.run(["-c", _ABOUT], {})
    if "not permitted" in here.stderr or "denied" in here.stderr:
        not_allowed(f"mount the files of a second machine: {here.stderr.strip()}")
    assert here.returncode == 0, here.stderr
    libc, python, _, host, user, now, zone = json.loads(here.stdout)
    assert [libc, host, user] == [["glibc", "2.41"], "second-machine", 4321]
    assert tuple(libc) != platform.libc_ver() and zone == "IST" and python.startswith("3.11.")
    assert now - tmp_path.stat().st_mtime > 399 * 86400, "the clock there is really another one"

    model, wheels, base = made
    mine = everything(model, wheels, base, tmp_path / "mine")
    copy = shutil.copytree(model.parent, tmp_path / "copied", copy_function=shutil.copyfile)
    (copy / "model" / "run.sh").chmod(0o700)
    reachable(copy)
    lent = {
        copy / "model": "/machine/their/model",
        copy / "wheels": "/machine/their/wheels",
        copy / "base": "/machine/their/base",
    }
    theirs = base.replace(str(model.parent), "/machine/their")
    done = second_machine.run(
        ["/machine/tests/image_builder.py", "/machine/their/model", "/machine/their/wheels", theirs, "/machine/scratch"], lent
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == mine
    assert {"bundle", "image", "archive", "layer: dependencies", "layer: model", "bill of materials"} <= mine.keys()


@pytest.mark.real
def test_one_byte_more_in_the_model_is_seen(made: tuple[Path, Path, str], tmp_path: Path) -> None:
    """Or the test above could not fail."""
    model, wheels, base = made
    one = everything(model, wheels, base, tmp_path / "one")
    with (model / "run.sh").open("a") as script:
        script.write("\n")
    two = everything(model, wheels, base, tmp_path / "two")
    changed = {name for name in one if one[name] != two[name]}
    assert changed == {"bundle", "image", "configuration", "layer: model", "layer: manifest", "archive", "bill of materials"}
