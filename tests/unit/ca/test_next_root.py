"""A next root beside the present one: devices come to believe both, and nothing else is different."""

from pathlib import Path

import pytest

from keyborn.adapters.ca import describe_authority, introduce_root, open_authority, switch_root
from keyborn.domain.errors import CaDamaged, CaLocked, CaMissing
from support.ca_world import ENTROPY, HandClock, make_authority

WORD = b"correct horse"


def introduce(data: Path, passphrase: bytes | None = None) -> None:
    introduce_root(data / "ca", now=HandClock().now(), entropy=ENTROPY, passphrase=passphrase)


def fingerprints(data: Path) -> dict[str, str]:
    return {one.role: one.fingerprint for one in describe_authority(data / "ca")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_authority(tmp_path)
    return tmp_path


def test_the_bundle_shows_the_newest_first_and_the_present_one_issues(data: Path) -> None:
    before = make_authority(data)
    introduce(data)
    after = make_authority(data)
    new, old = describe_authority(data / "ca")[3], describe_authority(data / "ca")[0]
    assert after.roots_pem() == new.pem + old.pem
    assert before.roots_pem() == old.pem
    assert after.root_fingerprint() == before.root_fingerprint()
    assert (after.chain_pem(), after.server_chain_pem()) == (before.chain_pem(), before.server_chain_pem())


def test_servers_trust_the_clients_of_both(data: Path) -> None:
    introduce(data)
    trusted = make_authority(data).client_ca_pem()
    for one in describe_authority(data / "ca"):
        assert (one.pem in trusted) is not one.role.endswith("servers"), one.role


def test_all_six_are_described_and_none_is_twice(data: Path) -> None:
    introduce(data)
    found = fingerprints(data)
    assert list(found) == ["root", "devices", "servers", "next-root", "next-devices", "next-servers"]
    assert len(set(found.values())) == 6


def test_a_next_root_that_is_there_stays(data: Path) -> None:
    introduce(data)
    before = fingerprints(data)
    introduce(data)
    assert fingerprints(data) == before


def test_without_an_authority_there_is_no_next_one(tmp_path: Path) -> None:
    with pytest.raises(CaMissing):
        introduce(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_goes_under_the_same_passphrase(tmp_path: Path) -> None:
    open_authority(tmp_path / "ca", clock=HandClock(), entropy=ENTROPY, passphrase=WORD)
    for wrong in (None, b"another"):
        with pytest.raises(CaLocked):
            introduce(tmp_path, wrong)
    assert not (tmp_path / "ca" / "root-2").exists()
    introduce(tmp_path, WORD)
    assert b"ENCRYPTED" in (tmp_path / "ca" / "root-2" / "root.key").read_bytes()
    with pytest.raises(CaLocked):
        make_authority(tmp_path)
    with pytest.raises(CaLocked):
        switch_root(tmp_path / "ca", now=HandClock().now())
    assert not (tmp_path / "ca" / "standing").exists()


@pytest.mark.parametrize("name", ["root.key", "root.crt", "devices.key", "servers.crt"])
def test_one_that_is_not_whole_is_refused_by_name(data: Path, name: str) -> None:
    introduce(data)
    (data / "ca" / "root-2" / name).unlink()
    with pytest.raises(CaDamaged, match=name):
        make_authority(data)
