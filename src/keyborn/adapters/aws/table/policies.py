"""Access policies: the operations that keep and attach them.

Attaching writes the policy's item again, unchanged: so a removal that looked for users meanwhile finds
another revision than it read, and looks again. A claim does not (it would make that item the fleet's
bottleneck): the token that gives the policy keeps it from being removed until the redemption that spends it,
and that one puts the thing on the list of users in the same transaction. So a removal asks for tokens first,
then for users.
"""

from collections.abc import Iterator
from dataclasses import replace

from keyborn.adapters.aws.table import filing, items, keys, outbox
from keyborn.adapters.aws.table.draft import MOST_ITEMS, Draft
from keyborn.adapters.aws.table.items import Dossier
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.access_policy.attaching import attached, detached, revised
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound, PolicyInUse
from keyborn.domain.group import account_of
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.thing import Thing

_ALL = 10**9
_GROUP = account_of(GroupName(""))
"""How the ids of groups' accounts begin, and of nothing else that gives policies."""

# ── keeping ───────────────────────────────────────────────────────────────────────────────────────────


def put_policy(draft: Draft, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
    """See ``AccessPolicies.put_policy``."""
    item = draft.peek(keys.policy(policy.name))
    known = None if item is None else items.policy(item)
    kept = revised(known, policy)
    if kept is not known:
        draft.put(keys.policy(policy.name), items.policy_item(kept))
        filing.tell(draft, event)
    return kept


def remove_policy(draft: Draft, table: Table, name: PolicyName, event: AuditEvent) -> None:
    """See ``AccessPolicies.remove_policy``."""
    if name == DEFAULT_POLICY:
        raise PolicyInUse(policy=name, detail="who has no other policy has this one")
    _require(draft, name)
    giver = next(_givers(table, name, event), None)
    user = next(table.query(keys.users_of(name), limit=_ALL), None)
    if user is not None:
        raise PolicyInUse(policy=name, detail=f"{user['sk']} has it")
    if giver is not None:
        raise PolicyInUse(policy=name, detail=f"the {giver} would give it to whoever enrolls")
    draft.void(keys.policy(name), event.at, relies=True)
    filing.tell(draft, event)


def _require(draft: Draft, name: PolicyName) -> Item:
    item = draft.get(keys.policy(name))
    if item is None:
        raise NotFound(what="policy", name=name)
    return item


def _givers(table: Table, name: PolicyName, event: AuditEvent) -> Iterator[str]:
    """Tokens that name a policy and may still be redeemed; then groups that name it."""
    listed = [item["sk"] for item in table.query(keys.givers_of(name), limit=_ALL)]
    groups = [row for row in listed if row.startswith(_GROUP)]
    rows = [row for row in listed if not row.startswith(_GROUP)]
    for start in range(0, len(rows), MOST_ITEMS):
        part = [(keys.TOKENS, row) for row in rows[start : start + MOST_ITEMS]]
        for item in table.get_many(part).values():
            if item is not None and _gives(item, event):
                yield f"token {item['sk']}"
    yield from (f"group {row.removeprefix(_GROUP)}" for row in groups)


def _gives(item: Item, event: AuditEvent) -> bool:
    use = items.token_use(item)
    left = use.token.uses is None or use.uses_taken < use.token.uses
    return left and use.token.withdrawn_at is None and not use.token.expired(event.at)


# ── attaching ─────────────────────────────────────────────────────────────────────────────────────────


def attach_policy(draft: Draft, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
    """See ``PolicyUse.attach_policy``."""
    dossier = filing.known(draft, name)
    item = _require(draft, policy)
    after = attached(dossier.thing, policy)
    if after is not dossier.thing:
        draft.put(keys.policy(policy), item)
        _keep(draft, dossier, after, event)
    return after


def detach_policy(draft: Draft, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
    """See ``PolicyUse.detach_policy``."""
    dossier = filing.known(draft, name)
    after = detached(dossier.thing, policy)
    if after is not dossier.thing:
        _keep(draft, dossier, after, event)
    return after


def _keep(draft: Draft, before: Dossier, after: Thing, event: AuditEvent) -> None:
    kept, waiting = before.about(after), before.waiting
    if waiting is not None and waiting.staged is None:
        kept = replace(kept, waiting=replace(waiting, repoliced=True))
    outbox.owe_policies(draft, before.thing, kept, event.at)
    if waiting is not None and waiting.staged is not None and waiting.at_work(event.at):
        # Who is at work may be giving it those it had, after we looked: when that is over, once more.
        outbox.owe_review(draft, before.thing, waiting.staged, waiting.leased_until or event.at)
    filing.keep(draft, before.thing, kept, event.at)
    filing.tell(draft, event)
