"""Use cases of enrolment tokens: create (the code is shown once), list, withdraw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting, NotFound
from keyborn.domain.group_file import parse_kept_group
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, NameScope
from keyborn.domain.seal import TokenFacts
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import EnrollmentCode, EnrollmentToken, TokenId, TokenUse, digest, token_id
from keyborn.ports import Clock, Groups, TokenList, Tokens
from keyborn.service.sealing import Secrets

MAX_TTL = timedelta(days=3650)
MAX_USES = 10_000_000


@dataclass(frozen=True, slots=True)
class TokenWish:
    """What the operator asks for."""

    scope: NameScope
    uses: int | None = 1
    ttl: timedelta = timedelta(hours=1)
    replace: bool = False
    kind: ThingKind = ThingKind.DEVICE
    policies: tuple[PolicyName, ...] | None = None
    group: GroupName | None = None
    """The enrolment group under whose rule it is good; None: its own rule."""

    def __post_init__(self) -> None:
        """Raise InvalidSetting for wishes that make no sense."""
        if self.uses is not None and not 1 <= self.uses <= MAX_USES:
            raise InvalidSetting(setting="--uses", detail=f"it takes 1 to {MAX_USES}")
        if not timedelta(seconds=1) <= self.ttl <= MAX_TTL:
            raise InvalidSetting(setting="--ttl", detail="it takes one second to ten years, such as 1h or 7d")
        if self.replace and not self.scope.is_exact:
            raise InvalidSetting(setting="--replace", detail="it goes with --thing NAME, not with a pattern")


@dataclass(frozen=True, slots=True)
class FreshToken:
    """A token and its code; the only moment at which the secret is known."""

    token: EnrollmentToken
    code: EnrollmentCode


class TokenOffice:
    """Hands out and takes back permissions to enrol."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        listing: TokenList,
        clock: Clock,
        secrets: Secrets,
        trust: Callable[[], tuple[str, bytes]],
        groups: Groups | None = None,
    ) -> None:
        """``trust`` tells the service's URL and its root's fingerprint at the time of asking.

        ``groups``: where tokens may belong to one.
        """
        self._groups = groups
        self._tokens = tokens
        self._listing = listing
        self._clock = clock
        self._secrets = secrets
        self._trust = trust

    async def create(self, wish: TokenWish, *, actor: str = "operator") -> FreshToken:
        """Make a token; only the digest of its secret is kept. Raises NotFound for an unknown group."""
        await self._require_group(wish.group)
        url, fingerprint = self._trust()
        now = self._clock.now()
        facts = TokenFacts(
            wish.scope, wish.uses, now + wish.ttl, wish.replace, wish.kind, wish.policies, wish.group
        )
        secret = await self._secrets.make(facts)
        token = EnrollmentToken(
            id=token_id(secret),
            digest=digest(secret),
            scope=facts.scope,
            uses=facts.uses,
            issued_at=now,
            expires_at=facts.expires_at,
            replace=facts.replace,
            kind=facts.kind,
            policies=facts.policies,
            group=facts.group,
        )
        details = {"scope": wish.scope.pattern} | ({} if wish.group is None else {"group": wish.group})
        event = AuditEvent(now, "token.create", "done", token.id, actor, details=details)
        await self._tokens.add(token, event)
        return FreshToken(token, EnrollmentCode(url, fingerprint, secret, token.issued_at, token.expires_at))

    async def _require_group(self, name: GroupName | None) -> None:
        """Whoever gets the token must be able to use it: raises NotFound, and InvalidSetting."""
        if name is None:
            return
        document = None if self._groups is None else await self._groups.group(name)
        if document is None:
            raise NotFound(what="group", name=name)
        group = parse_kept_group(document.text)
        if group is None or not any(Method.TOKEN in way.methods for way in group.ways):
            detail = f"the group {name} does not accept tokens; say so in its file, and put it"
            raise InvalidSetting(setting="--group", detail=detail)

    async def withdraw(self, token: TokenId, *, actor: str = "operator") -> EnrollmentToken:
        """End a token now; raises NotFound."""
        event = AuditEvent(self._clock.now(), "token.withdraw", "done", token, actor)
        return await self._tokens.withdraw(token, event)

    async def page(self, *, after: TokenId | None = None, limit: int = 100) -> Sequence[TokenUse]:
        """A page of tokens, by id."""
        return await self._listing.tokens(after=after, limit=limit)
