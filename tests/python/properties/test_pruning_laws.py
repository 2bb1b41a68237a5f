"""Pruning removes what nobody needs and nothing else: not what is live, not what a rollback needs, not what an audit needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import FakeWorld
from mlpipeline.adapters.bundle import File, Manifest
from mlpipeline.config.sections.night import Nightly, Prune
from mlpipeline.config.values import Duration
from mlpipeline.core.release import Phase, Quarantine, Release, Standing, State, Version
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.journal import Journal
from mlpipeline.record.ledger import Ledger
from mlpipeline.record.places import Places
from mlpipeline.record.result import Reason
from mlpipeline.record.run import Run
from mlpipeline.verbs import audit_verify, lineage
from mlpipeline.verbs.pruning import prune

DAY = 86400.0
MANIFESTS = tuple(
    Manifest(files=(File(f"model/{name}", "0" * 64, 1, "0644"),), lock=f"sha256:{name * 64}", python="3.11")
    for name in "01234567"
)
DIGESTS = tuple(manifest.digest for manifest in MANIFESTS)
one_of = st.sampled_from(range(len(DIGESTS)))
maybe = st.none() | one_of


class Wanted(msgspec.Struct, frozen=True):
    """A machine's state: indexes of packages. ``lived``: which one users were on from how many days ago, oldest first."""

    champion: int | None
    previous: int | None
    release: tuple[int, int | None] | None
    quarantined: tuple[int, ...]
    other_champion: int | None
    lived: tuple[tuple[int, int], ...]
    kept_run: int | None


worlds = st.builds(
    Wanted,
    champion=maybe,
    previous=maybe,
    release=st.none() | st.tuples(one_of, maybe),
    quarantined=st.lists(one_of, max_size=2).map(tuple),
    other_champion=maybe,
    lived=st.lists(st.tuples(one_of, st.integers(1, 300)), max_size=3).map(
        lambda found: tuple(sorted(found, key=lambda one: -one[1]))
    ),
    kept_run=maybe,
)


def version(index: int) -> Version:
    return Version(digest=DIGESTS[index], path="", run=f"run-of-{index}")


def state(wanted: Wanted) -> State:
    release = wanted.release
    return State(
        champion=Standing(Colour.BLUE, version(wanted.champion)) if wanted.champion is not None else None,
        previous=version(wanted.previous) if wanted.previous is not None else None,
        release=Release(
            run="r",
            candidate=version(release[0]),
            colour=Colour.GREEN,
            phase=Phase.SHIFTING,
            champion=version(release[1]) if release[1] is not None else None,
        )
        if release
        else None,
        quarantined={DIGESTS[index]: Quarantine("", "errors", "r") for index in wanted.quarantined},
    )


def made(folder: Path, wanted: Wanted) -> FakeWorld:
    """Everything on disk is 400 days old."""
    world = FakeWorld(folder, nightly=Nightly(prune=Prune(audit=Duration(90 * DAY))))
    places, now = world.places, world.clock.now().timestamp()
    old = now - 400 * DAY
    for manifest in MANIFESTS:
        bundle = places.bundles / manifest.digest.removeprefix("sha256:")
        environment = places.environments / manifest.lock.removeprefix("sha256:")
        for path in (bundle, environment):
            path.mkdir(parents=True)
        (bundle / "manifest.json").write_bytes(manifest.encoded())
        for path in (bundle / "manifest.json", bundle, environment):
            os.utime(path, (old, old))
    places.project.mkdir(parents=True)
    Journal(places.journal).write(state(wanted), token=0)
    if wanted.other_champion is not None:
        other = Places(project=places.project, home=places.home, service="other")
        champion = Standing(Colour.BLUE, version(wanted.other_champion))
        Journal(other.journal).write(State(champion=champion), token=0)
    context = world.context()
    begin = world.clock.passed
    for index, days in wanted.lived:
        world.clock.passed = begin - days * DAY
        context.note("live", facts={"digest": DIGESTS[index], "share": "100", "colour": "blue"})
    world.clock.passed = begin
    if wanted.kept_run is not None:
        context.runs.create(Run(id="newest", service="iris", commit="c" * 40, created="2026-02-28T00:00:00Z"))
        reason = Reason("package", Verdict.PASS, "made")
        kept = context.runs.get("newest")
        context.finish(kept, "package", 0.0, [reason], evidence={"digest": DIGESTS[wanted.kept_run]})
    return world


def needed(wanted: Wanted) -> set[int]:
    """Said again, in other words than the code's: users are on the last one until now, on each other until the next came."""
    found = {wanted.champion, wanted.previous, wanted.other_champion, wanted.kept_run, *wanted.quarantined}
    found |= set(wanted.release or ())
    for (index, _), following in zip(wanted.lived, [*(days for _, days in wanted.lived[1:]), 0], strict=False):
        if following <= 90:
            found.add(index)
    return {index for index in found if index is not None}


@settings(max_examples=20)
@given(wanted=worlds)
def test_exactly_what_nobody_needs_is_removed(wanted: Wanted) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = made(Path(folder), wanted)
        pruned = prune(world.context())
        left = {index for index, digest in enumerate(DIGESTS) if (world.places.bundles / digest.removeprefix("sha256:")).exists()}
        assert left == needed(wanted), pruned
        for index, manifest in enumerate(MANIFESTS):
            environment = world.places.environments / manifest.lock.removeprefix("sha256:")
            assert environment.exists() == (index in left), "an environment stays as long as a package needs it"


def run_of(world: FakeWorld, name: str, created: str, results: Mapping[str, dict[str, object]]) -> Run:
    context = world.context()
    run = context.runs.create(Run(id=name, service="iris", commit="c" * 40, created=created))
    for verb, evidence in results.items():
        context.finish(run, verb, 0.0, [Reason(verb, Verdict.PASS, "well")], evidence=evidence)
    return run


def test_record_of_a_removed_run_stays_for_the_audit(tmp_path: Path) -> None:
    world = FakeWorld(tmp_path, nightly=Nightly(prune=Prune(runs=1)))
    world.places.project.mkdir(parents=True)
    old = run_of(world, "old", "2025-01-01T00:00:00Z", {"train": {"model_digest": f"sha256:{'7' * 64}"}})
    folder = world.context().runs.folder(old.id)
    (folder / "train.log").write_text("long")
    (folder / "evidence.json").write_text("{}")
    run_of(world, "new", "2026-02-28T00:00:00Z", {"train": {}})
    content = (folder / "results" / "train.json").read_bytes()
    assert prune(world.context()).runs == ("old",)
    assert not folder.exists()
    kept = world.places.records / "old"
    assert (kept / "results" / "train.json").read_bytes() == content
    assert (kept / "evidence.json").exists() and not (kept / "train.log").exists()
    assert audit_verify.run(world.context()).verdict is Verdict.PASS
    assert "commit" in "\n".join(lineage.find(world.context(), what="7777").lines())
    (kept / "results" / "train.json").write_bytes(content.replace(b"well", b"good"))
    assert "the result of train in run old" in audit_verify.run(world.context()).summary


def test_ledger_that_cannot_be_read_lets_nothing_be_removed(tmp_path: Path) -> None:
    world = made(tmp_path, Wanted(None, None, None, (), None, ((0, 200), (1, 150)), None))
    other = Places(project=world.places.project, home=world.places.home, service="other")
    Ledger(other.ledger).append(world.context().ledger.read()[0])
    other.ledger.write_bytes(b"garbage\n")
    pruned = prune(world.context())
    assert "nothing more was removed" in pruned.kept
    assert len(list(world.places.bundles.iterdir())) == len(DIGESTS)
