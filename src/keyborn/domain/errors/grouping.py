"""Leaves: the rules of enrolment groups."""

from keyborn.domain.errors.tree import (
    Conflict,
    Forbidden,
    InputError,
    KeybornError,
    NotFound,
    Throttled,
    Unauthenticated,
    Unavailable,
)


class GroupUnknown(Forbidden):
    """There is no group of this name, or it has been removed."""

    code = "group_unknown"
    sentence = (
        "There is no enrolment group called {group}. Ask the operator for its name, or for a new code "
        "(keyborn group list)."
    )


class GroupMissing(InputError):
    """A request without a token has to say under which group's rule it is."""

    code = "group_missing"
    sentence = (
        "This request does not say under which enrolment group it is. Add the member `group`, or use a token."
    )


class GroupDiffers(Forbidden):
    """The credential belongs to another group, or to none, than the one that the request names."""

    code = "group_differs"
    sentence = (
        "This credential is not for the enrolment group {group}. Name the group that it is for, or none."
    )


class MethodNotAccepted(Forbidden):
    """The group does not accept what the caller shows."""

    code = "method_not_accepted"
    sentence = (
        "The enrolment group {group} does not accept what this request shows ({shown}). "
        "It accepts: {accepted}."
    )


class GroupNetworkRefused(Forbidden):
    """The caller's address is in none of the group's networks."""

    code = "network_not_permitted"
    sentence = (
        "The enrolment group {group} takes no requests from this network. "
        "Enrol where the operator permits it."
    )


class GroupNotOpen(Forbidden):
    """Before the group's window."""

    code = "group_not_open"
    sentence = "The enrolment group {group} opens at {opens}. Repeat the request then."


class GroupClosed(Forbidden):
    """After the group's window."""

    code = "group_closed"
    sentence = "The enrolment group {group} closed at {closes}. Ask the operator."


class GroupFull(Forbidden):
    """As many have enrolled as the group permits."""

    code = "group_full"
    sentence = "The enrolment group {group} has no place left. Ask the operator to raise its limit."


class GroupRateExceeded(Throttled):
    """As many have enrolled in this period as the group permits."""

    code = "group_rate"
    sentence = (
        "The enrolment group {group} has admitted as many devices as it may for now. "
        "Repeat the same request in {seconds} s."
    )

    def __init__(self, *, seconds: int, group: object) -> None:
        KeybornError.__init__(self, seconds=seconds, group=group)
        self.retry_after = float(seconds)


class NameNotInGroup(Forbidden):
    """The group's pattern does not cover the name."""

    code = "name_not_in_group"
    sentence = (
        "The enrolment group {group} does not give the thing name {name}. Ask the operator which names it "
        "gives, or which group gives this one."
    )


class AttributeNotPermitted(Forbidden):
    """The device sets an attribute that its group does not leave to it."""

    code = "attribute_not_permitted"
    sentence = (
        "The enrolment group {group} does not let a device set the attribute {attribute}. Leave it out."
    )


class CredentialNameUnfit(Forbidden):
    """What a credential says of its holder is missing, or cannot stand in a thing name."""

    code = "credential_name_unfit"
    sentence = (
        "What this credential says of the device ({field}) is missing, too long, or holds a character "
        "that no thing name has. Use a credential with 1 to 64 of A-Z a-z 0-9 : _ - there, or ask the "
        "operator to build the name from something else."
    )


class KeyNotRegistered(Forbidden):
    """The key's hash was not announced for this name and group, or was withdrawn."""

    code = "key_not_registered"
    sentence = (
        "This key is not registered for the thing name {name}. Ask the operator to register it "
        "(keyborn registered import), or use the key and the name that were registered."
    )


class NotRegistered(NotFound):
    """An operator means a key that nobody has announced."""

    code = "not_registered"
    sentence = "The key {key} is not registered. List what is with: keyborn registered list --group GROUP"


class ApprovalRefused(Forbidden):
    """A person said no."""

    code = "approval_refused"
    sentence = "An operator refused this device. Ask why, and make a new key before asking again."


class ApprovalsFull(Unavailable):
    """So many requests wait for a person already that no more are taken."""

    code = "approvals_full"
    sentence = "Too many devices wait for a decision already. Repeat the same request in {seconds} s."


class KeyWordsDiffer(Conflict):
    """What the operator was told is not what asks."""

    code = "key_words_differ"
    sentence = (
        "The key words are not those of this request, which has {words}: another key asks than the one "
        "whose words you were told. Nothing was decided. If the device shows other words, refuse the request."
    )


class ApprovalAmbiguous(Conflict):
    """Several open requests have one code."""

    code = "approval_ambiguous"
    sentence = "Several requests have the code {approval}. Name the one that you mean by its id: {ids}."


class AwaitsApproval(KeybornError):
    """No refusal: a person has to decide. Answered with 202 and Retry-After."""

    code = "awaits_approval"
    sentence = (
        "An operator has to approve this device. Let them compare its code, {approval}, and its key words, "
        "{words}, with what the device shows. Repeat the same request in {seconds} s."
    )

    def __init__(self, *, seconds: int, approval: str, words: str) -> None:
        super().__init__(seconds=seconds, approval=approval, words=words)
        self.retry_after = float(seconds)


class WebhookRefused(Forbidden):
    """The group's webhook said no."""

    code = "webhook_refused"
    sentence = "The service that the operator asks about each device refused this one: {reason}."


class WebhookUnavailable(Unavailable):
    """The group's webhook gave no answer that counts, so that nobody enrols."""

    code = "webhook_unavailable"
    sentence = (
        "The service that the operator asks about each device gave no answer. "
        "Repeat the same request in {seconds} s."
    )


class IssuerUnavailable(Unavailable):
    """The keys of the identity provider cannot be had, so that nobody can be proved by it."""

    code = "issuer_unavailable"
    sentence = (
        "The keys of the identity provider {issuer} cannot be fetched. Repeat the same request in "
        "{seconds} s; if that does not help, the operator should look at the provider."
    )


class GroupKeyRefused(Unauthenticated):
    """No group key of that id, or not signed by what it gives this name: told apart nowhere."""

    code = "group_key_refused"
    sentence = (
        "The request is not signed by the key that a group key of this service gives the thing name. Say the "
        "name that the code was made for (--thing), or ask the operator for a new code (keyborn group key "
        "derive)."
    )


class FactoryRefused(Unauthenticated):
    """The certificates do not lead from the signer to a manufacturer that the group accepts."""

    code = "factory_refused"
    sentence = (
        "The factory certificate is not accepted: {detail}. Sign with its key, send it with the certificates "
        "up to the manufacturer's authority, and ask the operator which authorities the group has."
    )


class FactoryExpired(Unauthenticated):
    """A certificate that was sent is past its end."""

    code = "factory_expired"
    sentence = (
        "A certificate of the factory chain expired at {expired}. Send certificates that are still good, or "
        "ask the operator for another way to enrol."
    )


class FactoryNotYet(Unauthenticated):
    """A certificate that was sent has not begun."""

    code = "factory_not_yet"
    sentence = (
        "A certificate of the factory chain is good from {begins} only. "
        "Wait, or have the clocks of the manufacturer and of this service looked at."
    )


class GroupKeyExpired(Unauthenticated):
    """Signed by what the group key gives this name, too late."""

    code = "group_key_expired"
    sentence = (
        "The group key of this code expired at {expired}. Ask the operator for a code from a new one "
        "(keyborn group key create, keyborn group key derive)."
    )


class GroupKeyUsedUp(Forbidden):
    """As many devices as the group key is good for have come."""

    code = "group_key_exhausted"
    sentence = (
        "As many devices have enrolled as the group key of this code permits. Ask the operator for a code "
        "from another one (keyborn group key create, keyborn group key derive)."
    )


class InvalidGroupKey(InputError):
    """A group key that does not decode."""

    code = "invalid_group_key"
    sentence = "The group key is not usable: {detail}. Copy the whole word that starts with `kbg1.`"
