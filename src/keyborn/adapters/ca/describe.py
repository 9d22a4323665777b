"""What ``keyborn ca show`` and ``ca export`` tell: from the certificates alone, no key, no passphrase."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.ca.files import require_private_folder
from keyborn.adapters.ca.material import has_material, read_certificates
from keyborn.adapters.ca.standing import folder_of, read_standing
from keyborn.domain.errors import CaMissing


@dataclass(frozen=True, slots=True)
class AuthorityCertificate:
    """One certificate of the authority, for people and programs."""

    role: str
    """``root``, ``devices`` or ``servers``; with ``next-`` before it, not in use yet; ``old-``, no more."""
    name: str
    """The common name, without the ``CN=``."""
    issuer: str
    serial: str
    """Lower-case hex."""
    fingerprint: str
    """Lower-case hex SHA-256 of the DER, as in enrolment codes."""
    not_before: datetime
    not_after: datetime
    pem: str


def describe_authority(folder: Path) -> tuple[AuthorityCertificate, ...]:
    """Root, device intermediate, server intermediate, then the next three and the old three; valid or not.

    Raises CaMissing, CaDamaged, CaExposed or CaFileTrouble.
    """
    if not has_material(folder):
        raise CaMissing(folder=folder)
    standing = read_standing(folder)
    numbers = {"": standing.issuing, "next-": standing.introduced, "old-": standing.outgoing}
    found = []
    for prefix, number in numbers.items():
        if number is not None:
            place = folder_of(folder, number)
            require_private_folder(place)
            certificates = read_certificates(place)
            found += [_describe(f"{prefix}{role}", certificate) for role, certificate in certificates.items()]
    return tuple(found)


def _describe(role: str, certificate: x509.Certificate) -> AuthorityCertificate:
    return AuthorityCertificate(
        role=role,
        name=_common_name(certificate.subject),
        issuer=_common_name(certificate.issuer),
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        pem=certificate.public_bytes(Encoding.PEM).decode(),
    )


def _common_name(name: x509.Name) -> str:
    return name.rfc4514_string().removeprefix("CN=")
