"""A manufacturer: an authority, what is below it, and devices that got a certificate and a key from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from support.csr_make import DeviceKey, make_key

FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""IEEE 802.1AR, 8.7: an IDevID does not expire."""
MADE = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
Extension = tuple[x509.ExtensionType, bool]
"""And whether it is critical."""


def authority(length: int | None = None, *, ca: bool = True) -> Extension:
    """A certificate's word on whether it is an authority, and of how many below it."""
    return x509.BasicConstraints(ca=ca, path_length=length), True


def usage(*, signs: bool = False, certifies: bool = False) -> Extension:
    """What a key is for."""
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    ), True


@dataclass(frozen=True)
class Wanted:
    """How a certificate differs from a good one."""

    names: Sequence[tuple[x509.ObjectIdentifier, str]] = ()
    begins: datetime = MADE
    ends: datetime = FOR_EVER
    extensions: Sequence[Extension] = ()
    digest: hashes.SHA256 | hashes.SHA224 = field(default_factory=hashes.SHA256)


@dataclass(frozen=True)
class Maker:
    """Somebody with a key and a certificate: an authority, or a device."""

    certificate: x509.Certificate
    key: DeviceKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def below(self, name: str, wanted: Wanted | None = None, *, key: DeviceKey | None = None) -> "Maker":
        """Somebody whose certificate this one signs, with the extensions of ``wanted`` alone."""
        wanted, key = wanted or Wanted(), key or make_key()
        return Maker(_certify(name, key, self.certificate.subject, self.key, wanted), key)

    def authority(self, name: str, length: int | None = None, *more: Extension) -> "Maker":
        """An authority below this one; ``length`` as in its basicConstraints."""
        return self.below(name, Wanted(extensions=[authority(length), *more]))

    def device(self, serial: str = "SN-1", *more: Extension, name: str = "widget") -> "Maker":
        """A device as 802.1AR describes it: a serial number, no usage beyond signing, no end."""
        said = [usage(signs=True), *more]
        return self.below(name, Wanted(names=[(NameOID.SERIAL_NUMBER, serial)], extensions=said))


def manufacturer(
    name: str = "Maker Root", wanted: Wanted | None = None, key: DeviceKey | None = None
) -> Maker:
    """A root."""
    key = key or make_key()
    wanted = wanted or Wanted(extensions=[authority()])
    return Maker(_certify(name, key, None, key, wanted), key)


def _certify(
    name: str, key: DeviceKey, issuer: x509.Name | None, issuer_key: DeviceKey, wanted: Wanted
) -> x509.Certificate:
    subject = x509.Name(
        [x509.NameAttribute(oid, value) for oid, value in [(NameOID.COMMON_NAME, name), *wanted.names]]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(wanted.begins)
        .not_valid_after(wanted.ends)
    )
    for extension, critical in wanted.extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, wanted.digest)
