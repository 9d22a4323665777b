"""Certificates of manufacturers: whether a chain leads to an authority that a group accepts (RFC 5280, 6).

Devices bring what IEEE 802.1AR calls an IDevID: often without extended key usage and subject alternative
names, and valid until 9999-12-31, which means for ever (RFC 5280, 4.1.2.5). So none of what the web demands
beyond RFC 5280 is demanded here. The path is pyca's work: signatures, names, dates, basicConstraints, path
lengths, name constraints, critical extensions that nobody knows, and no algorithm that is broken. What it
leaves open is demanded here: key usages, that the signer is no authority, and that no key is weak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from keyborn.domain.csr_der import read_der
from keyborn.domain.csr_key import read_key
from keyborn.domain.errors import FactoryExpired, FactoryNotYet, FactoryRefused, KeybornError
from keyborn.domain.moment import shown

MAX_DEPTH = 5
"""Certificates between the signer and the authority, as many as a request may bring."""


@dataclass(frozen=True, slots=True)
class FactoryCertificate:
    """The signer's certificate, led to by an authority that counts."""

    fingerprint: str
    """Lower-case hex SHA-256 of its DER, as other tools print it."""
    signed_digest: str
    """Lower-case hex SHA-256 of what its issuer signed: one for all ways to write the signature below it."""
    public_key: object = field(repr=False)
    """pyca's; of a kind that we take."""
    values: dict[str, str]
    """What a group's rule may make names of: ``common_name``, ``serial_number`` (the subject's) and
    ``serial`` (the certificate's, hex, lower case). What stands there twice, or not at all, is left out."""


@lru_cache(maxsize=256)
def read_authorities(pem: str) -> tuple[x509.Certificate, ...]:
    """The authorities of a group. Raises ValueError for what is no PEM of certificates."""
    return tuple(x509.load_pem_x509_certificates(pem.encode()))


def verify_chain(
    chain: Sequence[bytes], authorities: Sequence[x509.Certificate], now: datetime
) -> FactoryCertificate:
    """Return what the first certificate of ``chain``, DER, says, if an authority answers for it ``now``.

    Raises FactoryRefused, FactoryExpired, FactoryNotYet.
    """
    try:
        leaf, *between = [_read(each) for each in chain]
        for each in (leaf, *between):
            _require_sound_key(each)
        verifier = (
            PolicyBuilder()  # at the moment that the service's clock says
            .store(Store(list(authorities)))
            .time(now)  # the caller's clock
            .max_chain_depth(MAX_DEPTH)
            .extension_policies(ca_policy=_AUTHORITY, ee_policy=_SIGNER)
            .build_client_verifier()
        )
        _require_sound_key(verifier.verify(leaf, between).chain[-1])
        return FactoryCertificate(
            fingerprint=sha256(chain[0]).hexdigest(),
            signed_digest=sha256(leaf.tbs_certificate_bytes).hexdigest(),
            public_key=leaf.public_key(),
            values=_values(leaf),
        )
    except VerificationError as wrong:
        raise _refusal(wrong, (leaf, *between), now) from None
    except UnsupportedAlgorithm:
        raise FactoryRefused(detail="a key of its chain is not taken") from None
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension):
        raise FactoryRefused(detail="it cannot be read as X.509") from None


def _read(der: bytes) -> x509.Certificate:
    """Raises ValueError, also for a signature that is not of whole octets, which pyca reads as if it were."""
    certificate = x509.load_der_x509_certificate(der)
    if der[-len(certificate.signature) - 1]:
        raise ValueError("unused bits")
    return certificate


# ── what extensions have to say ───────────────────────────────────────────────────────────────────────


def _is_authority(_policy: Policy, _holder: x509.Certificate, said: x509.BasicConstraints) -> None:
    if not said.ca:
        raise ValueError("an issuer is no authority")


def _is_no_authority(_policy: Policy, _holder: x509.Certificate, said: x509.BasicConstraints | None) -> None:
    if said is not None and said.ca:
        raise ValueError("the signer is an authority")


def _may_certify(_policy: Policy, _holder: x509.Certificate, said: x509.KeyUsage | None) -> None:
    if said is not None and not said.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _may_sign(_policy: Policy, _holder: x509.Certificate, said: x509.KeyUsage | None) -> None:
    if said is not None and not said.digital_signature:
        raise ValueError("the signer's key usage has no digitalSignature")


_ANY = Criticality.AGNOSTIC
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _ANY, _is_authority)
    .may_be_present(x509.KeyUsage, _ANY, _may_certify)
)
_SIGNER = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.BasicConstraints, _ANY, _is_no_authority)
    .may_be_present(x509.KeyUsage, _ANY, _may_sign)
)


def _require_sound_key(certificate: x509.Certificate) -> None:
    """The rules of a device's own key hold for those that vouch for it; raises FactoryRefused."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        read_key(read_der(spki))
    except KeybornError as weak:
        raise FactoryRefused(detail=f"a key of its chain is not taken ({weak.code})") from None


def _values(leaf: x509.Certificate) -> dict[str, str]:
    values = {"serial": f"{leaf.serial_number:x}"}
    for name, oid in (("common_name", NameOID.COMMON_NAME), ("serial_number", NameOID.SERIAL_NUMBER)):
        found = [each.value for each in leaf.subject.get_attributes_for_oid(oid)]
        if len(found) == 1 and isinstance(found[0], str):
            values[name] = found[0]
    return values


_NOT_NOW = "not valid at validation time"
_SENTENCES = {
    "X509v3": "a certificate of its chain is not of version 3",
    _NOT_NOW: "a certificate of its chain is past its dates, or not yet valid",
    "path length": "its chain is longer than an authority in it permits",
    "max depth": "its chain leads to no authority of the group, or is too long",
    "unaccounted-for critical": "a certificate of its chain has a critical extension that is not known",
    "no basicConstraints": "an issuer is no authority",
    "an issuer is no authority": "an issuer is no authority",
    "cA must be asserted": "an issuer is no authority",
    "the signer is an authority": "it is one of an authority, not of a device",
    "may not sign certificates": "an issuer may not sign certificates",
    "no digitalSignature": "its key may not sign (key usage)",
    "name constraints": "it is outside the names that its issuer may give",
    "signature algorithm": "it is signed with an algorithm that is not taken",
    "public key algorithm": "a key of its chain is not taken",
}


def _refusal(
    wrong: VerificationError, sent: Sequence[x509.Certificate], now: datetime
) -> FactoryRefused | FactoryExpired | FactoryNotYet:
    """Dates have codes of their own, where they are of what was sent: an authority's are the operator's."""
    ended = [each.not_valid_after_utc for each in sent if each.not_valid_after_utc < now]
    begins = [each.not_valid_before_utc for each in sent if each.not_valid_before_utc > now]
    if _NOT_NOW in str(wrong).lower() and ended:
        return FactoryExpired(expired=shown(min(ended)))
    if _NOT_NOW in str(wrong).lower() and begins:
        return FactoryNotYet(begins=shown(max(begins)))
    return FactoryRefused(detail=_plain(wrong))


def _plain(wrong: VerificationError) -> str:
    """What pyca found, in words of ours: its own may hold parts of what the caller sent."""
    text = str(wrong)
    for part, sentence in _SENTENCES.items():
        if part.lower() in text.lower():
            return sentence
    return "its chain leads to no authority of the group"
