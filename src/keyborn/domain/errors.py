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


class EnrollmentInterrupted(Unavailable):
    """The sweeper or another request undid this enrolment half way; the thing itself is not revoked."""

    code = "enrollment_interrupted"
    sentence = (
        "The enrolment was undone before it was complete. Repeat the same request in {seconds} seconds."
    )


class CaDates(Unavailable):
    """A certificate would outlive, or begin before, the intermediate that signs it (RFC 5280 6.1)."""

    code = "ca_dates"
    sentence = (
        "The certificate authority signs from {begins} until {ends}, and this certificate would lie outside. "
        "The operator must check the service's clock and the configured lifetime."
    )


# ── the operator ──────────────────────────────────────────────────────────────────────────────────────


class CaMissing(OperatorError):
    """No certificate authority has been made here yet."""

    code = "ca_missing"
    sentence = "There is no certificate authority in {folder}. Make one by starting: keyborn serve --data DIR"


class CaLocked(OperatorError):
    """The passphrase is missing, wrong, or given for keys that have none."""

    code = "ca_locked"
    sentence = "The certificate authority's keys in {folder} do not open: {detail}."


class CaDamaged(OperatorError):
    """Files are missing, unreadable, or do not belong together."""

    code = "ca_damaged"
    sentence = (
        "The certificate authority in {folder} is damaged: {detail}. "
        "Restore the whole folder from one backup; never mix the files of two."
    )


class CaExposed(OperatorError):
    """A key file or its folder is open to other users, belongs to one, or is not a plain file."""

    code = "ca_exposed"
    sentence = "{path} is not private: {detail}. If nobody can have copied or changed it, run: {remedy}"


class CaExpired(OperatorError):
    """The root or an intermediate is not valid at this machine's time."""

    code = "ca_expired"
    sentence = (
        "The certificate authority's {role} certificate is valid from {begins} until {ends}, and this "
        "machine's clock says {now}. Correct the clock, or start with a new data folder."
    )


class CaFileTrouble(OperatorError):
    """The operating system refused to read or write a file of the certificate authority."""

    code = "ca_file"
    sentence = (
        "The certificate authority cannot use {path}: {reason}. Free the disk or correct the permissions."
    )


# ── the device ────────────────────────────────────────────────────────────────────────────────────────


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


class KeyStoreUnsupported(DeviceError):
    """``--key`` names a kind of key store that this version does not have."""

    code = "key_store_unsupported"
    sentence = (
        "Keys of the kind {scheme} are not supported by this version. Leave --key out: the key is then made "
        "in a file that only its owner can read."
    )


class InvalidSubject(DeviceError):
    """``--subject`` is not ``/C=JP/O=Example`` or contradicts the thing name."""

    code = "invalid_subject"
    sentence = (
        "The subject is not usable: {detail}. Write it as /C=JP/ST=Tokyo/O=Example (CN is the thing name)."
    )


class NoIdentity(DeviceError):
    """The home holds no complete identity."""

    code = "no_identity"
    sentence = "There is no complete identity in {path}: {detail}. Run: keyborn enroll CODE"


class OtherThing(DeviceError):
    """The device is enrolled under another name than the one asked for."""

    code = "other_thing"
    sentence = (
        "This device is already enrolled as {current}, not {asked}. Leave --thing out, or use another --home."
    )


class ClockUnusable(DeviceError):
    """The clock is outside the code's window and no root is pinned."""

    code = "clock_unusable"
    sentence = (
        "This device's clock says {now}, but the enrolment code is good from {issued} to {expires}. Set the "
        "clock (timedatectl set-ntp true), or ask for a new code, and try again."
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
        "The certificate that the service sent is not usable: {detail}. Nothing was stored. Tell the operator."
    )


class ApprovalPending(DeviceError):
    """A person must decide; the time limit ended first."""

    code = "approval_pending"
    sentence = (
        "A person must approve this device first. The request is waiting: run the same command again later, "
        "or with a longer --timeout."
    )

    def __init__(self, *, seconds: float) -> None:
        super().__init__()
        self.retry_after = seconds


class EnrollmentRefused(DeviceError):
    """The service refused. ``code`` and the sentence are the service's own, cleaned."""

    code = "enrollment_refused"
    sentence = "The service refused: {detail}"

    def __init__(self, *, status: int, detail: str, code: str | None = None) -> None:
        super().__init__(status=status, detail=detail)
        if code:
            vars(self)["code"] = code  # this instance speaks for the service


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
        "The broker {broker} refused the session: {detail}. Ask the operator whether {thing} is active."
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
        "This device's own topic is {own}."
    )


class SubscribeDenied(DeviceError):
    """The broker refuses the topic filter."""

    code = "subscribe_denied"
    sentence = "The broker refused the filter {topic}: {reason}. This device's own topic is {own}."


class MessageTooLarge(DeviceError):
    """More than AWS IoT's 128 KiB payload."""

    code = "message_too_large"
    sentence = "The message has more than {limit} bytes, which no broker here takes. Send it in parts."


class NothingArrived(DeviceError):
    """``subscribe --count`` ended by its time limit."""

    code = "nothing_arrived"
    sentence = "Only {seen} of {count} messages arrived for {topic} within {seconds} seconds."


class OutboxUnusable(DeviceError):
    """``outbox.db`` cannot be read or written."""

    code = "outbox_unusable"
    sentence = "The outbox {path} cannot be used: {detail}. Free disk space, or move the file away."


# ── the data folder ───────────────────────────────────────────────────────────────────────────────────


class DataFolderMissing(OperatorError):
    """No server ever ran there."""

    code = "data_folder_missing"
    sentence = "There is no Keyborn data in {path}. Start the service once with: keyborn serve --data {path}"


class DataFolderInUse(OperatorError):
    """Another process holds the folder's lock and does not answer on its control socket."""

    code = "data_folder_in_use"
    sentence = "Another process is using {path}. Stop it, or wait until it has started, and try again."


class DataFolderUnsafe(OperatorError):
    """Others can read it, or it belongs to somebody else."""

    code = "data_folder_unsafe"
    sentence = "The folder {path} is not safe: {detail}. It holds private keys: give it to yourself, mode 0700."


class ServerNotRunning(OperatorError):
    """The command needs a running service."""

    code = "server_not_running"
    sentence = "No service is running on {path}. Start it with: keyborn serve --data {path}"


class AddressUnavailable(OperatorError):
    """The port is taken, or the address is not this machine's."""

    code = "address_unavailable"
    sentence = "Cannot listen on {address}: {detail}. Choose another with --https or --mqtt HOST:PORT."


class RegistryTooNew(OperatorError):
    """``registry.db`` was written by a later Keyborn; nothing was changed."""

    code = "registry_too_new"
    sentence = (
        "The registry {path} has schema version {found}; this Keyborn knows up to {known}. "
        "Upgrade Keyborn, or restore an older backup."
    )


class RegistryUnusable(OperatorError):
    """``registry.db`` cannot be opened: not a database, damaged, a link, no permission, no space."""

    code = "registry_unusable"
    sentence = "The registry {path} cannot be opened: {detail}. Repair that, or restore a backup."


class AuditBroken(OperatorError):
    """The hash chain of the audit trail does not hold."""

    code = "audit_broken"
    sentence = (
        "The audit trail does not hold together at record {sequence}: {detail}. Somebody or something "
        "changed the registry: keep a copy, and compare it with a backup."
    )


class ServerPartsMissing(OperatorError):
    """The command needs a package that only the server extra brings."""

    code = "server_parts_missing"
    sentence = (
        "This is a device's installation: {package} is not here. "
        "To run the service on this machine: pip install 'keyborn[server]'"
    )
