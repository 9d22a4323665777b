"""Enrolment groups at rest, and what an operator changes of a thing's record.

A group is two items that are written together: its document, and a small one that says that it stands, for
every claim under it demands that. Its count is a third one, which stays when the group goes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from keyborn.adapters.aws.table import filing, grouped, keys, outbox
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.items import Dossier
from keyborn.adapters.aws.table.table import Table
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound
from keyborn.domain.group import GroupDocument, GroupUse, account_of, revised_group
from keyborn.domain.lifecycle import require_here
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.thing import Thing

# ── documents ─────────────────────────────────────────────────────────────────────────────────────────


def put_group(draft: Draft, put: GroupDocument, event: AuditEvent) -> GroupDocument:
    """See ``Groups.put_group``."""
    item = draft.peek(keys.group(put.name))
    known = None if item is None else grouped.group(item)
    kept = revised_group(known, put)
    if kept is not known:
        draft.put(keys.group(kept.name), grouped.group_item(kept))
        draft.write(keys.rule(kept.name), {"version": kept.version})
        _gives(draft, kept.name, () if known is None else known.policies, kept.policies, event.at)
        filing.tell(draft, event)
    return kept


def remove_group(draft: Draft, name: GroupName, event: AuditEvent) -> None:
    """See ``Groups.remove_group``."""
    item = draft.peek(keys.group(name))
    if item is None:
        raise NotFound(what="group", name=name)
    draft.void(keys.group(name), event.at, relies=True)
    draft.void(keys.rule(name), event.at)
    _gives(draft, name, grouped.group(item).policies, (), event.at)
    filing.tell(draft, event)


def _gives(
    draft: Draft, name: GroupName, had: Iterable[PolicyName], has: Iterable[PolicyName], at: datetime
) -> None:
    """Put the group on the lists of those who give its policies, as tokens are; they keep them from going."""
    for policy in set(has) - set(had):
        draft.write((keys.givers_of(policy), account_of(name)), {})
    for policy in set(had) - set(has):
        draft.void((keys.givers_of(policy), account_of(name)), at)


def uses(table: Table, after: GroupName | None, limit: int) -> Sequence[GroupUse]:
    """See ``GroupList.groups``."""
    found = [grouped.group(item) for item in table.query(keys.GROUPS, after=after or "", limit=limit)]
    counters = {one.name: keys.account(account_of(one.name)) for one in found}
    counts = table.get_many(counters.values())
    taken = {name: 0 if (item := counts[key]) is None else item["taken"] for name, key in counters.items()}
    return [GroupUse(one, taken[one.name]) for one in found]


# ── things ────────────────────────────────────────────────────────────────────────────────────────────


def set_release(draft: Draft, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
    """See ``Regrouping.set_release``."""
    before = filing.known(draft, name)
    require_here(before.thing)
    if before.thing.release_until == until:
        return before.thing
    return _keep(draft, before, replace(before.thing, release_until=until), event)


def set_group(draft: Draft, name: ThingName, group: GroupName | None, event: AuditEvent) -> Thing:
    """See ``Regrouping.set_group``. AWS IoT's thing follows."""
    before = filing.known(draft, name)
    if group is not None and draft.get(keys.rule(group)) is None:
        raise NotFound(what="group", name=group)
    if before.thing.group == group:
        return before.thing
    outbox.owe_description(draft, before, (), event.at)
    return _keep(draft, before, replace(before.thing, group=group), event)


def set_attributes(draft: Draft, name: ThingName, given: dict[str, str], event: AuditEvent) -> Thing:
    """See ``Regrouping.set_attributes``. AWS IoT's thing follows."""
    before = filing.known(draft, name)
    if before.thing.attributes == given:
        return before.thing
    gone = sorted(before.thing.attributes.keys() - given.keys())
    outbox.owe_description(draft, before, gone, event.at)
    return _keep(draft, before, replace(before.thing, attributes=given), event)


def _keep(draft: Draft, before: Dossier, after: Thing, event: AuditEvent) -> Thing:
    filing.keep(draft, before.thing, before.about(after), event.at)
    filing.tell(draft, event)
    return after
