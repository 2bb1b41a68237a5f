"""Which files belong to a model, and what they are called in findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlpipeline.ports import Scanned


def roots(scanned: Scanned) -> list[Path]:
    """The model's folder, and what of the project is packaged with it."""
    return [*([scanned.model] if scanned.model else []), *scanned.include]


def with_suffix(scanned: Scanned, suffix: str) -> list[Path]:
    """Regular files under the roots whose name ends so."""
    return sorted(file for file in _all(scanned) if file.suffix.lower() == suffix)


def every(scanned: Scanned) -> list[Path]:
    """All regular files under the roots."""
    return sorted(_all(scanned))


def shown(file: Path | str, project: Path) -> str:
    """Relative to the project, printable whatever its bytes are."""
    path = Path(file)
    text = str(path.relative_to(project) if path.is_relative_to(project) else path)
    return text.encode("utf-8", "backslashreplace").decode()


def _all(scanned: Scanned) -> Iterator[Path]:
    for root in roots(scanned):
        inside = root.rglob("*") if root.is_dir() else [root]
        yield from (file for file in inside if file.is_file() and "__pycache__" not in file.parts)
