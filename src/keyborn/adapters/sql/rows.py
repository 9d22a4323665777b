"""Rows become values and values become rows: the only place that knows the columns' encodings.

Times are whole milliseconds since 1970-01-01 UTC; serials are 40 hex digits: 159 bits fit no SQL integer.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from keyborn.domain.access_policy.document import AccessPolicy, PolicyDocument, PolicyName
from keyborn.domain.access_policy.parse import parse_kept
from keyborn.domain.audit import AuditRecord, parse_event
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.errors import AuditBroken
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, KeyHash, NameScope, ThingName, fold_name
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse

Row = Sequence[Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# Each question starts with one of these, so that the columns and the function that reads them stay together.
THINGS = (
    "SELECT name, status, key_hash, created_at, attributes, kind, policies, grace_until, grp, thing_type,"
    " release_until FROM things "
)
THINGS_OF = {kind: THINGS + f"WHERE kind = '{kind.value}' " for kind in ThingKind}
"""As a word in the question: for a value of a parameter, SQLite would not look at a partial index."""
CERTIFICATES = (
    "SELECT c.id, c.thing, c.key_hash, c.der, c.not_before, c.not_after, c.status, c.slot, c.connected_at,"
    " c.renews FROM certificates c "
)
INTENTS = (
    "SELECT id, thing, key_hash, token, created_at, serial, not_before, not_after, slot, renews FROM intents "
)
TOKENS = (
    "SELECT id, digest, pattern, uses, issued_at, expires_at, replaces, withdrawn_at, kind, policies,"
    " grp, key, uses_taken FROM tokens "
)
POLICIES = "SELECT name, document, version, updated_at, shipped FROM policies "
AUDIT = "SELECT sequence, event, previous, hash FROM audit "
ADD_INTENT = (
    "INSERT INTO intents "
    "(id, thing, key_hash, token, created_at, serial, not_before, not_after, slot, renews) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_TOKENS = (
    "INSERT INTO tokens (id, digest, pattern, uses, issued_at, expires_at, replaces, withdrawn_at, kind,"
    " policies, grp, key, uses_taken) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_THING = (
    "INSERT INTO things (name, folded, status, key_hash, created_at, attributes, kind, policies, grp,"
    " thing_type) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_KEY = "INSERT INTO keys (key_hash, thing, intent) VALUES (?, ?, ?)"
ADD_CERTIFICATE = (
    "INSERT INTO certificates "
    "(id, intent, serial, thing, key_hash, der, not_before, not_after, status, slot, renews) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ATTACH = "INSERT INTO attachments (thing, slot, certificate) VALUES (?, ?, ?)"
PUT_POLICY = (
    "INSERT INTO policies (name, document, version, updated_at, shipped) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (name) DO UPDATE SET document = excluded.document, version = excluded.version,"
    " updated_at = excluded.updated_at, shipped = excluded.shipped"
)


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch; what is finer is cut off."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The moment, aware, UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def maybe_moment(milliseconds: int | None) -> datetime | None:
    """The moment of a column that may be NULL."""
    return None if milliseconds is None else from_ms(milliseconds)


def to_serial(serial: int) -> str:
    """A certificate serial of at most 20 octets as text."""
    return f"{serial:040x}"


def to_json(attributes: Mapping[str, str]) -> str:
    """A thing's attributes as text."""
    return json.dumps(dict(attributes), sort_keys=True, separators=(",", ":")) if attributes else "{}"


def to_names(policies: Sequence[PolicyName] | None) -> str | None:
    """Policy names as one text; None is the default policy."""
    return None if policies is None else json.dumps(policies, separators=(",", ":"))


def names(text: str | None) -> tuple[PolicyName, ...] | None:
    """Read what ``to_names`` wrote."""
    return None if text is None else tuple(map(PolicyName, json.loads(text)))


def quoted(policy: PolicyName) -> str:
    """How a name stands in such a text, and no other name does: none has a quotation mark."""
    return f'"{policy}"'


def thing(row: Row) -> Thing:
    """Read the columns of THINGS."""
    name, status, key_hash, created_at, attributes, kind, policies, grace_until, *grouped = row
    group, thing_type, release_until = grouped
    return Thing(
        ThingName(name),
        ThingStatus(status),
        KeyHash(key_hash),
        from_ms(created_at),
        {} if attributes == "{}" else json.loads(attributes),
        ThingKind(kind),
        names(policies),
        maybe_moment(grace_until),
        group,
        thing_type,
        maybe_moment(release_until),
    )


def thing_row(value: Thing, status: ThingStatus | None = None) -> tuple[object, ...]:
    """Write what ADD_THING takes: a record that has neither grace nor release yet.

    ``status`` takes the place of the record's.
    """
    return (
        value.name,
        fold_name(value.name),
        (status or value.status).value,
        value.key_hash,
        to_ms(value.created_at),
        to_json(value.attributes),
        value.kind.value,
        to_names(value.policies),
        value.group,
        value.thing_type,
    )


def thing_name(row: Row) -> ThingName:
    """Read a name alone."""
    return ThingName(row[0])


def certificate(row: Row) -> Certificate:
    """Read the columns of CERTIFICATES."""
    identity, thing_name, key_hash, der, not_before, not_after, status, slot, connected_at, renews = row
    return Certificate(
        CertificateId(identity),
        ThingName(thing_name),
        KeyHash(key_hash),
        der,
        from_ms(not_before),
        from_ms(not_after),
        CertificateStatus(status),
        Slot(slot),
        maybe_moment(connected_at),
        renews,
    )


def certificate_row(intent: Intent, value: Certificate) -> tuple[object, ...]:
    """Write what ADD_CERTIFICATE takes: one that was signed for ``intent``, and has never connected."""
    return (
        value.id,
        intent.id,
        to_serial(intent.serial),
        value.thing,
        value.key_hash,
        value.der,
        to_ms(value.not_before),
        to_ms(value.not_after),
        value.status.value,
        value.slot.value,
        value.renews,
    )


def intent(row: Row) -> Intent:
    """Read the columns of INTENTS."""
    identity, thing_name, key_hash, token_id, created_at, serial, not_before, not_after, slot, renews = row
    return Intent(
        IntentId(identity),
        ThingName(thing_name),
        KeyHash(key_hash),
        TokenId(token_id),
        from_ms(created_at),
        int(serial, 16),
        from_ms(not_before),
        from_ms(not_after),
        Slot(slot),
        renews,
    )


def intent_row(value: Intent) -> tuple[object, ...]:
    """Write the columns of INTENTS."""
    return (
        value.id,
        value.thing,
        value.key_hash,
        value.token,
        to_ms(value.created_at),
        to_serial(value.serial),
        to_ms(value.not_before),
        to_ms(value.not_after),
        value.slot.value,
        value.renews,
    )


def token_use(row: Row) -> TokenUse:
    """Read the columns of TOKENS."""
    identity, digest, pattern, uses, issued_at, expires_at, replaces, withdrawn_at, *wish, uses_taken = row
    kind, policies, group, key = wish
    token = EnrollmentToken(
        TokenId(identity),
        digest,
        NameScope(pattern),
        uses,
        from_ms(issued_at),
        from_ms(expires_at),
        bool(replaces),
        maybe_moment(withdrawn_at),
        ThingKind(kind),
        names(policies),
        group,
        key,
    )
    return TokenUse(token, uses_taken)


def listed_use(row: Row) -> TokenUse:
    """The same for a list."""
    use = token_use(row)
    return TokenUse(use.token.listed(), use.uses_taken)


def token_row(value: EnrollmentToken) -> tuple[object, ...]:
    """Write the columns of TOKENS, with no use taken."""
    return (
        value.id,
        value.digest,
        value.scope.pattern,
        value.uses,
        to_ms(value.issued_at),
        to_ms(value.expires_at),
        int(value.replace),
        None if value.withdrawn_at is None else to_ms(value.withdrawn_at),
        value.kind.value,
        to_names(value.policies),
        value.group,
        value.key,
        0,
    )


def policy(row: Row) -> AccessPolicy:
    """Read the columns of POLICIES; a document that does not parse any more has no statements."""
    name, text, version, updated_at, shipped = row
    document = parse_kept(text) or PolicyDocument((), text)
    return AccessPolicy(PolicyName(name), document, from_ms(updated_at), version, bool(shipped))


def policy_in_force(row: Row) -> AccessPolicy | None:
    """The same for who decides by it: None where the document does not parse any more."""
    return None if parse_kept(row[1]) is None else policy(row)


def policy_row(value: AccessPolicy) -> tuple[object, ...]:
    """Write the columns of POLICIES."""
    return (value.name, value.document.text, value.version, to_ms(value.updated_at), int(value.shipped))


def audit_record(row: Row) -> AuditRecord:
    """Read the columns of AUDIT. Raises AuditBroken for an event that was not written by us."""
    sequence, event, previous, digest = row
    try:
        return AuditRecord(sequence, parse_event(event), previous, digest)
    except ValueError:
        raise AuditBroken(sequence=sequence, detail="its event cannot be read") from None
