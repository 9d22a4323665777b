"""Use cases of enrolment groups: keep a rule, look at it, take it away, and say what is wrong with it."""

import hashlib
import re
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidGroup, NotFound
from keyborn.domain.group import EnrollmentGroup, GroupDocument, GroupUse
from keyborn.domain.group_file import parse_group, read_group
from keyborn.domain.group_lint import Around, Finding, Severity, lint
from keyborn.domain.names import GroupName, parse_group_name
from keyborn.ports import AccessPolicies, Clock, Entropy, GroupList, Groups

_SECRET_BYTES = 32
_ATTRIBUTE = re.compile(r"iot:Connection\.Thing\.Attributes\[([^\]\s]{1,128})\]")
_OTHERS = 1000
"""How many groups lint compares a new one with."""
_LAST = "z" * 64
"""Behind every group name that there is."""


@dataclass(frozen=True, slots=True)
class GroupPorts:
    """What the office needs of a registry."""

    groups: Groups
    listing: GroupList
    policies: AccessPolicies


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """A group as it is kept now, and what lint has to say of it."""

    document: GroupDocument
    group: EnrollmentGroup | None
    """None where another Keyborn kept it, which knew more words: then nobody enrols under it."""
    enrolled: int
    """How many (thing, key) pairs were."""
    findings: tuple[Finding, ...]
    webhook_secret: bytes | None = field(default=None, repr=False)
    """Only when it has just been made: the one moment at which it is shown."""


class GroupOffice:
    """Keeps the rules of enrolment."""

    def __init__(
        self,
        ports: GroupPorts,
        *,
        clock: Clock,
        entropy: Entropy,
        own_dates: bool = True,
        reserved: frozenset[str] = frozenset(),
        prepare: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """``own_dates``: whether the service chooses how long certificates live.

        ``reserved``: names that no thing may have. ``prepare``: what has to be done before the first group is
        good for anything, where something has.
        """
        self._prepare = prepare
        self._ports = ports
        self._clock = clock
        self._entropy = entropy
        self._own_dates = own_dates
        self._reserved = reserved

    async def put(self, name: str, text: str, *, actor: str = "operator") -> KeptGroup:
        """Keep a file under its name; in force for the next request.

        Raises InvalidGroupName or InvalidGroup; the latter also stands for what lint calls an error.
        """
        group, findings = await self.check(name, text)
        for finding in findings:
            if finding.severity is Severity.ERROR:
                raise InvalidGroup(where=finding.where, detail=finding.sentence.rstrip("."))
        if self._prepare is not None:
            await self._prepare()
        known = await self._ports.groups.group(group.name)
        now = self._clock.now()
        made = None
        if group.webhook is not None and (known is None or known.webhook_secret is None):
            made = self._entropy.token_bytes(_SECRET_BYTES)
        details = {
            "documentHash": hashlib.sha256(text.encode()).hexdigest(),
            "changed": changed(None if known is None else known.text, text),
        }
        event = AuditEvent(now, "group.put", "done", group.name, actor, details=details)
        offered = GroupDocument(group.name, text, now, policies=policies_of(group), webhook_secret=made)
        kept = await self._ports.groups.put_group(offered, event)
        fresh = made if made is not None and kept.webhook_secret == made else None
        return KeptGroup(kept, group, await self._enrolled(group.name), findings, fresh)

    async def check(self, name: str, text: str) -> tuple[EnrollmentGroup, tuple[Finding, ...]]:
        """The rule in ``text``, and what lint has to say of it here; nothing is kept.

        Raises InvalidGroupName, or InvalidGroup, also for a file that is another group's.
        """
        wanted, group = parse_group_name(name), parse_group(text)
        if group.name != wanted:
            raise InvalidGroup(where="name", detail=f"it says {group.name}, and the group is {wanted}")
        return group, lint(group, await self._around(group))

    async def show(self, name: str) -> KeptGroup:
        """One group; raises NotFound."""
        document = await self._ports.groups.group(GroupName(name))
        if document is None:
            raise NotFound(what="group", name=ascii(name[:64]))
        group = read_group(document)
        findings = () if group is None else lint(group, await self._around(group))
        return KeptGroup(document, group, await self._enrolled(document.name), findings)

    async def page(self, *, after: str | None = None, limit: int = 100) -> Sequence[GroupUse]:
        """A page of groups, by name."""
        return await self._ports.listing.groups(after=GroupName(after) if after else None, limit=limit)

    async def remove(self, name: str, *, actor: str = "operator") -> None:
        """Forget a rule: nobody enrols under it any more, and what has enrolled stays. Raises NotFound."""
        event = AuditEvent(self._clock.now(), "group.remove", "done", name, actor)
        await self._ports.groups.remove_group(GroupName(name), event)

    async def _enrolled(self, name: GroupName) -> int:
        """The count of just one group: the first of the page that begins with it."""
        before = GroupName(f"{name[:-1]}{chr(ord(name[-1]) - 1)}{_LAST}")
        page = await self._ports.listing.groups(after=before, limit=1)
        return next((use.taken for use in page if use.document.name == name), 0)

    async def _policies(self, group: EnrollmentGroup) -> dict[PolicyName, str]:
        """The documents of the policies that its things may have, of those that are there."""
        named = {*policies_of(group), *([DEFAULT_POLICY] if group.policies is None else [])}
        found = [await self._ports.policies.policy(name) for name in sorted(named)]
        return {each.name: each.document.text for each in found if each is not None}

    async def _around(self, group: EnrollmentGroup) -> Around:
        there = await self._policies(group)
        uses = await self._ports.listing.groups(limit=_OTHERS)
        others = [read_group(use.document) for use in uses if use.document.name != group.name]
        return Around(
            now=self._clock.now(),
            policies=frozenset(there),
            decided_by={each: name for name, text in there.items() for each in _ATTRIBUTE.findall(text)},
            others={each.name: each.things.pattern for each in others if each is not None},
            own_dates=self._own_dates,
            reserved=self._reserved,
        )


def policies_of(group: EnrollmentGroup) -> tuple[PolicyName, ...]:
    """Every access policy that the group names, by name."""
    chosen = () if group.webhook is None else group.webhook.policies
    return tuple(sorted({*(group.policies or ()), *chosen}))


def changed(before: str | None, after: str) -> str:
    """Which keys of the file differ, for the audit trail; ``all`` for a new one."""
    if before is None:
        return "all"
    old, new = _members(before), _members(after)
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return ", ".join(keys) or "comments"


def _members(text: str) -> dict[str, object]:
    """What a file holds; nothing where it cannot be read any more."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}
