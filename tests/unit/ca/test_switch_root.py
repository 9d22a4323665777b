"""The root changes hands: another set issues, the one before is believed until it is retired."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.ca import (
    EmbeddedAuthority,
    describe_authority,
    introduce_root,
    retire_root,
    switch_root,
)
from keyborn.adapters.ca.standing import Standing, read_standing
from keyborn.domain.errors import (
    CaDamaged,
    CaExposed,
    CaMissing,
    NoNextRoot,
    NoOldRoot,
    OldRootThere,
)
from support.ca_world import ENTROPY, HandClock, approved_for, issue, make_authority

SWITCHED = ["root", "devices", "servers", "old-root", "old-devices", "old-servers"]


def do(change: Callable[..., object], data: Path, passphrase: bytes | None = None, **how: bool) -> None:
    more: dict[str, Any] = {"entropy": ENTROPY} if change is introduce_root else {}
    change(data / "ca", now=HandClock().now(), passphrase=passphrase, **how, **more)


def leaf(authority: EmbeddedAuthority) -> bytes:
    return issue(authority, approved_for("lamp")).public_bytes(Encoding.DER)


def fingerprints(data: Path) -> dict[str, str]:
    return {one.role: one.fingerprint for one in describe_authority(data / "ca")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_authority(tmp_path)
    do(introduce_root, tmp_path)
    return tmp_path


def test_the_next_one_issues_and_the_old_one_is_believed(data: Path) -> None:
    before, authority = fingerprints(data), make_authority(data)
    do(switch_root, data)
    after, switched = fingerprints(data), make_authority(data)
    assert list(after) == SWITCHED
    assert [after[role] for role in SWITCHED[:3]] == [before[f"next-{role}"] for role in SWITCHED[:3]]
    assert [after[f"old-{role}"] for role in SWITCHED[:3]] == [before[role] for role in SWITCHED[:3]]
    assert switched.roots_pem() == authority.roots_pem()
    assert switched.root_fingerprint().hex() == before["next-root"]
    assert sorted(switched.client_ca_pem()) == sorted(authority.client_ca_pem())
    assert switched.chain_pem() != authority.chain_pem()
    assert switched.server_chain_pem() != authority.server_chain_pem()


def test_there_is_a_way_back_until_the_old_one_is_retired(data: Path) -> None:
    before = fingerprints(data)
    do(switch_root, data)
    do(switch_root, data, back=True)
    assert fingerprints(data) == before
    with pytest.raises(NoOldRoot):
        do(switch_root, data, back=True)
    do(switch_root, data)
    do(retire_root, data)
    for back, refusal in ((False, NoNextRoot), (True, NoOldRoot)):
        with pytest.raises(refusal):
            do(switch_root, data, back=back)


def test_a_retired_one_is_believed_no_more_and_its_keys_are_gone(data: Path) -> None:
    do(switch_root, data)
    old = {one.role: one.pem for one in describe_authority(data / "ca")}
    do(retire_root, data)
    authority = make_authority(data)
    assert list(fingerprints(data)) == SWITCHED[:3]
    assert authority.roots_pem() == old["root"]
    assert old["old-devices"] not in authority.client_ca_pem()
    assert {each.name for each in (data / "ca").iterdir()} == {
        "root.crt", "devices.crt", "servers.crt", "root-2", "standing"
    }  # fmt: skip
    assert stat.S_IMODE((data / "ca" / "standing").stat().st_mode) == 0o600


def test_it_can_be_changed_again_and_again(data: Path) -> None:
    for number in (2, 3, 4):
        do(introduce_root, data)
        assert read_standing(data / "ca") == Standing(number - 1, number - 1, number)
        do(switch_root, data)
        with pytest.raises(OldRootThere):
            do(introduce_root, data)
        do(retire_root, data)
        assert read_standing(data / "ca") == Standing(number, number, number)
    assert make_authority(data).roots_pem().count("BEGIN") == 1


def test_nothing_is_switched_or_retired_where_nothing_is(tmp_path: Path) -> None:
    for change in (switch_root, retire_root):
        with pytest.raises(CaMissing):
            do(change, tmp_path)
    make_authority(tmp_path)
    with pytest.raises(NoNextRoot):
        do(switch_root, tmp_path)
    with pytest.raises(NoOldRoot):
        do(retire_root, tmp_path)
    assert not (tmp_path / "ca" / "standing").exists()


def test_a_next_one_that_is_damaged_issues_nothing(data: Path) -> None:
    (data / "ca" / "root-2" / "devices.key").write_bytes(b"damaged")
    with pytest.raises(CaDamaged, match=r"devices\.key"):
        do(switch_root, data)
    assert not (data / "ca" / "standing").exists()


@pytest.mark.parametrize(
    "text", ["", "oldest 1\n", "oldest 2\nissuing 1\n", "oldest 0\nissuing 1\n", "oldest 1\nissuing 3\n",
             "oldest 1\nissuing 2\nmore", "oldest 1\nissuing \n"]
)  # fmt: skip
def test_a_file_that_does_not_say_it_is_refused_and_nothing_is_guessed(data: Path, text: str) -> None:
    do(switch_root, data)
    (data / "ca" / "standing").write_text(text)
    with pytest.raises(CaDamaged, match="which root issues"):
        make_authority(data)


def test_a_file_that_others_may_write_is_refused(data: Path) -> None:
    do(switch_root, data)
    (data / "ca" / "standing").chmod(0o666)
    with pytest.raises(CaExposed):
        make_authority(data)
    (data / "ca" / "standing").unlink()
    (data / "ca" / "standing").symlink_to("nowhere")
    with pytest.raises(CaExposed):
        make_authority(data)


def test_a_leaf_keeps_the_chain_that_it_came_with(data: Path) -> None:
    old, before = leaf(make_authority(data)), make_authority(data).chain_pem()
    do(switch_root, data)
    authority = make_authority(data)
    assert authority.chain_pem(old) == before
    assert authority.chain_pem(leaf(authority)) == authority.chain_pem() != before
