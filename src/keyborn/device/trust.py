"""First trust: the root that a fingerprint names, and how much a wrong clock may excuse.

Design PROTOCOL "Enrolment code and first trust" and "The clock".
"""

import hashlib
import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keyborn.device import https, tls
from keyborn.device.strangers import stranger_words
from keyborn.domain.errors import ClockUnusable, UntrustedService, WrongAnswer
from keyborn.domain.moment import shown
from keyborn.domain.profile import BACKDATE
from keyborn.domain.token import EnrollmentCode

BUNDLE_PATH = "/v1/trust-bundle"
MAX_ROOTS = 16
_OK = 200
_PEM_END = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Window:
    """When it may be now: one moment where the clock is good, from earliest to latest where it is not."""

    earliest: datetime
    latest: datetime

    def meets(self, begin: datetime, end: datetime) -> bool:
        """Whether some moment of the window lies between ``begin`` and ``end``, both counted."""
        return begin <= self.latest and self.earliest <= end


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the device believes while it enrols."""

    root_pem: str | None
    """The pinned root; None is the system's public authorities."""
    window: Window
    """The time against which certificates are checked."""

    @property
    def skip_dates(self) -> bool:
        """Whether TLS holds dates against the window, because the clock is known to be wrong."""
        return self.window.earliest != self.window.latest

    def context(self) -> ssl.SSLContext:
        """A TLS context that believes nobody else."""
        instead = (self.window.earliest, self.window.latest) if self.skip_dates else None
        return tls.verifying_context(self.root_pem, instead=instead)


def check_clock(code: EnrollmentCode, wall: datetime) -> Window:
    """When it may be now.

    A clock up to five minutes slow is a good one: certificates are back-dated by as much. With a pinned root,
    a clock further outside the code's dates is replaced by those: the code was issued before it is used, and
    the certificate was made before it expired. Without one there is nothing to go by: raises ClockUnusable.
    """
    if code.issued_at - BACKDATE <= wall <= code.expires_at:
        return Window(wall, wall)
    if not code.fingerprint:
        raise ClockUnusable(detail=clock_trouble(code, wall))
    return Window(code.issued_at, code.expires_at)


def clock_trouble(code: EnrollmentCode, wall: datetime) -> str:
    """How the code's dates and a clock outside them contradict each other."""
    if wall > code.expires_at:
        expired = f"This code expired at {shown(code.expires_at)}"
        return f"{expired} (or this device's clock, which says {shown(wall)}, is wrong)"
    return f"This device's clock says {shown(wall)}, but this code was made at {shown(code.issued_at)}"


class Pin(Protocol):
    """What names a service and its root: an enrolment code, an operator's API key."""

    @property
    def url(self) -> str:
        """``https://host[:port]`` of the service."""
        ...

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the root's DER."""
        ...


def fetch_root(
    code: Pin, fetch: Callable[[https.Request], https.Answer], *, called: str = "the enrolment code"
) -> str:
    """The root whose SHA-256 the code names, PEM, out of the service's bundle; ``called``: what the code is.

    ``fetch`` must use a connection that verifies nothing and carries nothing. Raises UntrustedService where
    no root of the bundle is the one.
    """
    answer = fetch(https.Request("GET", BUNDLE_PATH, headers={"Accept": "application/pem-certificate-chain"}))
    if answer.status != _OK:
        raise WrongAnswer(url=code.url, detail=stranger_words(answer.status))
    for pem, der in _certificates(answer.body):
        if hmac.compare_digest(hashlib.sha256(der).digest(), code.fingerprint):
            return pem
    detail = f"none of the roots that it shows has the fingerprint that {called} names"
    raise UntrustedService(url=code.url, detail=detail)


def _certificates(body: bytes) -> list[tuple[str, bytes]]:
    """Each PEM block and its DER; blocks that do not decode are nobody's root."""
    found = []
    for block in body.decode("ascii", "replace").split(_PEM_END)[:-1][:MAX_ROOTS]:
        begin = block.find("-----BEGIN CERTIFICATE-----")
        try:
            der = ssl.PEM_cert_to_DER_cert(block[max(begin, 0) :] + _PEM_END)
        except ValueError:
            continue
        found.append((ssl.DER_cert_to_PEM_cert(der), der))
    return found
