"""How a device signs its enrolment: with the key in its code, or with the one that its maker gave it.

Loaded only by devices that do.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from keyborn.device.keystore import FileKeyStore
from keyborn.domain.errors import FactoryCertificateUnusable, KeyUnusable, ProofMissing
from keyborn.domain.group_key import sign
from keyborn.domain.jws_enroll import MAX_CERTIFICATE, MAX_CHAIN, Place, draft_by_certificate, draft_by_key
from keyborn.domain.method import Method
from keyborn.domain.token import EnrollmentCode, TokenId

_MAX_FILE = 64 * 1024


class Proof(Protocol):
    """Signs requests for an enrolment."""

    def signed(self, place: Place, payload: bytes) -> bytes:
        """The body to send: a flattened JWS (RFC 7515, 7.2.2)."""
        ...


@dataclass(frozen=True, slots=True)
class FactoryFiles:
    """Where the manufacturer's certificate, with those above it, and its key are; they are only read."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class KeyProof:
    """The key that was derived for this device from a group key."""

    id: TokenId
    own: bytes = field(repr=False)

    def signed(self, place: Place, payload: bytes) -> bytes:
        """See ``Proof.signed``."""
        drafted = draft_by_key(self.id, place, payload)
        return drafted.signed(sign(self.own, drafted.signing_input))


@dataclass(frozen=True, slots=True)
class FactoryProof:
    """The manufacturer's key."""

    store: FileKeyStore
    chain: tuple[bytes, ...]
    """DER, the one of the key first."""

    def signed(self, place: Place, payload: bytes) -> bytes:
        """See ``Proof.signed``; raises KeyUnusable or FileNotPrivate."""
        drafted = draft_by_certificate(self.store.facts().algorithm, self.chain, place, payload)
        return drafted.signed(self.store.sign(drafted.signing_input))


def proof_of(code: EnrollmentCode, factory: FactoryFiles | None, adopted: Path | None = None) -> Proof | None:
    """What signs the enrolment with ``code``; None where nothing does.

    ``adopted``: the key that is to become the device's own, which must not be the manufacturer's. Raises
    ProofMissing where the code asks for files that are not given, KeyUnusable, FileNotPrivate,
    FactoryCertificateUnusable.
    """
    if code.facts is not None and code.facts.key is not None:
        return KeyProof(code.facts.key, code.secret)
    if factory is not None:
        return _factory_proof(factory, adopted)
    if code.method is Method.FACTORY:
        option = "--factory-cert FILE --factory-key FILE"
        raise ProofMissing(what="the certificate and the key that the manufacturer gave it", option=option)
    return None


def _factory_proof(factory: FactoryFiles, adopted: Path | None) -> FactoryProof:
    store = FileKeyStore(factory.key)
    if adopted is not None and store.holds(adopted):
        detail = "it is the manufacturer's; a device's own key has to be another one"
        raise KeyUnusable(path=adopted, detail=detail)
    return FactoryProof(store, _chain(factory.certificate, store.facts().public_key_der))


def _chain(path: Path, public_key_der: bytes) -> tuple[bytes, ...]:
    """The certificates in a file, DER; raises FactoryCertificateUnusable unless the first is of that key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(_MAX_FILE))
        first = found[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except OSError as wrong:
        raise FactoryCertificateUnusable(path=path, detail=wrong.strerror) from None
    except ValueError:
        raise FactoryCertificateUnusable(path=path, detail="it holds no certificates in PEM") from None
    if first != public_key_der:
        detail = "its first certificate is not the one of the factory key"
        raise FactoryCertificateUnusable(path=path, detail=detail)
    chain = tuple(each.public_bytes(Encoding.DER) for each in found)
    if len(chain) > MAX_CHAIN or max(map(len, chain)) > MAX_CERTIFICATE:
        detail = f"it holds more than {MAX_CHAIN} certificates, or one larger than {MAX_CERTIFICATE} bytes"
        raise FactoryCertificateUnusable(path=path, detail=detail)
    return chain
