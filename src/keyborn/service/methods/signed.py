"""What both methods with a signed request do alike."""

from keyborn.domain.errors import CredentialMissing, SignedForElsewhere
from keyborn.domain.jws_enroll import SignedEnrollment
from keyborn.domain.names import ThingName, parse_thing_name
from keyborn.ports import Credential


def require_signed(credential: Credential) -> SignedEnrollment:
    """The signature of a request that was signed for here; raises CredentialMissing, SignedForElsewhere."""
    signed = credential.signed
    if signed is None:
        raise CredentialMissing
    if signed.url not in signed.addresses:
        raise SignedForElsewhere(expected=next(iter(signed.addresses), "this service"))
    return signed


def asked_name(credential: Credential) -> ThingName:
    """The thing name that is asked for; raises InvalidThingName."""
    return parse_thing_name(None if credential.asked is None else credential.asked.thing_name)
