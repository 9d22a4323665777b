"""What a killed backup or restore has left is removed; what somebody else put there is not touched."""

import asyncio
import os
from pathlib import Path

import pytest

from keyborn.adapters.backup.placing import staging
from support.backup_stage import Place, enrolling


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "data").make()
    made.do(enrolling("lamp"))
    return made


@pytest.mark.parametrize("name", ["one.backup", "[ab].backup", "a*b"])
def test_what_a_killed_backup_left_goes_whatever_its_name(place: Place, tmp_path: Path, name: str) -> None:
    left = [tmp_path / f".{name}.1.new", tmp_path / f".{name}.1.registry"]
    other = tmp_path / ".axb.1.new"
    for each in (*left, other):
        each.write_bytes(b"keys")
    place.backup(tmp_path / name)
    assert not [each for each in left if each.exists()]
    assert other.exists()


def test_pipes_and_links_beside_a_backup_hold_nothing_up(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"not ours to lock")
    (tmp_path / ".one.backup.1.new").symlink_to(target)
    os.mkfifo(tmp_path / ".one.backup.2.new")

    async def take() -> None:
        await asyncio.wait_for(asyncio.to_thread(place.backup, tmp_path / "one.backup"), 10)

    asyncio.run(take())
    assert target.read_bytes() == b"not ours to lock"


@pytest.mark.parametrize("name", ["data", "[ab]"])
def test_what_a_killed_restore_left_goes_whatever_its_name(tmp_path: Path, name: str) -> None:
    left = tmp_path / f".{name}.1.restoring"
    left.mkdir()
    (left / "root.key").write_bytes(b"a key")
    with staging(tmp_path / name):
        assert not left.exists()


def test_a_link_beside_a_restore_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (tmp_path / ".data.1.restoring").symlink_to(elsewhere)
    (inside := tmp_path / ".data.2.restoring").mkdir()
    (inside / "lock").symlink_to(tmp_path / "made-by-a-link")
    with staging(tmp_path / "data"):
        assert [each.name for each in elsewhere.iterdir()] == ["kept"]
        assert not (tmp_path / "made-by-a-link").exists()
