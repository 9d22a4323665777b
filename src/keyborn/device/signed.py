"""Requests that the device signs with its own key (design PROTOCOL "Signed requests")."""

from keyborn.device.keystore import KeyStore
from keyborn.domain.jws import Protected, draft
from keyborn.domain.names import CertificateId


def signed_request(store: KeyStore, *, certificate_id: str, url: str, nonce: str, payload: bytes) -> bytes:
    """The body to send to ``url``: a flattened JWS (RFC 7515 7.2.2). The key does not leave its store.

    Raises KeyUnusable or FileNotPrivate.
    """
    header = Protected(store.facts().algorithm, CertificateId(certificate_id), nonce, url)
    written = draft(header, payload)
    return written.signed(store.sign(written.signing_input))
