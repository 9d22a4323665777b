"""API keys as values: the word, the roles, the names."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.api_key import (
    MAX_WORD,
    ApiKey,
    ApiKeyId,
    ApiKeyWord,
    Operator,
    Role,
    api_key_id,
    find_word,
    require_operator_name,
)
from keyborn.domain.errors import CredentialRefused, InvalidApiKey, InvalidCode, InvalidSetting
from keyborn.domain.token import EnrollmentCode, decode_secret, digest

URL = "https://gateway.example:8443"
WORD = ApiKeyWord(URL, bytes(range(32)), b"s" * 32)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
URLS = st.sampled_from([URL, "https://[::1]:1", "https://10.0.0.1", "https://a.example/behind/a/prefix"])


@given(
    st.builds(
        ApiKeyWord,
        URLS,
        st.sampled_from([b"", bytes(32), bytes(range(32))]),
        st.binary(min_size=32, max_size=32),
    )
)
def test_a_word_is_read_as_it_was_written(word: ApiKeyWord) -> None:
    text = word.encode()
    assert ApiKeyWord.decode(text) == word
    assert find_word(f"id a\n\nsome words\n{text}\n") == word
    assert text.startswith("kba1.")
    assert len(text) < MAX_WORD


@given(st.integers(5, len(WORD.encode()) - 1), st.sampled_from("ABab01-_.~ "))
def test_no_letter_of_a_word_can_be_another(place: int, letter: str) -> None:
    text = WORD.encode()
    damaged = text[:place] + letter + text[place + 1 :]
    if damaged == text:
        assert ApiKeyWord.decode(damaged) == WORD
        return
    with pytest.raises(InvalidApiKey):
        ApiKeyWord.decode(damaged)


@given(st.integers(0, len(WORD.encode()) - 1))
def test_a_word_that_is_cut_short_is_none(length: int) -> None:
    with pytest.raises(InvalidApiKey):
        ApiKeyWord.decode(WORD.encode()[:length])


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_word_or_refused_as_none(text: str) -> None:
    for each in (text, f"kba1.{text}"):
        with pytest.raises(InvalidApiKey):
            ApiKeyWord.decode(each)


def packed(body: bytes) -> str:
    check = digest(body)[:4]
    return "kba1." + base64.urlsafe_b64encode(body + check).decode().rstrip("=")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        bytes([0]) + b"s" * 31,
        bytes([31]) + bytes(31) + b"s" * 32 + URL.encode(),
        bytes([32]) + bytes(31),
        bytes([0]) + b"s" * 32,
        bytes([0]) + b"s" * 32 + b"http://gateway.example",
        bytes([0]) + b"s" * 32 + b"https://user@gateway.example",
        bytes([0]) + b"s" * 32 + b"\xff\xfe",
    ],
)
def test_what_is_packed_well_and_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidApiKey):
        ApiKeyWord.decode(packed(body))


def test_a_word_too_long_is_not_looked_into() -> None:
    with pytest.raises(InvalidApiKey, match="too long"):
        ApiKeyWord.decode("kba1." + "A" * MAX_WORD)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no word starts"),
        ("kb1.abc", "no word starts"),
        (f"{WORD.encode()} {ApiKeyWord(URL, b'', b't' * 32).encode()}", "several"),
    ],
)
def test_a_text_without_one_key_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidApiKey, match=says):
        find_word(text)


def test_the_same_word_twice_is_one() -> None:
    assert find_word(f"{WORD.encode()}\n{WORD.encode()}") == WORD


def test_no_enrolment_code_is_an_api_key_and_no_api_key_a_code() -> None:
    code = EnrollmentCode(URL, bytes(32), b"s" * 32, NOW, NOW + timedelta(hours=1))
    with pytest.raises(InvalidApiKey):
        ApiKeyWord.decode(code.encode())
    with pytest.raises(InvalidCode):
        EnrollmentCode.decode(WORD.encode())
    with pytest.raises(CredentialRefused):
        decode_secret(WORD.encode())


def test_neither_word_nor_secret_is_shown_by_accident() -> None:
    shown = f"{WORD!r} {WORD} {[WORD]}"
    assert "ssss" not in shown
    assert WORD.encode() not in shown
    assert api_key_id(WORD.secret) in shown


def test_the_public_id_is_of_the_digest() -> None:
    assert api_key_id(b"s" * 32) == "a" + digest(b"s" * 32).hex()[:16]


def test_each_role_covers_those_before_it_and_itself() -> None:
    covered = {(one, two) for one in Role for two in Role if one.covers(two)}
    viewer, approver, admin = Role
    assert covered == {
        (viewer, viewer),
        (approver, viewer),
        (approver, approver),
        (admin, viewer),
        (admin, approver),
        (admin, admin),
    }


@pytest.mark.parametrize("name", ["a", "alice", "Alice B", "night-shift", "ops@plant.example", "x" * 64])
def test_a_name_is_what_people_are_called(name: str) -> None:
    assert require_operator_name(name) == name


@pytest.mark.parametrize("name", ["", " ", "a ", " a", "a\n", "a\nb", "ü", "a\x1b[2J", "x" * 65, "a/b", "-a"])
def test_a_name_that_would_spoil_a_record_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match="--name"):
        require_operator_name(name)


def test_a_key_ends_at_its_expiry_not_after() -> None:
    key = ApiKey(ApiKeyId("a0"), b"", "alice", Role.VIEWER, NOW, NOW + timedelta(seconds=1))
    assert not key.expired(NOW)
    assert key.expired(NOW + timedelta(seconds=1))


def test_the_trail_names_the_key_and_whom_it_was_made_for() -> None:
    assert Operator(ApiKeyId("a0123456789abcdef"), "alice", Role.ADMIN).actor == "a0123456789abcdef alice"
