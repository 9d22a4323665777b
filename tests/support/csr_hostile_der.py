"""Hostile inputs that are one PEM block, but not one DER request that its owner signed."""

import random
from collections.abc import Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from support.csr_build import (
    CN,
    ECDSA_SHA256,
    NULL,
    P256,
    RSA_SHA256,
    Row,
    Signer,
    bits,
    ec_spki,
    info_der,
    integer,
    octets,
    oid,
    part,
    pem,
    request_der,
    seq,
    set_of,
    signer,
    spki_of,
    subject,
    tlv,
    utf8,
)
from support.csr_make import make_key, shared_key

MALFORMED, WEAK, BAD = "csr_malformed", "csr_weak_signature", "csr_bad_signature"


def encodings() -> Iterator[Row]:
    """BER and worse where DER has one form only."""
    der = request_der()
    body = der[3:]
    assert der[:2] == b"\x30\x81", "the lengths below are made for a request of 128 to 255 bytes"
    yield "DER: trailing zero", pem(der + b"\0"), MALFORMED
    yield "DER: trailing NULL", pem(der + NULL), MALFORMED
    yield "DER: two requests", pem(der + der), MALFORMED
    for cut in (1, 2, 3, 10, len(der) // 2, len(der) - 1):
        yield f"DER: cut to {cut} bytes", pem(der[:cut]), MALFORMED
    for name, head in {
        "indefinite": b"\x30\x80",
        "of too many octets": b"\x30\x83\x00" + len(body).to_bytes(2),
        "with a leading zero": b"\x30\x82" + len(body).to_bytes(2),
        "of four gigabytes": b"\x30\x84\xff\xff\xff\xff",
        "of 126 octets": b"\x30\xfe" + b"\xff" * 126,
        "reserved": b"\x30\xff",
        "one too long": b"\x30\x82" + (len(body) + 1).to_bytes(2),
        "zero": b"\x30\x00",
    }.items():
        yield f"DER: a length {name}", pem(head + body), MALFORMED
    yield "DER: an indefinite length with its end", pem(b"\x30\x80" + body + b"\0\0"), MALFORMED
    yield "DER: a set for the outer sequence", pem(b"\x31" + der[1:]), MALFORMED
    yield "DER: a primitive sequence", pem(b"\x10" + der[1:]), MALFORMED
    yield "DER: an application tag", pem(b"\x70" + der[1:]), MALFORMED
    yield "DER: a high tag number", pem(b"\x3f\x10" + der[1:]), MALFORMED
    yield "DER: within a sequence", pem(seq(der)), MALFORMED
    yield "DER: within an octet string", pem(octets(der)), MALFORMED
    yield "DER: within an explicit tag", pem(tlv(0xA0, der)), MALFORMED


def bombs() -> Iterator[Row]:
    """Inputs that want time or stack."""
    deep = b""
    for _ in range(700):
        deep = seq(deep) if len(deep) < 2900 else deep
    yield "DER: 700 deep", pem(deep), MALFORMED
    yield "DER: 1400 openings of indefinite length", pem(b"\x30\x80" * 1400), MALFORMED
    yield "DER: sets in sets", pem(b"\x31\x82\x0b\x00" * 700), MALFORMED
    yield "DER: 1400 NULLs", pem(seq(NULL * 1400)), MALFORMED
    yield "DER: 1400 empty sequences", pem(seq(seq() * 1400)), MALFORMED
    yield (
        "DER: a thousand attributes",
        pem(request_der(info_der(attributes=tlv(0xA0, seq() * 1000)))),
        MALFORMED,
    )
    noise = random.Random(1)
    for size in (1, 16, 256, 2900):
        yield f"DER: {size} random bytes", pem(noise.randbytes(size)), MALFORMED
        yield f"DER: a sequence of {size} random bytes", pem(seq(noise.randbytes(size))), MALFORMED


def frames() -> Iterator[Row]:
    """A wrong version, fields that are missing, doubled or of another type."""
    for name, version in {
        "2": b"\x02\x01\x01",
        "3": b"\x02\x01\x02",
        "-1": b"\x02\x01\xff",
        "padded": b"\x02\x02\x00\x00",
        "empty": b"\x02\x00",
        "huge": tlv(0x02, b"\x7f" * 600),
        "a boolean": b"\x01\x01\x00",
        "an enumeration": b"\x0a\x01\x00",
        "explicitly tagged": tlv(0xA0, b"\x02\x01\x00"),
        "missing": b"",
        "twice": b"\x02\x01\x00" * 2,
    }.items():
        yield f"version {name}", pem(request_der(info_der(version=version))), MALFORMED
    info, key = info_der(), shared_key()
    signature = bits(signer(key)(info))
    for name, whole in {
        "no signature": seq(info, ECDSA_SHA256),
        "no algorithm": seq(info, signature),
        "two signatures": seq(info, ECDSA_SHA256, signature, signature),
        "nothing but the inside": info,
        "an empty inside": seq(seq(), ECDSA_SHA256, signature),
        "fields in another order": seq(ECDSA_SHA256, info, signature),
        "a signature in an octet string": seq(info, ECDSA_SHA256, octets(signer(key)(info))),
        "a signature of no bytes at all": seq(info, ECDSA_SHA256, tlv(0x03)),
        "a signature with an unused bit": seq(info, ECDSA_SHA256, bits(signer(key)(info)[:-1] + b"\x80", 7)),
        "a signature with eight unused bits": seq(info, ECDSA_SHA256, bits(signer(key)(info), 8)),
        "a constructed bit string": seq(info, ECDSA_SHA256, tlv(0x23, signature)),
    }.items():
        yield f"frame: {name}", pem(whole), MALFORMED
    for name, attributes in {
        "no attributes": b"",
        "attributes tagged 1": tlv(0xA1),
        "primitive attributes": tlv(0x80),
        "attributes as a set": set_of(),
        "attributes twice": tlv(0xA0) * 2,
    }.items():
        yield f"frame: {name}", pem(request_der(info_der(attributes=attributes))), MALFORMED
    yield "frame: a subject that is a set", pem(request_der(info_der(name=set_of()))), MALFORMED
    yield "frame: no subject", pem(request_der(info_der(name=b""))), MALFORMED
    yield "frame: no key", pem(request_der(info_der(spki=b""))), MALFORMED
    yield "frame: a certificate's shape", pem(_like_a_certificate()), MALFORMED


def _like_a_certificate() -> bytes:
    dates = seq(tlv(0x17, b"260101000000Z"), tlv(0x17, b"270101000000Z"))
    name = subject(part(CN, utf8("sensor-1")))
    inside = seq(tlv(0xA0, integer(2)), integer(1), ECDSA_SHA256, name, dates, name, spki_of(shared_key()))
    return request_der(inside)


def primitives() -> Iterator[Row]:
    """Primitive values in a form that DER does not have, within a request that is otherwise right."""
    point = spki_of(shared_key())[-65:]
    curve, kind = oid(P256), oid("1.2.840.10045.2.1")
    for name, wrong in {
        "an object identifier padded": seq(tlv(0x06, b"\x80" + kind[2:]), curve),
        "an object identifier unfinished": seq(tlv(0x06, b"\x2a\x86"), curve),
        "an object identifier of nothing": seq(tlv(0x06), curve),
        "an object identifier of 1000 bytes": seq(tlv(0x06, b"\x2a" + b"\xff" * 998 + b"\x01"), curve),
        "a NULL with content": seq(kind, tlv(0x05, b"\0")),
        "an end of contents": seq(kind, b"\0\0"),
        "a boolean of two bytes": seq(kind, tlv(0x01, b"\xff\xff")),
        "a boolean of 1": seq(kind, tlv(0x01, b"\x01")),
        "an integer of nothing": seq(kind, tlv(0x02)),
        "an integer padded with ones": seq(kind, tlv(0x02, b"\xff\x80")),
        "a constructed octet string": seq(kind, tlv(0x24, octets(b"x"))),
        "a constructed text": seq(kind, tlv(0x2C, utf8("x"))),
        "a bit string of nothing": seq(kind, tlv(0x03)),
        "a bit string with nine unused bits": seq(kind, tlv(0x03, b"\x09\x00")),
        "a bit string with a set unused bit": seq(kind, tlv(0x03, b"\x01\x01")),
    }.items():
        yield f"DER: {name}", pem(request_der(info_der(spki=seq(wrong, bits(point))))), MALFORMED


def weak_signatures() -> Iterator[Row]:
    """Digests below SHA-256, and algorithms that we do not know."""
    key, rsa_key = shared_key(), shared_key("rsa2048")
    rsa_info, info = info_der(spki=spki_of(rsa_key)), info_der()
    sha1, md5, sha224 = hashes.SHA1(), hashes.MD5(), hashes.SHA224()
    for name, dotted, digest in (
        ("SHA-1", "1.2.840.113549.1.1.5", sha1),
        ("SHA-1 by its old name", "1.3.14.3.2.29", sha1),
        ("MD5", "1.2.840.113549.1.1.4", md5),
        ("SHA-224", "1.2.840.113549.1.1.14", sha224),
        ("SHA-512/256", "1.2.840.113549.1.1.16", hashes.SHA512_256()),
        ("SHA3-256", "2.16.840.1.101.3.4.3.14", hashes.SHA3_256()),
        ("MD2", "1.2.840.113549.1.1.2", sha1),
        ("MD4", "1.2.840.113549.1.1.3", sha1),
    ):
        algorithm = seq(oid(dotted), NULL)
        request = request_der(rsa_info, algorithm=algorithm, sign=signer(rsa_key, digest))
        yield f"RSA signed with {name}", pem(request), WEAK
    for name, dotted, digest in (
        ("SHA-1", "1.2.840.10045.4.1", sha1),
        ("SHA-224", "1.2.840.10045.4.3.1", sha224),
        ("SHA3-256", "2.16.840.1.101.3.4.3.10", hashes.SHA3_256()),
        ("a digest named in the parameters", "1.2.840.10045.4.3", sha1),
    ):
        request = request_der(info, algorithm=seq(oid(dotted)), sign=signer(key, digest))
        yield f"ECDSA signed with {name}", pem(request), WEAK
    for name, algorithm in {
        "DSA": seq(oid("2.16.840.1.101.3.4.3.2")),
        "Ed25519": seq(oid("1.3.101.112")),
        "Ed448": seq(oid("1.3.101.113")),
        "an unknown algorithm": seq(oid("1.2.3.4.5")),
        "an algorithm with long numbers": seq(tlv(0x06, b"\x2a" + b"\xff" * 30 + b"\x7f")),
        "no algorithm but proof of nothing": seq(oid("1.3.6.1.5.5.7.6.2"), NULL),
    }.items():
        yield f"signed with {name}", pem(request_der(info, algorithm=algorithm)), WEAK
    for name, parameters in {
        "a number for parameters": integer(1),
        "two NULLs": NULL * 2,
        "an empty sequence for parameters": seq(),
        "a digest for parameters": seq(oid("2.16.840.1.101.3.4.2.1")),
    }.items():
        algorithm = seq(oid("1.2.840.10045.4.3.2"), parameters)
        yield f"ECDSA with {name}", pem(request_der(info, algorithm=algorithm)), MALFORMED
    yield "RSA signed with PSS", pem(_pss()), WEAK
    yield "RSA signed with PSS and its defaults", pem(_pss(seq(oid("1.2.840.113549.1.1.10"), seq()))), WEAK


def _pss(algorithm: bytes | None = None) -> bytes:
    """A request signed with RSASSA-PSS, SHA-256, a salt of 32 bytes (RFC 4055)."""
    key = shared_key("rsa2048")
    assert not isinstance(key, ec.EllipticCurvePrivateKey)
    sha256 = seq(oid("2.16.840.1.101.3.4.2.1"), NULL)
    mask = seq(oid("1.2.840.113549.1.1.8"), sha256)
    parameters = seq(tlv(0xA0, sha256), tlv(0xA1, mask), tlv(0xA2, integer(32)))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return request_der(
        info_der(spki=spki_of(key)),
        algorithm=algorithm or seq(oid("1.2.840.113549.1.1.10"), parameters),
        sign=lambda info: key.sign(info, pss, hashes.SHA256()),
    )


def _says(signature: bytes) -> Signer:
    """A signer that always gives this signature."""
    return lambda _: signature


def bad_signatures() -> Iterator[Row]:
    """Well-formed requests that prove possession of nothing."""
    key, rsa_key, info = shared_key(), shared_key("rsa2048"), info_der()
    other = make_key()
    yield "signed by another key", pem(request_der(info, sign=signer(other))), BAD
    yield "signed over another request", pem(request_der(info, sign=lambda _: signer(key)(info + b"\0"))), BAD
    yield "signed with SHA-384, says SHA-256", pem(request_der(info, sign=signer(key, hashes.SHA384()))), BAD
    changed = request_der(info).replace(b"sensor-1", b"sensor-2")
    yield "the name changed after signing", pem(changed), BAD
    for name, signature in {
        "empty": b"",
        "one zero": b"\0",
        "zeros": bytes(70),
        "r = 0 and s = 0": seq(integer(0), integer(0)),
        "r = 1 and s = 1": seq(integer(1), integer(1)),
        "r = -1": seq(integer(-1), integer(1)),
        "r beyond the order": seq(integer(1 << 256), integer(1)),
        "r of 2000 bytes": seq(integer(1 << 16000), integer(1)),
        "an empty sequence": seq(),
        "three numbers": seq(integer(1), integer(1), integer(1)),
        "text": b"trust me",
    }.items():
        yield f"ECDSA signature: {name}", pem(request_der(info, sign=_says(signature))), BAD
    yield "ECDSA signature: bytes follow", pem(request_der(info, sign=lambda i: signer(key)(i) + b"\0")), BAD
    rsa_info = info_der(spki=spki_of(rsa_key))
    for name, signature in {
        "empty": b"",
        "zeros": bytes(256),
        "one": bytes(255) + b"\1",
        "ones": b"\xff" * 256,
        "too short": bytes(255),
        "too long": bytes(257),
        "very long": bytes(1500),
    }.items():
        request = request_der(rsa_info, algorithm=RSA_SHA256, sign=_says(signature))
        yield f"RSA signature: {name}", pem(request), BAD
    yield "RSA's algorithm on an EC key", pem(request_der(info, algorithm=RSA_SHA256)), MALFORMED
    crossed = request_der(rsa_info, algorithm=ECDSA_SHA256, sign=signer(rsa_key))
    yield "ECDSA's algorithm on an RSA key", pem(crossed), MALFORMED
    yield "an algorithm without a name", pem(request_der(info, algorithm=seq())), MALFORMED
    yield "an algorithm named by a number", pem(request_der(info, algorithm=seq(integer(5)))), MALFORMED
    stolen = ec_spki(P256, spki_of(other)[-65:])
    yield "somebody else's key", pem(request_der(info_der(spki=stolen))), BAD


def rows() -> Iterator[Row]:
    """Every row of this file."""
    for group in (encodings, bombs, frames, primitives, weak_signatures, bad_signatures):
        yield from group()
