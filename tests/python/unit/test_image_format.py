from __future__ import annotations

import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from mlpipeline.adapters.oci.blobs import TarBlob, measured, put, tar_blocks
from mlpipeline.adapters.oci.layers import WatchedLayer, entries_under, layer
from mlpipeline.core.image import (
    Descriptor,
    Entry,
    Layer,
    Serving,
    configuration,
    digest_of,
    image_tag,
    interpreter_path,
    is_tag,
    pinned,
    recipe,
    repository,
    tar_size,
    with_folders,
)
from mlpipeline.errors import ConfigurationError, EnvironmentFault

SERVING = Serving(arguments=("--port", "8080"), python="3.11")


def entry(folder: Path, path: str, content: bytes, mode: int = 0o644) -> Entry:
    file = folder / path.replace("/", "_")[-100:]
    file.write_bytes(content)
    return Entry(path, mode=mode, size=len(content), sha256=digest_of(content)[7:], source=str(file))


def sample(folder: Path) -> tuple[Entry, ...]:
    return with_folders(
        [
            entry(folder, "opt/b.bin", b"b" * 5000, 0o755),
            entry(folder, "opt/a.txt", b""),
            entry(folder, "opt/" + "long" * 60 + "/ä.txt", b"x"),
            Entry("opt/link", kind="link", mode=0o777, target="b.bin"),
        ]
    )


def test_a_layer_is_a_tar_that_others_read_with_nobodys_name_and_no_time_in_it(tmp_path: Path) -> None:
    content = b"".join(tar_blocks(sample(tmp_path)))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
        found = tar.extractfile("opt/b.bin")
        assert found is not None and found.read() == b"b" * 5000
        assert tar.getmember("opt/b.bin").mode == 0o755
        assert tar.getmember("opt").isdir() and tar.getmember("opt/link").linkname == "b.bin"
        assert any(member.name.endswith("/ä.txt") for member in members)
    assert len(content) == tar_size(sample(tmp_path))
    assert measured(sample(tmp_path)) == (digest_of(content), len(content))


@pytest.mark.parametrize("start", [0, 1, 511, 512, 700, 3000, 9000])
def test_a_layer_can_be_taken_up_anywhere(tmp_path: Path, start: int) -> None:
    content = b"".join(tar_blocks(sample(tmp_path)))
    assert b"".join(tar_blocks(sample(tmp_path), start)) == content[start:]


def test_the_identity_of_a_layer_is_names_modes_and_contents_not_where_files_lie(tmp_path: Path) -> None:
    one = sample(tmp_path)
    moved = tuple(msgspec.structs.replace(each, source="elsewhere") for each in one)
    changed = tuple(msgspec.structs.replace(each, mode=0o600) for each in one)
    assert recipe(one) == recipe(moved) != recipe(changed)


def test_a_layer_watched_while_it_is_copied_is_the_layer_read_afterwards(tmp_path: Path) -> None:
    files = {"model/MLmodel": b"flavors", "model/a/x.bin": b"1" * 3000, "model/a.b": b"", "model/z": b"2"}
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    watched = WatchedLayer(tmp_path / "images", {path: tmp_path / path for path in files}, "opt")
    for path in sorted(files):
        watched.begin(path)
        watched.update(files[path])
        watched.end(digest_of(files[path])[7:])
    watched.remember()
    entries = [
        Entry(f"opt/{path}", size=len(content), sha256=digest_of(content)[7:], source=str(tmp_path / path))
        for path, content in files.items()
    ]
    (memory,) = (tmp_path / "images" / "layers").iterdir()
    remembered = memory.read_bytes()
    memory.unlink()
    layer(tmp_path / "images", entries, "model")
    assert memory.read_bytes() == remembered


def test_a_file_that_changed_since_its_layer_was_measured_is_never_written(tmp_path: Path) -> None:
    entries = sample(tmp_path)
    digest, size = measured(entries)
    (tmp_path / "opt_b.bin").write_bytes(b"c" * 5000)
    with pytest.raises(EnvironmentFault, match="not what its digest says"):
        put(tmp_path / "blobs", TarBlob(Descriptor("x", digest, size), entries))
    assert list((tmp_path / "blobs").iterdir()) == []
    (tmp_path / "opt_b.bin").write_bytes(b"b")
    with pytest.raises(EnvironmentFault, match="shorter"):
        put(tmp_path / "blobs", TarBlob(Descriptor("x", digest, size), entries))
    (tmp_path / "opt_b.bin").unlink()
    with pytest.raises(EnvironmentFault, match="not there any more"):
        put(tmp_path / "blobs", TarBlob(Descriptor("x", digest, size), entries))
    assert list((tmp_path / "blobs").iterdir()) == []


def test_bytecode_is_left_out_and_links_are_kept(tmp_path: Path) -> None:
    (tmp_path / "site" / "__pycache__").mkdir(parents=True)
    (tmp_path / "site" / "__pycache__" / "a.pyc").write_bytes(b"")
    (tmp_path / "site" / "a.py").write_text("")
    (tmp_path / "site" / "b.py").symlink_to("a.py")
    assert {each.path: each.kind for each in entries_under(tmp_path, "env")} == {"env/site/a.py": "file", "env/site/b.py": "link"}
    (tmp_path / "site" / "c.py").symlink_to("/etc/hostname")
    with pytest.raises(ConfigurationError, match="out of the image"):
        entries_under(tmp_path, "env")


def test_the_process_is_nobody_and_the_bases_own_start_is_gone() -> None:
    base = {
        "config": {"User": "root", "Cmd": ["bash"], "Env": ["PATH=/x", "A=1"], "Healthcheck": {}, "Labels": {"base": "yes"}},
        "rootfs": {"diff_ids": ["sha256:1"]},
        "history": [{"created": "2020"}, {"created": "2021", "empty_layer": True}],
    }
    layers = [Layer(Descriptor("x", "sha256:2", 1), "sha256:2", "model")]
    text = configuration(base, layers, SERVING, {"mine": "too"}, platform="linux/amd64")
    found = msgspec.json.decode(text)
    assert found["config"]["User"] == "10001:10001" and found["config"]["Cmd"] == [] and "Healthcheck" not in found["config"]
    assert {"PATH=/x", "A=1", "PYTHONDONTWRITEBYTECODE=1"} <= set(found["config"]["Env"])
    assert found["config"]["Labels"] == {"base": "yes", "mine": "too"}
    assert found["rootfs"]["diff_ids"] == ["sha256:1", "sha256:2"]
    assert sum(1 for line in found["history"] if not line.get("empty_layer")) == 2
    assert configuration(base, layers, SERVING, {"mine": "too"}, platform="linux/amd64") == text


@pytest.mark.parametrize("text", ["registry:5000/a", "r.example.org/team/churn", "localhost/a", "127.0.0.1:5000/a/b-c"])
def test_names_of_repositories(text: str) -> None:
    assert str(repository(text)) == text


@pytest.mark.parametrize(
    "text", ["churn", "team/churn", "https://r.example.org/a", "r.example.org/A", "r.example.org/", "r.io/a:1"]
)
def test_what_is_no_name_of_a_repository(text: str) -> None:
    with pytest.raises(ValueError, match="not the name of a repository"):
        repository(text)


def test_only_a_digest_pins() -> None:
    digest = f"sha256:{'0' * 64}"
    assert pinned(f"oci:base@{digest}") == ("oci:base", digest)
    for text in ("r.io/a:latest", "r.io/a@sha256:12", digest, f"@{digest}", f"r.io/a@{digest.upper()}"):
        with pytest.raises(ValueError, match="does not end in"):
            pinned(text)


def test_tags_and_interpreters() -> None:
    assert image_tag("1.2.3+build.4", "a" * 40) == "1.2.3_build.4" and is_tag("1.2.3_build.4")
    assert image_tag("", "abcdef0123456789") == "git-abcdef012345"
    assert interpreter_path(["./usr/bin/python3.11", "usr/bin/python3"], "3.11") == "/usr/bin/python3.11"
    assert interpreter_path(["usr/bin/python3.9"], "3.11") == ""
