"""TLS contexts of the service: how HTTPS is served, and how a renewed certificate comes into use.

TLS 1.2 with AEAD ciphers or TLS 1.3 (RFC 9325). ``num_tickets`` stays at its default: 0 made Python's TLS 1.3
handshakes seven times slower.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def https_context(chain: Path, key: Path, client_ca_pem: str) -> ssl.SSLContext:
    """A server context for HTTPS that asks for a client certificate and takes none for an answer.

    A certificate that is shown must verify, for clientAuth, against ``client_ca_pem`` (root and device
    intermediate); the application reads it with ``getpeercert``. ALPN: http/1.1.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=client_ca_pem)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain, key)
    return context


class LiveContext:
    """A context for a listener whose trust can be exchanged while that runs.

    OpenSSL can add to what a context trusts, and take nothing away. So each change makes a context anew, and
    the listener's hands its handshakes on to that; open connections stay.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        """``make`` gives a context as things stand; raises OSError, as this does."""
        self._make = make
        self._present = self.context = make()

    def refresh(self) -> None:
        """Make it anew for all connections from now on; raises OSError, and then nothing has changed."""
        self._present = self._make()
        self.context.sni_callback = self._hand_on

    def _hand_on(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in each handshake, whether the client names a server or not."""
        connection.context = self._present


class ReloadedContexts:
    """Contexts that serve one certificate file and follow it when it is replaced.

    New connections see the new certificate; open ones keep theirs. Works in any process that can read the
    file: a worker calls ``reload_if_replaced`` now and then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contexts: list[ssl.SSLContext] = []
        self._seen: tuple[int, int] | None = None

    def add(self, context: ssl.SSLContext) -> None:
        """Serve the file with ``context`` from now on. Raises OSError (ssl.SSLError among them)."""
        identity = self._identity()  # before the load: a replacement in between is then seen later
        context.load_cert_chain(self._path)
        self._contexts.append(context)
        self._seen = self._seen or identity

    def reload_if_replaced(self) -> bool:
        """Load the file into every context if it is not the one last loaded; says whether it was not."""
        identity = self._identity()
        if identity == self._seen:
            return False
        for context in self._contexts:
            context.load_cert_chain(self._path)
        self._seen = identity
        return True

    def _identity(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_ino, status.st_mtime_ns
