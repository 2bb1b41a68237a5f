"""A second machine to build on: the files of another Debian release with its own C library and OpenSSL, another build of Python,
another user, host name, time zone, locale, umask and day, without a network. See tools/setup_second_machine.sh.

Only the worker's own code and its libraries are lent to it, to be read; what it writes is gone when it ends.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from uv import find_uv_bin

import mlpipeline
from image_parts import not_allowed

ROOT = Path(__file__).resolve().parents[2] / ".tools" / "second-machine"
PYTHON = "/usr/bin/python3.11"
_PREPARE = """
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc none "$root/proc"
mount -t tmpfs none "$root/dev"
for device in null zero random urandom; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t tmpfs none "$root/machine"
mkdir -p "$root/machine/home/.local/bin"
touch "$root/machine/home/.local/bin/uv"
while [ "$1" != -- ]; do
    [ ! -d "$1" ] || mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
    shift 2
done
shift
mkdir "$root/machine/scratch" "$root/machine/tmp"
chown 4321:4321 "$root/machine/scratch" "$root/machine/tmp" "$root/machine/home" "$root/machine/home/.local"
hostname second-machine
umask 077
exec chroot --userspec=4321:4321 "$root" "$@"
"""


def run(command: Sequence[str], lent: Mapping[Path, str]) -> subprocess.CompletedProcess[str]:
    """Runs a Python program there, in 400 days; ``/machine/scratch`` is a folder to write to.

    Args:
        lent: Folders of this machine to where they are found there, below ``/machine``.
    """
    if not (ROOT / ".stamp").exists():
        pytest.skip("missing: another Debian release; run tools/setup_second_machine.sh")
    if os.geteuid() != 0:
        not_allowed("change the root folder of a process, which needs root")
    places = {
        **lent,
        Path(mlpipeline.__file__).parents[1]: "/machine/machineer",
        Path(__file__).parent: "/machine/tests",
        Path(sysconfig.get_path("purelib")): "/machine/libraries",
        Path(find_uv_bin()): "/machine/home/.local/bin/uv",
    }
    environment = {
        "HOME": "/machine/home",
        "USER": "somebody-else",
        "TMPDIR": "/machine/tmp",
        "PATH": "/usr/bin",
        "PYTHONPATH": "/machine/machineer:/machine/tests:/machine/libraries",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Kolkata",
        "LC_ALL": "C",
        "LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "FAKETIME": "+400d",
    }
    return subprocess.run(
        [
            *("unshare", "--mount", "--uts", "--net", "--ipc", "--pid", "--fork", "sh", "-c", _PREPARE, "sh", ROOT),
            *(part for source, place in places.items() for part in (source, place)),
            *("--", "/usr/bin/env", "--ignore-environment", "--chdir=/"),
            *(f"{name}={value}" for name, value in environment.items()),
            *(PYTHON, *command),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
