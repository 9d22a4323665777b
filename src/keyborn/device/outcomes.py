"""What an error means on the journey: one place per effect that asks somebody else.

Only words that a service says on purpose count as its refusal. A proxy's, a bug's or a stranger's answer is
no answer: it never makes a device give up a certificate that may be good.
"""

from keyborn.device.strangers import is_passing
from keyborn.domain.errors import (
    ApprovalPending,
    BrokerUnreachable,
    EnrollmentRefused,
    FileNotPrivate,
    HomeUnusable,
    InputError,
    InvalidSubject,
    KeybornError,
    KeyExists,
    KeyUnusable,
    OtherService,
    OtherThing,
    RenewalRefused,
    ServiceUnreachable,
    SessionRefused,
    ThingNameMissing,
    WrongCertificate,
)
from keyborn.domain.journey import Event, Happened

_KEY_CODES = ("key_", "csr_")
"""How the codes begin that say: this key, or this request, will never do."""
_LATER = frozenset({"renewal_pending", "replacement_pending", "renewal_unconfirmed", "queued"})
_WITHDRAWN = frozenset(
    {"certificate_not_active", "certificate_expired", "signature_refused", "thing_revoked"}
)
"""The service does not take this certificate any more, or does not know it."""
_OWN_FAULTS = (
    InputError, InvalidSubject, ThingNameMissing, KeyExists, OtherService, OtherThing, KeyUnusable,
    FileNotPrivate,
)  # fmt: skip
"""What a device that shall enroll was given does not do: the code, the name, the key."""


def of_enrollment(wrong: KeybornError) -> Event:
    """Of the first certificate."""
    if isinstance(wrong, HomeUnusable):
        return _event(Happened.TROUBLE, wrong)
    if isinstance(wrong, ApprovalPending):
        return _event(Happened.PENDING, wrong)
    if isinstance(wrong, EnrollmentRefused):
        return _event(Happened.NO_SERVICE if is_passing(wrong.status) else Happened.REFUSED, wrong)
    if isinstance(wrong, _OWN_FAULTS):
        return _event(Happened.UNUSABLE, wrong)
    return _event(Happened.NO_SERVICE, wrong)


def of_renewal(wrong: KeybornError) -> Event:
    """Of a request for the next certificate."""
    if isinstance(wrong, ApprovalPending):
        return _event(Happened.PENDING, wrong)
    if isinstance(wrong, WrongCertificate):
        return _event(Happened.KEY_REFUSED, wrong)
    if isinstance(wrong, RenewalRefused):
        return _event(_refusal(wrong.code), wrong)
    return of_service(wrong)


def of_confirmation(wrong: KeybornError) -> Event:
    """Of a confirmation; only a service that does not take the new certificate any more refuses it."""
    if isinstance(wrong, RenewalRefused):
        withdrawn = wrong.code in _WITHDRAWN
        return _event(Happened.REFUSED if withdrawn else Happened.PENDING, wrong)
    if isinstance(wrong, ApprovalPending):
        return _event(Happened.PENDING, wrong)
    return of_service(wrong)


def of_service(wrong: KeybornError) -> Event:
    """Of a question that nobody can refuse: no answer, or this device's own files."""
    if isinstance(wrong, HomeUnusable | KeyUnusable | FileNotPrivate):
        return _event(Happened.TROUBLE, wrong)
    return _event(Happened.NO_SERVICE, wrong)


def of_broker(wrong: KeybornError) -> Event:
    """Of a connection. A broker that cannot prove who it is says nothing about this device's certificate."""
    if isinstance(wrong, SessionRefused):
        return _event(Happened.TURNED_AWAY, wrong)
    if isinstance(wrong, HomeUnusable):
        return _event(Happened.TROUBLE, wrong)
    if isinstance(wrong, KeyUnusable | FileNotPrivate):
        return _event(Happened.UNUSABLE, wrong)
    return _event(Happened.NO_BROKER, wrong)


def _refusal(code: str) -> Happened:
    if code.startswith(_KEY_CODES):
        return Happened.KEY_REFUSED
    return Happened.PENDING if code in _LATER else Happened.REFUSED


def _event(kind: Happened, wrong: KeybornError) -> Event:
    return Event(kind, _detail(wrong), wrong.retry_after)


def _detail(wrong: KeybornError) -> str:
    """Who and why, where the trouble's own sentence says the rest; else the whole sentence."""
    if isinstance(wrong, BrokerUnreachable | SessionRefused):
        return f"{wrong.facts['broker']}: {wrong.facts['detail']}"
    if isinstance(wrong, ServiceUnreachable):
        return f"{wrong.facts['url']}: {wrong.facts['detail']}"
    return str(wrong)
