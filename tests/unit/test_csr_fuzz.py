"""Valid requests, damaged at random: an answer of ours every time, and never another key than the owner's."""

from base64 import b64decode
from functools import cache

from hypothesis import HealthCheck, given, settings, strategies as st

from keyborn.domain.csr import CertificateRequest, parse_csr
from keyborn.domain.csr_der import Element, read_der
from keyborn.domain.errors import CsrRefused
from support.csr_build import (
    CN,
    C,
    O,
    asking,
    bits,
    extension,
    info_der,
    oid,
    part,
    pem,
    printable,
    request_der,
    seq,
    signer,
    spki_of,
    subject,
    tlv,
    utf8,
)
from support.csr_make import csr_for, shared_key

Edit = tuple[str, int, int, bytes]


@cache
def _originals() -> tuple[bytes, ...]:
    """A bare request, one with everything that is allowed, and one with an RSA key."""
    everything = asking(
        extension("2.5.29.19", seq(), critical=True),
        extension("2.5.29.15", bits(b"\x80", 7), critical=True),
        extension("2.5.29.37", seq(oid("1.3.6.1.5.5.7.3.2"))),
        extension("2.5.29.14", tlv(0x04, bytes(20))),
        extension("2.5.29.17", seq(tlv(0x82, b"sensor-1"))),
    )
    name = subject(part(C, printable("JP")), part(O, utf8("x")), part(CN, utf8("sensor-1")))
    rich = request_der(info_der(name=name, attributes=tlv(0xA0, everything)))
    rsa = csr_for(shared_key("rsa2048"), "sensor-1")
    return request_der(), rich, b64decode("".join(rsa.splitlines()[1:-1]))


def _answer(text: object) -> CertificateRequest | None:
    """Parse; None for a refusal. Any other error fails the test by itself."""
    sentence = ""
    try:
        return parse_csr(text)
    except CsrRefused as refusal:
        sentence = str(refusal)
    assert sentence.isprintable()
    return None


def _holds(request: CertificateRequest | None) -> None:
    """What was accepted has its owner's key and one of the owner's names."""
    if request is not None:
        assert request.public_key_der in (spki_of(shared_key()), spki_of(shared_key("rsa2048")))
        assert request.common_name == "sensor-1"
        assert request.own_names <= {"sensor-1"}


def _edit(data: bytes, edits: list[Edit]) -> bytes:
    """Apply flips, cuts, insertions, doublings and moves of pieces."""
    for kind, at, size, new in edits:
        start = at % (len(data) + 1)
        piece = data[start : start + size]
        data = {
            "replace": data[:start] + new + data[start + len(new) :],
            "cut": data[:start],
            "delete": data[:start] + data[start + size :],
            "insert": data[:start] + new + data[start:],
            "double": data[:start] + piece + data[start:],
            "reverse": data[:start] + piece[::-1] + data[start + size :],
        }[kind]
    return data


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "cut", "delete", "insert", "double", "reverse"]),
        st.integers(0, 4096),
        st.integers(1, 64),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)
FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(st.integers(0, 2), EDITS)
def test_damaged_der_is_refused_or_is_the_owners(which: int, edits: list[Edit]) -> None:
    _holds(_answer(pem(_edit(_originals()[which], edits))))


@FUZZ
@given(st.integers(0, 2), st.integers(0, 4096), st.integers(0, 255))
def test_a_changed_byte_is_refused(which: int, at: int, value: int) -> None:
    der = bytearray(_originals()[which])
    at %= len(der)
    was, der[at] = der[at], value
    assert (_answer(pem(bytes(der))) is not None) == (was == value)


@FUZZ
@given(st.integers(0, 2), EDITS)
def test_damaged_text_is_refused_or_is_the_owners(which: int, edits: list[Edit]) -> None:
    text = _edit(pem(_originals()[which]).encode(), edits)
    _holds(_answer(text.decode("latin-1")))
    _holds(_answer(text.decode("utf-8", "surrogateescape")))


@FUZZ
@given(st.integers(0, 2), st.integers(0, 4096), st.text(min_size=1, max_size=3))
def test_text_put_anywhere_is_refused_or_harmless(which: int, at: int, more: str) -> None:
    text = pem(_originals()[which])
    at %= len(text) + 1
    _holds(_answer(text[:at] + more + text[at:]))


@settings(FUZZ, max_examples=200)
@given(st.one_of(st.text(max_size=5000), st.binary(max_size=300), st.integers(), st.none(), st.booleans()))
def test_anything_else_is_refused(value: object) -> None:
    assert _answer(value) is None


# ── rearranged and signed again: what an attacker who owns a key can send ──────────────────────────────


def _pieces(element: Element) -> list[bytes]:
    """Every element of a tree, each as its own DER."""
    return [element.whole, *(piece for child in element.children for piece in _pieces(child))]


def _rebuild(element: Element, at: int, new: bytes, counter: list[int]) -> bytes:
    """The tree with the element number ``at`` replaced by ``new`` and all lengths put right."""
    number, counter[0] = counter[0], counter[0] + 1
    if number == at:
        return new
    if not element.children:
        return element.whole
    return tlv(element.tag, *(_rebuild(child, at, new, counter) for child in element.children))


@FUZZ
@given(
    st.integers(0, 1), st.integers(0, 200), st.integers(0, 200), st.sampled_from(["drop", "swap", "double"])
)
def test_rearranged_and_signed_again_is_refused_or_is_the_owners(
    which: int, target: int, source: int, how: str
) -> None:
    info = read_der(_originals()[which]).children[0]
    pieces = _pieces(info)
    target %= len(pieces)
    new = {"drop": b"", "swap": pieces[source % len(pieces)], "double": pieces[target] * 2}[how]
    rebuilt = _rebuild(info, target, new, [0])
    request = _answer(pem(request_der(rebuilt, sign=signer(shared_key()))))
    if request is not None:
        assert request.public_key_der == spki_of(shared_key())
        assert request.common_name in ("sensor-1", "JP", "x")
