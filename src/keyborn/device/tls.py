"""TLS on the device: contexts that trust exactly what they should, and sockets with a deadline.

TLS 1.2 or newer (RFC 8996). Where a root is pinned it is the only one trusted.
"""

import socket
import ssl
import time
from datetime import datetime

from keyborn.device import proxy

VERIFY_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's ssl passes on but does not name."""
NOT_YET_VALID = 9
"""X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL."""

Dates = tuple[datetime, datetime]
"""The earliest and the latest moment that it may be now."""


class Flood(OSError):
    """The peer has sent more bytes than anybody asked for."""


class OutOfDates(ssl.SSLCertVerificationError):
    """The peer's certificate is not valid at any moment that it may be now."""

    verify_message = "its certificate is outside its dates, whatever the time is"
    verify_code = -1  # none of OpenSSL's


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket whose reads and writes end together at a deadline; a failed handshake closes it.

    Time-outs alone bound each read: a peer who sends a byte now and then could hold a device for ever. And
    a reader that believes a peer's lengths would keep whatever comes: ``budget`` bounds all of it.
    """

    deadline: float | None = None
    """On the monotonic clock; None is no limit."""
    budget: int | None = None
    """Bytes that may still be read; None is no limit."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's signature
        """Shake hands, or close."""
        try:
            super().do_handshake(block)
            self._require_dates()
        except BaseException:
            self.close()
            raise

    def recv_into(self, *args: object, **kwargs: object) -> int:
        """Read within the time and the budget that are left; raises Flood beyond that."""
        self._bound()
        count: int = super().recv_into(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came
        if self.budget is not None:
            self.budget -= count
            if self.budget < 0:
                raise Flood("more bytes than were asked for")
        return count

    def send(self, *args: object, **kwargs: object) -> int:
        """Write within the time that is left."""
        self._bound()
        return super().send(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came

    def _require_dates(self) -> None:
        """Where the clock is not believed, the dates are held against the time that it may be."""
        dates = self.context.dates if isinstance(self.context, _Context) else None
        if dates is None:
            return
        shown = self.getpeercert() or {}
        begin, end = (ssl.cert_time_to_seconds(str(shown.get(name))) for name in ("notBefore", "notAfter"))
        if begin > dates[1].timestamp() or end < dates[0].timestamp():
            raise OutOfDates

    def _bound(self) -> None:
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the time limit has passed")
            self.settimeout(left)


class _Context(ssl.SSLContext):
    """A context that may know better than the clock."""

    dates: Dates | None = None


def verifying_context(roots_pem: str | None, *, instead: Dates | None = None) -> ssl.SSLContext:
    """A context that verifies chain, host name and purpose against ``roots_pem``; None is the system's roots.

    ``instead`` takes the place of a clock that is known to be wrong, where the device has a root of its own:
    OpenSSL leaves out the dates and nothing else, and the peer's certificate must be valid at some moment
    between these. Raises ssl.SSLError where ``roots_pem`` holds no certificate.
    """
    context = _context()
    if roots_pem is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(cadata=roots_pem)
    if instead is not None:
        context.dates = instead
        context.verify_flags = ssl.VerifyFlags(context.verify_flags | VERIFY_NO_CHECK_TIME)
    return context


def blind_context() -> ssl.SSLContext:
    """A context that verifies nothing: only to fetch roots that are compared with a fingerprint."""
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def dial(
    context: ssl.SSLContext, host: str, port: int, seconds: float, variables: tuple[str, ...] = proxy.HTTPS
) -> ssl.SSLSocket:
    """Connect and shake hands, both within ``seconds``; ``host`` goes into SNI, which AWS IoT insists on.

    Through a proxy, where one of ``variables`` of the environment names one. Raises OSError, of which
    ssl.SSLError is one and proxy.Barred another.
    """
    until = time.monotonic() + seconds
    via = proxy.proxy_for(variables, host, port)
    plain = _reach(host, port, until) if via is None else _pass(via, host, port, until)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(_left(until))
        return context.wrap_socket(plain, server_hostname=host)  # its handshake ends by that time-out
    except BaseException:
        plain.close()
        raise


def _pass(via: proxy.Proxy, host: str, port: int, until: float) -> socket.socket:
    """A connection through a proxy, which is given the name: nobody here looks for its addresses."""
    try:
        plain = _reach(via.host, via.port, until)
    except OSError as wrong:
        raise proxy.unreachable(via, wrong) from None
    try:
        proxy.tunnel(plain, via, host, port, until)
    except BaseException:
        plain.close()
        raise
    return plain


def _reach(host: str, port: int, until: float) -> socket.socket:
    """A TCP connection to the first address that answers.

    A name may have many addresses, AWS's have eight; behind a firewall that drops packets none of them
    answers. Each gets its share of the time, so that the last is tried before the time is up.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    trouble: OSError = TimeoutError("no address answered")
    for place, (family, kind, protocol, _, address) in enumerate(found):
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(_left(until) / (len(found) - place))
            plain.connect(address)
        except OSError as wrong:
            plain.close()
            trouble = wrong
        else:
            return plain
    raise trouble


def _left(until: float) -> float:
    """Seconds; never none at all, which sockets take for no blocking."""
    return max(until - time.monotonic(), 0.001)


def explain(wrong: ssl.SSLError) -> str:
    """What TLS says, in a few words, without file names and line numbers of a library."""
    if isinstance(wrong, ssl.SSLCertVerificationError):
        return wrong.verify_message or "its certificate does not verify"
    return (wrong.reason or "the handshake failed").lower().replace("_", " ")


def _context() -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = DeadlineSocket
    return context
