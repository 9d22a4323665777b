"""Enrolment tokens at rest. A token's item is never written whole again: claims count in it meanwhile."""

from dataclasses import replace

from keyborn.adapters.aws.table import filing, items, keys
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.table import Table
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound, RegistryUnavailable
from keyborn.domain.token import EnrollmentToken, TokenId

STANDING = "attribute_exists(#pk) AND attribute_not_exists(#withdrawnAt)"


def add(draft: Draft, token: EnrollmentToken, event: AuditEvent) -> None:
    """See ``Tokens.add``."""
    known = draft.peek(keys.token(token.id))
    if known is None:
        draft.put(keys.token(token.id), items.token_item(token))
        if token.key is None:
            draft.write(keys.secret(token.id, token.digest), {})
        else:  # nobody may enrol by showing it
            draft.write(keys.group_key(token.id), {"key": token.key})
        for policy in token.policies or ():
            draft.write((keys.givers_of(policy), token.id), {})
        filing.tell(draft, event)
    elif known["digest"] != token.digest:
        raise RegistryUnavailable  # two secrets, one id: the next attempt draws another secret


def find(table: Table, token: TokenId) -> EnrollmentToken | None:
    """See ``Tokens.find``. A key never changes: it may be read after the rest."""
    item = table.get(keys.token(token))
    found = None if item is None else items.token_use(item).token
    if found is None or found.key is None:
        return found
    kept = table.get(keys.group_key(token))
    return replace(found, key=None if kept is None else bytes(kept["key"]))


def make_seal_key(draft: Draft, fresh: bytes) -> bytes:
    """See ``SealKeys.make_seal_key``."""
    known = draft.peek(keys.SEAL)
    if known is not None:
        return bytes(known["key"])
    draft.put(keys.SEAL, {"key": fresh})
    return fresh


def withdraw(draft: Draft, token: TokenId, event: AuditEvent) -> EnrollmentToken:
    """See ``Tokens.withdraw``."""
    item = draft.peek(keys.token(token))
    if item is None:
        raise NotFound(what="token", name=token)
    known = items.token_use(item).token
    if known.withdrawn_at is not None:
        return known
    draft.amend(keys.token(token), {"withdrawnAt": keys.to_ms(event.at)}, STANDING)
    filing.tell(draft, event)
    return replace(known, withdrawn_at=event.at)
