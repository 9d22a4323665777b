"""The issuance policy: may we sign? Its yes is an ``ApprovedRequest``, which a certificate authority demands.

Authenticate, decide, sign: three owners. Only the registration authority calls ``approve``
(tests/unit/test_architecture.py holds that), and nothing else makes an ``ApprovedRequest``.
"""

from dataclasses import dataclass

from keyborn.domain.applicant import Applicant
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.csr_pem import quoted
from keyborn.domain.errors import CsrForeignName, CsrNameMismatch, GenericNameRefused, WeakKey
from keyborn.domain.intent import Intent
from keyborn.domain.names import MAX_THING_NAME, ThingName

GENERIC_COMMON_NAME = "AWS IoT Certificate"
"""The subject of the well-known pattern; taken at the compatibility door only."""

_SEAL = object()


@dataclass(frozen=True, slots=True)
class ApprovedRequest:
    """A certificate that may be signed: identity from the intent, public key from the request."""

    intent: Intent
    public_key_der: bytes
    """DER SubjectPublicKeyInfo whose hash is ``intent.key_hash``."""
    csr_pem: str
    """The request itself, for backends that sign from it (AWS IoT does)."""
    seal: object

    def __post_init__(self) -> None:
        """Raise TypeError unless ``approve`` made this."""
        if self.seal is not _SEAL:
            raise TypeError("an ApprovedRequest comes from approve() alone")


def approve(intent: Intent, request: CertificateRequest) -> ApprovedRequest:
    """Seal a recorded intent with the request that proved possession of its key."""
    if request.key_hash != intent.key_hash:
        raise WeakKey(detail="it is not the key that was recorded for this enrolment")
    return ApprovedRequest(intent, request.public_key_der, request.pem, _SEAL)


def require_own_name(
    request: CertificateRequest, name: ThingName, applicant: Applicant, *, generic: bool
) -> None:
    """Check the names in the request, common and alternative, against the thing name.

    ``generic`` is true at the compatibility door, which also takes ``AWS IoT Certificate`` from an applicant
    bound to that one name: else a captured CSR plus a stolen token could squat somebody's key. An alternative
    name (GnuTLS certtool writes one) must be the thing name at either door, byte for byte.
    Raises CsrNameMismatch, CsrForeignName or GenericNameRefused.
    """
    if generic and request.common_name == GENERIC_COMMON_NAME != name:
        if applicant.bound_to != name:
            raise GenericNameRefused(found=GENERIC_COMMON_NAME)
        _require_no_foreign_name(request, name)
    else:
        require_name(request, name)


def require_name(request: CertificateRequest, name: ThingName) -> None:
    """Check that every name in the request is the thing name. Raises CsrNameMismatch or CsrForeignName."""
    if request.common_name != name:
        raise CsrNameMismatch(found=request.shown_name, expected=name)
    _require_no_foreign_name(request, name)


def _require_no_foreign_name(request: CertificateRequest, name: ThingName) -> None:
    foreign = sorted(request.own_names - {name})
    if foreign:
        raise CsrForeignName(found=quoted(foreign[0], MAX_THING_NAME))
