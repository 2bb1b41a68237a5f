"""What is said of a package, in files beside it: ``attestations/<hex digest>/<run>/``. Nothing removes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlpipeline.core.provenance import Envelope, Statement, opened
from mlpipeline.record.files import write_atomically
from mlpipeline.record.places import Places

SBOM = "sbom.cdx.json"
PROVENANCE = "provenance.dsse.json"
CARD = "model-card.md"
CARD_PAGE = "model-card.html"
RECORD = "record"


class Attestations:
    """The files of one package and one run.

    Args:
        digest: ``sha256:...`` of the bundle.
    """

    def __init__(self, places: Places, digest: str, run: str) -> None:
        self.folder = places.attestations / digest.removeprefix("sha256:") / run

    def write(self, name: str, content: bytes) -> str:
        """Replaces one file as a whole; returns its SHA-256 (hex)."""
        write_atomically(self.folder / name, content)
        return sha256(content)

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError when there is none."""
        return (self.folder / name).read_bytes()

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def forget(self, name: str) -> None:
        """Removes one file, if it is there."""
        (self.folder / name).unlink(missing_ok=True)

    def witnesses(self) -> dict[str, bytes]:
        """File name to content."""
        return {file.name: file.read_bytes() for file in sorted(self.folder.glob("*.sigstore.json"))}

    def provenance(self) -> tuple[Envelope, Statement]:
        """Raises FileNotFoundError without one, ValueError when it cannot be read."""
        return opened(self.read(PROVENANCE))

    def approvals(self) -> dict[str, bytes]:
        """File name to content."""
        return {file.name: file.read_bytes() for file in sorted(self.folder.glob("approval-*.dsse.json"))}

    def record(self) -> dict[str, bytes]:
        """Copies of ``run.json`` and of the results that statements rest on, by name without ``.json``."""
        return {file.stem: file.read_bytes() for file in sorted((self.folder / RECORD).glob("*.json"))}

    def keep(self, record: Mapping[str, bytes]) -> None:
        """Copies parts of the run's record here, where no pruning of runs reaches them."""
        for name, content in record.items():
            if not self.has(f"{RECORD}/{name}.json") or self.read(f"{RECORD}/{name}.json") != content:
                self.write(f"{RECORD}/{name}.json", content)


def approval_name(person: str) -> str:
    """One file per person, as the approvals of a run have."""
    return f"approval-{sha256(person.encode())[:16]}.dsse.json"


def witness_name(statement: str) -> str:
    """Of the file with what ``signing.witness`` said of a statement's file."""
    return f"{statement.removesuffix('.dsse.json')}.sigstore.json"


def runs_of(places: Places, digest: str) -> tuple[str, ...]:
    """The runs that have said something of a package, by name."""
    folder = places.attestations / digest.removeprefix("sha256:")
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir())) if folder.is_dir() else ()


def digests(places: Places) -> tuple[str, ...]:
    """``sha256:...`` of every package that something was said of."""
    folder: Path = places.attestations
    return tuple(sorted(f"sha256:{path.name}" for path in folder.iterdir() if path.is_dir())) if folder.is_dir() else ()


def sha256(content: bytes) -> str:
    """Hex."""
    import hashlib

    return hashlib.sha256(content).hexdigest()
