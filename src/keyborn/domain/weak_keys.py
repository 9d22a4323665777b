"""Public keys that anyone can break, found in microseconds and without factoring anything.

Pure checks on numbers, used by the service before it records anything and by the device before it sends. They
cost, together, a fraction of a millisecond for RSA-4096 and nothing for elliptic curves but a look-up.

There is no list of leaked keys here: the well-known lists (Debian's broken generator of 2008, among others)
hold hundreds of thousands of fingerprints and belong beside the code, not in it. Factors shared between the
moduli of two devices show only across a whole fleet.
"""

import math
import zlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from keyborn.domain.errors import ClosePrimes, KeySizeRefused, RocaKey, SmallFactor, WeakExponent, WeakKey

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
MIN_EXPONENT = 65537
"""CA/B Forum Baseline Requirements 6.1.6 and FIPS 186-5, 5.1: 2^16 < e < 2^256, odd."""
MAX_EXPONENT_BITS = 256
FERMAT_ROUNDS = 100
"""As the Baseline Requirements 6.1.1.3 ask."""
SMALL_PRIME_LIMIT = 1 << 14
GUESSABLE_SCALARS = 16
"""An elliptic key whose private number is this small, or this close below the group's order, is no secret."""

_LARGE_MODULUS_BITS, _LARGE_MODULUS_EXPONENT_BITS = 3072, 64
"""OpenSSL verifies nothing with a modulus above 3072 bits and an exponent above 64: such a key is useless."""


def check_rsa(modulus: int, exponent: int) -> None:
    """Refuse a weak RSA key, the cheapest checks first.

    Raises KeySizeRefused, WeakExponent, SmallFactor, WeakKey, RocaKey or ClosePrimes.
    """
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise KeySizeRefused(bits=modulus.bit_length())
    _check_exponent(modulus, exponent)
    _check_small_factors(modulus)
    _check_pattern(modulus)
    if has_roca_fingerprint(modulus):
        raise RocaKey
    if has_close_primes(modulus):
        raise ClosePrimes


def check_ec(curve: ec.EllipticCurve, x: int) -> None:
    """Refuse a point that is a tiny multiple of the generator, by its x coordinate. Raises WeakKey."""
    if x in _guessable_points(curve.name):
        raise WeakKey(detail="its private key is a tiny number")


# ── RSA: numbers ──────────────────────────────────────────────────────────────────────────────────────


def _check_exponent(modulus: int, exponent: int) -> None:
    bits = exponent.bit_length()
    if bits > MAX_EXPONENT_BITS or (
        modulus.bit_length() > _LARGE_MODULUS_BITS and bits > _LARGE_MODULUS_EXPONENT_BITS
    ):
        raise WeakExponent(exponent=f"of {bits} bits")
    if exponent < MIN_EXPONENT or exponent % 2 == 0:
        raise WeakExponent(exponent=exponent)


def _check_small_factors(modulus: int) -> None:
    common = math.gcd(modulus, _primorial())
    if common > 1:
        raise SmallFactor(factor=next(prime for prime in small_primes() if common % prime == 0))


def _check_pattern(modulus: int) -> None:
    """Refuse a modulus that compresses: repeated or constant bytes, as a broken generator leaves them.

    DEFLATE stores random bytes in a little more than their length; that it saves even one byte on a random
    modulus has a chance below 2^-80. The window (512 bytes) covers RSA-4096.
    """
    octets = modulus.to_bytes((modulus.bit_length() + 7) // 8)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -9, 1)
    if len(deflate.compress(octets) + deflate.flush()) < len(octets):
        raise WeakKey(detail="its modulus repeats a pattern")


@cache
def small_primes() -> tuple[int, ...]:
    """Every prime below 2^14, ascending (the sieve of Eratosthenes, about a millisecond, once)."""
    is_prime = bytearray([1]) * SMALL_PRIME_LIMIT
    is_prime[0:2] = b"\x00\x00"
    for number in range(2, math.isqrt(SMALL_PRIME_LIMIT) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(len(is_prime[number * number :: number]))
    return tuple(number for number in range(SMALL_PRIME_LIMIT) if is_prime[number])


@cache
def _primorial() -> int:
    return math.prod(small_primes())


# ── RSA: close primes ─────────────────────────────────────────────────────────────────────────────────

_SIEVES = (5040, 2431)
"""Coprime moduli with few squares: one number in 170 passes both, and only that one is worth a root."""


@cache
def _squares(modulus: int) -> bytes:
    """Return a table: 1 where the index is a square modulo ``modulus``."""
    table = bytearray(modulus)
    for root in range(modulus):
        table[root * root % modulus] = 1
    return bytes(table)


def has_close_primes(modulus: int) -> bool:
    """Whether Fermat's method splits ``modulus`` within 100 rounds.

    modulus = a² - b² with a just above its root, when its two primes are close: look for a where a² - modulus
    is a square.
    """
    root = math.isqrt(modulus)
    first = root if root * root == modulus else root + 1
    one, two = _SIEVES
    squares_one, squares_two = _squares(one), _squares(two)
    start_one, start_two, mod_one, mod_two = first % one, first % two, modulus % one, modulus % two
    for step in range(FERMAT_ROUNDS):
        if not squares_one[((start_one + step) ** 2 - mod_one) % one]:
            continue
        if squares_two[((start_two + step) ** 2 - mod_two) % two] and _is_square(
            (first + step) ** 2 - modulus
        ):
            return True
    return False


def _is_square(number: int) -> bool:
    root = math.isqrt(number)
    return root * root == number


# ── RSA: ROCA ─────────────────────────────────────────────────────────────────────────────────────────

_ROCA_GENERATOR = 65537
_ROCA_LIMIT = 168
"""The library's smallest keys use the primes up to 167; every larger key uses those and more."""


@cache
def _roca_logarithms() -> tuple[tuple[int, int, dict[int, int]], ...]:
    """For each odd prime up to 167: itself, the order of 65537 modulo it, and its discrete logarithms."""
    rows = []
    for prime in small_primes()[1:]:
        if prime >= _ROCA_LIMIT:
            break
        powers: dict[int, int] = {}
        power = 1
        while power not in powers:
            powers[power] = len(powers)
            power = power * _ROCA_GENERATOR % prime
        rows.append((prime, len(powers), powers))
    return tuple(rows)


def has_roca_fingerprint(modulus: int) -> bool:
    """Whether the modulus is a power of 65537 modulo the product of the primes up to 167 (CVE-2017-15361).

    Nemec, Sys, Svenda, Klinec, Matyas, "The Return of Coppersmith's Attack" (CCS 2017), section 2: the
    library's primes are k·M + (65537^a mod M), so their product is a power of 65537 modulo M. A logarithm
    must exist modulo each prime, and all must agree on one exponent, as the Chinese remainder theorem joins
    them. A sound key passes the first part with a chance near 2^-28 and both with one far below 2^-100.
    """
    exponent, order = 0, 1
    for prime, prime_order, logarithms in _roca_logarithms():
        logarithm = logarithms.get(modulus % prime)
        if logarithm is None or (logarithm - exponent) % math.gcd(order, prime_order):
            return False
        exponent, order = _join(exponent, order, logarithm, prime_order)
    return True


def _join(exponent: int, order: int, other: int, other_order: int) -> tuple[int, int]:
    """Solve x = exponent (mod order), x = other (mod other_order); the two agree modulo their divisor."""
    common = math.gcd(order, other_order)
    step = other_order // common
    turns = (other - exponent) // common * pow(order // common, -1, step) % step
    return exponent + order * turns, order * step


# ── elliptic curves ───────────────────────────────────────────────────────────────────────────────────

_CURVES: dict[str, ec.EllipticCurve] = {
    curve.name: curve for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
}


@cache
def _guessable_points(curve: str) -> frozenset[int]:
    """The x coordinates of d·G for d up to 16, and so of -d·G (about 10 ms for P-384, once)."""
    keys = (ec.derive_private_key(scalar, _CURVES[curve]) for scalar in range(1, GUESSABLE_SCALARS + 1))
    return frozenset(key.public_key().public_numbers().x for key in keys)
