"""Replacing a file or a whole folder by another that lies beside it: whoever looks sees the old or the new, never half."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

from mlpipeline.record.files import sync_folder

_HERE = -100
"""``AT_FDCWD``."""
_EXCHANGE = 2
"""``RENAME_EXCHANGE`` of Linux' ``renameat2``."""


def staged_place(place: Path) -> Path:
    """Where what is to replace ``place`` is written: in the same folder, so that a rename can bring it there."""
    suffix = "".join(place.suffixes[-2:]) if place.suffix else ""
    return place.with_name(f".{place.name.removesuffix(suffix)}.mlpipeline-new{suffix}")


def replace(place: Path) -> None:
    """Puts what is staged into its place, and removes what was there. Raises OSError when the folder cannot be written."""
    staged, aside = staged_place(place), _aside(place)
    if place.is_dir():
        _remove(aside)
        if not _exchanged(staged, place):
            place.rename(aside)
            staged.rename(place)
    else:
        os.replace(staged, place)
    sync_folder(place.parent)
    _remove(staged)
    _remove(aside)


def recover(place: Path) -> None:
    """After a crash: an old folder that was taken away for a new one that did not come is put back; leftovers go."""
    aside = _aside(place)
    if aside.exists() and not place.exists():
        aside.rename(place)
        sync_folder(place.parent)
    _remove(staged_place(place))
    _remove(aside)


def sync_tree(folder: Path) -> None:
    """Makes the names of a folder and of all below it survive a power cut."""
    for parent, _, _ in os.walk(folder):
        sync_folder(Path(parent))


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.mlpipeline-old")


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Both names at once, where the kernel and the file system can do that."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(number, os.strerror(number), str(other))
