"""The archive of a backup: what was written comes back, and hostile bytes put nothing elsewhere."""

import io
import tarfile
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

from keyborn.adapters.backup.archive import (
    BLOCK,
    ArchiveDamagedError,
    ArchiveWriter,
    limit_of,
    unpack,
)
from support.walks import examples

MEMBERS = {
    "registry.db": bytes(range(256)) * 9,
    "server.toml": b"",
    "ca/root.key": b"k" * BLOCK,
    "ca/root-2/devices.crt": b"c",
    "manifest.json": b"{}\n",
}


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    writer = ArchiveWriter(out, 1_700_000_000)
    for name, content in members.items():
        writer.add(name, io.BytesIO(content), len(content))
    writer.end()
    return out.getvalue()


WHOLE = archive(MEMBERS)


def foreign(*members: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT) -> bytes:
    """What somebody else's tar would make."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as made:
        for member in members:
            made.addfile(member, io.BytesIO(bytes(member.size)))
    return out.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


def test_what_is_written_comes_back_private(tmp_path: Path) -> None:
    found, manifest = unpack(io.BytesIO(WHOLE), tmp_path)
    assert manifest == MEMBERS["manifest.json"]
    assert set(found) == set(MEMBERS) - {"manifest.json"}
    for name in found:
        assert (tmp_path / name).read_bytes() == MEMBERS[name]
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_any_tar_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as read:
        assert read.getnames() == list(MEMBERS)
        for name, content in MEMBERS.items():
            member = read.extractfile(name)
            assert member is not None
            assert member.read() == content


@pytest.mark.parametrize(
    "content",
    [
        foreign(info("../registry.db")),
        foreign(info("/etc/passwd")),
        foreign(info("ca/../../x.key")),
        foreign(info("ca/passphrase")),
        foreign(info("ca/service.pem")),
        foreign(info("registry.db", tarfile.SYMTYPE, "/etc/passwd")),
        foreign(info("registry.db", tarfile.LNKTYPE, "server.toml")),
        foreign(info("registry.db", tarfile.DIRTYPE)),
        foreign(info("registry.db", tarfile.FIFOTYPE)),
        foreign(info("registry.db", tarfile.CHRTYPE)),
        foreign(info("r" * 300), form=tarfile.PAX_FORMAT),
        foreign(info("r" * 300), form=tarfile.GNU_FORMAT),
        foreign(info("server.toml", size=64 * 1024 + 1)),
        b"",
        b"\0" * 4096,
        archive({"registry.db": b"1"}),
        archive(MEMBERS)[:-BLOCK],
        archive(MEMBERS) + b"\0",
        archive({"server.toml": b"1"})[:-1024] + archive({"server.toml": b"2"}),
        archive({f"ca/root-{number}/root.crt": b"" for number in range(1, 600)} | {"manifest.json": b""}),
    ],
)
def test_what_no_backup_has_is_refused(content: bytes, tmp_path: Path) -> None:
    place = tmp_path / "in" / "to"
    place.mkdir(parents=True)
    with pytest.raises(ArchiveDamagedError):
        unpack(io.BytesIO(content), place)
    assert {each.name for each in tmp_path.iterdir()} == {"in"}
    assert {each.name for each in (tmp_path / "in").iterdir()} == {"to"}


def test_a_size_that_is_not_there_costs_no_memory(tmp_path: Path) -> None:
    header = bytearray(WHOLE[:BLOCK])
    header[124:136] = b"\x80" + (1 << 43).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(ArchiveDamagedError, match="cut off"):
        unpack(io.BytesIO(bytes(header) + b"x" * 1000), tmp_path)


@pytest.mark.parametrize(
    "name", ["", "ca", "ca/", "registry.db/", "CA/root.key", "ca/root-0/root.key", "ca/root.key\n"]
)
def test_names_that_look_like_members_are_none(name: str) -> None:
    with pytest.raises(ArchiveDamagedError):
        limit_of(name)


@settings(max_examples=examples(120), deadline=None)
@given(st.integers(0, 2**32))
def test_changed_bytes_are_refused_or_tell_other_contents(seed: int) -> None:
    """What a digest in the manifest would catch, and nothing else, passes here."""
    chance = Random(seed)
    content = bytearray(WHOLE)
    for _ in range(chance.randint(1, 3)):
        content[chance.randrange(len(content))] ^= chance.randint(1, 255)
    if chance.random() < 0.3:
        content = content[: chance.randrange(len(content))]
    with TemporaryDirectory() as folder:
        place = Path(folder)
        try:
            found, manifest = unpack(io.BytesIO(bytes(content)), place)
        except ArchiveDamagedError:
            return
        assert set(found) == set(MEMBERS) - {"manifest.json"}
        changed = manifest != MEMBERS["manifest.json"] or any(
            (place / name).read_bytes() != MEMBERS[name] for name in found
        )
        assert changed or bytes(content) == WHOLE
