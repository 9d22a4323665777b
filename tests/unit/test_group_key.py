"""Group keys: what is derived from one, how it travels to a factory, and the codes that come out of it."""

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import InvalidCode, InvalidGroupKey
from keyborn.domain.group_key import GroupKey, device_key, group_key_id, is_group_key_id, is_signed, sign
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.token import CodeFacts, EnrollmentCode, TokenId

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = bytes(range(32))
LINE = GroupName("line-7")
NAME = ThingName("sensor-1")
HELD = GroupKey(KEY, LINE, "https://ra.example:8443", b"\x11" * 32, NOW, NOW + timedelta(days=365))

names = st.from_regex(r"[A-Za-z0-9:_-]{1,64}", fullmatch=True).map(ThingName)
groups = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).map(GroupName)
keys = st.binary(min_size=32, max_size=32)


def test_a_devices_key_is_what_anybody_can_compute_with_openssl() -> None:
    said = b"keyborn device key\nsensor-1"
    assert device_key(KEY, NAME) == hmac.new(KEY, said, hashlib.sha256).digest()
    assert group_key_id(KEY) == "k" + hashlib.sha256(KEY).hexdigest()[:16]
    assert is_group_key_id(group_key_id(KEY))


@pytest.mark.parametrize(
    "text", ["", "k", "t" + "0" * 16, "k" + "0" * 15, "k" + "A" * 16, "k" + "0" * 16 + "\n"]
)
def test_nothing_else_is_the_id_of_a_group_key(text: str) -> None:
    assert not is_group_key_id(text)


@given(keys, names, names)
def test_no_two_names_have_one_key(key: bytes, one: ThingName, other: ThingName) -> None:
    assert (device_key(key, one) == device_key(key, other)) == (one == other)
    assert device_key(key, one) != key


@given(keys, st.binary(max_size=100), st.binary(max_size=40))
def test_only_its_own_signature_is_good(own: bytes, said: bytes, other: bytes) -> None:
    assert is_signed(own, said, sign(own, said))
    assert not is_signed(own, said + b"x", sign(own, said))
    assert is_signed(own, said, other) == (other == sign(own, said))


@given(keys, groups, st.sampled_from([b"", b"f" * 32]), names)
def test_a_group_key_survives_its_way_to_the_factory(
    key: bytes, group: GroupName, fingerprint: bytes, name: ThingName
) -> None:
    held = replace(HELD, key=key, group=group, fingerprint=fingerprint)
    assert held.encode().startswith("kbg1.")
    assert GroupKey.decode(f" {held.encode()}\n") == held
    code = EnrollmentCode.decode(held.code_for(name).encode())
    assert code.secret == device_key(key, name)
    assert code.facts == CodeFacts(Method.GROUP_KEY, group, group_key_id(key))
    assert (code.url, code.fingerprint) == (held.url, fingerprint)
    assert (code.issued_at, code.expires_at) == (held.issued_at, held.expires_at)


def test_no_repr_shows_a_key() -> None:
    for shown in (repr(HELD), str(HELD), repr(HELD.code_for(NAME))):
        assert repr(KEY)[2:20] not in shown
        assert device_key(KEY, NAME).hex() not in shown
        assert repr(device_key(KEY, NAME))[2:-1] not in shown


# ── one is not taken for the other ────────────────────────────────────────────────────────────────────


def test_no_device_takes_a_group_key_for_a_code() -> None:
    with pytest.raises(InvalidCode, match="keyborn group key derive"):
        EnrollmentCode.decode(HELD.encode())
    renamed = "kb1." + HELD.encode().removeprefix("kbg1.")
    with pytest.raises(InvalidCode, match="damaged"):
        EnrollmentCode.decode(renamed)


def test_a_devices_code_is_no_group_key() -> None:
    code = HELD.code_for(NAME).encode()
    for text in (code, "kbg1." + code.removeprefix("kb1."), "", "kbg1.", "kbg1.!", "x" * 2000):
        with pytest.raises(InvalidGroupKey):
            GroupKey.decode(text)


def test_an_id_that_is_not_that_of_the_key_is_noticed() -> None:
    facts = CodeFacts(Method.GROUP_KEY, LINE, TokenId("k" + "0" * 16))
    code = EnrollmentCode(HELD.url, b"", KEY, NOW, NOW, facts)
    with pytest.raises(InvalidGroupKey, match="id"):
        GroupKey.decode(code.encode("kbg1."))
    with pytest.raises(InvalidGroupKey):
        GroupKey.decode(replace(code, facts=None).encode("kbg1."))


@given(st.integers(0, len(HELD.encode()) - 1), st.characters(codec="ascii"))
def test_no_changed_character_goes_unnoticed(at: int, other: str) -> None:
    word = HELD.encode()
    changed = word[:at] + other + word[at + 1 :]
    if changed.strip() == word:
        return
    with pytest.raises(InvalidGroupKey):
        GroupKey.decode(changed)
