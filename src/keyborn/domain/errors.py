"""The error tree: everything Keyborn refuses or fails at, drawn once.

::

    KeybornError
    ├── InputError               the bytes are wrong                     HTTP 400, exit 1
    │   ├── MalformedRequest, InvalidThingName, ReservedThingName, InvalidCode, InvalidTopic …
    │   └── CsrRefused           one leaf per reason (see "certificate requests" below)
    ├── TooLarge                 more bytes than the limit               HTTP 413
    ├── Unauthenticated          no credential, or not one we know       HTTP 401
    ├── Forbidden                known, but not allowed                  HTTP 403
    ├── Conflict                 the registry says otherwise             HTTP 409
    ├── NotFound                 no such record                          HTTP 404
    ├── Throttled                too many failures                       HTTP 429 + Retry-After
    ├── Unavailable              cannot now, could later                 HTTP 503 + Retry-After
    ├── DeviceError              the device side: files, trust, session  exit 1
    └── OperatorError            the operator's commands: data folder …  exit 1

Only these errors are public. Each leaf has a stable ``code`` and a ``sentence`` that says what happened and
what to do. Anything else that is raised is a fault of ours: the edge answers ``internal`` and says nothing more.
Each edge maps the tree once: ``http/problems.py`` to problem documents, ``cli/failures.py`` to exit codes.
"""

from typing import ClassVar


class KeybornError(Exception):
    """Root of the tree. ``facts`` fill the sentence; they never hold secrets, keys or whole requests."""

    code: ClassVar[str] = "internal"
    sentence: ClassVar[str] = "Something went wrong inside Keyborn."
    retry_after: float | None = None

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(self.sentence.format(**facts))


# ── the branches ──────────────────────────────────────────────────────────────────────────────────────


class InputError(KeybornError):
    """The input itself is wrong; sending it again will not help."""

    code = "invalid_input"


class TooLarge(KeybornError):
    """More bytes than the limit; refused without reading the rest."""

    code = "too_large"
    sentence = "The request body is larger than {limit} bytes. Send only thingName, csr and attributes."


class Unauthenticated(KeybornError):
    """No credential, or none that we know."""

    code = "unauthenticated"


class Forbidden(KeybornError):
    """The caller is known and not allowed."""

    code = "forbidden"


class Conflict(KeybornError):
    """The request contradicts what the registry holds."""

    code = "conflict"


class NotFound(KeybornError):
    """There is no such record."""

    code = "not_found"
    sentence = "There is no {what} called {name}. List what there is with: keyborn {what} list"


class Throttled(KeybornError):
    """Too many failures from this source; good credentials still pass."""

    code = "too_many_failures"
    sentence = "Too many failed attempts from this address. Wait {seconds} seconds, then use a valid token."

    def __init__(self, *, seconds: int) -> None:
        super().__init__(seconds=seconds)
        self.retry_after = float(seconds)


class Unavailable(KeybornError):
    """Not now; the same request may succeed after ``retry_after`` seconds."""

    code = "unavailable"
    sentence = "The service cannot answer now. Repeat the same request in {seconds} seconds."

    def __init__(self, *, seconds: int = 1, **facts: object) -> None:
        super().__init__(seconds=seconds, **facts)
        self.retry_after = float(seconds)


class DeviceError(KeybornError):
    """Something on the device: its files, whom it trusts, its session."""

    code = "device_error"


class OperatorError(KeybornError):
    """Something about the operator's own command or data folder."""

    code = "operator_error"


# ── input ─────────────────────────────────────────────────────────────────────────────────────────────


class MalformedRequest(InputError):
    """The body is not the JSON object that the route takes."""

    code = "malformed_request"
    sentence = (
        "The request body is not what this route takes: {detail}. Send a JSON object with thingName and csr."
    )


class InvalidThingName(InputError):
    """Not 1-64 of ``A-Z a-z 0-9 : _ -``."""

    code = "invalid_thing_name"
    sentence = "The thing name is not usable: {detail}. Use 1 to 64 of A-Z a-z 0-9 : _ -"


class ReservedThingName(InputError):
    """Starts with ``keyborn``, or is a host name of the service."""

    code = "reserved_thing_name"
    sentence = "The thing name {name} is reserved for the service itself. Choose another name."


class InvalidCode(InputError):
    """An enrolment code that does not decode."""

    code = "invalid_enrollment_code"
    sentence = "The enrolment code is not usable: {detail}. Copy the whole word that starts with kb1."


class InvalidTopic(InputError):
    """A topic name or filter that MQTT or AWS IoT does not take."""

    code = "invalid_topic"
    sentence = "The topic is not usable: {detail}."


class InvalidSetting(InputError):
    """A setting, from a file, the environment or an option, that makes no sense."""

    code = "invalid_setting"
    sentence = "The setting {setting} is not usable: {detail}."


# ── certificate requests ──────────────────────────────────────────────────────────────────────────────


class CsrRefused(InputError):
    """A certificate request that no profile would sign. Nothing has been written."""

    code = "csr_refused"


class CsrTooLarge(CsrRefused):
    """Over 4096 characters (AWS IoT's limit for CreateCertificateFromCsr)."""

    code = "csr_too_large"
    sentence = "The CSR has {length} characters; the limit is 4096. Leave out extensions and long subjects."


class CsrMalformed(CsrRefused):
    """Not one PEM block of one DER PKCS#10 request."""

    code = "csr_malformed"
    sentence = "The CSR cannot be read: {detail}. Send one PEM block, as `openssl req -new` writes it."


class CsrBadSignature(CsrRefused):
    """The proof of possession fails."""

    code = "csr_bad_signature"
    sentence = (
        "The CSR's signature does not fit its public key. Make the CSR again with the device's own key."
    )


class CsrWeakSignature(CsrRefused):
    """SHA-1, MD5 or another digest below SHA-256."""

    code = "csr_weak_signature"
    sentence = "The CSR is signed with {algorithm}. Sign it with SHA-256 or better (openssl req -sha256)."


class KeyTypeRefused(CsrRefused):
    """A key algorithm or curve outside RSA, P-256, P-384, P-521."""

    code = "key_type_refused"
    sentence = "The key is {key}; {reason}. Use P-256, P-384, P-521 or RSA 2048 to 4096."


class KeySizeRefused(CsrRefused):
    """RSA outside 2048-4096 bits."""

    code = "key_size_refused"
    sentence = "The RSA key has {bits} bits. Use 2048 to 4096, or P-256."


class WeakExponent(CsrRefused):
    """RSA public exponent below 65537 (CA/B Forum Baseline Requirements 6.1.6)."""

    code = "key_weak_exponent"
    sentence = "The RSA key has the public exponent {exponent}. Make a new key with 65537."


class ClosePrimes(CsrRefused):
    """Fermat's method factors the modulus within 100 rounds."""

    code = "key_close_primes"
    sentence = (
        "The RSA key's primes are too close: anyone can factor it. Make a new key with a sound generator."
    )


class RocaKey(CsrRefused):
    """CVE-2017-15361: the modulus carries the fingerprint of the Infineon library."""

    code = "key_roca"
    sentence = (
        "The RSA key comes from a chip library with the ROCA flaw (CVE-2017-15361). Make the key elsewhere."
    )


class SmallFactor(CsrRefused):
    """The modulus is even or divisible by a small prime (CA/B BR 6.1.6)."""

    code = "key_small_factor"
    sentence = "The RSA modulus is divisible by {factor}. Make a new key with a sound generator."


class WeakKey(CsrRefused):
    """A key known to be public or otherwise malformed (point off the curve, bad parameters, repeated bytes)."""

    code = "key_weak"
    sentence = "The key is not usable: {detail}. Make a new key."


class CsrNameMismatch(CsrRefused):
    """The common name is not the thing name."""

    code = "csr_name_mismatch"
    sentence = "The CSR's common name is {found}, not the thing name. Make the CSR with CN={expected}."


class CsrSubjectRefused(CsrRefused):
    """Two common names, control characters, MQTT specials, oversized attributes …"""

    code = "csr_subject_refused"
    sentence = "The CSR's subject is not acceptable: {detail}. Use a plain subject with one CN."


class CsrAsksForCa(CsrRefused):
    """``basicConstraints`` CA:TRUE."""

    code = "csr_asks_for_ca"
    sentence = "The CSR asks to be a certificate authority (CA:TRUE). A device gets a leaf: leave that out."


class CsrForeignName(CsrRefused):
    """A subject alternative name that is not the thing's own name; wildcards."""

    code = "csr_foreign_name"
    sentence = "The CSR asks for the name {found}. A device gets only its own name: leave the SAN out."


class CsrUsageRefused(CsrRefused):
    """Key usages or extended key usages that a device may not have."""

    code = "csr_usage_refused"
    sentence = (
        "The CSR asks for the usage {found}. A device gets digitalSignature and clientAuth: leave it out."
    )


class CsrExtensionRefused(CsrRefused):
    """An extension or attribute that no device profile gives."""

    code = "csr_extension_refused"
    sentence = "The CSR carries {found}, which no device certificate has. Leave it out."


# ── credentials ───────────────────────────────────────────────────────────────────────────────────────


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
    """The token is bound to another name."""

    code = "name_not_permitted"
    sentence = (
        "This enrolment token is not valid for the thing name {name}. Ask for a token bound to that name."
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
    sentence = "The thing {name} is {status}. Only a person can bring the name back: ask the operator."


class KeyRevoked(Forbidden):
    """The key has a tombstone: it never returns."""

    code = "key_revoked"
    sentence = "This key was revoked or retired and never returns. Make a new key on the device."


# ── conflicts ─────────────────────────────────────────────────────────────────────────────────────────


class ThingNameTaken(Conflict):
    """The name is bound to another key."""

    code = "thing_name_taken"
    sentence = (
        "The thing name {name} belongs to another key. Choose another name, or ask the operator for a "
        "replacement token: keyborn token create --thing {name} --replace"
    )


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


# ── passing troubles ──────────────────────────────────────────────────────────────────────────────────


class Overloaded(Unavailable):
    """No admission slot was free in time."""

    code = "overloaded"
    sentence = "The service is busy. Repeat the same request in {seconds} seconds."


class RegistryUnavailable(Unavailable):
    """The registry could not write (disk full, I/O error, shutting down). Nothing was handed out."""

    code = "registry_unavailable"
    sentence = "The registry cannot write now. Repeat the same request in {seconds} seconds."
