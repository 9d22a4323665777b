"""TLS on the device: contexts that trust exactly what they should, and sockets with a deadline.

TLS 1.2 or newer (RFC 8996). Where a root is pinned it is the only one trusted.
"""

import ssl
import time

VERIFY_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's ssl passes on but does not name."""


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket whose reads and writes end together at a deadline; a failed handshake closes it.

    Time-outs alone bound each read: a peer who sends a byte now and then could hold a device for ever.
    """

    deadline: float | None = None
    """On the monotonic clock; None is no limit."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's signature
        """Shake hands, or close."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv_into(self, *args: object, **kwargs: object) -> int:
        """Read within the time that is left."""
        self._bound()
        count: int = super().recv_into(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came
        return count

    def send(self, *args: object, **kwargs: object) -> int:
        """Write within the time that is left."""
        self._bound()
        return super().send(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came

    def _bound(self) -> None:
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the time limit has passed")
            self.settimeout(left)


def verifying_context(roots_pem: str | None, *, skip_dates: bool = False) -> ssl.SSLContext:
    """A context that verifies chain, host name and purpose against ``roots_pem``; None is the system's roots.

    ``skip_dates`` leaves out the validity dates and nothing else: for a device whose clock is known to be
    wrong and which has a root of its own. Raises ssl.SSLError where ``roots_pem`` holds no certificate.
    """
    context = _context()
    if roots_pem is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(cadata=roots_pem)
    if skip_dates:
        context.verify_flags = ssl.VerifyFlags(context.verify_flags | VERIFY_NO_CHECK_TIME)
    return context


def blind_context() -> ssl.SSLContext:
    """A context that verifies nothing: only to fetch roots that are compared with a fingerprint."""
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def explain(wrong: ssl.SSLError) -> str:
    """What TLS says, in a few words, without file names and line numbers of a library."""
    if isinstance(wrong, ssl.SSLCertVerificationError):
        return wrong.verify_message or "its certificate does not verify"
    return (wrong.reason or "the handshake failed").lower().replace("_", " ")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = DeadlineSocket
    return context
