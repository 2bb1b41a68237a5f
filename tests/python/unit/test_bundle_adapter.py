from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from mlpipeline.adapters import bundle as bundles
from mlpipeline.adapters.bundle import Built, Digests, broken_files, build, files_under, folder_digest, load, verify
from mlpipeline.errors import ConfigurationError, EnvironmentFault

TEXTS = {"requirements.lock": "# python 3.11\n"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "model" / "data").mkdir(parents=True)
    (folder / "model" / "MLmodel").write_text("flavors: {}\n")
    (folder / "model" / "data" / "weights.bin").write_bytes(os.urandom(3 << 20))
    (folder / "model" / "start.sh").write_text("true\n")
    (folder / "model" / "start.sh").chmod(0o700)
    (folder / "model" / "__pycache__").mkdir()
    (folder / "model" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"never the same")
    return folder


@pytest.fixture(autouse=True)
def no_young_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change time cannot be set, so the memory's limit is: files count as old as they are when a pipeline gets to them."""
    monkeypatch.setattr(bundles, "_YOUNG_SECONDS", -1.0)


def make(project: Path, home: Path) -> Built:
    digests = Digests(home / "digests.json")
    built = build(
        home / "bundles", files_under(project / "model", "model"), TEXTS, lock="sha256:aa", python="3.11", digests=digests
    )
    digests.save()
    return built


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mode) for file in folder.rglob("*") if file.is_file()
    }


def test_bundle_is_named_by_the_digest_of_its_manifest_and_lists_every_file(project: Path, tmp_path: Path) -> None:
    built = make(project, tmp_path / "home")
    assert built.made
    assert built.path.name == built.manifest.digest.removeprefix("sha256:")
    assert verify(built.path) == built.manifest
    assert [file.path for file in built.manifest.files] == [
        "model/MLmodel",
        "model/data/weights.bin",
        "model/start.sh",
        "requirements.lock",
    ]
    assert [file.mode for file in built.manifest.files] == ["0644", "0644", "0755", "0644"]
    assert built.manifest.bytes == sum(file.size for file in built.manifest.files)


def test_same_inputs_elsewhere_and_later_are_byte_identical(project: Path, tmp_path: Path) -> None:
    """Another folder, other times, other permissions of the umask, another order of making: the same bytes."""
    one = make(project, tmp_path / "one")
    copy = tmp_path / "somewhere" / "else"
    shutil.copytree(project, copy, copy_function=shutil.copyfile)
    (copy / "model" / "start.sh").chmod(0o755)
    (copy / "model" / "MLmodel").chmod(0o666)
    two = make(copy, tmp_path / "two")
    assert one.manifest.digest == two.manifest.digest
    assert contents(one.path) == contents(two.path)


@pytest.mark.parametrize("change", ["content", "name", "mode", "lock"])
def test_any_difference_makes_another_bundle(project: Path, tmp_path: Path, change: str) -> None:
    one = make(project, tmp_path / "home")
    file = project / "model" / "MLmodel"
    if change == "content":
        file.write_text("flavors: []\n")
    elif change == "name":
        file.rename(file.with_name("MLmodel2"))
    elif change == "mode":
        file.chmod(0o755)
    lock = "sha256:bb" if change == "lock" else "sha256:aa"
    two = build(
        tmp_path / "home" / "bundles",
        files_under(project / "model", "model"),
        TEXTS,
        lock=lock,
        python="3.11",
        digests=Digests(tmp_path / "none"),
    )
    assert one.manifest.digest != two.manifest.digest
    assert verify(one.path) and verify(two.path)


def test_second_build_of_unchanged_inputs_reads_and_writes_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(project, tmp_path / "home")
    monkeypatch.setattr(bundles, "_copy", lambda *_, **__: pytest.fail("copied again"))
    monkeypatch.setattr(Digests, "_read", lambda *_: pytest.fail("read again"))
    two = make(project, tmp_path / "home")
    assert not two.made
    assert two.path == one.path and two.manifest == one.manifest


def test_change_that_keeps_size_and_modification_time_is_seen(project: Path, tmp_path: Path) -> None:
    one = make(project, tmp_path / "home")
    file = project / "model" / "MLmodel"
    before = file.stat()
    file.write_text("flavors: []\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert make(project, tmp_path / "home").manifest.digest != one.manifest.digest


def test_young_file_is_read_again(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "_YOUNG_SECONDS", 3600.0)
    digests = Digests(tmp_path / "digests.json")
    digests.of(project / "model" / "MLmodel")
    assert digests.known(project / "model" / "MLmodel") == ""


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "mode"])
def test_damaged_bundle_is_refused_and_the_next_build_repairs_it(project: Path, tmp_path: Path, damage: str) -> None:
    one = make(project, tmp_path / "home")
    whole = contents(one.path)
    file = one.path / "model" / "data" / "weights.bin"
    if damage == "changed":
        file.write_bytes(b"x" * file.stat().st_size)
    elif damage == "missing":
        file.unlink()
    elif damage == "extra":
        (one.path / "model" / "more").write_text("")
    else:
        file.chmod(0o755)
    with pytest.raises(EnvironmentFault, match="changed after it was packaged") as caught:
        verify(one.path)
    assert "model/" in caught.value.facts["files"]
    assert make(project, tmp_path / "home").made
    assert contents(one.path) == whole


def test_bytecode_that_a_running_colour_writes_is_no_damage(project: Path, tmp_path: Path) -> None:
    one = make(project, tmp_path / "home")
    (one.path / "model" / "__pycache__").mkdir()
    (one.path / "model" / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert broken_files(one.path, Digests(tmp_path / "none")) == []


def test_edited_manifest_is_refused(project: Path, tmp_path: Path) -> None:
    one = make(project, tmp_path / "home")
    manifest = one.path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"3.11"', b'"3.12"'))
    with pytest.raises(EnvironmentFault, match="changed"):
        load(one.path)
    with pytest.raises(EnvironmentFault, match="not a bundle"):
        load(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_and_leaves_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real, calls = bundles._copy_file, []

    def full(source: Path, target: Path, digests: Digests) -> str:
        calls.append(source)
        digest = real(source, target, digests)
        if len(calls) == 2:
            raise OSError(number, os.strerror(number), str(target))
        return digest

    monkeypatch.setattr(bundles, "_copy_file", full)
    with pytest.raises(EnvironmentFault, match="disk is full") as caught:
        make(project, tmp_path / "home")
    assert {"needed", "free"} <= set(caught.value.facts)
    assert list((tmp_path / "home" / "bundles").iterdir()) == []
    monkeypatch.setattr(bundles, "_copy_file", real)
    assert make(project, tmp_path / "home").made


def test_what_a_killed_build_left_is_swept_later_and_a_running_one_is_not(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "home" / "bundles"
    for name in (".new-old", ".new-running"):
        (store / name).mkdir(parents=True)
    os.utime(store / ".new-old", (0, 0))
    built = make(project, tmp_path / "home")
    assert sorted(path.name for path in store.iterdir()) == sorted([".new-running", built.path.name])


def test_unreadable_source_is_told(project: Path, tmp_path: Path) -> None:
    sources = {**files_under(project / "model", "model"), "model/gone": project / "gone"}
    with pytest.raises(EnvironmentFault, match="could not be read") as caught:
        build(tmp_path / "b", sources, TEXTS, lock="", python="3.11", digests=Digests(tmp_path / "none"))
    assert caught.value.facts["file"] == str(project / "gone")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="nothing"):
        files_under(tmp_path / "empty", "model")


def test_digest_of_a_folder_is_that_of_its_part_in_the_bundle(project: Path, tmp_path: Path) -> None:
    built = make(project, tmp_path / "home")
    assert built.manifest.part("model") == folder_digest(project / "model", Digests(tmp_path / "none"))


def test_broken_memory_is_no_trouble(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "digests.json").write_text("{")
    assert make(project, tmp_path / "home").made


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/etc/hostname", "leads out of the folder"),
        ("../../../home", "leads out"),
        ("nothing", "leads nowhere"),
        ("..", "in circles"),
    ],
)
def test_links_that_mean_something_else_elsewhere_are_refused(project: Path, target: str, message: str) -> None:
    (project.parent / "home").mkdir(exist_ok=True)
    (project / "model" / "data" / "link").symlink_to(target)
    with pytest.raises(ConfigurationError, match=message) as caught:
        files_under(project / "model", "model")
    assert "link" in caught.value.render()


def test_links_within_the_folder_stand_for_what_they_lead_to(project: Path, tmp_path: Path) -> None:
    (project / "model" / "same").symlink_to("data")
    (project / "model" / "same.bin").symlink_to("data/weights.bin")
    found = files_under(project / "model", "model")
    assert {"model/same/weights.bin", "model/same.bin"} <= set(found)
    bundle = make(project, tmp_path / "home").path
    assert not (bundle / "model" / "same.bin").is_symlink()
    assert (bundle / "model" / "same.bin").read_bytes() == (bundle / "model" / "data" / "weights.bin").read_bytes()


def test_a_file_name_that_is_not_text_is_told_in_words_that_can_be_printed(project: Path) -> None:
    os.close(os.open(os.fsencode(project / "model" / "w") + b"\xff\xfe", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(ConfigurationError, match="not UTF-8") as caught:
        files_under(project / "model", "model")
    assert "xff" in caught.value.render().encode("ascii", "strict").decode()


def test_what_is_no_file_is_refused(project: Path) -> None:
    os.mkfifo(project / "model" / "pipe")
    with pytest.raises(ConfigurationError, match="neither a file nor a folder"):
        files_under(project / "model", "model")


def test_what_others_have_read_is_only_copied_and_the_bundle_is_intact(project: Path, tmp_path: Path) -> None:
    trained = Digests(tmp_path / "trained.json")
    folder_digest(project / "model", trained)
    one = make(project, tmp_path / "one")

    class NotAsked:
        def update(self, _: bytes) -> None:
            raise AssertionError("read for its digest once more")

        def hexdigest(self) -> str:
            raise AssertionError

    sources, digests = files_under(project / "model", "model"), Digests(tmp_path / "none", trained)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles.hashlib, "sha256", lambda *_: NotAsked())  # type: ignore[attr-defined]
        for path, file in sources.items():
            assert bundles._copy_file(file, tmp_path / "copied" / path, digests) == trained.known(file)
    two = build(tmp_path / "two", sources, TEXTS, lock="sha256:aa", python="3.11", digests=digests)
    assert two.manifest == one.manifest and verify(two.path) == one.manifest


def test_a_file_that_is_written_while_it_is_copied_is_never_packaged_under_its_old_digest(project: Path, tmp_path: Path) -> None:
    trained = Digests(tmp_path / "trained.json")
    folder_digest(project / "model", trained)
    weights = project / "model" / "data" / "weights.bin"

    def written(_: bytes) -> None:
        with weights.open("r+b") as file:
            file.write(b"another")

    with pytest.raises(EnvironmentFault, match="changed while it was packaged"):
        bundles._copy_file(weights, tmp_path / "copied", Digests(tmp_path / "none", trained), written)
