"""Leaves: credentials, conflicts with the registry, passing troubles."""

from keyborn.domain.errors.tree import Conflict, Forbidden, Unauthenticated, Unavailable


# ── credentials ──
class CredentialMissing(Unauthenticated):
    """No ``Authorization: Bearer`` header."""

    code = "credential_missing"
    sentence = (
        "This request carries no credential. Send the token's secret as `Authorization: Bearer <secret>`."
    )


class CredentialRefused(Unauthenticated):
    """Unknown, withdrawn, or not a token at all: told apart only in the audit trail."""

    code = "credential_refused"
    sentence = "The enrolment token is not valid. Ask the operator for a new one (keyborn token create)."


class TokenExpired(Unauthenticated):
    """The right secret, too late."""

    code = "token_expired"
    sentence = (
        "The enrolment token expired at {expired}. Ask the operator for a new one (keyborn token create)."
    )


class TokenExhausted(Forbidden):
    """Every use of the token is bound to another thing and key."""

    code = "token_exhausted"
    sentence = (
        "The enrolment token has been used up by another device or key. Ask the operator for a new one."
    )


class NameNotPermitted(Forbidden):
    """The credential is bound to another name."""

    code = "name_not_permitted"
    sentence = (
        "What this request shows is not valid for the thing name {name}. Say the name that it is for "
        "(--thing), or ask for a token bound to that name."
    )


class GenericNameRefused(Forbidden):
    """``CN=AWS IoT Certificate`` with a token that is not bound to exactly one name."""

    code = "generic_name_refused"
    sentence = (
        "A CSR with the common name {found} needs a token bound to one name. "
        "Create it with: keyborn token create --thing NAME, or make the CSR with CN=NAME."
    )


class OpenEnrollmentRefused(Forbidden):
    """Open enrolment is for loopback only, for an hour and 100 things."""

    code = "open_enrollment_refused"
    sentence = "Open enrolment is refused: {detail}. Use an enrolment token (keyborn token create)."


class ThingRevoked(Forbidden):
    """The name has a tombstone, or the thing is suspended or revoked."""

    code = "thing_revoked"
    sentence = (
        "The thing {name} is {status}. The operator can give a suspended one its place back (keyborn thing "
        "activate), and the name of a revoked or retired one to a new key (with --replace)."
    )


class KeyRevoked(Forbidden):
    """The key has a tombstone: it never returns."""

    code = "key_revoked"
    sentence = "This key was revoked or retired and never returns. Make a new key on the device."


# ── conflicts ──
class ThingNameTaken(Conflict):
    """The name is bound to another key, or stands for a device where a service asks, or the other way."""

    code = "thing_name_taken"
    sentence = "The thing name {name} belongs to {owner}. Choose another name{otherwise}"


class ThingNameCase(Conflict):
    """The name differs from an existing one only by case."""

    code = "thing_name_case"
    sentence = (
        "The thing name {name} differs from an existing one only by case. Choose a name that differs more."
    )


class KeyInUse(Conflict):
    """The key is bound to another name, for ever."""

    code = "key_in_use"
    sentence = (
        "This key already belongs to another thing. One key, one thing: make a new key on this device "
        "and a CSR from it."
    )


class ReplacementPending(Conflict):
    """Another key is already waiting to succeed this thing's key."""

    code = "replacement_pending"
    sentence = (
        "Another key is already waiting to replace that of {name}. Let it connect, or ask the operator."
    )


# ── passing troubles ──
class Overloaded(Unavailable):
    """No admission slot was free in time."""

    code = "overloaded"
    sentence = "The service is busy. Repeat the same request in {seconds} s."


class Stopping(Unavailable):
    """The process finishes what it has begun, and takes nothing new."""

    code = "stopping"
    sentence = "The service is stopping. Repeat the same request in {seconds} s."


class RegistryUnavailable(Unavailable):
    """The registry could not write (disk full, I/O error, shutting down). Nothing was handed out."""

    code = "registry_unavailable"
    sentence = (
        "The registry cannot write now. Repeat the same request in {seconds} s; if that does not help, the "
        "operator should look at the service's disk and log."
    )


class EnrollmentInterrupted(Unavailable):
    """The sweeper or another request undid this enrolment half way; the thing itself is not revoked."""

    code = "enrollment_interrupted"
    sentence = "The enrolment was undone before it was complete. Repeat the same request in {seconds} s."


class CaDates(Unavailable):
    """A certificate would outlive, or begin before, the intermediate that signs it (RFC 5280 6.1)."""

    code = "ca_dates"
    sentence = (
        "The certificate authority signs from {begins} until {ends}, and this certificate would lie outside. "
        "The operator must check the service's clock and the configured lifetime."
    )


class AwsThrottled(Unavailable):
    """AWS takes no more calls of this kind for now, and repeating them for a while did not help."""

    code = "aws_throttled"
    sentence = (
        "The AWS account is asked for more than its quota allows ({action}). "
        "Repeat the same request in {seconds} s."
    )


class AwsConflict(Unavailable):
    """Others changed the same thing in AWS at the same moment, again and again."""

    code = "aws_conflict"
    sentence = (
        "Another request is at work on the same thing ({action}). Repeat the same request in {seconds} s."
    )


class AwsOutage(Unavailable):
    """AWS does not answer, or answers that it cannot now."""

    code = "aws_outage"
    sentence = (
        "A service of AWS does not answer ({action}). Repeat the same request in {seconds} s; if that does "
        "not help, the operator should look at the AWS Health Dashboard of this region."
    )


class AwsRefused(Unavailable):
    """AWS does not do what the service asks for: no permission, no table, credentials that ended."""

    code = "aws_refused"
    sentence = (
        "AWS refuses {action} ({reason}). The operator should check the role, the region and the stack of "
        "this service; until then the same request fails again."
    )


class AwsQuotaReached(Unavailable):
    """A quota of the AWS account that waiting does not refill (things, certificates, sizes)."""

    code = "aws_quota"
    sentence = "A quota of the AWS account is used up ({action}). The operator must raise it."
