"""The ledger keeps what was decided, in order, and shows any later edit."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import msgspec
import pytest

from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.ledger import GENESIS, Entry, Ledger


def entry(event: str = "live", **fields: object) -> Entry:
    return msgspec.convert({"seq": 0, "at": "2026-01-01T00:00:00Z", "service": "churn", "event": event, **fields}, type=Entry)


def test_entries_are_numbered_and_chained(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first, second = ledger.append(entry("train")), ledger.append(entry("live", facts={"colour": "blue"}))
    assert (first.seq, first.previous) == (1, GENESIS)
    assert (second.seq, second.previous) == (2, first.hash)
    assert ledger.read() == [first, second]


def test_a_missing_ledger_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "ledger.jsonl").read() == []


def test_a_line_that_a_full_disk_cut_is_taken_back_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first = ledger.append(entry("train"))
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:10]))
    with pytest.raises(OSError, match="No space left") as caught:
        ledger.append(entry("live"))
    assert caught.value.filename == str(tmp_path / "ledger.jsonl")
    monkeypatch.undo()
    assert ledger.read() == [first]
    assert ledger.append(entry("live")).seq == 2


@pytest.mark.parametrize("change", ["edit", "drop", "swap"])
def test_any_later_change_is_found_with_its_line(tmp_path: Path, change: str) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    for number in range(4):
        ledger.append(entry("live", summary=f"number {number}"))
    lines = path.read_bytes().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace(b"number 1", b"number 9")
    elif change == "drop":
        del lines[1]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(EnvironmentFault, match="changed after it was written") as caught:
        ledger.read()
    assert caught.value.facts["ledger"].endswith(":2")
    with pytest.raises(EnvironmentFault):
        ledger.append(entry())


@pytest.mark.parametrize(
    "added", [b'"note":"seen",', b'"service":"other",', b" "], ids=["an unknown key", "a key twice", "a space"]
)
def test_what_is_added_to_a_line_is_found_too(tmp_path: Path, added: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(entry("train"))
    ledger.append(entry("live", facts={"colour": "blue"}))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"{" + added + second[1:])
    with pytest.raises(EnvironmentFault, match="changed after it was written") as caught:
        ledger.read()
    assert caught.value.facts["ledger"].endswith(":2")


def test_a_line_cut_off_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    kept = ledger.append(entry("train"))
    with path.open("ab") as file:
        file.write(b'{"seq":2,"at":"2026')
    assert ledger.read() == [kept]
    assert ledger.append(entry("live")).seq == 2
    assert [one.event for one in ledger.read()] == ["train", "live"]


def append_many(path: Path, writer: str) -> None:
    for _ in range(25):
        Ledger(path).append(entry("live", actor=writer))


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=append_many, args=(path, name)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    entries = Ledger(path).read()
    assert [one.seq for one in entries] == list(range(1, 76))
    assert sorted(one.actor for one in entries) == ["a"] * 25 + ["b"] * 25 + ["c"] * 25


def test_lines_are_json_without_nulls(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).append(entry("live", summary="line\nbreak ü"))
    line = json.loads(path.read_text().splitlines()[0])
    assert line["summary"] == "line\nbreak ü"
    assert None not in line.values()
