"""What an intent proposes: names for it that nobody guesses, and that sort by time."""

from datetime import timedelta

from keyborn.adapters.system import SystemEntropy
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.intent import Intent
from keyborn.domain.names import KeyHash, ThingName
from keyborn.domain.profile import CertificateProfile
from keyborn.domain.token import TokenId
from keyborn.ports import Entropy
from keyborn.service.issuing import Permission, propose
from support.office import NOON

REQUEST = CertificateRequest("lamp-1", b"spki", KeyHash("k"), "p256", "", frozenset())
ENTROPY = SystemEntropy()


class Same:
    """Bytes that everybody guesses, and how many of them were drawn."""

    def __init__(self, byte: int) -> None:
        self.byte = byte
        self.drawn: list[int] = []

    def token_bytes(self, count: int) -> bytes:
        self.drawn.append(count)
        return bytes([self.byte]) * count


def proposed(entropy: Entropy = ENTROPY, after: timedelta = timedelta(0)) -> Intent:
    return propose(
        ThingName("lamp-1"),
        REQUEST,
        Permission(TokenId("t")),
        NOON + after,
        profile=CertificateProfile(),
        entropy=entropy,
    )


def test_a_serial_number_is_positive_and_has_twenty_octets_at_most_for_centuries() -> None:
    for byte in (0, 255):
        for years in (0, 1000, 4000):
            serial = proposed(Same(byte), timedelta(days=365.25 * years)).serial
            assert serial > 0
            assert (serial.bit_length() // 8) + 1 <= 20, "with the sign bit that DER demands"


def test_enough_of_both_is_drawn_that_nobody_can_guess_it() -> None:
    entropy = Same(0)
    proposed(entropy)
    assert min(entropy.drawn) * 8 >= 64, "CA/Browser Forum Baseline Requirements 7.1"
    assert len({proposed().serial for _ in range(1000)}) == 1000
    assert len({proposed().id for _ in range(1000)}) == 1000


def test_later_ones_stand_behind_earlier_ones() -> None:
    earlier, later = proposed(Same(255)), proposed(Same(0), timedelta(milliseconds=1))
    assert earlier.serial < later.serial
    assert earlier.id < later.id
