"""First trust: the window of time, and the one root that counts."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.device import https
from keyborn.device.trust import Trust, Window, check_clock, fetch_root
from keyborn.domain import errors
from keyborn.domain.token import EnrollmentCode
from support.pki import new_pki, shared_pki

ISSUED = datetime(2026, 1, 1, 12, tzinfo=UTC)
EXPIRES = ISSUED + timedelta(hours=1)
SECOND = timedelta(seconds=1)
SLOW = timedelta(minutes=5)


def code(*, pinned: bool = True) -> EnrollmentCode:
    root = shared_pki().root.certificate.public_bytes(Encoding.DER)
    fingerprint = hashlib.sha256(root).digest() if pinned else b""
    return EnrollmentCode("https://localhost", fingerprint, bytes(32), ISSUED, EXPIRES)


@pytest.mark.parametrize("wall", [ISSUED, ISSUED - SLOW, ISSUED + SECOND, EXPIRES])
@pytest.mark.parametrize("pinned", [True, False])
def test_a_clock_inside_the_code_s_dates_is_believed(wall: datetime, *, pinned: bool) -> None:
    assert check_clock(code(pinned=pinned), wall) == Window(wall, wall)


@pytest.mark.parametrize("wall", [ISSUED - SLOW - SECOND, EXPIRES + SECOND, datetime(1970, 1, 1, tzinfo=UTC)])
def test_a_clock_outside_them_is_replaced_by_them_where_a_root_is_pinned(wall: datetime) -> None:
    assert check_clock(code(), wall) == Window(ISSUED, EXPIRES)


@pytest.mark.parametrize(
    ("wall", "told"),
    [
        (
            ISSUED - SLOW - SECOND,
            "clock says 2026-01-01T11:54:59Z, but this code was made at 2026-01-01T12:00:00Z",
        ),
        (EXPIRES + SECOND, "expired at 2026-01-01T13:00:00Z .* clock, which says 2026-01-01T13:00:01Z, is"),
    ],
)
def test_and_refused_where_none_is(wall: datetime, told: str) -> None:
    with pytest.raises(errors.ClockUnusable, match=told):
        check_clock(code(pinned=False), wall)


@pytest.mark.parametrize(
    ("begin", "end", "met"),
    [
        (-2, -1, False),
        (-1, 0, True),
        (0, 9, True),
        (5, 6, True),
        (9, 20, True),
        (10, 20, False),
        (-5, 50, True),
    ],
)
def test_a_window_meets_a_validity_that_overlaps_it(begin: int, end: int, *, met: bool) -> None:
    window = Window(ISSUED, ISSUED + 9 * SECOND)
    assert window.meets(ISSUED + begin * SECOND, ISSUED + end * SECOND) is met


def test_dates_are_skipped_only_with_an_overruled_clock() -> None:
    root = shared_pki().root_pem
    assert Trust(root, Window(ISSUED, EXPIRES)).skip_dates
    assert not Trust(root, Window(ISSUED, ISSUED)).skip_dates
    assert Trust(root, Window(ISSUED, EXPIRES)).context().verify_flags & 0x200000
    assert not Trust(root, Window(ISSUED, ISSUED)).context().verify_flags & 0x200000


def bundle(body: bytes, status: int = 200) -> https.Answer:
    return https.Answer(status, body, "application/pem-certificate-chain", None)


@pytest.mark.parametrize("before", ["", "text\n", new_pki().root_pem, "-----END CERTIFICATE-----\n"])
def test_the_root_is_found_by_its_fingerprint(before: str) -> None:
    answer = bundle((before + shared_pki().root_pem).encode())
    assert fetch_root(code(), lambda _request: answer) == shared_pki().root_pem


@pytest.mark.parametrize("body", [b"", b"x", new_pki().root_pem.encode(), b"-----BEGIN CERTIFICATE-----" * 9])
def test_no_other_root_will_do(body: bytes) -> None:
    with pytest.raises(errors.UntrustedService, match="fingerprint"):
        fetch_root(code(), lambda _request: bundle(body))


def test_only_so_many_roots_are_looked_at() -> None:
    body = new_pki().root_pem * 16 + shared_pki().root_pem
    with pytest.raises(errors.UntrustedService):
        fetch_root(code(), lambda _request: bundle(body.encode()))


@pytest.mark.parametrize("status", [204, 302, 404])
def test_another_status_is_no_bundle(status: int) -> None:
    answer = bundle(shared_pki().root_pem.encode(), status)
    with pytest.raises(errors.WrongAnswer, match=str(status)):
        fetch_root(code(), lambda _request: answer)


def test_the_request_for_the_bundle_carries_nothing() -> None:
    asked: list[https.Request] = []

    def fetch(request: https.Request) -> https.Answer:
        asked.append(request)
        return bundle(shared_pki().root_pem.encode())

    fetch_root(code(), fetch)
    [request] = asked
    assert (request.method, request.path, request.body) == ("GET", "/v1/trust-bundle", None)
    assert set(request.headers) == {"Accept"}
