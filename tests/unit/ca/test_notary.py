"""The key of the audit trail beside the authority's own: private, made once, under the same passphrase."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from keyborn.adapters.ca import FolderNotary, introduce_root, open_authority, retire_root, switch_root
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.checkpoint import Signed, holds, ring
from keyborn.domain.errors import CaDamaged, CaExposed, CaLocked, CaMissing, KeybornError
from support.office import TurnedClock, folder

ENTROPY = SystemEntropy()
TEXT = b"what the trail says"


def authority(tmp_path: Path, passphrase: bytes | None = None) -> Path:
    ca = folder(tmp_path) / "ca"
    open_authority(ca, clock=TurnedClock(), entropy=ENTROPY, passphrase=passphrase)
    return ca


async def held(ca: Path, signed: Signed, passphrase: bytes | None = None) -> bool:
    """Whether another process, which has only the files, takes the signature."""
    return holds(signed, TEXT, ring(await FolderNotary(ca, ENTROPY, passphrase=passphrase).keys()))


async def test_the_key_is_made_at_the_first_signature_and_stays(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    assert await FolderNotary(ca, ENTROPY).keys() == []
    assert not (ca / "audit.key").exists()
    first, second = [await FolderNotary(ca, ENTROPY).sign(TEXT) for _ in range(2)]
    assert first == second, "Ed25519 signs the same text alike"
    assert await held(ca, first)
    assert len(await FolderNotary(ca, ENTROPY).keys()) == 1


async def test_both_files_are_for_their_owner_alone_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    before = {one.name for one in ca.iterdir()}
    old = os.umask(0)
    try:
        await FolderNotary(ca, ENTROPY).prepare()
    finally:
        os.umask(old)
    assert {one.name for one in ca.iterdir()} == before | {"audit.key", "audit.pub"}
    assert {(ca / name).stat().st_mode & 0o777 for name in ("audit.key", "audit.pub")} == {0o600}


async def test_two_that_begin_at_once_have_one_key(tmp_path: Path) -> None:
    notary = FolderNotary(authority(tmp_path), ENTROPY)
    signed = await asyncio.gather(*(notary.sign(TEXT) for _ in range(8)))
    assert len({one.key for one in signed}) == 1
    assert len(await notary.keys()) == 1


async def test_the_passphrase_of_the_authority_is_the_key_s_too(tmp_path: Path) -> None:
    ca = authority(tmp_path, b"correct horse")
    signed = await FolderNotary(ca, ENTROPY, passphrase=b"correct horse").sign(TEXT)
    assert b"ENCRYPTED PRIVATE KEY" in (ca / "audit.key").read_bytes()
    assert await held(ca, signed), "who only checks needs none"
    for wrong in (None, b"battery staple"):
        with pytest.raises(CaLocked):
            await FolderNotary(ca, ENTROPY, passphrase=wrong).sign(TEXT)


async def test_a_key_that_was_moved_away_is_followed_by_another_and_both_hold(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    first = await FolderNotary(ca, ENTROPY).sign(TEXT)
    (ca / "audit.key").rename(tmp_path / "kept.key")
    second = await FolderNotary(ca, ENTROPY).sign(TEXT)
    assert first.key != second.key
    assert await held(ca, first)
    assert await held(ca, second)
    assert list(ring(await FolderNotary(ca, ENTROPY).keys())) == [first.key, second.key], "the newest last"


async def test_a_public_key_that_was_lost_in_a_crash_is_noted_before_the_next_signature(
    tmp_path: Path,
) -> None:
    ca = authority(tmp_path)
    await FolderNotary(ca, ENTROPY).prepare()
    (ca / "audit.pub").unlink()
    assert await held(ca, await FolderNotary(ca, ENTROPY).sign(TEXT))


def opened(path: Path) -> None:
    path.chmod(0o644)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def garbled(path: Path) -> None:
    path.write_bytes(b"nothing of that kind\n")


def another_kind(path: Path) -> None:
    path.write_bytes((path.parent / "root.key").read_bytes())


@pytest.mark.parametrize(
    ("name", "harm", "refusal"),
    [
        ("audit.key", opened, CaExposed),
        ("audit.key", linked, CaExposed),
        ("audit.key", garbled, CaDamaged),
        ("audit.key", another_kind, CaDamaged),
        ("audit.pub", opened, CaExposed),
        ("audit.pub", linked, CaExposed),
        ("audit.pub", garbled, CaDamaged),
        ("audit.pub", another_kind, CaDamaged),
    ],
)
async def test_a_file_that_is_not_private_or_not_ours_is_refused(
    tmp_path: Path, name: str, harm: Callable[[Path], None], refusal: type[KeybornError]
) -> None:
    ca = authority(tmp_path)
    await FolderNotary(ca, ENTROPY).prepare()
    harm(ca / name)
    with pytest.raises(refusal):
        await FolderNotary(ca, ENTROPY).sign(TEXT)


async def test_the_service_keeps_its_name_when_its_root_changes(tmp_path: Path) -> None:
    ca, now = authority(tmp_path), TurnedClock().now()
    before = await FolderNotary(ca, ENTROPY).service()
    introduce_root(ca, now=now, entropy=ENTROPY)
    switch_root(ca, now=now)
    retire_root(ca, now=now)
    assert await FolderNotary(ca, ENTROPY).service() == before
    assert before.startswith("keyborn:")


async def test_no_two_services_have_one_name(tmp_path: Path) -> None:
    names = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        names.add(await FolderNotary(authority(tmp_path / name), ENTROPY).service())
    assert len(names) == 2


async def test_where_there_is_no_authority_there_is_no_service(tmp_path: Path) -> None:
    with pytest.raises(CaMissing):
        await FolderNotary(folder(tmp_path) / "ca", ENTROPY).service()
