"""The copy of revocations follows the registry: crashes, full disks, foreign files, older registries."""

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from keyborn.adapters.backup import mirror
from keyborn.adapters.backup.mirror import RevocationMirror, read_mirror
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.errors import MirrorUnwritable, RegistryRolledBack
from keyborn.domain.names import ThingName
from keyborn.domain.revocation import begin_mirror
from keyborn.domain.thing import ThingStatus
from support.backup_stage import Place, enrolling, moving, withdrawing
from support.registry_cases import Desk, event, key
from support.small_disk import small_disk


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "data", tmp_path / "elsewhere.log").make()
    made.do(enrolling("lamp-1", "lamp-2", "lamp-3"))
    return made


def told(path: Path) -> list[tuple[str, str]]:
    """What a copy tells, without certificates, whose ids are long."""
    return [(act.what, act.id) for act in read_mirror(path)[1] if act.what != "certificate"]


def test_every_final_act_is_in_both_copies_in_its_order(place: Place) -> None:
    place.do(moving(ThingStatus.REVOKED, "lamp-1"))
    place.do(moving(ThingStatus.SUSPENDED, "lamp-2"))
    place.do(moving(ThingStatus.ACTIVE, "lamp-2"))
    place.do(moving(ThingStatus.RETIRED, "lamp-3"))
    [(token,)] = place.rows("SELECT id FROM tokens")
    place.do(withdrawing(str(token)))
    place.do(withdrawing(str(token)))
    assert told(place.folder.revocations) == [
        ("key", key("lamp-1")),
        ("device-revoked", "lamp-1"),
        ("suspended", "lamp-2"),
        ("resumed", "lamp-2"),
        ("key", key("lamp-3")),
        ("device-retired", "lamp-3"),
        ("token", token),
    ]
    assert place.elsewhere is not None
    assert place.elsewhere.read_bytes() == place.folder.revocations.read_bytes()
    assert place.folder.revocations.stat().st_mode & 0o777 == 0o600


def test_what_a_crash_kept_from_the_copy_is_there_after_the_next_start(place: Place) -> None:
    place.do(moving(ThingStatus.REVOKED, "lamp-1"), mirrored=False)
    assert told(place.folder.revocations) == []
    asyncio.run(place.mirror.open())
    assert ("device-revoked", "lamp-1") in told(place.folder.revocations)


@pytest.mark.parametrize("left", [0, 1, 60, 119, 120, 121, 200, 300, -100, -1])
def test_a_copy_torn_anywhere_is_made_whole(place: Place, left: int) -> None:
    place.do(moving(ThingStatus.REVOKED, "lamp-1", "lamp-2"))
    copy = place.folder.revocations
    whole = copy.read_bytes()
    copy.write_bytes(whole[:left] + b"\0" * (3000 if left == 200 else 0))
    place.do(moving(ThingStatus.RETIRED, "lamp-3"))
    assert copy.read_bytes().startswith(whole)
    assert place.elsewhere is not None
    assert copy.read_bytes() == place.elsewhere.read_bytes()


@pytest.mark.parametrize("torn", [1, 2047, 2048, 3000, 600_000])
def test_room_that_a_power_cut_left_at_the_end_keeps_no_service_from_starting(
    place: Place, torn: int
) -> None:
    """Some file systems keep the new size of a file, and none of what was written there."""
    place.do(moving(ThingStatus.REVOKED, "lamp-1"))
    copy = place.folder.revocations
    whole = copy.read_bytes()
    copy.write_bytes(whole + b"\0" * torn)
    asyncio.run(place.mirror.open())
    place.do(moving(ThingStatus.RETIRED, "lamp-3"))
    assert copy.read_bytes().startswith(whole)
    assert ("device-retired", "lamp-3") in told(copy)
    assert b"\0" not in copy.read_bytes()


def test_a_copy_that_somebody_else_locks_holds_nothing_up_for_long(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mirror, "LOCK_PATIENCE", 0.1)
    assert place.elsewhere is not None
    with place.elsewhere.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with caplog.at_level(logging.ERROR, "keyborn.revocations"):
            asyncio.run(asyncio.wait_for(place.mirror.open(), 5))
        assert "is not written" in caplog.text
        with pytest.raises(MirrorUnwritable, match="in use"):
            place.do(moving(ThingStatus.REVOKED, "lamp-1"))
    asyncio.run(place.mirror.open())
    assert ("device-revoked", "lamp-1") in told(place.elsewhere)


def _link(path: Path, other: Path) -> None:
    path.symlink_to(other)


def _pipe(path: Path, _other: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _other: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("put", [_link, _pipe, _folder])
def test_what_is_no_file_of_its_own_is_not_written_to(
    place: Place, tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    other = tmp_path / "other"
    other.touch()
    assert place.elsewhere is not None
    place.elsewhere.unlink()
    put(place.elsewhere, other)
    asyncio.run(asyncio.wait_for(place.mirror.open(), 5))
    with pytest.raises(MirrorUnwritable):
        place.do(moving(ThingStatus.REVOKED, "lamp-1"))
    assert other.read_bytes() == b""
    assert ("device-revoked", "lamp-1") in told(place.folder.revocations)


def test_a_lost_copy_is_written_anew_from_the_registry(place: Place) -> None:
    place.do(moving(ThingStatus.REVOKED, "lamp-1"))
    whole = place.folder.revocations.read_bytes()
    place.folder.revocations.unlink()
    asyncio.run(place.mirror.open())
    assert place.folder.revocations.read_bytes() == whole


def test_a_registry_that_was_put_back_by_hand_does_not_open(place: Place, tmp_path: Path) -> None:
    shutil.copy(place.folder.registry, tmp_path / "old.db")
    place.do(moving(ThingStatus.REVOKED, "lamp-1"))
    shutil.copy(tmp_path / "old.db", place.folder.registry)
    with pytest.raises(RegistryRolledBack, match="keyborn restore"):
        asyncio.run(place.mirror.open())
    place.do(moving(ThingStatus.RETIRED, "lamp-2", "lamp-3"), mirrored=False)  # as many acts, but others
    with pytest.raises(RegistryRolledBack):
        asyncio.run(place.mirror.open())


@pytest.mark.parametrize(
    "content", [b"somebody's notes", b"root:x:0:0\n", begin_mirror("f" * 32)[1].encode()]
)
def test_a_foreign_file_is_left_alone(place: Place, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert place.elsewhere is not None
    place.elsewhere.write_bytes(content)
    with caplog.at_level(logging.ERROR, "keyborn.revocations"):
        asyncio.run(place.mirror.open())  # the service starts all the same
    assert "is not written" in caplog.text
    with pytest.raises(MirrorUnwritable):
        place.do(moving(ThingStatus.REVOKED, "lamp-1"))
    assert place.elsewhere.read_bytes() == content
    assert ("device-revoked", "lamp-1") in told(place.folder.revocations)


async def test_a_full_disk_is_told_and_caught_up_with(tmp_path: Path) -> None:
    path, here = tmp_path / "registry.db", tmp_path / "revocations.log"
    with small_disk(tmp_path / "disk") as disk:
        away = disk.folder / "revocations.log"
        mirror = RevocationMirror(path, [here, away])
        async with SqliteRegistry(path) as registry:
            await mirror.open()
            desk = Desk(registry)
            token = await desk.token("secret")
            for name in (f"lamp-{number}" for number in range(30)):
                await desk.enroll(token, name, name)
                await registry.set_status(ThingName(name), ThingStatus.REVOKED, event("thing.revoke", name))
            disk.fill(os.getpid())
            with pytest.raises(MirrorUnwritable, match=r"in force.*(No space left|File too large)"):
                await mirror.keep()
            lamp = await registry.thing(ThingName("lamp-29"))
            assert lamp is not None
            assert lamp.status is ThingStatus.REVOKED
            disk.free(os.getpid())
            await mirror.keep()
        assert ("device-revoked", "lamp-29") in told(away)
        assert away.read_bytes() == here.read_bytes()


class _Slow(RevocationMirror):
    """Follows once it is told to."""

    def __init__(self) -> None:
        super().__init__(Path("registry"), [Path("copy")])
        self.done = asyncio.get_running_loop().create_future()

    async def _follow(self) -> None:
        await self.done


@pytest.mark.parametrize("turns", range(4))
async def test_who_is_called_off_while_a_copy_becomes_whole_ends(turns: int) -> None:
    """Else a service that stops at that moment never does: its sweeper goes on."""
    slow = _Slow()
    keeping = asyncio.ensure_future(slow.keep())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slow.done.set_result(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    if keeping.cancel():
        with pytest.raises(asyncio.CancelledError):
            await keeping


def test_a_path_that_is_gone_is_told(place: Place) -> None:
    place.elsewhere = place.folder.path / "not" / "there.log"
    with pytest.raises(MirrorUnwritable, match="No such file"):
        place.do(moving(ThingStatus.REVOKED, "lamp-1"))


async def test_many_at_once_are_all_there_when_they_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        mirror = RevocationMirror(path, [tmp_path / "revocations.log"])
        desk = Desk(registry)
        token = await desk.token("secret")
        names = [f"lamp-{number}" for number in range(40)]

        async def one(name: str) -> None:
            await desk.enroll(token, name, name)
            await registry.set_status(ThingName(name), ThingStatus.REVOKED, event("thing.revoke", name))
            await mirror.keep()
            assert ("device-revoked", name) in told(tmp_path / "revocations.log")

        await asyncio.gather(*(one(name) for name in names))
        assert len(told(tmp_path / "revocations.log")) == 2 * len(names)
