"""What ``keyborn ca show`` and ``ca export`` tell: from the certificates alone, no key, no passphrase."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.ca.files import require_private_folder
from keyborn.adapters.ca.material import NEXT, has_material, read_certificates
from keyborn.domain.errors import CaMissing


@dataclass(frozen=True, slots=True)
class AuthorityCertificate:
    """One certificate of the authority, for people and programs."""

    role: str
    """``root``, ``devices`` or ``servers``; with ``next-`` before it, not in use yet."""
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
    """Root, device intermediate, server intermediate, and the next three where there are such; valid or not.

    Raises CaMissing, CaDamaged, CaExposed or CaFileTrouble.
    """
    if not has_material(folder):
        raise CaMissing(folder=folder)
    require_private_folder(folder)
    found = [_describe(role.value, certificate) for role, certificate in read_certificates(folder).items()]
    if has_material(folder / NEXT):
        require_private_folder(folder / NEXT)
        introduced = read_certificates(folder / NEXT)
        found += [_describe(f"{NEXT}-{role}", certificate) for role, certificate in introduced.items()]
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
