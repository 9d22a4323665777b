"""The arithmetic of weak keys: what it finds, what it must not find, and what it costs."""

import math
import time
from collections.abc import Callable
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings, strategies as st

from keyborn.domain.errors import (
    ClosePrimes,
    CsrRefused,
    KeySizeRefused,
    RocaKey,
    SmallFactor,
    WeakExponent,
    WeakKey,
)
from keyborn.domain.weak_keys import (
    GUESSABLE_SCALARS,
    SMALL_PRIME_LIMIT,
    check_ec,
    check_rsa,
    has_close_primes,
    has_roca_fingerprint,
    small_primes,
)
from support.csr_make import shared_key
from support.csr_weak import FAR, NEAR, PATTERN, PRIME_1024, PRIME_2047, ROCA, SPARSE, SQUARE, THREE, TWIN

ROCA_PRIMES = [prime for prime in small_primes() if prime < 168]


def _modulus(kind: str) -> int:
    numbers = shared_key(kind).public_key().public_numbers()
    assert isinstance(numbers, rsa.RSAPublicNumbers)
    return numbers.n


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "rsa4096"])
def test_a_sound_key_passes(kind: str) -> None:
    check_rsa(_modulus(kind), 65537)


def test_three_hundred_random_moduli_pass_every_check_but_that_of_small_factors() -> None:
    random, passed = Random(7), 0
    for _ in range(300):
        modulus = random.getrandbits(2048) | 1 << 2047 | 1
        assert not has_roca_fingerprint(modulus)
        assert not has_close_primes(modulus)
        if math.gcd(modulus, math.prod(small_primes())) == 1:
            check_rsa(modulus, 65537)
            passed += 1
    assert passed > 10


@pytest.mark.parametrize(
    ("modulus", "leaf"),
    [
        (TWIN.n, ClosePrimes),
        (NEAR.n, ClosePrimes),
        (SQUARE.n, ClosePrimes),
        (ROCA.n, RocaKey),
        (THREE.n, SmallFactor),
        (PATTERN, WeakKey),
        (SPARSE, WeakKey),
        (PRIME_2047, KeySizeRefused),
        (PRIME_1024, KeySizeRefused),
        (0, KeySizeRefused),
        (1 << 4096, KeySizeRefused),
    ],
)
def test_a_weak_modulus_is_refused_by_name(modulus: int, leaf: type[CsrRefused]) -> None:
    with pytest.raises(leaf):
        check_rsa(modulus, 65537)


# ── exponents ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exponent", [65537, 65539, (1 << 64) + 1, (1 << 256) - 1])
def test_an_odd_exponent_from_65537_to_2_to_the_256_passes(exponent: int) -> None:
    check_rsa(_modulus("rsa2048"), exponent)


@pytest.mark.parametrize("exponent", [0, 1, 3, 17, 65535, 65536, 65538, 1 << 256, (1 << 256) + 1, 1 << 9000])
def test_every_other_exponent_is_refused(exponent: int) -> None:
    with pytest.raises(WeakExponent) as refusal:
        check_rsa(_modulus("rsa2048"), exponent)
    assert len(str(refusal.value)) < 200


def test_above_3072_bits_the_exponent_stops_at_64_bits_where_openssl_does() -> None:
    check_rsa(_modulus("rsa3072"), (1 << 100) + 1)
    check_rsa(_modulus("rsa4096"), (1 << 63) + 1)
    with pytest.raises(WeakExponent, match="of 65 bits"):
        check_rsa(_modulus("rsa4096"), (1 << 64) + 1)


# ── small factors ─────────────────────────────────────────────────────────────────────────────────────


def test_the_small_primes_are_those_below_2_to_the_14() -> None:
    primes = small_primes()
    assert primes[:10] == (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)
    assert primes[-1] == 16381
    assert len(primes) == 1900
    assert all(pow(2, prime - 1, prime) == 1 for prime in primes[1:])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(small_primes()), st.integers(0, 2**40))
def test_every_small_factor_is_found_and_the_smallest_is_named(factor: int, salt: int) -> None:
    rest = (PRIME_2047 + 2 * salt) | 1
    with pytest.raises(SmallFactor) as refusal:
        check_rsa(factor * rest, 65537)
    named = int(str(refusal.value.facts["factor"]))
    assert named <= factor < SMALL_PRIME_LIMIT
    assert factor * rest % named == 0
    assert all(factor * rest % prime for prime in small_primes() if prime < named)


# ── patterns ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("period", [16, 24, 32, 64, 96, 128])
@pytest.mark.parametrize("size", [256, 384, 512])
def test_a_modulus_that_repeats_itself_is_refused(period: int, size: int) -> None:
    random, modulus = Random(period), 2
    while math.gcd(modulus, math.prod(small_primes())) > 1:
        octets = (b"\xc0" + random.randbytes(period - 1)) * (size // period + 1)
        modulus = int.from_bytes(octets[: size - 2] + random.randbytes(2))
    with pytest.raises(WeakKey, match="repeats a pattern"):
        check_rsa(modulus, 65537)


# ── close primes ──────────────────────────────────────────────────────────────────────────────────────


def test_fermat_stops_after_a_hundred_rounds() -> None:
    assert has_close_primes(TWIN.n)
    assert has_close_primes(NEAR.n)
    assert not has_close_primes(FAR.n)


@settings(max_examples=200, deadline=None)
@given(st.integers(2**511, 2**512), st.integers(0, 2**258))
def test_any_two_odd_factors_near_each_other_are_found(half: int, gap: int) -> None:
    one = half | 1
    assert has_close_primes(one * (one + 2 * gap))


@settings(max_examples=200, deadline=None)
@given(st.integers(10**4, 10**6), st.integers(0, 3000))
def test_the_sieve_decides_exactly_as_plain_fermat_does(half: int, gap: int) -> None:
    modulus = (2 * half + 1) * (2 * (half + gap) + 1)
    root = math.isqrt(modulus)
    first = root if root * root == modulus else root + 1
    plain = any(math.isqrt(square := a * a - modulus) ** 2 == square for a in range(first, first + 100))
    assert has_close_primes(modulus) == plain


# ── ROCA ──────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**70), st.integers(2**1800, 2**1900))
def test_every_power_of_65537_modulo_the_primorial_has_the_fingerprint(exponent: int, k: int) -> None:
    primorial = math.prod(ROCA_PRIMES)
    assert has_roca_fingerprint(k * primorial + pow(65537, exponent, primorial))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 2**62), st.sampled_from([11, 37, 53, 97, 157, 167]))
def test_one_prime_that_disagrees_clears_the_key(exponent: int, other: int, prime: int) -> None:
    """Fit all primes to one exponent, a single one to another: found only where the two mean the same."""
    primorial = math.prod(ROCA_PRIMES)
    rest = primorial // prime
    power, deviant = pow(65537, exponent, rest), pow(65537, other, prime)
    modulus = (power * prime * pow(prime, -1, rest) + deviant * rest * pow(rest, -1, prime)) % primorial
    order = _order(rest)
    same = any(pow(65537, (exponent + turn * order), prime) == deviant for turn in range(prime))
    assert has_roca_fingerprint(modulus + primorial) == same


def _order(modulus: int) -> int:
    """The order of 65537 modulo a product of distinct small primes."""
    primes = (prime for prime in ROCA_PRIMES if modulus % prime == 0)
    return math.lcm(*(next(e for e in range(1, p + 1) if pow(65537, e, p) == 1 % p) for p in primes))


def test_a_key_of_the_flawed_library_keeps_its_fingerprint_in_the_product_of_its_primes() -> None:
    assert has_roca_fingerprint(ROCA.p)
    assert has_roca_fingerprint(ROCA.q)
    assert has_roca_fingerprint(ROCA.n)
    assert not has_roca_fingerprint(ROCA.n + 2)


# ── elliptic curves ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_guessable_private_key_is_refused_and_the_next_one_is_not(curve: ec.EllipticCurve) -> None:
    for scalar in (1, GUESSABLE_SCALARS):
        with pytest.raises(WeakKey, match="tiny number"):
            check_ec(curve, ec.derive_private_key(scalar, curve).public_key().public_numbers().x)
    beyond = ec.derive_private_key(GUESSABLE_SCALARS + 1, curve)
    check_ec(curve, beyond.public_key().public_numbers().x)


# ── cost ──────────────────────────────────────────────────────────────────────────────────────────────


def _milliseconds(action: Callable[[], None]) -> float:
    """The best of twenty runs, on this thread's own processor time."""
    best = math.inf
    for _ in range(20):
        start = time.thread_time()
        action()
        best = min(best, time.thread_time() - start)
    return best * 1000


def test_all_checks_of_an_rsa_4096_key_take_less_than_five_milliseconds() -> None:
    modulus = _modulus("rsa4096")
    assert _milliseconds(lambda: check_rsa(modulus, 65537)) < 5


def test_a_huge_exponent_or_modulus_costs_nothing() -> None:
    def refuse(modulus: int, exponent: int) -> None:
        with pytest.raises(CsrRefused):
            check_rsa(modulus, exponent)

    assert _milliseconds(lambda: refuse(1 << 24_000, 65537)) < 1
    assert _milliseconds(lambda: refuse(_modulus("rsa4096"), 1 << 24_000)) < 1
