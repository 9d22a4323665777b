"""The words of the journey: where a device can stand, what can happen to it, what can trouble it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from keyborn.domain.slots import Slot

__all__ = ["LAST_REFUSAL", "MEANING", "Event", "Happened", "Journey", "Slot", "Stage", "Trouble"]


class Stage(StrEnum):
    """Where a device stands on its journey; ``MEANING`` says each in a sentence."""

    UNPROVISIONED = "unprovisioned"
    WAITING = "waiting"
    ENROLLED = "enrolled"
    CONNECTED = "connected"
    RENEWING = "renewing"
    STAGED = "staged"
    PROVED = "proved"
    CONFIRMING = "confirming"
    RETURNING = "returning"
    STRANDED = "stranded"


MEANING: Mapping[Stage, str] = {
    Stage.UNPROVISIONED: "It has no certificate, and no code to ask for one with.",
    Stage.WAITING: "It has asked for its first certificate, and waits for the service or for a person.",
    Stage.ENROLLED: "It has an identity, and no session with the broker.",
    Stage.CONNECTED: "It has a session with the broker.",
    Stage.RENEWING: "It makes the next key, and asks for the next certificate.",
    Stage.STAGED: "The next identity is whole; it tries whether the broker takes it.",
    Stage.PROVED: "The broker has taken the next identity, which now becomes the current one.",
    Stage.CONFIRMING: "The service has not said yet that the certificate before is retired.",
    Stage.RETURNING: "The new certificate is refused after all: it tries the one before.",
    Stage.STRANDED: "Only a person can mend it. It goes on looking, seldom, whether one has.",
}


class Happened(StrEnum):
    """What can happen: the outcome of an effect."""

    # the files of this device, as Look finds them
    FOUND_NOTHING = "found nothing"
    FOUND_CODE = "found only an enrolment code"
    FOUND_CURRENT = "found the current identity"
    FOUND_DUE = "found the current identity, due for renewal"
    FOUND_NEXT = "found a whole next identity"
    FOUND_PREVIOUS = "found a previous identity, kept until the confirmation"
    FOUND_ONLY_PREVIOUS = "found only the previous identity whole"
    FOUND_BROKEN = "found no whole identity"
    # answers of the service
    ISSUED = "a certificate was issued"
    PENDING = "the service lets it wait"
    REFUSED = "the service refused"
    KEY_REFUSED = "the service refused this key, or certified another"
    NO_SERVICE = "the service did not answer"
    CONFIRMED = "the service retired the previous certificate"
    TIMELY = "it is time to renew"
    EARLY = "it is too early to renew"
    # the broker
    UP = "the broker took the certificate"
    TURNED_AWAY = "the broker refused the certificate"
    BARRED = "the broker refused again, for the last time that counts"
    NO_BROKER = "the broker was not reached"
    LOST = "the session ended"
    # the disk
    KEY_MADE = "the next key is there"
    STORED = "the next identity is stored"
    PROMOTED = "the next identity is the current one"
    RETIRED = "the previous identity is removed"
    RETURNED = "the previous identity is the current one again"
    DISCARDED = "the next identity is removed"
    UNUSABLE = "the files of that identity cannot be used"
    TROUBLE = "the disk refused"
    # time
    TICK = "time passed"
    DUE = "the moment to renew came"


class Trouble(StrEnum):
    """What is wrong, and what a person can do about it."""

    NOT_ENROLLED = "This device has no identity. Run: keyborn enroll -"
    APPROVAL = "A person must approve this device first. The request waits with the operator."
    ENROLLMENT = "The service refuses to enroll this device. Ask the operator for a new enrolment code."
    CODE = (
        "This device cannot enroll with what it was given. Mend that, or bring a new enrolment code: "
        "keyborn enroll -"
    )
    SERVICE = "The service does not answer. Everything else goes on; it is asked again."
    BROKER = "The broker cannot be reached. Messages wait in the outbox. Check the network."
    LOST = "The session with the broker has ended, and is made again. Messages wait in the outbox."
    TURNED_AWAY = (
        "The broker refuses this device's certificate. Ask the operator whether the device is suspended or "
        "revoked, and whether its certificate has expired: keyborn thing show NAME"
    )
    RENEWAL = "The service does not renew the certificate, for now."
    SUCCESSOR = (
        "The broker does not take the new certificate yet. The current one goes on; it is tried again."
    )
    BOTH = (
        "Neither the new certificate nor the previous one is accepted. Ask the operator whether the device "
        "is suspended or revoked: keyborn thing show NAME"
    )
    FILES = (
        "The files of this identity do not belong together any more. See what is wrong with: keyborn status. "
        "Then ask the operator for an enrolment code, and run: keyborn enroll -"
    )
    DISK = "The disk does not take what must be written. Free some space. The current identity goes on."


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with what was said about it."""

    kind: Happened
    detail: str = ""
    """In the middle of a sentence; never a secret."""
    retry_after: float | None = None
    """Seconds, where the service named some."""


@dataclass(frozen=True, slots=True)
class Journey:
    """Where the device stands, and what is counted on the way. It is not stored: the files say the rest."""

    stage: Stage = Stage.UNPROVISIONED
    misses: int = 0
    """Connections that failed, since the last one that did not."""
    refusals: int = 0
    """Times that the broker refused a certificate, since it last took one."""
    asked: int = 0
    """Times that the service or the disk refused something of a renewal, since it last went well."""
    trouble: Trouble | None = None
    detail: str = ""
    """What was said about the trouble."""

    @property
    def error(self) -> str | None:
        """The trouble for people, with what was said about it; None without one."""
        if self.trouble is None:
            return None
        return f"{self.trouble.value} ({self.detail})" if self.detail else self.trouble.value

    @property
    def barred(self) -> bool:
        """Whether the broker has refused so often that the clock, too, is in doubt."""
        return self.refusals >= LAST_REFUSAL


LAST_REFUSAL = 5
"""Refusals by the broker that count; brokers hang up now and then on a device that is in order."""
