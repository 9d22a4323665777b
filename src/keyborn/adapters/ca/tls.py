"""TLS contexts of the service: how HTTPS is served, and how a renewed certificate comes into use.

TLS 1.2 with AEAD ciphers or TLS 1.3 (RFC 9325). ``num_tickets`` stays at its default: 0 made Python's TLS 1.3
handshakes seven times slower.
"""

import ssl
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
