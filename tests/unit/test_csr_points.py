"""Which points are on their curve: what the equation says is what pyca says."""

import random
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.domain.csr_der import read_der
from keyborn.domain.csr_key import read_key
from keyborn.domain.errors import WeakKey
from support.csr_build import ec_spki

CURVES: dict[str, tuple[ec.EllipticCurve, str, int]] = {
    "p256": (ec.SECP256R1(), "1.2.840.10045.3.1.7", 2**256 - 2**224 + 2**192 + 2**96 - 1),
    "p384": (ec.SECP384R1(), "1.3.132.0.34", 2**384 - 2**128 - 2**96 + 2**32 - 1),
    "p521": (ec.SECP521R1(), "1.3.132.0.35", 2**521 - 1),
}


def with_x(curve: ec.EllipticCurve, x: int) -> tuple[int, int] | None:
    """The point of this x with the even y, where there is one."""
    compressed = b"\x02" + x.to_bytes((curve.key_size + 7) // 8)
    try:
        numbers = ec.EllipticCurvePublicKey.from_encoded_point(curve, compressed).public_numbers()
    except ValueError:
        return None
    return numbers.x, numbers.y


def points(kind: str) -> Iterator[tuple[int, int]]:
    """Good ones, those beside them, and the same ones in numbers beyond the field's."""
    curve, _, p = CURVES[kind]
    some = random.Random(7)
    for start in (0, *(some.randrange(p) for _ in range(20))):
        x, y = next(filter(None, (with_x(curve, start + more) for more in range(100))))
        yield from ((x, y), (x, p - y), (x, y + 1), (x + 1, y), (y, x), (x, 0), (x + p, y), (x, y + p))
    yield from ((0, 0), (p, p), (0, 1), (p - 1, p - 1))


def is_pycas(kind: str, point: bytes) -> bool:
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(CURVES[kind][0], point)
    except ValueError:
        return False
    assert key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == point
    return True


def is_ours(kind: str, point: bytes) -> bool:
    try:
        read_key(read_der(ec_spki(CURVES[kind][1], point)))
    except WeakKey as refusal:
        return "not on the curve" not in str(refusal)
    return True


@pytest.mark.parametrize("kind", CURVES)
def test_the_equation_and_pyca_agree(kind: str) -> None:
    size = (CURVES[kind][0].key_size + 7) // 8
    written = [
        b"\x04" + x.to_bytes(size) + y.to_bytes(size)
        for x, y in points(kind)
        if max(x, y).bit_length() <= 8 * size
    ]
    said = [is_ours(kind, point) for point in written]
    assert said == [is_pycas(kind, point) for point in written]
    assert said.count(True) >= 40 and said.count(False) >= 60  # noqa: PT018 - neither is one-sided
