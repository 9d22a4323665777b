"""Leaves: the device side."""

from keyborn.domain.errors.tree import DeviceError


class HomeUnusable(DeviceError):
    """The device's folder is missing, foreign, too open, or cannot be written."""

    code = "home_unusable"
    sentence = "The folder {path} cannot hold this device's identity: {detail}."


class HomeBusy(DeviceError):
    """Another session works in the same home; two connections with one client id would evict each other."""

    code = "home_busy"
    sentence = "Another keyborn command is using {path}. Wait for it to end, or stop it, and try again."


class FileNotPrivate(DeviceError):
    """A file that must be ours alone is a link, foreign, open to others, or not a file at all."""

    code = "file_not_private"
    sentence = "The file {path} is not safe to use: {detail}."


class KeyExists(DeviceError):
    """There is a key already; a key store never overwrites."""

    code = "key_exists"
    sentence = (
        "There is already a key in {path}, and {detail}. Keyborn never overwrites a key: use another --home."
    )


class KeyUnusable(DeviceError):
    """A private key file that cannot be read or used."""

    code = "key_unusable"
    sentence = "The private key in {path} cannot be used: {detail}."


class FactoryCertificateUnusable(DeviceError):
    """A file with a manufacturer's certificates that cannot be read, or does not fit its key."""

    code = "factory_certificate_unusable"
    sentence = "The factory certificate in {path} cannot be used: {detail}."


class ProofMissing(DeviceError):
    """The enrolment code is for a method that needs something which was not given."""

    code = "proof_missing"
    sentence = "With this enrolment code a device shows {what}. Say where they are: {option}."


class KeyStoreUnsupported(DeviceError):
    """``--key`` names a kind of key store that this version does not have."""

    code = "key_store_unsupported"
    sentence = (
        "Keys of the kind {scheme} are not supported by this version. Leave --key out: the key is then made "
        "in a file that only its owner can read."
    )


class IdentityTokenUnusable(DeviceError):
    """The JWT of an identity provider, in a file or the environment, cannot be read or is none."""

    code = "identity_token_unusable"
    sentence = "The identity token in {place} cannot be used: {detail}."


class InvalidSubject(DeviceError):
    """``--subject`` is not ``/C=JP/O=Example`` or contradicts the thing name."""

    code = "invalid_subject"
    sentence = (
        "The subject is not usable: {detail}. Write it as /C=JP/ST=Tokyo/O=Example (CN is the thing name)."
    )


class NoIdentity(DeviceError):
    """The home holds no complete identity."""

    code = "no_identity"
    sentence = (
        "There is no complete identity in {path}: {detail}. Run: keyborn enroll - (or say where it is "
        "with --home DIR)"
    )


class OtherThing(DeviceError):
    """The device is enrolled under another name than the one asked for."""

    code = "other_thing"
    sentence = (
        "This device is already enrolled as {current}, not {asked}. Leave --thing out, or use another --home."
    )


class OtherService(DeviceError):
    """The code is for another service than the one whose identity the home holds."""

    code = "other_service"
    sentence = (
        "This code is for {asked}, but the identity in {path} belongs to {current}. Nothing was changed. For "
        "a second identity use another --home; to give the first one up, move that folder away."
    )


class ThingNameMissing(DeviceError):
    """No ``--thing``, and the host name will not do."""

    code = "thing_name_missing"
    sentence = "This machine's host name, {hostname}, cannot be the thing name. Say which one: --thing NAME"


class ClockUnusable(DeviceError):
    """The clock is outside the code's window and no root is pinned."""

    code = "clock_unusable"
    sentence = (
        "{detail}. Set the clock (timedatectl set-ntp true), or ask the operator for a new code, and try "
        "again."
    )


class UntrustedService(DeviceError):
    """The service could not prove who it is; no credential was sent."""

    code = "untrusted_service"
    sentence = (
        "The service at {url} cannot be trusted: {detail}. No credential was sent. Check the enrolment code "
        "with the operator."
    )


class ServiceUnreachable(DeviceError):
    """No usable answer within the time limit. The key stays; the same command continues."""

    code = "service_unreachable"
    sentence = "No answer from {url}: {detail}. Check the network and run the same command again."


class WrongAnswer(DeviceError):
    """The service answered something that is not the contract. Nothing was stored."""

    code = "wrong_answer"
    sentence = (
        "The service at {url} answered something unexpected: {detail}. Nothing was stored. Check the URL."
    )


class WrongCertificate(DeviceError):
    """The service handed out a certificate that is not this device's. Nothing was stored."""

    code = "wrong_certificate"
    sentence = (
        "The certificate that the service sent is not usable: {detail}. "
        "Nothing was stored. Tell the operator."
    )


class ApprovalPending(DeviceError):
    """A person must decide; the time limit ended first."""

    code = "approval_pending"
    sentence = (
        "A person must approve this device first. The request is waiting: run the same command again later, "
        "or with a longer --timeout."
    )

    def __init__(self, *, seconds: float, approval: str | None = None, words: str | None = None) -> None:
        """``approval`` and ``words``: what this device shows, where it knows them."""
        super().__init__()
        self.approval, self.words = approval, words
        self.retry_after = seconds

    def __str__(self) -> str:
        """The sentence, and what is compared."""
        told = [] if self.approval is None else [f"The request's code is {self.approval}."]
        told += [] if self.words is None else [f"This device's key words are {self.words}."]
        return " ".join([self.sentence, *told])


class ApprovalForeign(DeviceError):
    """What the service would have a person approve is not this device's key or request."""

    code = "approval_foreign"
    sentence = (
        "The service at {url} asks its operator about another {what} than this device's: it says {theirs}, "
        "and this device has {own}. Somebody may have put another key in the place of this one's. Tell the "
        "operator to refuse that request."
    )


class EnrollmentRefused(DeviceError):
    """The service refused. ``code`` and the sentence are the service's own, cleaned."""

    code = "enrollment_refused"
    sentence = "The service refused: {detail}"

    def __init__(self, *, status: int, detail: str, code: str | None = None) -> None:
        super().__init__(status=status, detail=detail)
        self.status = status
        if code:
            vars(self)["code"] = code  # this instance speaks for the service


class RenewalRefused(EnrollmentRefused):
    """The service did not renew, or did not confirm. ``code`` and the sentence are its own, cleaned."""

    code = "renewal_refused"
    sentence = "The service refused the renewal: {detail}"


class BrokerUnreachable(DeviceError):
    """No connection to the broker within the time-out."""

    code = "broker_unreachable"
    sentence = "The broker {broker} cannot be reached: {detail}. Messages are kept in the outbox."


class BrokerUntrusted(DeviceError):
    """The broker's certificate does not verify against ``roots.pem``."""

    code = "broker_untrusted"
    sentence = "The broker {broker} cannot be trusted: {detail}. Nothing was sent. Tell the operator."


class SessionRefused(DeviceError):
    """The broker refused the session, or closed it before it began."""

    code = "session_refused"
    sentence = (
        "The broker {broker} refused the session: {detail}. Ask the operator whether {thing} is active, and "
        "what its policies say: keyborn thing show {thing}"
    )


class SessionLost(DeviceError):
    """The broker closed the connection, or it broke."""

    code = "session_lost"
    sentence = "The connection to the broker {broker} ended: {detail}. Unsent messages stay in the outbox."


class PublishDenied(DeviceError):
    """The broker will never take this message. It left the queue and is kept aside."""

    code = "publish_denied"
    sentence = (
        "The broker refused the message for {topic}: {reason}. It is set aside and will not be sent again. "
        "By default a device has {own} and what lies below; what its policies say of this topic, the "
        "operator can ask with: keyborn policy simulate"
    )


class SubscribeDenied(DeviceError):
    """The broker refuses the topic filter."""

    code = "subscribe_denied"
    sentence = (
        "The broker refused the filter {topic}: {reason}. By default a device has {own} and what lies below; "
        "what its policies say of this filter, the operator can ask with: keyborn policy simulate"
    )


class SharedNotOffered(SubscribeDenied):
    """The broker has no shared subscriptions (MQTT 5: reason 0x9E)."""

    code = "shared_not_offered"
    sentence = (
        "The broker refused the filter {topic}: it offers no shared subscriptions. AWS IoT Core does, the "
        "broker of `keyborn serve` does not. Without $share/GROUP/ in front everybody gets every message."
    )


class MessageTooLarge(DeviceError):
    """More than AWS IoT's 128 KiB payload."""

    code = "message_too_large"
    sentence = "The message has more than {limit} bytes, which no broker here takes. Send it in parts."


class NothingArrived(DeviceError):
    """``subscribe --count`` ended by its time limit."""

    code = "nothing_arrived"
    sentence = "Only {seen} of {count} messages arrived for {topic} within {seconds:g} s."


class OutboxUnusable(DeviceError):
    """``outbox.db`` cannot be read or written."""

    code = "outbox_unusable"
    sentence = (
        "The outbox {path} cannot be used: {detail}. Free disk space, make the disk writable, or move the "
        "file away."
    )


class OutboxFull(DeviceError):
    """The bounded outbox has no room, and its policy is to refuse. Nothing was kept."""

    code = "outbox_full"
    sentence = "The outbox {path} is full, and its policy is to refuse. Nothing was kept: send it later."


class MessageUnknown(DeviceError):
    """No message with that id is set aside."""

    code = "message_unknown"
    sentence = "No message with the id {id} is set aside. See: keyborn messages list"
