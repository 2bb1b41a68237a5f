"""A shared ledger that cannot be reached: users are taken back all the same, and nothing of what happened is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from mlpipeline.adapters.postgresql import PostgresqlStore
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.ledger import KEPT_ASIDE, Ledger, Unreachable
from mlpipeline.verbs import deploy, rollback, status, switch
from mlpipeline.verbs.context import Context
from postgresql_server import running_postgresql
from release_story import Story

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    with running_postgresql() as found:
        yield found


@contextmanager
def out_of_reach(uri: str) -> Iterator[None]:
    """The server lives and nobody finds it: its socket has another name for a while."""
    socket = Path(parse_qs(urlsplit(uri).query)["host"][0]) / ".s.PGSQL.5432"
    away = socket.with_name("away")
    socket.rename(away)
    try:
        yield
    finally:
        away.rename(socket)


class SharedStory(Story):
    """Releases whose ledger many machines share."""

    def __init__(self, folder: Path, uri: str, **config: object) -> None:
        super().__init__(folder, **config)
        self._uri, self._service = uri, f"iris-{folder.name}"

    def ledger(self) -> Ledger:
        return Ledger(self.world.places.shared_ledger("there"), PostgresqlStore(self._uri, self._service, {}))

    @property
    def context(self) -> Context:
        plain = super().context
        return msgspec.structs.replace(plain, world=msgspec.structs.replace(plain.world, ledger=self.ledger))


@pytest.fixture
def story(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> SharedStory:
    made = SharedStory(tmp_path, uri)
    made.watch(monkeypatch)
    return made


def events(story: SharedStory) -> list[str]:
    return [entry.event for entry in story.ledger().read()]


def test_users_are_taken_back_without_the_ledger_and_it_learns_of_it_once_it_answers(story: SharedStory, uri: str) -> None:
    first = story.released()
    second = story.released()
    before = len(story.ledger().read())
    with out_of_reach(uri):
        result = rollback.run(story.context, reason="complaints")
        assert result.verdict is Verdict.PASS, result.summary
        assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
        waiting = story.ledger().waiting()
        told = " ".join(story.world.console.lines)
        assert "WAITS" in told
        assert told.count("WAITS") == 1, "nobody waits twice for a database that is not there"
        assert f"{len(waiting)} entries wait" in "\n".join(status.run(story.context).lines())
        assert rollback.run(story.context, reason="once more").summary == result.summary, "asked again, it does nothing"
        with pytest.raises(Unreachable):
            deploy.run(story.context, story.packaged())
    story.context.note("look")
    found = story.ledger().read()
    assert story.ledger().waiting() == []
    assert [entry.facts[KEPT_ASIDE] for entry in found[before:] if KEPT_ASIDE in entry.facts] == [
        entry.facts[KEPT_ASIDE] for entry in waiting
    ]
    added = [entry.event for entry in found[before:]]
    assert added[-1] == "look"
    assert [event for event in added if event in {"live", "quarantined", "rolled-back", "rollback"}] == [
        "live",
        "quarantined",
        "rolled-back",
        "rollback",
    ]
    taken = next(entry for entry in found if entry.event == "rolled-back")
    assert (taken.run, taken.facts["reason"]) == (second.id, "complaints")
    assert first.id != second.id


def test_a_stage_that_fails_without_the_ledger_takes_users_back_and_says_what_waits(story: SharedStory, uri: str) -> None:
    story.released()
    run = story.packaged()
    deploy.run(story.context, run)
    story.verdicts = {"bake": Verdict.FAIL}
    with pytest.MonkeyPatch.context() as patch:
        outage: list[Callable[[], object]] = []

        def lost(stage: str) -> None:
            if stage == "bake":
                gone = out_of_reach(uri)
                gone.__enter__()
                outage.append(lambda: gone.__exit__(None, None, None))

        patch.setattr(story, "during", lost)
        try:
            assert switch.run(story.context, run).verdict is Verdict.FAIL
        finally:
            outage[0]()
    assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
    assert story.ledger().bring_waiting() > 0
    assert story.ledger().bring_waiting() == 0
    assert events(story)[-1] == "switch"
    assert "rolled-back" in events(story)


def test_what_was_added_by_a_worker_that_died_before_it_forgot_it_is_added_once(
    story: SharedStory, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.context.note("look")
    with out_of_reach(uri):
        story.context.users_first().note("live", facts={"share": "100"})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_arguments, **_named: None)
        story.context.note("settled")
    assert len(story.ledger().waiting()) == 1
    story.context.note("look")
    assert events(story) == ["look", "live", "settled", "look"]
    assert story.ledger().waiting() == []


def test_a_ledger_that_cannot_be_asked_is_not_called_broken(story: SharedStory, uri: str) -> None:
    story.context.note("look")
    with out_of_reach(uri), pytest.raises(EnvironmentFault, match="could not be read"):
        story.ledger().set_aside_if_broken()
    assert events(story) == ["look"]
