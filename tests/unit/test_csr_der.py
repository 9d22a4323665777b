"""The DER reader by itself: it reads back what the workshop writes, and nothing that is only nearly DER."""

import pytest
from cryptography import x509
from hypothesis import given, strategies as st

from keyborn.domain.csr_der import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_OID,
    dotted,
    expect,
    fields,
    read_der,
    sequence,
)
from keyborn.domain.errors import CsrMalformed
from support.csr_build import bits, boolean, integer, length, octets, oid, seq, set_of, tlv, utf8

ARCS = st.integers(0, 2**60)
OIDS = st.builds(
    lambda first, second, rest: ".".join(map(str, [first, second % 40 if first < 2 else second, *rest])),
    st.integers(0, 2),
    st.integers(0, 2**20),
    st.lists(ARCS, max_size=2),
)
LEAVES = st.one_of(
    st.integers(-(2**300), 2**300).map(integer),
    st.binary(max_size=300).map(octets),
    st.binary(max_size=50).map(bits),
    st.text(max_size=30).map(utf8),
    st.sampled_from([0, 255]).map(boolean),
    OIDS.map(oid),
    st.just(tlv(0x05)),
    st.builds(tlv, st.integers(0x80, 0x9E), st.binary(max_size=20)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda tag, parts: tlv(tag, *parts),
        st.sampled_from([0x30, 0x31, 0xA0, 0xBE]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


def _depth(der: bytes) -> int:
    """How deep a tree of our own making is; read by its own small rules."""
    if not der[0] & 0x20:
        return 1
    at = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    deepest = 0
    while at < len(der):
        octets_of_length = der[at + 1] & 0x7F if der[at + 1] & 0x80 else 0
        size = int.from_bytes(der[at + 2 : at + 2 + octets_of_length]) if octets_of_length else der[at + 1]
        end = at + 2 + octets_of_length + size
        deepest = max(deepest, _depth(der[at:end]))
        at = end
    return 1 + deepest


@given(TREES)
def test_what_is_written_as_der_is_read_back_whole(der: bytes) -> None:
    if _depth(der) > MAX_DEPTH:
        with pytest.raises(CsrMalformed, match="too deep"):
            read_der(der)
        return
    element = read_der(der)
    assert element.whole == der
    assert element.tag == der[0]
    assert der.endswith(element.content)
    if element.children:
        assert b"".join(child.whole for child in element.children) == element.content


@given(TREES, st.binary(min_size=1, max_size=3))
def test_bytes_behind_the_value_are_refused(der: bytes, more: bytes) -> None:
    with pytest.raises(CsrMalformed):
        read_der(der + more)


@given(TREES, st.data())
def test_a_value_cut_short_is_refused(der: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(der) - 1))
    with pytest.raises(CsrMalformed):
        read_der(der[:cut])


@given(st.binary(max_size=200))
def test_random_bytes_are_read_back_or_refused_and_nothing_else(noise: bytes) -> None:
    try:
        element = read_der(noise)
    except CsrMalformed:
        return
    assert element.whole == noise


@given(OIDS)
def test_object_identifiers_read_as_pyca_writes_them(text: str) -> None:
    assert dotted(read_der(oid(text)).content) == text == x509.ObjectIdentifier(text).dotted_string


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 4000])
def test_every_length_has_one_form(size: int) -> None:
    content = bytes(size)
    assert read_der(octets(content)).content == content
    for padded in (b"\x81", b"\x82", b"\x83"):
        octets_of_length = size.to_bytes(padded[0] & 0x7F, "big") if size < 256 ** (padded[0] & 0x7F) else b""
        head = padded + octets_of_length
        if octets_of_length and head != length(size):
            with pytest.raises(CsrMalformed):
                read_der(b"\x04" + head + content)


@pytest.mark.parametrize("size", [0x80, 0x100, 0xFFFF, 0x10000, 2**32, 2**64])
def test_a_length_that_promises_more_than_there_is_allocates_nothing(size: int) -> None:
    with pytest.raises(CsrMalformed):
        read_der(b"\x30" + length(size) + b"\x05\x00")


def _nested(depth: int) -> bytes:
    der = b""
    for _ in range(depth):
        der = seq(der)
    return der


def test_the_depth_is_bounded() -> None:
    assert read_der(_nested(MAX_DEPTH)).whole
    with pytest.raises(CsrMalformed, match="too deep"):
        read_der(_nested(MAX_DEPTH + 1))


def test_the_number_of_elements_is_bounded_over_the_whole_tree() -> None:
    half = seq(*[tlv(0x05)] * (MAX_ELEMENTS // 2 - 1))
    less = seq(*[tlv(0x05)] * (MAX_ELEMENTS // 2 - 2))
    assert len(read_der(seq(half, less)).children) == 2
    with pytest.raises(CsrMalformed, match="too many elements"):
        read_der(seq(half, half))


def test_the_octets_of_an_object_identifier_are_bounded() -> None:
    longest = tlv(0x06, b"\x2a" + b"\xff" * (MAX_OID - 2) + b"\x01")
    assert dotted(read_der(longest).content).startswith("1.2.")
    with pytest.raises(CsrMalformed, match="OBJECT IDENTIFIER"):
        read_der(tlv(0x06, b"\x2a" + b"\xff" * (MAX_OID - 1) + b"\x01"))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x30",
        b"\x00\x00",
        b"\x20\x00",
        b"\x10\x00",
        b"\x11\x00",
        b"\x22\x03\x02\x01\x00",
        b"\x24\x03\x04\x01x",
        b"\x2c\x03\x0c\x01x",
        b"\x1f\x81\x00\x00",
        b"\xff\x00",
        b"\x01\x01\x01",
        b"\x01\x00",
        b"\x02\x00",
        b"\x02\x02\x00\x7f",
        b"\x02\x02\xff\x80",
        b"\x03\x00",
        b"\x03\x01\x01",
        b"\x03\x02\x08\x00",
        b"\x03\x02\x04\x08",
        b"\x05\x01\x00",
        b"\x06\x00",
        b"\x06\x01\x80",
        b"\x06\x02\x80\x01",
        b"\x06\x03\x2a\x80\x01",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x00",
        b"\x30\x82\x00\x00",
        b"\x30\x03\x30\x02\x00",
    ],
)
def test_what_only_ber_or_nobody_writes_is_refused(wrong: bytes) -> None:
    with pytest.raises(CsrMalformed):
        read_der(wrong)


@pytest.mark.parametrize(
    "right",
    [b"\x02\x02\x00\x80", b"\x02\x02\xff\x7f", b"\x03\x01\x00", b"\x03\x02\x07\x80", b"\x06\x03\x2a\x81\x00"],
)
def test_the_edges_of_the_primitive_types_are_accepted(right: bytes) -> None:
    assert read_der(right).whole == right


def test_the_fields_of_a_sequence_must_be_these_in_this_order() -> None:
    element = read_der(seq(integer(1), octets(b"x")))
    assert [field.content for field in fields(element, (0x02, 0x04), "pair")] == [b"\x01", b"x"]
    for tags in ((0x04, 0x02), (0x02,), (0x02, 0x04, 0x05), ()):
        with pytest.raises(CsrMalformed, match="its pair does not have the fields"):
            fields(element, tags, "pair")
    with pytest.raises(CsrMalformed, match="its pair is not"):
        fields(read_der(set_of()), (), "pair")
    assert expect(element, 0x30, "pair") is element


@given(st.lists(LEAVES, max_size=40))
def test_a_sequence_is_written_as_it_is_read(parts: list[bytes]) -> None:
    written = sequence(*parts)
    assert written == seq(*parts)
    assert [child.whole for child in read_der(written).children] == parts
