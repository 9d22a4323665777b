"""A certificate authority for tests: a clock set by hand, approved requests, and two outside judges."""

import asyncio
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkilint import loader, validation  # type: ignore[import-untyped]
from pkilint.pkix import certificate, extension, name  # type: ignore[import-untyped]

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.issuance import ApprovedRequest, approve
from keyborn.domain.names import ThingName, key_hash
from keyborn.domain.profile import DEVICE, CertificateProfile
from keyborn.domain.token import TokenId
from support.csr_make import DeviceKey, csr_for, shared_key

ENTROPY = SystemEntropy()


class HandClock:
    """A clock that stands still until it is moved; it starts at the real time, which TLS peers go by."""

    def __init__(self, start: datetime | None = None) -> None:
        self.moment = start or datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        return self.moment

    def move(self, by: timedelta) -> None:
        self.moment += by


def make_authority(folder: Path, clock: HandClock | None = None) -> EmbeddedAuthority:
    """Open, or make, the authority in ``folder``/ca."""
    return open_authority(folder / "ca", clock=clock or HandClock(), entropy=ENTROPY)


def request_for(key: DeviceKey, thing: str) -> CertificateRequest:
    """A request that has passed its checks, built directly: what it wished for does not matter here."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return CertificateRequest(thing, der, key_hash(der), "p256", csr_for(key, thing), frozenset())


def intent_for(
    key: DeviceKey,
    thing: str,
    *,
    now: datetime | None = None,
    serial: int | None = None,
    profile: CertificateProfile = DEVICE,
) -> Intent:
    """The intent that the registration authority would record."""
    moment = now or datetime.now(UTC)
    validity = profile.validity(moment)
    return Intent(
        id=IntentId("intent-1"),
        thing=ThingName(thing),
        key_hash=request_for(key, thing).key_hash,
        token=TokenId("token-1"),
        created_at=moment,
        serial=serial or (int.from_bytes(ENTROPY.token_bytes(20)) >> 1) | 1,
        not_before=validity.not_before,
        not_after=validity.not_after,
    )


def approved_for(thing: str, key: DeviceKey | None = None, **wishes: int | datetime) -> ApprovedRequest:
    """An approved request for ``thing``; ``wishes`` are those of ``intent_for``."""
    holder = key or shared_key()
    intent = intent_for(holder, thing, **wishes)  # type: ignore[arg-type] # each is checked where it arrives
    return approve(intent, request_for(holder, thing))


def issue(authority: EmbeddedAuthority, approved: ApprovedRequest) -> x509.Certificate:
    """Have a leaf signed, outside any event loop."""
    return x509.load_der_x509_certificate(asyncio.run(authority.issue(approved)))


@cache
def _linter() -> validation.ValidatorContainer:
    """What ``lint_pkix_cert lint`` assembles; in process it takes 5 ms a certificate, not 300."""
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def lint(found: x509.Certificate) -> list[str]:
    """pkilint's findings at NOTICE or worse."""
    document = loader.RFC5280CertificateDocumentLoader().load_der_document(
        found.public_bytes(Encoding.DER), "certificate"
    )
    return [
        f"{description.finding.severity.name} {description.finding.code}: {description.message}"
        for result in _linter().validate(document.root)
        for description in result.finding_descriptions
        if description.finding.severity <= validation.ValidationFindingSeverity.NOTICE
    ]


def openssl_refusals(root: Path, untrusted: Path, purpose: str, leaves: list[Path]) -> list[str]:
    """What ``openssl verify -x509_strict`` says against ``leaves``; empty means that it agrees with all."""
    words = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(root)]
    command = [*words, "-untrusted", str(untrusted), *map(str, leaves)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    agreed = {line.removesuffix(": OK") for line in told.stdout.splitlines() if line.endswith(": OK")}
    return [told.stderr] if agreed != set(map(str, leaves)) or told.returncode else []


def write_pem(path: Path, *certificates: x509.Certificate) -> Path:
    """Write certificates to a file, in order."""
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    return path
