"""A client certificate that somebody else's TLS has seen: verified as our own would have.

A proxy in front ends TLS and passes the certificate on. That the caller has its key, only the proxy can know;
everything else is looked at here, with pyca's path validation (RFC 5280, 6): signatures up to one of our
roots, dates, clientAuth.
"""

from collections.abc import Callable
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from keyborn.domain.errors import ClientCertificateRefused
from keyborn.ports import Clock

_DEPTH = 1
"""Between a device and a root stands one intermediate."""


class ShownCertificates:
    """Whether a certificate is one that the service's own listeners would take."""

    def __init__(self, trusted: Callable[[], str], clock: Clock) -> None:
        """``trusted``: roots and device intermediates, PEM; asked each time, for roots change."""
        self._trusted = trusted
        self._clock = clock

    def verify(self, der: bytes) -> None:
        """Return if it is; raises ClientCertificateRefused."""
        roots, between = _trust(self._trusted())
        try:
            leaf = x509.load_der_x509_certificate(der)
            verifier = (
                PolicyBuilder()
                .store(Store(list(roots)))
                .time(self._clock.now())
                .max_chain_depth(_DEPTH)
                .extension_policies(ca_policy=_AUTHORITY, ee_policy=_CLIENT)
                .build_client_verifier()
            )
            verifier.verify(leaf, list(between))
        except VerificationError:
            raise ClientCertificateRefused(
                detail="this service did not issue it for clients, or its time is not now"
            ) from None
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension):
            raise ClientCertificateRefused(detail="it cannot be read as X.509") from None


@lru_cache(maxsize=2)
def _trust(pem: str) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    """Roots and intermediates among our own certificates."""
    known = x509.load_pem_x509_certificates(pem.encode())
    roots = tuple(each for each in known if each.issuer == each.subject)
    return roots, tuple(each for each in known if each not in roots)


def _certifies(_policy: Policy, _holder: x509.Certificate, said: x509.BasicConstraints) -> None:
    if not said.ca:
        raise ValueError("an issuer is no authority")


def _certifies_nothing(_policy: Policy, _holder: x509.Certificate, said: x509.BasicConstraints) -> None:
    if said.ca:
        raise ValueError("an authority is no client")


def _may_certify(_policy: Policy, _holder: x509.Certificate, said: x509.KeyUsage) -> None:
    if not said.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _may_sign(_policy: Policy, _holder: x509.Certificate, said: x509.KeyUsage | None) -> None:
    if said is not None and not said.digital_signature:
        raise ValueError("a client that may not sign")


def _is_for_clients(_policy: Policy, _holder: x509.Certificate, said: x509.ExtendedKeyUsage) -> None:
    if ExtendedKeyUsageOID.CLIENT_AUTH not in said:
        raise ValueError("not for clients")


_ANY = Criticality.AGNOSTIC
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _ANY, _certifies)
    .require_present(x509.KeyUsage, _ANY, _may_certify)
)
_CLIENT = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _ANY, _certifies_nothing)
    .may_be_present(x509.KeyUsage, _ANY, _may_sign)
    .require_present(x509.ExtendedKeyUsage, _ANY, _is_for_clients)
)
