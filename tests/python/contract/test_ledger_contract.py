"""What the ledger keeps, wherever its entries stand: in a SQLite file, or in a real PostgreSQL that many agents share."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from mlpipeline.adapters.postgresql import TABLE, PostgresqlStore
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.ledger import GENESIS, Entry, Ledger
from mlpipeline.record.ledger_file import SqliteStore
from mlpipeline.verbs.context import World
from postgresql_server import running_postgresql

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgresql() as uri:
        yield uri


class Kept(NamedTuple):
    """One ledger: how another worker opens it, how its rows are edited behind its back, and its copy.

    ``other_machine`` opens it as an agent that has seen nothing of it yet.
    """

    open: Callable[[], Ledger]
    sql: Callable[[str], None]
    copy: Path
    other_machine: Callable[[], Ledger] | None = None


def in_sqlite(copy: Path) -> Ledger:
    return Ledger(copy, SqliteStore(copy.with_suffix(".db")))


def in_postgresql(copy: Path, uri: str, service: str) -> Ledger:
    return Ledger(copy, PostgresqlStore(uri, service, {}))


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    copy = tmp_path / "ledger.jsonl"
    if request.param == "sqlite":

        def sql(text: str) -> None:
            with sqlite3.connect(tmp_path / "ledger.db") as connection:
                connection.executescript(f"DROP TRIGGER no_update; DROP TRIGGER no_delete; {text.format(table='entries')}")

        return Kept(lambda: in_sqlite(copy), sql, copy)
    import psycopg

    uri, service = request.getfixturevalue("server"), tmp_path.name

    def sql_there(text: str) -> None:
        with psycopg.connect(uri) as connection:
            connection.execute(f"CREATE TEMP VIEW mine AS SELECT * FROM {TABLE} WHERE service = '{service}'")
            connection.execute(text.format(table="mine").encode())

    elsewhere = tmp_path / "elsewhere" / "ledger.jsonl"
    return Kept(
        lambda: in_postgresql(copy, uri, service), sql_there, copy, other_machine=lambda: in_postgresql(elsewhere, uri, service)
    )


def entry(event: str = "live", **fields: object) -> Entry:
    return msgspec.convert({"seq": 0, "at": "2026-01-01T00:00:00Z", "service": "churn", "event": event, **fields}, type=Entry)


def filled(kept: Kept, count: int = 4) -> list[Entry]:
    return [kept.open().append(entry(summary=f"number {number} ü")) for number in range(1, count + 1)]


def test_entries_are_numbered_chained_and_read_by_others(kept: Kept) -> None:
    assert kept.open().read() == []
    first, second = filled(kept, 2)
    assert (first.seq, first.previous) == (1, GENESIS)
    assert (second.seq, second.previous) == (2, first.hash)
    assert kept.open().read() == [first, second]
    assert len(kept.copy.read_bytes().splitlines()) == 2


def append_many(opened: Callable[[], Ledger], writer: str) -> None:
    for _ in range(15):
        opened().append(entry(actor=writer))


def test_writers_at_once_make_one_chain_and_lose_nothing(kept: Kept) -> None:
    fork = multiprocessing.get_context("fork")
    others = [kept.open, kept.open, kept.other_machine or kept.open, kept.other_machine or kept.open]
    writers = [fork.Process(target=append_many, args=(opened, str(name))) for name, opened in enumerate(others)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        seen = len(kept.open().read())  # a reader between two writers finds a whole chain too
    for writer in writers:
        writer.join()
    entries = kept.open().read()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert seen <= len(entries) == 60
    assert sorted(one.actor for one in entries) == sorted(str(name) for name in range(4) for _ in range(15))


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ("UPDATE {table} SET line = replace(line, 'number 2', 'number 9') WHERE number = 2", 2),
        ("DELETE FROM {table} WHERE number = 2", 2),
        ("DELETE FROM {table} WHERE number >= 3", 3),
        ("DELETE FROM {table} WHERE number = 4", 4),
        ("UPDATE {table} SET line = '' WHERE number = 1", 1),
    ],
    ids=["edited", "removed", "cut off at the end", "the last one", "emptied"],
)
def test_rows_changed_behind_its_back_are_found_and_named(kept: Kept, change: str, number: int) -> None:
    filled(kept)
    shared = kept.other_machine is not None
    if "replace" in change:
        cast = "convert_to(replace(convert_from(line, 'UTF8'), 'number 2', 'number 9'), 'UTF8')"
        wanted = cast if shared else "CAST(replace(CAST(line AS TEXT), 'number 2', 'number 9') AS BLOB)"
        change = change.replace("replace(line, 'number 2', 'number 9')", wanted)
    kept.sql(change)
    for use in (lambda: kept.open().read(), lambda: kept.open().append(entry())):
        with pytest.raises(EnvironmentFault, match="changed after it was written") as caught:
            use()
        assert caught.value.facts["ledger"].endswith(f":{number}"), caught.value.facts


@pytest.mark.parametrize("left", [2, 3])
def test_lines_cut_off_the_copy_are_found_where_nobody_else_writes(kept: Kept, left: int) -> None:
    entries = filled(kept)
    kept.copy.write_bytes(b"".join(kept.copy.read_bytes().splitlines(keepends=True)[:left]))
    if kept.other_machine is not None:
        assert kept.open().read() == entries
        return
    with pytest.raises(EnvironmentFault, match="changed after it was written") as caught:
        kept.open().read()
    assert caught.value.facts["ledger"] == f"{kept.copy}:{left + 1}"
    assert "missing at its end" in caught.value.facts["found"]


def test_broken_ledger_is_kept_aside_and_a_new_chain_begins(kept: Kept) -> None:
    filled(kept)
    kept.sql("DELETE FROM {table} WHERE number >= 2")
    ledger = kept.open()
    aside = ledger.set_aside_if_broken()
    assert aside is not None and len(aside.read_bytes().splitlines()) == 4
    assert ledger.append(entry("ledger-broken")).seq == 1
    assert [one.event for one in kept.open().read()] == ["ledger-broken"]
    assert kept.open().set_aside_if_broken() is None


def test_writer_that_dies_in_between_leaves_a_whole_chain(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    filled(kept, 2)
    write = Ledger._write

    def dies(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(Ledger, "_write", dies)
    with pytest.raises(Killed):
        kept.open().append(entry("train"))
    monkeypatch.undo()
    # In the file it did not count yet, in the database it did.
    events = ["live", "live"] if kept.other_machine is None else ["live", "live", "train"]
    assert [one.event for one in kept.open().read()] == events
    assert kept.open().append(entry("settle")).seq == len(events) + 1
    assert [one.event for one in kept.open().read()] == [*events, "settle"]
    assert len(kept.copy.read_bytes().splitlines()) == len(events) + 1


def test_writer_that_dies_after_its_entry_counted_lost_nothing(kept: Kept) -> None:
    entries = filled(kept, 3)
    kept.copy.write_bytes(kept.copy.read_bytes()[:-1])
    assert kept.open().read() == entries
    fourth = kept.open().append(entry("train"))
    assert kept.open().read() == [*entries, fourth]
    assert kept.copy.read_bytes().count(b"\n") == 4


def test_ledger_of_an_older_worker_goes_on(tmp_path: Path) -> None:
    """It was the file of lines alone."""
    old = in_sqlite(tmp_path / "ledger.jsonl")
    entries = [old.append(entry(summary=text)) for text in ("a", "b", "c")]
    (tmp_path / "ledger.db").unlink()
    assert in_sqlite(tmp_path / "ledger.jsonl").read() == entries
    added = in_sqlite(tmp_path / "ledger.jsonl").append(entry("train"))
    assert added.previous == entries[-1].hash
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (4,)
    assert in_sqlite(tmp_path / "ledger.jsonl").read() == [*entries, added]


def test_sqlite_ledger_moves_into_an_empty_postgresql_once(tmp_path: Path, server: str) -> None:
    before = in_sqlite(tmp_path / "ledger.jsonl")
    entries = [before.append(entry(summary=text)) for text in ("a", "b")]

    def moved() -> Ledger:
        return Ledger(tmp_path / "shared.jsonl", PostgresqlStore(server, tmp_path.name, {}), before=in_sqlite(before._path))

    third = moved().append(entry("train"))
    assert moved().read() == [*entries, third]
    assert third.previous == entries[-1].hash
    assert moved().append(entry("live")).seq == 4
    assert len(before.read()) == 2


def test_rows_of_the_file_refuse_an_edit(tmp_path: Path) -> None:
    in_sqlite(tmp_path / "ledger.jsonl").append(entry())
    for text in ("UPDATE entries SET line = ''", "DELETE FROM entries"):
        with sqlite3.connect(tmp_path / "ledger.db") as connection, pytest.raises(sqlite3.IntegrityError, match="never"):
            connection.execute(text)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    ledger = in_sqlite(tmp_path / "ledger.jsonl")
    ledger.append(entry())
    (tmp_path / "ledger.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(EnvironmentFault, match="changed after it was written") as caught:
        ledger.read()
    assert caught.value.facts["ledger"] == str(tmp_path / "ledger.db")
    assert ledger.set_aside_if_broken() is not None
    assert ledger.append(entry()).seq == 1


def test_database_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    uri = f"postgresql://ledger:$WORD@/postgres?host={tmp_path}"
    store = PostgresqlStore(uri, "churn", {"WORD": "s3cret/pass"})
    with pytest.raises(EnvironmentFault, match="nothing was recorded") as caught:
        Ledger(tmp_path / "copy.jsonl", store).append(entry())
    assert "s3cret" not in caught.value.render()
    assert "s3cret" not in store.place
    assert (tmp_path / "copy.jsonl").read_bytes() == b""


def test_address_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"needs \$WORD, which is not set"):
        PostgresqlStore("postgresql://ledger:$WORD@db/x", "churn", {})
    with pytest.raises(ConfigurationError, match="no postgresql:// address") as caught:
        PostgresqlStore("$ADDRESS", "churn", {"ADDRESS": "mysql://root:hunter22@db"})
    assert "hunter22" not in caught.value.render()
    filled = PostgresqlStore("${ADDRESS}", "churn", {"ADDRESS": "postgresql://a:b%2Fc@db/x"})
    assert filled.place == "postgresql://db/x mlpipeline_ledger of churn"


def test_statements_of_other_machines_leave_an_audit_open(tmp_path: Path, server: str) -> None:
    """Each machine has what was said on it; the ledger has all of it."""
    import shutil

    from mlpipeline.verbs import audit_verify
    from proven_release import Proven

    proven = Proven(tmp_path)
    world = proven.context.world

    def here() -> World:
        shared = Ledger(
            tmp_path / "shared.jsonl", PostgresqlStore(server, tmp_path.name, {}), before=Ledger(proven.world.places.ledger)
        )
        return msgspec.structs.replace(world, ledger=lambda: shared)

    proven.world.context(world=here()).note("live")
    assert audit_verify.run(proven.world.context(world=here())).verdict is Verdict.PASS
    shutil.rmtree(proven.world.places.attestations)
    audited = audit_verify.run(proven.world.context(world=here()))
    assert (audited.verdict, audited.reasons[0].check) == (Verdict.INCONCLUSIVE, "audit.elsewhere")
    assert audit_verify.run(proven.context).verdict is Verdict.FAIL


def append_until_killed(opened: Callable[[], Ledger]) -> None:
    while True:
        opened().append(entry("train"))


def test_writers_killed_at_any_moment_leave_a_whole_chain(kept: Kept) -> None:
    fork = multiprocessing.get_context("fork")
    acknowledged = 0
    for wanted in (3, 7, 12, 18):
        writer = fork.Process(target=append_until_killed, args=(kept.open,))
        writer.start()
        while acknowledged < wanted:
            assert writer.is_alive()
            acknowledged = len(kept.open().read())
        writer.kill()
        writer.join()
        assert len(kept.open().read()) >= acknowledged, "what was seen stays"
        acknowledged = kept.open().append(entry("settle")).seq
    entries = kept.open().read()
    assert [one.seq for one in entries] == list(range(1, acknowledged + 1))
    assert sum(one.event == "settle" for one in entries) == 4
