"""Is this certificate ours? Checked before anything is stored (design THREATS "wrong certificate returned").

The path rules are those of RFC 5280 section 6 that a private hierarchy needs: signatures, names, dates,
CA:TRUE, path lengths, keyCertSign, extended key usages on the way down, no unknown critical extension.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from keyborn.device.answer import Enrolled
from keyborn.device.trust import Window
from keyborn.domain.errors import WrongCertificate
from keyborn.domain.moment import shown
from keyborn.domain.names import ThingName, certificate_id
from keyborn.domain.profile import BACKDATE

E = TypeVar("E", bound=x509.ExtensionType)

MAX_CHAIN = 8
_BEGIN = "-----BEGIN CERTIFICATE-----"
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


def verify_enrolled(
    answer: Enrolled,
    *,
    thing: ThingName,
    public_key_der: bytes,
    anchors: Sequence[x509.Certificate],
    window: Window,
) -> x509.Certificate:
    """Return the leaf if it is this thing's, for this key, usable as a client now, and led to by ``anchors``.

    Where the authority publishes no chain (AWS IoT), the leaf alone is checked, under a pinned root too: it
    may be the root of a custom domain before AWS. That takes nothing from the device. TLS has proved the
    service by now; who could speak in its place would hand on a good certificate with a bad broker. The chain
    is checked against mistakes: a service that shows one must show the right one. Raises WrongCertificate.
    """
    leaf = read_one(answer.certificate_pem)
    chain = read_many(answer.chain_pem)
    with _parsing():
        _check_whose(answer, leaf, thing, public_key_der)
        _check_leaf(leaf, strict=bool(chain))
        _check_dates(leaf, window, early=BACKDATE)
        if chain:
            _check_path([leaf, *chain], anchors, window)
    return leaf


def read_many(pem: str) -> list[x509.Certificate]:
    """Every certificate of a PEM text, in order; raises WrongCertificate."""
    if pem.count(_BEGIN) > MAX_CHAIN:
        raise WrongCertificate(detail=f"it comes with more than {MAX_CHAIN} others")
    if not pem.strip():
        return []
    with _parsing():
        return x509.load_pem_x509_certificates(pem.encode())


def is_authority_until(root: x509.Certificate) -> datetime:
    """Until when a root may vouch for others; raises WrongCertificate for what is no authority's."""
    with _parsing():
        _check_critical(root)
        basic = _extension(root, x509.BasicConstraints)
        usage = _extension(root, x509.KeyUsage)
        if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
            raise WrongCertificate(detail="it holds a certificate that may not sign others")
        return root.not_valid_after_utc


def read_one(pem: str) -> x509.Certificate:
    """The only certificate of a PEM text; raises WrongCertificate."""
    found = read_many(pem)
    if len(found) != 1:
        raise WrongCertificate(detail=f"there are {len(found)} in the place of one")
    return found[0]


def to_pem(certificates: Sequence[x509.Certificate]) -> str:
    """PEM blocks, one after the other."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)


def ders(pem: str) -> list[bytes]:
    """The DER of every certificate of a PEM text, in order; raises WrongCertificate."""
    return [each.public_bytes(Encoding.DER) for each in read_many(pem)]


@contextmanager
def _parsing() -> Iterator[None]:
    """Properties are parsed when looked at, and raise what they like: that is a wrong certificate."""
    try:
        yield
    except WrongCertificate:
        raise
    except Exception:  # noqa: BLE001 - InvalidVersion and others have no common root
        raise WrongCertificate(detail="it cannot be read") from None


def _check_whose(answer: Enrolled, leaf: x509.Certificate, thing: ThingName, public_key_der: bytes) -> None:
    public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = [name.value for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if public != public_key_der:
        raise WrongCertificate(detail="it is for another key than this device's")
    if names != [thing] or answer.thing != thing:
        raise WrongCertificate(detail=f"it is for another name than {thing}")
    if certificate_id(leaf.public_bytes(Encoding.DER)) != answer.certificate_id:
        raise WrongCertificate(detail="its id is not the SHA-256 of its bytes")


def _check_leaf(leaf: x509.Certificate, *, strict: bool) -> None:
    """A client's leaf. AWS IoT leaves extended key usage out: then any use is allowed (RFC 5280 4.2.1.12)."""
    _check_critical(leaf)
    basic = _extension(leaf, x509.BasicConstraints)
    usage = _extension(leaf, x509.KeyUsage)
    if basic is not None and basic.ca:
        raise WrongCertificate(detail="it is a certificate authority's")
    if usage is not None and not usage.digital_signature:
        raise WrongCertificate(detail="its key may not sign (digitalSignature)")
    if not _allows_client(leaf) or (strict and _extension(leaf, x509.ExtendedKeyUsage) is None):
        raise WrongCertificate(detail="it is not a client's (clientAuth)")


def _check_dates(certificate: x509.Certificate, window: Window, *, early: timedelta = timedelta(0)) -> None:
    """``early``: how far the clock may be behind, as ``check_clock`` lets it; AWS IoT dates 2 min back."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if window.meets(begin - early, end):
        return
    if window.latest < begin:
        raise WrongCertificate(detail=f"it is valid only from {shown(begin)}")
    raise WrongCertificate(detail=f"it expired at {shown(end)}")


def _check_path(path: list[x509.Certificate], anchors: Sequence[x509.Certificate], window: Window) -> None:
    """``path`` is leaf first; it may or may not end with the anchor itself."""
    if path[-1] in anchors:
        path = path[:-1]
    for below, (subject, issuer) in enumerate(pairwise(path)):
        _check_authority(issuer, below, window)
        if not _signed_by(subject, issuer):
            raise WrongCertificate(detail="its chain does not hold together")
    signers = [anchor for anchor in anchors if path and _signed_by(path[-1], anchor)]
    if not signers:
        raise WrongCertificate(detail="its chain does not lead to the trusted root")
    _check_authority(signers[0], len(path) - 1, window)


def _check_authority(issuer: x509.Certificate, below: int, window: Window) -> None:
    """``below`` is the number of intermediates between ``issuer`` and the leaf."""
    _check_critical(issuer)
    _check_dates(issuer, window)
    basic = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
        raise WrongCertificate(detail="its chain holds a certificate that may not sign others")
    if basic.path_length is not None and below > basic.path_length:
        raise WrongCertificate(detail="its chain is longer than an authority in it allows")
    if not _allows_client(issuer):
        raise WrongCertificate(detail="its chain leads through an authority that may not sign clients")


def _signed_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _allows_client(certificate: x509.Certificate) -> bool:
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    wanted = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    return usages is None or bool(wanted & set(usages))


def _check_critical(certificate: x509.Certificate) -> None:
    unknown = [each for each in certificate.extensions if each.critical and each.oid not in _UNDERSTOOD]
    if unknown:
        raise WrongCertificate(
            detail=f"it has a critical extension nobody here knows ({unknown[0].oid.dotted_string})"
        )


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
