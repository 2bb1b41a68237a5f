"""The exposition texts of serving runtimes in ``tests/fixtures/exposition``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "exposition"


def text(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text("utf-8")


def scaled(name: str, factor: int) -> str:
    """The same with every value multiplied: a later scrape of the same process."""
    lines = []
    for line in text(name).splitlines():
        series, _, value = line.rpartition(" ")
        lines.append(line if line.startswith("#") else f"{series} {float(value) * factor:g}")
    return "\n".join(lines) + "\n"
