"""RSA keys that anyone can break, each with the private half, so that their requests are truly signed.

No library makes or uses such keys any more: they are put together from known primes (found once by search and
written as offsets from fixed numbers), and PKCS#1 v1.5 is done by hand.
"""

import hashlib
import math
from dataclasses import dataclass

from support.csr_build import rsa_spki

# DigestInfo of SHA-256 up to the digest itself (RFC 8017, 9.2, note 1).
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True)
class RawRsa:
    """An RSA key of two primes and an exponent; usable even where it should not be."""

    p: int
    q: int
    e: int = 65537

    @property
    def n(self) -> int:
        return self.p * self.q

    @property
    def spki(self) -> bytes:
        return rsa_spki(self.n, self.e)

    def __call__(self, info: bytes) -> bytes:
        """Sign with PKCS#1 v1.5 and SHA-256."""
        size = (self.n.bit_length() + 7) // 8
        digest = _SHA256_INFO + hashlib.sha256(info).digest()
        padded = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
        totient = (self.p - 1) * (self.q - 1) if self.p != self.q else self.p * (self.p - 1)
        return pow(int.from_bytes(padded), pow(self.e, -1, totient), self.n).to_bytes(size)


def _odd(size: int) -> int:
    """An odd number of ``size`` bits, the same each time, that looks random."""
    chunks = (hashlib.sha512(b"keyborn test prime %d" % at).digest() for at in range(size // 512 + 1))
    return int.from_bytes(b"".join(chunks)) >> (512 - size % 512) | 3 << (size - 2) | 1


PRIME_1024 = _odd(1024) + 1734
"""A prime; the ones below are its neighbors at known distances."""
NEXT_PRIME = PRIME_1024 + 24
NEAR_PRIME = PRIME_1024 + (1 << 516) + 242
"""Fermat's method meets it within 100 rounds."""
FAR_PRIME = PRIME_1024 + (1 << 530) + 1030
"""Fermat's method needs 2^33 rounds: close, but out of reach of 100."""
PRIME_2047 = _odd(2047) + 1252


def _primes_below(limit: int) -> list[int]:
    return [number for number in range(2, limit) if all(number % d for d in range(2, math.isqrt(number) + 1))]


def _roca_prime(step: int) -> int:
    """A prime of the form that the library of CVE-2017-15361 makes for RSA-2048: k·M + (65537^a mod M)."""
    primorial = math.prod(_primes_below(702))
    k = (1 << 52) + (1 << 51) + 12345 + step
    return k * primorial + pow(65537, 100 + k % 97, primorial)


TWIN = RawRsa(PRIME_1024, NEXT_PRIME)
NEAR = RawRsa(PRIME_1024, NEAR_PRIME)
FAR = RawRsa(PRIME_1024, FAR_PRIME)
SQUARE = RawRsa(PRIME_1024, PRIME_1024)
THREE = RawRsa(3, PRIME_2047)
ROCA = RawRsa(_roca_prime(35), _roca_prime(40))

PATTERN = int.from_bytes(hashlib.sha256(b"pattern 28").digest() * 8)
"""Thirty-two bytes eight times over: 2048 bits, no small factor."""
SPARSE = (1 << 2047) + 29
"""Almost nothing but zeros; no small factor."""
