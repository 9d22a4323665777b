"""Profiles into certificates: P-256 and SHA-256 for every signature, contents from the profile alone."""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyborn.domain.profile import CertificateProfile, KeyUse, Purpose, Validity
from keyborn.ports import Entropy

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_PURPOSES = {Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH, Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH}
_SERIAL_BYTES = 20


@dataclass(frozen=True, slots=True)
class Contents:
    """What differs from one certificate of a profile to the next."""

    common_name: str
    public_key: PublicKey
    serial: int
    validity: Validity
    names: tuple[x509.GeneralName, ...] = ()
    """Subject alternative names; none leaves the extension out."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate authority's certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def validity(self) -> Validity:
        """The signer's own dates: nothing it signs may lie outside."""
        return validity_of(self.certificate)


class Stamp:
    """One profile under one signer; what stays equal from certificate to certificate is prepared once."""

    def __init__(self, profile: CertificateProfile, signer: Signer) -> None:
        self._key = signer.key
        self._form = _form(profile, signer.certificate.subject).add_extension(
            authority_key(signer.certificate), critical=False
        )

    def certificate(self, contents: Contents) -> x509.Certificate:
        """Sign one certificate."""
        return _filled(self._form, contents).sign(self._key, SHA256())


def self_signed(
    profile: CertificateProfile, contents: Contents, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Sign a root with its own key; without an authority key identifier (RFC 5280 4.2.1.1)."""
    return _filled(_form(profile, _name(contents.common_name)), contents).sign(key, SHA256())


def validity_of(certificate: x509.Certificate) -> Validity:
    """A certificate's dates."""
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def random_serial(entropy: Entropy) -> int:
    """159 random bits, positive, at most 20 octets (RFC 5280 4.1.2.2)."""
    return (int.from_bytes(entropy.token_bytes(_SERIAL_BYTES)) >> 1) | 1


def basic_constraints(profile: CertificateProfile) -> x509.BasicConstraints:
    """The profile's basicConstraints."""
    return x509.BasicConstraints(ca=profile.is_authority, path_length=profile.path_length)


def key_usage(profile: CertificateProfile) -> x509.KeyUsage:
    """The profile's keyUsage."""
    return x509.KeyUsage(
        digital_signature=KeyUse.SIGN in profile.uses,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=KeyUse.SIGN_CERTIFICATES in profile.uses,
        crl_sign=KeyUse.SIGN_CRLS in profile.uses,
        encipher_only=False,
        decipher_only=False,
    )


def extended_key_usage(profile: CertificateProfile) -> x509.ExtendedKeyUsage:
    """The profile's purposes, of which there must be at least one."""
    return x509.ExtendedKeyUsage([_PURPOSES[purpose] for purpose in profile.purposes])


def authority_key(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """What ``signer``'s certificates say about its key."""
    identifier = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _form(profile: CertificateProfile, issuer: x509.Name) -> x509.CertificateBuilder:
    form = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .add_extension(basic_constraints(profile), critical=True)
        .add_extension(key_usage(profile), critical=True)
    )
    return form.add_extension(extended_key_usage(profile), critical=False) if profile.purposes else form


def _filled(form: x509.CertificateBuilder, contents: Contents) -> x509.CertificateBuilder:
    filled = (
        form.subject_name(_name(contents.common_name))
        .public_key(contents.public_key)
        .serial_number(contents.serial)
        .not_valid_before(contents.validity.not_before)
        .not_valid_after(contents.validity.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(contents.public_key), critical=False)
    )
    if not contents.names:
        return filled
    return filled.add_extension(x509.SubjectAlternativeName(contents.names), critical=False)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
