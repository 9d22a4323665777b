"""Use cases of group keys, and of enrolment codes that bring no secret."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import GroupUnknown, InvalidSetting, NotFound
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_file import parse_kept_group
from keyborn.domain.group_key import GROUP_KEY_BYTES, GroupKey
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName
from keyborn.domain.token import CodeFacts, EnrollmentCode, EnrollmentToken, digest
from keyborn.ports import Clock, Entropy, Groups, Tokens
from keyborn.service.tokens import TokenWish

CODE_TTL = timedelta(days=30)
SECRETLESS = (Method.FACTORY, Method.OIDC, Method.REGISTERED, Method.ASK)
"""Methods for which a code brings nothing but whom to trust; in the order in which one is chosen."""


@dataclass(frozen=True, slots=True)
class FreshGroupKey:
    """A group key as it is kept, and as it is shown: once."""

    token: EnrollmentToken
    held: GroupKey = field(repr=False)


class GroupKeyOffice:
    """Makes group keys; listing and withdrawing are the token office's, for they are tokens at rest."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        groups: Groups,
        clock: Clock,
        entropy: Entropy,
        trust: Callable[[], tuple[str, bytes]],
    ) -> None:
        """``trust`` tells the service's URL and its root's fingerprint at the time of asking."""
        self._tokens = tokens
        self._groups = groups
        self._clock = clock
        self._entropy = entropy
        self._trust = trust

    async def create(self, name: GroupName, wish: TokenWish, *, actor: str = "operator") -> FreshGroupKey:
        """Make a key of a group. The service keeps it, for it has to compute with it.

        Raises NotFound for an unknown group, GroupUnknown for one that cannot be read, InvalidSetting for one
        that takes no group keys.
        """
        group = await self._group(name)
        if not any(Method.GROUP_KEY in way.methods for way in group.ways):
            detail = "the group does not accept group-key; say so in its file, and put it"
            raise InvalidSetting(setting="methods", detail=detail)
        url, fingerprint = self._trust()
        now = self._clock.now()
        key = self._entropy.token_bytes(GROUP_KEY_BYTES)
        held = GroupKey(key, name, url, fingerprint, now.replace(microsecond=0), now + wish.ttl)
        token = EnrollmentToken(
            id=held.id,
            digest=digest(key),
            scope=wish.scope,
            uses=wish.uses,
            issued_at=now,
            expires_at=now + wish.ttl,
            group=name,
            key=key,
        )
        details = {"group": name}
        await self._tokens.add(
            token, AuditEvent(now, "group.key.create", "done", token.id, actor, details=details)
        )
        return FreshGroupKey(token, held)

    async def code(self, name: GroupName, method: Method | None, ttl: timedelta) -> EnrollmentCode:
        """What a device needs that proves itself in another way than by a secret in its code.

        It permits nothing, so nothing is kept, and nothing recorded. Raises as ``create``.
        """
        group = await self._group(name)
        chosen = _method_of(group, method)
        TokenWish(group.things, ttl=ttl)  # the same limits
        url, fingerprint = self._trust()
        now = self._clock.now()
        return EnrollmentCode(url, fingerprint, b"", now, now + ttl, CodeFacts(chosen, name))

    async def _group(self, name: GroupName) -> EnrollmentGroup:
        document = await self._groups.group(name)
        if document is None:
            raise NotFound(what="group", name=name)
        group = parse_kept_group(document.text)
        if group is None:
            raise GroupUnknown(group=name)
        return group


def _method_of(group: EnrollmentGroup, asked: Method | None) -> Method:
    """The method asked for, or the first one of the group that needs no secret; raises InvalidSetting."""
    accepted = [
        method
        for way in group.ways
        for method in SECRETLESS
        if method in way.methods and Method.TOKEN not in way.methods and Method.GROUP_KEY not in way.methods
    ]
    if not accepted:
        detail = (
            "every way into this group takes a secret; make a code with `keyborn token create --group`, or "
            "with `keyborn group key create` and `derive`"
        )
        raise InvalidSetting(setting="methods", detail=detail)
    if asked is None:
        return accepted[0]
    if asked not in accepted:
        takes = ", ".join(dict.fromkeys(method.value for method in accepted))
        raise InvalidSetting(setting="--method", detail=f"the group takes here: {takes}")
    return asked
