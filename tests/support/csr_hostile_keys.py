"""Hostile inputs whose key is of a kind that we refuse, or weak, or no key at all."""

from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.csr_build import (
    ECDSA_SHA256,
    NULL,
    P256,
    RSA_ALGORITHM,
    Row,
    bits,
    ec_spki,
    integer,
    oid,
    rsa_spki,
    seq,
    signer,
    spki_of,
    tlv,
    with_key,
)
from support.csr_make import make_key, shared_key
from support.csr_weak import FAR, NEAR, PATTERN, ROCA, SPARSE, SQUARE, THREE, TWIN, RawRsa

KIND, SIZE, EXPONENT, WEAK = "key_type_refused", "key_size_refused", "key_weak_exponent", "key_weak"
MALFORMED, FACTOR, CLOSE = "csr_malformed", "key_small_factor", "key_close_primes"


def _spki(key: Any) -> bytes:  # noqa: ANN401 - any public key of pyca, of kinds we never use elsewhere
    """The SubjectPublicKeyInfo of a public key of any kind."""
    der: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der


def kinds() -> Iterator[Row]:
    """Algorithms outside RSA and ECDSA, signed as they sign where they can."""
    ed, goldilocks = ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()
    yield "Ed25519", with_key(_spki(ed.public_key()), ed.sign, algorithm=seq(oid("1.3.101.112"))), KIND
    yield (
        "Ed448",
        with_key(_spki(goldilocks.public_key()), goldilocks.sign, algorithm=seq(oid("1.3.101.113"))),
        KIND,
    )
    yield "X25519", with_key(_spki(x25519.X25519PrivateKey.generate().public_key())), KIND
    yield "X448", with_key(_spki(x448.X448PrivateKey.generate().public_key())), KIND
    algorithm = seq(oid("2.16.840.1.101.3.4.3.2"))
    yield "DSA", with_key(DSA_SPKI, algorithm=algorithm), KIND
    content = spki_of(shared_key("rsa2048"))[24:]
    for name, dotted, parameters in (
        ("RSA for PSS only", "1.2.840.113549.1.1.10", b""),
        ("RSA for OAEP only", "1.2.840.113549.1.1.7", b""),
        ("Diffie-Hellman", "1.2.840.113549.1.3.1", seq(integer(23), integer(5))),
        ("Diffie-Hellman of X9.42", "1.2.840.10046.2.1", seq(integer(23), integer(5), integer(11))),
        ("an EC key for ECDH only", "1.3.132.1.12", oid(P256)),
        ("ML-DSA-65", "2.16.840.1.101.3.4.3.18", b""),
        ("GOST R 34.10-2012", "1.2.643.7.1.1.1.1", NULL),
        ("an unknown algorithm", "1.2.3.4", NULL),
        ("a signature algorithm for a key", "1.2.840.113549.1.1.11", NULL),
    ):
        yield f"key: {name}", with_key(seq(seq(oid(dotted), parameters), bits(content))), KIND


_DSA = (1 << 2047 | 1, 1 << 255 | 1, 3)
DSA_SPKI = seq(seq(oid("1.2.840.10040.4.1"), seq(*map(integer, _DSA))), bits(integer(5)))


def curves() -> Iterator[Row]:
    """Curves outside the three, truly signed where the library still can."""
    for curve in (
        ec.SECP192R1(),
        ec.SECP224R1(),
        ec.SECP256K1(),
        ec.BrainpoolP256R1(),
        ec.BrainpoolP384R1(),
        ec.BrainpoolP512R1(),
    ):
        key = ec.generate_private_key(curve)
        yield f"curve {curve.name}", with_key(spki_of(key), signer(key), algorithm=ECDSA_SHA256), KIND
    point = spki_of(shared_key())[-65:]
    for name, parameters in {
        "SM2": oid("1.2.156.10197.1.301"),
        "unknown": oid("1.2.3.4"),
        "of a very long name": tlv(0x06, b"\x2a" + b"\xff" * 30 + b"\x7f"),
        "explicit": seq(
            integer(1), seq(oid("1.2.840.10045.1.1"), integer(23)), seq(), bits(b""), integer(29)
        ),
        "implicit": NULL,
        "missing": b"",
        "named twice": oid(P256) * 2,
        "a number": integer(7),
        "a text": tlv(0x0C, b"P-256"),
    }.items():
        spki = seq(seq(oid("1.2.840.10045.2.1"), parameters), bits(point))
        yield f"curve {name}", with_key(spki, algorithm=ECDSA_SHA256), KIND


def points() -> Iterator[Row]:
    """Points that are no public key, on P-256 unless named."""
    numbers = ec.derive_private_key(12345, ec.SECP256R1()).public_key().public_numbers()
    x, y = numbers.x.to_bytes(32), numbers.y.to_bytes(32)
    field = 2**256 - 2**224 + 2**192 + 2**96 - 1
    yes, no = b"\x04" + x + y, bytes(64)
    for name, point in {
        "off the curve": b"\x04" + x + y[:-1] + bytes([y[-1] ^ 1]),
        "of zeros": b"\x04" + no,
        "with coordinates beyond the field": b"\x04" + b"\xff" * 64,
        "with x = the field": b"\x04" + field.to_bytes(32) + y,
        "at infinity": b"\0",
        "missing": b"",
        "compressed": bytes([2 + (numbers.y & 1)]) + x,
        "hybrid": bytes([6 + (numbers.y & 1)]) + x + y,
        "short by one": yes[:-1],
        "long by one": yes + b"\0",
        "without its mark": x + y,
        "with an unknown mark": b"\x05" + x + y,
        "of P-384": b"\x04" + spki_of(shared_key("p384"))[-96:],
        "of 2000 bytes": b"\x04" + bytes(2000),
    }.items():
        yield f"a point {name}", with_key(ec_spki(P256, point), algorithm=ECDSA_SHA256), WEAK
    p384 = "1.3.132.0.34"
    yield "a point of P-256 on P-384", with_key(ec_spki(p384, yes), algorithm=ECDSA_SHA256), WEAK
    zeros = b"\x04" + bytes(132)
    yield "a point of zeros on P-521", with_key(ec_spki("1.3.132.0.35", zeros), algorithm=ECDSA_SHA256), WEAK
    yield "a point with an unused bit", with_key(_unused(yes), algorithm=ECDSA_SHA256), MALFORMED


def _unused(point: bytes) -> bytes:
    even = point[:-1] + bytes([point[-1] & 0xFE])
    return seq(seq(oid("1.2.840.10045.2.1"), oid(P256)), bits(even, 1))


def guessable() -> Iterator[Row]:
    """Private keys that anyone guesses at once: tiny numbers, and their negatives."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for curve, scalar in (
        (ec.SECP256R1(), 1),
        (ec.SECP256R1(), 2),
        (ec.SECP256R1(), 16),
        (ec.SECP256R1(), order - 1),
        (ec.SECP384R1(), 1),
        (ec.SECP521R1(), 3),
    ):
        key = ec.derive_private_key(scalar, curve)
        small = scalar if scalar < 100 else "-1"
        yield (
            f"{curve.name}, private key {small}",
            with_key(spki_of(key), signer(key), algorithm=ECDSA_SHA256),
            WEAK,
        )


def rsa_sizes() -> Iterator[Row]:
    """Moduli outside 2048 to 4096 bits; 1024 truly signed, the rest need no owner to be refused."""
    small = RawRsa(*_primes_of(rsa.generate_private_key(65537, 1024)))
    yield "RSA-1024", with_key(small.spki, small), SIZE
    for size in (1, 8, 512, 768, 1536, 2040, 2047, 4097, 4104, 8192):
        modulus = (3 << max(size - 2, 0) | 1) if size > 1 else 1
        yield f"RSA of {size} bits", with_key(rsa_spki(modulus, 65537)), SIZE
    yield "RSA of 12000 bits", with_key(rsa_spki(3 << 11998 | 1, 65537)), SIZE
    yield "RSA modulus 0", with_key(rsa_spki(0, 65537)), SIZE
    yield (
        "RSA of 2048 bits and a big exponent, really 2047",
        with_key(rsa_spki(3 << 2045 | 1, 1 << 2040)),
        SIZE,
    )


def _primes_of(key: rsa.RSAPrivateKey) -> tuple[int, int]:
    numbers = key.private_numbers()
    return numbers.p, numbers.q


def rsa_exponents() -> Iterator[Row]:
    """Exponents below 65537, even, or absurd."""
    key = make_key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    modulus = key.public_key().public_numbers().n
    three = rsa.generate_private_key(3, 2048)
    owner = RawRsa(*_primes_of(three), 3)
    yield "RSA with e = 3, truly signed", with_key(owner.spki, owner), EXPONENT
    for exponent in (0, 1, 2, 3, 5, 17, 257, 65535, 65536, 65538, 1 << 20, 1 << 255, (1 << 256) + 1):
        yield f"RSA with e = {exponent}", with_key(rsa_spki(modulus, exponent)), EXPONENT
    yield "RSA with e of 2040 bits", with_key(rsa_spki(modulus, (1 << 2040) + 1)), EXPONENT
    yield "RSA with e = n", with_key(rsa_spki(modulus, modulus)), EXPONENT
    yield "RSA with e of 12000 bits", with_key(rsa_spki(modulus, (1 << 12000) + 1)), EXPONENT
    large = shared_key("rsa4096").public_key().public_numbers()
    assert isinstance(large, rsa.RSAPublicNumbers)
    yield "RSA-4096 with e of 100 bits", with_key(rsa_spki(large.n, (1 << 99) + 1)), EXPONENT
    yield "RSA with a negative modulus", with_key(rsa_spki(-modulus, 65537)), WEAK
    yield "RSA with a negative exponent", with_key(rsa_spki(modulus, -65537)), WEAK


def rsa_weak() -> Iterator[Row]:
    """Moduli of the right size that anyone can factor; truly signed where a private key exists."""
    yield "RSA with twin primes", with_key(TWIN.spki, TWIN), CLOSE
    yield "RSA with near primes", with_key(NEAR.spki, NEAR), CLOSE
    yield "RSA with one prime twice", with_key(SQUARE.spki, SQUARE), CLOSE
    yield "RSA of the ROCA library", with_key(ROCA.spki, ROCA), "key_roca"
    yield "RSA divisible by 3, truly signed", with_key(THREE.spki, THREE), FACTOR
    prime = FAR.p
    for factor in (2, 4, 5, 7, 251, 743, 751, 1009, 16381):
        modulus = factor * prime * prime
        yield f"RSA divisible by {factor}", with_key(rsa_spki(modulus, 65537)), FACTOR
    yield "RSA that is a power of two", with_key(rsa_spki(1 << 2047, 65537)), FACTOR
    yield "RSA of ones", with_key(rsa_spki((1 << 2048) - 1, 65537)), FACTOR
    yield "RSA that repeats 32 bytes", with_key(rsa_spki(PATTERN, 65537)), WEAK
    yield "RSA that is nearly all zeros", with_key(rsa_spki(SPARSE, 65537)), WEAK


def rsa_structure() -> Iterator[Row]:
    """RSA keys that are put together wrongly."""
    numbers = shared_key("rsa2048").public_key().public_numbers()
    assert isinstance(numbers, rsa.RSAPublicNumbers)
    n, e = integer(numbers.n), integer(numbers.e)
    for name, content, code in (
        ("of one number", seq(n), MALFORMED),
        ("of three numbers", seq(n, e, e), MALFORMED),
        ("of nothing", b"", MALFORMED),
        ("of an empty sequence", seq(), MALFORMED),
        ("with bytes behind it", seq(n, e) + b"\0", MALFORMED),
        ("as a set", tlv(0x31, n, e), MALFORMED),
        ("with a padded modulus", seq(tlv(0x02, b"\0\0" + n[5:]), e), MALFORMED),
        ("with a padded exponent", seq(n, b"\x02\x04\x00\x01\x00\x01"), MALFORMED),
        ("with the exponent as text", seq(n, tlv(0x0C, b"65537")), MALFORMED),
        ("with the private version first", seq(integer(0), n, e), MALFORMED),
        ("that is an EC point", spki_of(shared_key())[-65:], MALFORMED),
        ("that is random", b"\x30\x82\x01\x0a" + b"\x5a" * 100, MALFORMED),
    ):
        yield f"an RSA key {name}", with_key(seq(RSA_ALGORITHM, bits(content))), code
    body = bits(seq(n, e))
    rsa_oid = oid("1.2.840.113549.1.1.1")
    yield "an RSA key without NULL", with_key(seq(seq(rsa_oid), body)), WEAK
    yield "an RSA key with other parameters", with_key(seq(seq(rsa_oid, integer(1)), body)), WEAK
    yield "an RSA key with two NULLs", with_key(seq(seq(rsa_oid, NULL, NULL), body)), WEAK
    for name, spki in {
        "of nothing": seq(),
        "without an algorithm": seq(body),
        "with an empty algorithm": seq(seq(), body),
        "with a number for an algorithm": seq(seq(integer(1)), body),
        "with a text for an algorithm": seq(tlv(0x0C, b"RSA"), body),
        "without its bits": seq(RSA_ALGORITHM),
        "with an octet string": seq(RSA_ALGORITHM, tlv(0x04, b"\0" + seq(n, e))),
        "twice": seq(RSA_ALGORITHM, body, body),
    }.items():
        yield f"key information {name}", with_key(spki), MALFORMED


def rows() -> Iterator[Row]:
    """Every row of this file."""
    yield from kinds()
    yield from curves()
    yield from points()
    yield from guessable()
    yield from rsa_sizes()
    yield from rsa_exponents()
    yield from rsa_weak()
    yield from rsa_structure()
