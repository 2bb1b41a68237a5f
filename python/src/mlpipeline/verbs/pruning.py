"""Removing what nobody needs any more: old runs and calls of this checkout, and packages and environments of this machine."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from mlpipeline.core.release import State, Version
from mlpipeline.errors import Held, MlpipelineError
from mlpipeline.record.files import write_atomically
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import holder
from mlpipeline.record.ledger import decoded, whole_lines
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held, making

RECORD = ("run.json", "evidence.json", "trained.json", "results/*.json", "approvals/*.json")
"""What is kept of a run whose folder is removed."""
_HEX = re.compile(r"[0-9a-f]{64}")
_LEAVING = ".old-"


class Pruned(msgspec.Struct, frozen=True):
    """What was removed.

    Args:
        runs: Their ids; other fields count. ``layers``: what images were made of.
        bytes: Freed, as far as files are not shared.
        kept: Why packages and environments were left alone this time; empty when they were not.
    """

    runs: tuple[str, ...] = ()
    calls: int = 0
    bundles: int = 0
    environments: int = 0
    layers: int = 0
    bytes: int = 0
    kept: str = ""

    @property
    def summary(self) -> str:
        """One line; empty when there was nothing to do."""
        counts = {"run": len(self.runs), "call": self.calls, "package": self.bundles, "environment": self.environments}
        counts["layer"] = self.layers
        words = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count]
        removed = f"removed {', '.join(words)} ({self.bytes / 1e6:.0f} MB)" if words else ""
        return "; ".join(text for text in (removed, self.kept) if text)

    def evidence(self) -> dict[str, object]:
        plain = msgspec.to_builtins(self)
        return {key: value for key, value in plain.items() if value}


def prune(context: Context) -> Pruned:
    """Removes what is older than ``nightly.prune.older_than`` and not needed. Another worker at work: packages wait."""
    rule = context.config.nightly.prune
    if not rule.enabled:
        return Pruned()
    oldest = context.clock.now().timestamp() - rule.older_than
    try:
        with making(context, None, verb="nightly"), held(context, None, verb="nightly"):
            _sweep(context.places.work, context.places.home)
            states = _states(context)
            runs, freed = _prune_runs(context, states[context.places.service], oldest)
            calls = _remove(_older(context.places.work / "calls", oldest))
            kept = _busy(context)
            bundles, environments = ((0, 0), (0, 0)) if kept else _prune_shared(context, states.values(), oldest)
            layers = (0, 0) if kept else _prune_images(context, oldest)
    except Held as error:
        return Pruned(kept=f"nothing was removed: {error.what.partition(';')[0]}")
    except (MlpipelineError, OSError) as error:
        return Pruned(kept=f"nothing more was removed: {error}")
    return Pruned(
        runs=runs,
        calls=calls[0],
        bundles=bundles[0],
        environments=environments[0],
        layers=layers[0],
        bytes=freed + calls[1] + bundles[1] + environments[1] + layers[1],
        kept=kept,
    )


def _states(context: Context) -> dict[str, State]:
    """What every service of this machine says it needs. Raises EnvironmentFault when one cannot be read."""
    services = context.places.state.parent
    found = {folder.name: Journal(folder / "release.json").read() for folder in services.iterdir() if folder.is_dir()}
    return {context.places.service: State(), **found}


def _busy(context: Context) -> str:
    """Whether a worker of another service may be about to use a package that nobody names yet."""
    services = context.places.state.parent
    leases = (context.places.lease.name, context.places.making.name)
    for folder in services.iterdir():
        if folder != context.places.state and any(holder(folder / name) is not None for name in leases):
            return f"packages and environments were left alone: a worker is at work on {folder.name}"
    return ""


def _prune_runs(context: Context, state: State, oldest: float) -> tuple[tuple[str, ...], int]:
    needed = {version.run for version in _versions(state)} | {one.run for one in state.quarantined.values()}
    needed |= {state.release.run} if state.release else set()
    runs = context.runs.all()
    beyond = runs[: -context.config.nightly.prune.runs]
    old = [run for run in beyond if run.id not in needed and datetime.fromisoformat(run.created).timestamp() < oldest]
    for run in old:
        _keep_record(context, run.id)
    _, freed = _remove(context.runs.folder(run.id) for run in old)
    return tuple(run.id for run in old), freed


def _keep_record(context: Context, run: str) -> None:
    """What an audit asks of a run is small and stays: what was judged, by what, and who decided. Logs and pages go."""
    folder, kept = context.runs.folder(run), context.places.records / run
    for pattern in RECORD:
        for file in sorted(folder.glob(pattern)):
            target = kept / file.relative_to(folder)
            if not target.is_file() or target.read_bytes() != file.read_bytes():
                write_atomically(target, file.read_bytes())


def _prune_shared(context: Context, states: Iterable[State], oldest: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Packages no service, no kept run and no process needs; then environments that no remaining package needs."""
    from mlpipeline.adapters.bundle import MANIFEST, load

    places = context.places
    needed = _needed(context, states) | _audited(context)
    running = _command_lines()
    bundles = _remove(
        folder
        for folder in _hexes(places.bundles)
        if folder.name not in needed and _before(folder / MANIFEST, oldest) and str(folder) not in running
    )
    try:
        locks = {load(folder).lock.removeprefix("sha256:") for folder in _hexes(places.bundles)}
    except MlpipelineError:
        # What a damaged package needs is not known; it is told of where it is used.
        return bundles, (0, 0)
    environments = _remove(
        folder
        for folder in _hexes(places.environments)
        if folder.name not in locks and _before(folder, oldest) and str(folder) not in running
    )
    return bundles, environments


def _prune_images(context: Context, oldest: float) -> tuple[int, int]:
    """What images were made of: what remaining packages need stays, and what was used of late."""
    images = context.places.images
    if not images.is_dir():
        return 0, 0
    from mlpipeline.adapters.bundle import load
    from mlpipeline.adapters.oci.pool import Needed, prune

    packages = _hexes(context.places.bundles)
    try:
        locks = {load(folder).lock.removeprefix("sha256:") for folder in packages}
    except MlpipelineError:
        return 0, 0  # as with environments
    return prune(images, Needed({folder.name for folder in packages}, locks, context.config.image.base), oldest)


def _needed(context: Context, states: Iterable[State]) -> set[str]:
    digests = {version.digest for state in states for version in _versions(state)}
    for state in states:
        digests |= set(state.quarantined)
    for run in context.runs.all():
        packaged = context.runs.result(run.id, "package")
        if packaged is not None:
            digests.add(str(packaged.evidence.get("digest", "")))
    return {digest.removeprefix("sha256:") for digest in digests}


def _audited(context: Context) -> set[str]:
    """Packages of any service that users were on within ``nightly.prune.audit``, as hex.

    From the copies of ledgers on this machine, so that a shared one need not be asked. Raises EnvironmentFault for one that
    cannot be read: nothing is removed on a guess.
    """
    now = context.clock.now().timestamp()
    since = now - context.config.nightly.prune.audit
    digests: set[str] = set()
    for copy in sorted(context.places.state.parent.glob("*/ledger*.jsonl")):
        digests |= {digest for digest, last in _last_live(copy, now).items() if last >= since}
    return {digest.removeprefix("sha256:") for digest in digests}


def _last_live(copy: Path, now: float) -> dict[str, float]:
    """Digest to the Unix time until which users were on it."""
    last: dict[str, float] = {}
    live: set[str] = set()
    for entry in decoded(whole_lines(copy.read_bytes()), str(copy)):
        if entry.event not in {"live", "stopped"}:
            continue
        moment = datetime.fromisoformat(entry.at).timestamp()
        last.update(dict.fromkeys(live, moment))
        shares = [entry.facts.get("digest", ""), entry.facts.get("other_digest", "")] if entry.event == "live" else []
        live = {digest for digest in shares if digest}
    last.update(dict.fromkeys(live, now))
    return last


def _versions(state: State) -> Iterator[Version]:
    release = state.release
    for version in (
        state.champion.version if state.champion else None,
        state.previous,
        release.candidate if release else None,
        release.champion if release else None,
    ):
        if version is not None:
            yield version


def _command_lines() -> str:
    """Of everything that runs here, as far as it may be seen: a server whose journal was lost still keeps its files."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(entry.read_bytes().decode(errors="replace"))
    return "\n".join(lines)


def _hexes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _HEX.fullmatch(path.name) and path.is_dir()]


def _sweep(*folders: Path) -> None:
    """What an earlier call was killed over."""
    for folder in folders:
        for left in folder.glob(f"{_LEAVING}*"):
            shutil.rmtree(left, ignore_errors=True)


def _older(folder: Path, oldest: float) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and _before(path, oldest)] if folder.is_dir() else []


def _before(path: Path, oldest: float) -> bool:
    try:
        return path.stat().st_mtime < oldest
    except FileNotFoundError:
        return False


def _remove(folders: Iterable[Path]) -> tuple[int, int]:
    """Moved out first, so that a crash leaves no half of anything. How many, and their bytes."""
    count = freed = 0
    for folder in list(folders):
        size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
        leaving = folder.parent.with_name(f"{_LEAVING}{folder.name}")
        folder.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)
        count, freed = count + 1, freed + size
    return count, freed
