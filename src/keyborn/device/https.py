"""One HTTPS exchange with limits on bytes and time. Redirects are answers like any other: never followed."""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from keyborn import __version__
from keyborn.device import tls

MAX_ANSWER = 65536
MAX_TRAFFIC = 4 * MAX_ANSWER
"""Bytes of one exchange with its headers and chunks; http.client believes a chunk of -1 bytes."""
CONNECT_TIMEOUT = 10.0
EXCHANGE_TIMEOUT = 30.0
_INTERIM = range(102, 200)
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SERVER_AUTH = "1.3.6.1.5.5.7.3.1"


class Unanswered(Exception):
    """No whole answer came: asking again may help."""


class Oversized(Exception):
    """The answer is larger than anybody wants it: asking again will not help."""


class Distrusted(Exception):
    """The peer did not prove who it is."""

    def __init__(self, detail: str, *, early: bool = False) -> None:
        """``early``: by this device's clock, which may be behind, its certificate is of the future."""
        super().__init__(detail)
        self.early = early


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; ``headers`` may hold a credential, so a request is never shown."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    body: bytes
    media_type: str
    retry_after: float | None
    """Seconds, where the service named some (RFC 9110 10.2.3); a date is ignored, for clocks may be wrong."""
    nonce: str | None = field(default=None, compare=False)
    """For the next signed request (RFC 8555 6.5.1), where one came."""
    sent_at: datetime | None = field(default=None, compare=False)
    """The service's own time (RFC 9110 6.6.1), UTC; worth as much as the connection it came over."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service is: ``https://host[:port][/prefix]``."""

    url: str

    @property
    def host(self) -> str:
        """Host name or address, without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port; 443 unless named."""
        return urlsplit(self.url).port or 443

    @property
    def prefix(self) -> str:
        """The path before the routes, without the slash at its end."""
        return urlsplit(self.url).path.rstrip("/")


def exchange(
    service: Service, context: ssl.SSLContext, request: Request, *, seconds: float, most: int = MAX_ANSWER
) -> Answer:
    """Send one request on a connection of its own; ``seconds`` bounds the whole of it, ``most`` its bytes.

    Raises Distrusted before anything is sent, Unanswered for every trouble that may pass, Oversized.
    """
    seconds = min(seconds, EXCHANGE_TIMEOUT)
    connection = _Connection(service, context, time.monotonic() + seconds, most)
    try:
        return _ask(connection, service, request)
    except tls.Flood:
        raise Oversized from None
    except ssl.SSLCertVerificationError as wrong:
        raise Distrusted(tls.explain(wrong), early=wrong.verify_code == tls.NOT_YET_VALID) from None
    except ssl.SSLError as wrong:
        raise Unanswered(f"TLS: {tls.explain(wrong)}") from None
    except TimeoutError:
        raise Unanswered("it took too long") from None
    except socket.gaierror as wrong:
        raise Unanswered(f"the name {service.host} has no address ({wrong.strerror})") from None
    except OSError as wrong:
        raise Unanswered(wrong.strerror or "the connection broke") from None
    except (http.client.HTTPException, ValueError):
        raise Unanswered("the answer was cut short or was not HTTP") from None
    finally:
        connection.close()


class _Response(http.client.HTTPResponse):
    """An answer after any interim ones (RFC 9110 15.2), of which http.client passes over 100 alone."""

    def begin(self) -> None:
        """Read status and headers of the final answer."""
        super().begin()
        while self.status in _INTERIM:
            self.headers = self.msg = None  # type: ignore[assignment] # as a new response has them
            super().begin()


class _Connection(http.client.HTTPSConnection):
    """A connection whose socket knows the deadline, and which wants to see serverAuth."""

    response_class = _Response

    def __init__(self, service: Service, context: ssl.SSLContext, deadline: float, most: int) -> None:
        left = min(CONNECT_TIMEOUT, max(0.001, deadline - time.monotonic()))
        super().__init__(service.host, service.port, timeout=left, context=context)
        self._tls = context
        self._deadline = deadline
        self.most = most

    def connect(self) -> None:
        """Connect, bound by the deadline; then look at what the peer's certificate is for."""
        assert self.timeout is not None
        self.sock = tls.dial(self._tls, self.host, self.port, self.timeout)
        assert isinstance(self.sock, tls.DeadlineSocket)
        self.sock.deadline, self.sock.budget = self._deadline, MAX_TRAFFIC * self.most // MAX_ANSWER
        if self._tls.verify_mode is ssl.CERT_REQUIRED:
            _require_server(self.sock)


def _require_server(sock: ssl.SSLSocket) -> None:
    """OpenSSL takes a certificate without extended key usages for a server's; a device's trust does not."""
    from cryptography import x509

    try:
        leaf = x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except Exception:  # noqa: BLE001 - whatever a certificate makes the parser raise, it is not one to trust
        raise Distrusted("its certificate does not say that it is a server's (serverAuth)") from None
    if _SERVER_AUTH not in {usage.dotted_string for usage in usages}:
        raise Distrusted("its certificate is not a server's (serverAuth)")


def _ask(connection: _Connection, service: Service, request: Request) -> Answer:
    headers = {"User-Agent": f"keyborn/{__version__}", "Connection": "close", **request.headers}
    connection.request(request.method, service.prefix + request.path, request.body, headers)
    with connection.getresponse() as response:
        body = _read(response, connection.most)
        return Answer(
            response.status,
            body,
            response.headers.get_content_type(),
            _seconds(response.headers.get("Retry-After")),
            _nonce(response.headers.get("Replay-Nonce")),
            _moment(response.headers.get("Date")),
        )


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    announced = response.length  # None where it is chunked or ends with the connection
    if announced is not None and announced > most:
        raise Oversized
    body = response.read(most + 1)
    if len(body) > most:
        raise Oversized
    if announced is not None and len(body) < announced:
        raise Unanswered("the answer was cut short")
    return body


def _seconds(text: str | None) -> float | None:
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return float(text.strip()[:9])


def _nonce(text: str | None) -> str | None:
    return text if text is not None and _NONCE.fullmatch(text) else None


def _moment(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text or "").astimezone(UTC)
    except (ValueError, OverflowError):  # none, or none that a calendar knows
        return None
