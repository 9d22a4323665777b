"""Private files: what may be opened, how they come into being, what a torn write leaves."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.device import files
from keyborn.domain.errors import FileNotPrivate


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(steps: list[files.Step]) -> None:
    files.run_steps(steps, files.no_checkpoint)


def test_a_new_file_is_0600_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    files.write_new(tmp_path / "key", b"secret")
    assert mode(tmp_path / "key") == 0o600
    assert (tmp_path / "key").read_bytes() == b"secret"


def test_no_byte_is_there_before_the_mode_is_right(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at right after the file appears, and again before every byte that is written."""
    seen: list[tuple[int, int]] = []
    real_open, real_fdopen = os.open, os.fdopen

    def note(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append((stat.S_IMODE(status.st_mode) & 0o077, status.st_size))

    def watched_open(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        note(descriptor)
        return descriptor

    def watched_fdopen(descriptor: int, how: str) -> object:
        note(descriptor)
        return real_fdopen(descriptor, how)

    monkeypatch.setattr(os, "open", watched_open)
    monkeypatch.setattr(os, "fdopen", watched_fdopen)
    files.write_new(tmp_path / "key", b"secret")
    assert seen == [(0, 0), (0, 0)]


def test_a_new_file_is_made_exclusively_without_following_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = os.open

    def watched(path: Path, flags: int, mode: int) -> int:
        asked.append(flags)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", watched)
    files.write_new(tmp_path / "key", b"x")
    wanted = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    assert [flags & wanted for flags in asked] == [wanted]


def test_data_and_names_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", fsync)
    run(files.creation_steps(tmp_path / "device.key", b"x"))
    run(files.replacement_steps(tmp_path / "device.crt", b"x"))
    folder = str(tmp_path)
    assert synced == [f"{folder}/device.key.tmp", folder, f"{folder}/device.crt.tmp", folder]


@pytest.mark.parametrize("there", ["file", "link", "dangling link", "folder"])
def test_nothing_is_ever_overwritten_by_a_creation(tmp_path: Path, there: str) -> None:
    path, other = tmp_path / "device.key", tmp_path / "other"
    if there == "file":
        path.write_bytes(b"old")
    elif there == "folder":
        path.mkdir()
    else:
        path.symlink_to(other)
        if there == "link":
            other.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        run(files.creation_steps(path, b"new"))
    assert not other.exists() or other.read_bytes() == b"old"
    assert there != "file" or path.read_bytes() == b"old"


def test_a_file_system_without_hard_links_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "device.key"
    run(files.creation_steps(path, b"first"))
    assert path.read_bytes() == b"first"
    with pytest.raises(FileExistsError):
        run(files.creation_steps(path, b"second"))
    assert path.read_bytes() == b"first"


def test_a_created_file_has_one_name_in_the_end(tmp_path: Path) -> None:
    run(files.creation_steps(tmp_path / "device.key", b"x"))
    assert [path.name for path in tmp_path.iterdir()] == ["device.key"]
    assert (tmp_path / "device.key").stat().st_nlink == 1


def test_a_replacement_is_whole_at_every_step(tmp_path: Path) -> None:
    path = tmp_path / "device.crt"
    run(files.replacement_steps(path, b"old"))
    for step in files.replacement_steps(path, b"new"):
        assert path.read_bytes() in (b"old", b"new")
        step.run()
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600


def test_every_step_is_announced_before_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "device.crt"
    announced: list[tuple[str, bool]] = []
    files.run_steps(files.replacement_steps(path, b"x"), lambda name: announced.append((name, path.exists())))
    assert announced == [
        ("write device.crt.tmp", False),
        ("rename device.crt", False),
        ("sync the folder of device.crt", True),
    ]


def test_a_private_file_is_read(tmp_path: Path) -> None:
    files.write_new(tmp_path / "x", b"12345")
    assert files.read_private(tmp_path / "x", 5) == b"12345"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    files.write_new(tmp_path / "x", b"123456")
    with pytest.raises(FileNotPrivate, match="larger than 5"):
        files.read_private(tmp_path / "x", 5)


@pytest.mark.parametrize("wide", [0o601, 0o604, 0o610, 0o640, 0o644, 0o660, 0o666, 0o777])
def test_a_wider_mode_is_refused_with_what_to_do(tmp_path: Path, wide: int) -> None:
    files.write_new(tmp_path / "x", b"1")
    (tmp_path / "x").chmod(wide)
    with pytest.raises(FileNotPrivate, match=f"{wide:04o}. Run: chmod 600"):
        files.read_private(tmp_path / "x", 5)


@pytest.mark.parametrize("narrow", [0o400, 0o600, 0o700])
def test_an_owner_s_mode_is_fine(tmp_path: Path, narrow: int) -> None:
    files.write_new(tmp_path / "x", b"1")
    (tmp_path / "x").chmod(narrow)
    assert files.read_private(tmp_path / "x", 5) == b"1"


def test_a_link_is_refused_even_to_a_private_file(tmp_path: Path) -> None:
    files.write_new(tmp_path / "x", b"1")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    with pytest.raises(FileNotPrivate, match="symbolic link"):
        files.read_private(tmp_path / "link", 5)


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """A FIFO would hold an ordinary open until somebody writes."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("fifo", "folder"):
        with pytest.raises(FileNotPrivate, match="not a regular file"):
            files.read_private(tmp_path / name, 5)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_private(tmp_path / "x", 5)


def test_a_stranger_s_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_new(tmp_path / "x", b"1")
    status = os.stat_result((0o100600, 1, 1, 1, 4711, 0, 1, 0, 0, 0))
    with pytest.raises(FileNotPrivate, match="user 4711"):
        files.require_private(tmp_path / "x", status)


def test_a_refused_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    files.write_new(tmp_path / "x", b"1")
    (tmp_path / "x").chmod(0o644)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(FileNotPrivate):
            files.open_private(tmp_path / "x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ── second names, moves, modes ──


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_kept_has_its_content_under_both_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    files.write_new(tmp_path / "a", b"key")
    files.keep(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"key"
    assert mode(tmp_path / "b") == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_what_is_not_there_is_not_kept(tmp_path: Path) -> None:
    files.keep(tmp_path / "a", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_kept_over_another_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files.write_new(tmp_path / name, name.encode())
    with pytest.raises(FileExistsError):
        files.keep(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"b"


def test_a_half_written_copy_is_not_in_the_way_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    files.write_new(tmp_path / "a", b"key")
    files.write_new(files.temporary_of(tmp_path / "b"), b"k")
    files.keep(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"key"


def test_a_move_replaces_and_is_done_once(tmp_path: Path) -> None:
    files.write_new(tmp_path / "a", b"new")
    files.write_new(tmp_path / "b", b"old")
    for _ in range(2):
        files.move(tmp_path / "a", tmp_path / "b")
        assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_bytes() == b"new"


def test_a_move_onto_a_second_name_of_the_same_file_leaves_one(tmp_path: Path) -> None:
    """POSIX has a rename do nothing then, and both names stay."""
    files.write_new(tmp_path / "a", b"x")
    files.keep(tmp_path / "a", tmp_path / "b")
    files.move(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(("wide", "mended"), [(0o644, True), (0o640, True), (0o604, True), (0o600, False)])
def test_a_file_that_others_could_only_read_is_narrowed(tmp_path: Path, wide: int, *, mended: bool) -> None:
    files.write_new(tmp_path / "x", b"1")
    (tmp_path / "x").chmod(wide)
    assert files.narrow(tmp_path / "x") is mended
    assert mode(tmp_path / "x") == 0o600


@pytest.mark.parametrize("wide", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_could_have_written_stays_as_it_is(tmp_path: Path, wide: int) -> None:
    files.write_new(tmp_path / "x", b"1")
    (tmp_path / "x").chmod(wide)
    assert not files.narrow(tmp_path / "x")
    assert mode(tmp_path / "x") == wide


def test_only_a_file_of_one_s_own_is_narrowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_new(tmp_path / "x", b"1")
    (tmp_path / "x").chmod(0o644)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "missing"):
        assert not files.narrow(tmp_path / name)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert not files.narrow(tmp_path / "x")
    assert mode(tmp_path / "x") == 0o644
