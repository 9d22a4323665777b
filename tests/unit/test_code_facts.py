"""Enrolment codes that say how to enrol; today's codes stay what they were, byte for byte."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import InvalidCode
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName
from keyborn.domain.token import MAX_CODE, CodeFacts, EnrollmentCode, TokenId

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LINE = GroupName("line-7")
ID = TokenId("k0123456789abcdef")
SECRETLESS = (Method.FACTORY, Method.OIDC, Method.REGISTERED, Method.ASK)
PLAIN = EnrollmentCode(
    "https://ra.example:8443", b"\x11" * 32, bytes(range(32)), NOW, NOW + timedelta(hours=1)
)
ASKING = replace(PLAIN, secret=b"", facts=CodeFacts(Method.ASK, LINE))
KEYED = replace(PLAIN, facts=CodeFacts(Method.GROUP_KEY, LINE, ID))

groups = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).map(GroupName)


def sealed(body: bytes) -> str:
    """A code of these bytes with a check that is right."""
    whole = body + hashlib.sha256(body).digest()[:4]
    return "kb1." + base64.urlsafe_b64encode(whole).decode().rstrip("=")


def raw(code: EnrollmentCode) -> bytes:
    text = code.encode().removeprefix("kb1.")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[:-4]


def refused(text: str, word: str) -> None:
    with pytest.raises(InvalidCode, match=word):
        EnrollmentCode.decode(text)


def test_a_code_without_facts_is_what_it_was_before_there_were_any() -> None:
    begins, ends = (int(each.timestamp()).to_bytes(8) for each in (PLAIN.issued_at, PLAIN.expires_at))
    body = begins + ends + b"\x20" + PLAIN.fingerprint + PLAIN.secret + PLAIN.url.encode()
    assert PLAIN.encode() == sealed(body)
    assert EnrollmentCode.decode(sealed(body)) == PLAIN
    assert (PLAIN.method, PLAIN.group) == (Method.TOKEN, None)


@given(st.sampled_from(SECRETLESS), groups, st.sampled_from([b"", b"f" * 32]))
def test_a_code_without_a_secret_says_how_to_enrol_and_where(
    method: Method, group: GroupName, fingerprint: bytes
) -> None:
    code = replace(ASKING, fingerprint=fingerprint, facts=CodeFacts(method, group))
    assert EnrollmentCode.decode(code.encode()) == code
    assert (code.method, code.group) == (method, group)
    assert len(code.encode()) < MAX_CODE


@given(st.binary(min_size=32, max_size=32), groups)
def test_a_code_of_a_group_key_brings_a_key_and_its_id(secret: bytes, group: GroupName) -> None:
    code = replace(KEYED, secret=secret, facts=CodeFacts(Method.GROUP_KEY, group, ID))
    assert EnrollmentCode.decode(code.encode()) == code


@pytest.mark.parametrize(
    ("facts", "secret"),
    [
        (CodeFacts(Method.ASK, LINE), bytes(32)),
        (CodeFacts(Method.FACTORY, LINE), bytes(33)),
        (CodeFacts(Method.GROUP_KEY, LINE, ID), b""),
        (CodeFacts(Method.GROUP_KEY, LINE, ID), bytes(31)),
        (CodeFacts(Method.GROUP_KEY, LINE, ID), bytes(33)),
        (None, b""),
    ],
)
def test_a_secret_is_there_where_a_method_needs_one_and_nowhere_else(
    facts: CodeFacts | None, secret: bytes
) -> None:
    refused(replace(PLAIN, facts=facts, secret=secret).encode(), "too short or too long")


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"ask",
        b"ask:",
        b"ask:Line",
        b"ask:line-7:" + ID.encode(),
        b"ask:line-7:",
        b"carrier-pigeon:line-7",
        b"token:line-7",
        b"open:line-7",
        b"webhook:line-7",
        b"group-key:line-7",
        b"group-key:line-7:k01",
        b"group-key:line-7:" + ID.encode() + b":x",
        b"ask:line-7\n",
        b"\xff:line-7",
    ],
)
def test_a_way_that_is_not_known_is_refused_as_such(told: bytes) -> None:
    body = raw(ASKING)
    head, rest = body[:49], body[49 + 1 + len(b"ask:line-7") :]
    assert sealed(head + bytes([10]) + b"ask:line-7" + rest) == ASKING.encode()
    refused(sealed(head + bytes([len(told)]) + told + rest), "does not know")


def test_a_version_that_knows_no_facts_refuses_such_a_code() -> None:
    """It takes the new bit for a part of the fingerprint's length."""
    size = raw(ASKING)[16]
    assert size & ~0x80 not in (0, 32)


@given(st.sampled_from([ASKING, KEYED]), st.data())
def test_no_changed_or_lost_character_goes_unnoticed(code: EnrollmentCode, data: st.DataObject) -> None:
    word = code.encode()
    at = data.draw(st.integers(0, len(word) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_. "))
    for changed in (word[:at], word[:at] + other + word[at + 1 :], word[:at] + word[at + 1 :]):
        if changed.strip() != word:
            with pytest.raises(InvalidCode):
                EnrollmentCode.decode(changed)


@given(st.binary(max_size=200))
def test_whatever_is_well_sealed_is_read_whole_or_refused(body: bytes) -> None:
    try:
        code = EnrollmentCode.decode(sealed(body))
    except InvalidCode:
        return
    assert EnrollmentCode.decode(code.encode()) == code
