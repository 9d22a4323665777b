"""Tokens at rest, bearer secrets, enrolment codes."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import CredentialRefused, InvalidCode, KeybornError
from keyborn.domain.names import NameScope
from keyborn.domain.token import (
    MAX_SECRET_BYTES,
    EnrollmentCode,
    EnrollmentToken,
    decode_secret,
    digest,
    encode_secret,
    require_service_url,
    token_id,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SECRET = bytes(range(32))
secrets = st.binary(min_size=32, max_size=32)
long_secrets = st.binary(min_size=33, max_size=MAX_SECRET_BYTES)
moments = st.integers(0, 250_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
hosts = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,9}){0,3}", fullmatch=True)


def code(**changes: object) -> EnrollmentCode:
    plain = EnrollmentCode("https://ra.example:8443", b"\x11" * 32, SECRET, NOW, NOW + timedelta(hours=1))
    return replace(plain, **changes)  # type: ignore[arg-type] # the tests name real fields


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────


def token() -> EnrollmentToken:
    return EnrollmentToken(token_id(SECRET), digest(SECRET), NameScope("*"), 1, NOW, NOW + timedelta(hours=1))


def test_a_token_keeps_the_digest_and_never_the_secret() -> None:
    assert token().digest == hashlib.sha256(SECRET).digest()
    assert token().id == "t" + hashlib.sha256(SECRET).hexdigest()[:16]
    assert encode_secret(SECRET) not in repr(token())
    assert SECRET.hex() not in repr(token())


@given(secrets)
def test_only_its_own_secret_proves_a_token(other: bytes) -> None:
    assert token().proves(SECRET)
    assert token().proves(other) == (other == SECRET)


def test_a_token_expires_at_its_last_moment_not_after_it() -> None:
    end = token().expires_at
    assert not token().expired(end - timedelta(milliseconds=1))
    assert token().expired(end)


@given(secrets)
def test_a_bearer_secret_survives_the_wire(secret: bytes) -> None:
    text = encode_secret(secret)
    assert len(text) == 43
    assert decode_secret(text) == secret


@given(long_secrets)
def test_a_secret_that_says_what_it_permits_survives_the_wire_too(secret: bytes) -> None:
    assert decode_secret(encode_secret(secret)) == secret


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 42,
        "A" * 45,
        "A" * 43 + "=",
        "=" * 43,
        "A" * 42 + "B",  # the last character carries 2 spare bits: only one spelling is taken
        "A" * 42 + "\n",
        " " + "A" * 42,
        "A" * 21 + "+" + "A" * 21,
        "A" * 21 + "/" + "A" * 21,
        "é" * 43,
        "\ud800" * 43,
        encode_secret(SECRET[:31]),
        encode_secret(bytes(MAX_SECRET_BYTES + 1)),
        encode_secret(bytes(1_000_000)),
    ],
)
def test_any_other_spelling_of_a_secret_is_refused(text: str) -> None:
    with pytest.raises(CredentialRefused):
        decode_secret(text)


@given(st.text())
def test_no_text_makes_a_secret_and_another_error(text: str) -> None:
    try:
        assert encode_secret(decode_secret(text)) == text
    except CredentialRefused as refusal:
        assert refusal.code == "credential_refused"  # noqa: PT017 - either outcome is right for some text


# ── codes ─────────────────────────────────────────────────────────────────────────────────────────────


@given(hosts, st.sampled_from([b"", b"\xfe" * 32]), st.one_of(secrets, long_secrets), moments, moments)
def test_a_code_is_one_url_safe_word_that_reads_back(
    host: str, fingerprint: bytes, secret: bytes, issued: datetime, expires: datetime
) -> None:
    value = EnrollmentCode(f"https://{host}:8443/prefix", fingerprint, secret, issued, expires)
    word = value.encode()

    assert word.startswith("kb1.")
    assert set(word) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert EnrollmentCode.decode(word) == value
    assert EnrollmentCode.decode(f"  {word}\n") == value, "as a person pastes it"


def test_a_code_does_not_show_its_secret() -> None:
    shown = repr(code())
    assert "ra.example" in shown
    assert encode_secret(SECRET * 3) not in repr(code(secret=SECRET * 3))
    assert SECRET.hex() not in shown
    assert str(SECRET) not in shown
    assert encode_secret(SECRET) not in shown


@pytest.mark.parametrize("size", [32, 33, 80, MAX_SECRET_BYTES])
def test_no_single_character_can_be_changed_or_lost(size: int) -> None:
    word = code(secret=bytes(range(size % 256)) + bytes(size - size % 256)).encode()
    for place in range(len(word)):
        changed = word[:place] + ("A" if word[place] != "A" else "B") + word[place + 1 :]
        for damaged in (changed, word[:place], word[:place] + word[place + 1 :]):
            with pytest.raises(InvalidCode):
                EnrollmentCode.decode(damaged)


@pytest.mark.parametrize(
    ("word", "detail"),
    [
        ("", "does not start with `kb1.`"),
        ("kb2.AAAA", "does not start with `kb1.`"),
        ("KB1.AAAA", "does not start with `kb1.`"),
        ("kb1.", "damaged or cut short"),
        ("kb1.é", "outside base64url"),
        ("kb1.a b", "outside base64url"),
        ("kb1." + "A" * 1021, "too long"),
        ("kb1." + "A" * 900, "damaged"),
        ("kb1.A", "cut short"),
    ],
)
def test_a_word_that_is_no_code_is_told_why(word: str, detail: str) -> None:
    with pytest.raises(InvalidCode, match=detail):
        EnrollmentCode.decode(word)


def sealed(body: bytes) -> str:
    """A word whose check is right, whatever it holds."""
    check = hashlib.sha256(body).digest()[:4]
    return "kb1." + base64.urlsafe_b64encode(body + check).decode().rstrip("=")


HEAD = (0).to_bytes(8) + (1).to_bytes(8)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "damaged or cut short"),
        (HEAD + b"\0" + SECRET, "URL is not"),
        (HEAD + b"\x1f" + b"f" * 31 + SECRET + b"https://a", "not a SHA-256"),
        (HEAD + b"\x20" + b"f" * 32 + SECRET[:5] + b"https://a", "cut short"),
        (HEAD + b"\0" + SECRET + b"http://a", "URL is not"),
        (HEAD + b"\0" + SECRET + b"\xff\xfe", "make no sense"),
        (b"\xff" * 16 + b"\0" + SECRET + b"https://a", "make no sense"),
        (HEAD + b"\x80" + b"\0\x21" + SECRET + b"?", "URL is not"),
        (HEAD + b"\x80" + b"\0\x1f" + SECRET + b"https://a", "too short or too long"),
        (HEAD + b"\x80" + b"\x01\x41" + bytes(0x141) + b"https://a", "too short or too long"),
        (HEAD + b"\x80" + b"\xff\xff" + SECRET + b"https://a", "cut short"),
        (HEAD + b"\xa0" + b"f" * 31 + b"x" * 20, "cut short"),
        (HEAD + b"\x81" + b"f" + b"\0\x20" + SECRET + b"https://a", "not a SHA-256"),
        (HEAD + b"\x40" + b"f" * 64 + SECRET + b"https://a", "does not know"),
        (HEAD + b"\x3f" + b"f" * 63 + SECRET + b"https://a", "not a SHA-256"),
        (HEAD + b"\x40\xff" + b"f" * 64, "cut short"),
    ],
)
def test_a_well_sealed_word_is_still_read_with_care(body: bytes, detail: str) -> None:
    with pytest.raises(InvalidCode, match=detail):
        EnrollmentCode.decode(sealed(body))


@given(st.one_of(st.text(), st.text("ABCabc012-_=").map("kb1.".__add__), st.binary().map(sealed)))
def test_no_text_makes_anything_but_a_code_or_a_refusal(text: str) -> None:
    try:
        assert EnrollmentCode.decode(EnrollmentCode.decode(text).encode()) == EnrollmentCode.decode(text)
    except KeybornError as refusal:
        assert isinstance(refusal, InvalidCode)  # noqa: PT017 - either outcome is right for some text


@pytest.mark.parametrize(
    "url",
    [
        "https://a",
        "https://a:8443",
        "https://[::1]:8443",
        "https://10.0.0.1",
        "https://a/stage",
        "https://a_b-c.D.",
    ],
)
def test_a_service_is_https_and_a_host(url: str) -> None:
    assert require_service_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a",
        "//a",
        "http://a",
        "ftp://a",
        "https://",
        "https://:8443",
        "https://a:0",
        "https://a:99999",
        "https://a:b",
        "https://a?x=1",
        "https://a#x",
        "https://user@a",
        "https://user:word@a",
        "https://:@a",
        "https://é",
        "https://a\n",
        "https://a/\x7f",
        "https://[::1",
        "https://[::1]x:5",
        "https://[::1%25lo]",
        "https://[v1.x]",
        "https://a b",
        "https://a/b c",
        "https://a\\b",
        "https://a..b",
        "https://.a",
        "https://-",
        "https://%61",
        "https://a;b",
        "https://" + "a" * 64,
        "https://a" + ".a" * 127,
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidCode):
        require_service_url(url)
