"""The gate: whatever a caller shows becomes an applicant under one rule, or is refused with its own code.

Order: the credential, then the group's networks, window and names. What only a parsed request can answer, the
conditions ask later (``service.conditions``). A token without a group is its own rule.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import (
    GroupDiffers,
    GroupMissing,
    GroupUnknown,
    InvalidGroupName,
    MalformedRequest,
    MethodNotAccepted,
    NameNotPermitted,
)
from keyborn.domain.group import EnrollmentGroup, TakenRule
from keyborn.domain.group_file import parse_kept_group
from keyborn.domain.group_rules import require_name, require_not_closed, require_open, terms_of, ways_for
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, parse_group_name
from keyborn.domain.token import TokenId
from keyborn.ports import Authenticator, Clock, Credential, Groups
from keyborn.service.methods import CredentialMethod, Proven

_SHOWN = 64
_PRIMARY = (Method.TOKEN, Method.GROUP_KEY, Method.OIDC, Method.FACTORY)
"""Whose account pays where several are shown: the one with the narrowest permission."""
_BEARERS = frozenset({Method.TOKEN, Method.OIDC})
_JWT_DOTS = 2
NOTHING = "nothing"
"""What a caller shows who shows no credential."""


class RuleBook(Protocol):
    """Where parsed groups come from."""

    async def rule(self, name: object) -> EnrollmentGroup:
        """The group of this name; raises GroupUnknown, also for a document that does not parse any more."""
        ...


class KeptRules:
    """The groups of a registry."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._last: dict[GroupName, tuple[str, EnrollmentGroup | None]] = {}

    async def rule(self, name: object) -> EnrollmentGroup:
        """See ``RuleBook.rule``. A text is parsed once, as long as it stays the same."""
        known = _require_group_name(name)
        document = await self._groups.group(known)
        if document is None:
            self._last.pop(known, None)
            raise GroupUnknown(group=known)
        text, parsed = self._last.get(known, ("", None))
        if text != document.text:
            parsed = parse_kept_group(document.text)
            self._last[known] = (document.text, parsed)
        if parsed is None:
            raise GroupUnknown(group=known)
        return parsed


class GroupGate:
    """Implements ``ports.Authenticator`` for every method that there is."""

    def __init__(
        self,
        *,
        tokens: Authenticator,
        rules: RuleBook,
        methods: Mapping[Method, CredentialMethod],
        clock: Clock,
    ) -> None:
        """``tokens`` proves tokens, and whoever shows nothing and names no group."""
        self._tokens = tokens
        self._rules = rules
        self._methods = methods
        self._clock = clock

    async def authenticate(self, credential: Credential) -> Applicant:
        """Raise leaves of Unauthenticated, Forbidden, InputError (GroupMissing) or Unavailable."""
        named = None if credential.asked is None else credential.asked.group
        shown = _shown(credential)
        bearer = await self._holder(credential, shown, named)
        if bearer is not None and bearer.group is None:
            _require_same(named, None)
            return bearer
        if bearer is not None:
            _require_same(named, bearer.group)
            named = bearer.group
        if named is None:
            raise GroupMissing
        return await self._enter(credential, shown, await self._rules.rule(named), bearer)

    async def _holder(
        self, credential: Credential, shown: frozenset[Method], named: object
    ) -> Applicant | None:
        """Who holds the token that is shown; None where something else is, or only a group is named."""
        if Method.TOKEN in shown or not (shown or named is not None):
            return await self._tokens.authenticate(credential)
        return None

    async def _enter(
        self,
        credential: Credential,
        shown: frozenset[Method],
        group: EnrollmentGroup,
        bearer: Applicant | None,
    ) -> Applicant:
        now = self._clock.now()
        ways = ways_for(group, shown)
        proven = [] if bearer is None else [_as_proven(bearer)]
        others = [each for each in _PRIMARY if each in shown and each is not Method.TOKEN]
        proven += [await self._proof(each, credential, group) for each in others]
        require_open(group, credential.source, now)
        terms = terms_of(group, ways, now)
        if not proven:  # who is proved may be asking for an answer that was lost: the claim knows
            require_not_closed(terms, now)
        _require_covered(credential, group, proven)
        return replace(_applicant(group, shown, proven), terms=terms)

    async def _proof(self, method: Method, credential: Credential, group: EnrollmentGroup) -> Proven:
        prover = self._methods.get(method)
        if prover is None:
            accepted = ", ".join(map(str, group.ways))
            raise MethodNotAccepted(group=group.name, shown=method.value, accepted=accepted)
        return await prover.prove(credential, group)


def _shown(credential: Credential) -> frozenset[Method]:
    """The kinds of credentials that came with the request; nothing is known of them yet."""
    shown = set()
    if credential.bearer is not None:
        shown.add(Method.OIDC if credential.bearer.count(".") == _JWT_DOTS else Method.TOKEN)
    if credential.signed is not None:
        shown.add(Method.FACTORY if credential.signed.chain else Method.GROUP_KEY)
    return frozenset(shown)


def shown_method(credential: Credential) -> str:
    """In a word, by what a caller wants to be known; of several the one that pays."""
    shown = _shown(credential)
    return next((each.value for each in _PRIMARY if each in shown), NOTHING)


def _require_group_name(name: object) -> GroupName:
    try:
        return parse_group_name(name)
    except InvalidGroupName:
        raise GroupUnknown(group=said(name)) from None


def _require_same(named: object, own: GroupName | None) -> None:
    """The request names the credential's own group, or none."""
    if named is not None and named != own:
        raise GroupDiffers(group=said(named))


def said(asked: object) -> str:
    """What a caller wrote, so that it can stand in a sentence or a record: ASCII, cut."""
    if not isinstance(asked, str):
        return type(asked).__name__
    return ascii(asked[:_SHOWN])[1:-1]


def told(credential: Credential) -> tuple[str, dict[str, str]]:
    """What the trail says of a stranger who named a group: which name, shown what, and under which group.

    Of any other stranger nothing: there is only its address.
    """
    asked = credential.asked
    if asked is None or asked.group is None:
        return "", {}
    shown = _shown(credential)
    method = " + ".join(each.value for each in Method if each in shown) or NOTHING
    return said(asked.thing_name), {"method": method, "group": said(asked.group)}


def _require_covered(credential: Credential, group: EnrollmentGroup, proven: list[Proven]) -> None:
    """The group may give the name, and every proof is good for it."""
    if credential.asked is None:
        raise MalformedRequest(detail="it is not a JSON object with thingName and csr")
    name = require_name(group, credential.asked.thing_name)
    if not all(each.scope.covers(name) for each in proven):
        raise NameNotPermitted(name=name)


def _as_proven(bearer: Applicant) -> Proven:
    return Proven(
        bearer.token,
        bearer.scope,
        bearer.uses,
        bearer.expires_at,
        is_known=bearer.is_known,
        may_replace=bearer.may_replace,
        digest=bearer.digest,
        policies=bearer.policies,
    )


def _may_replace(proof: Proven) -> bool:
    """A pattern never gives that, narrow as another proof may make it."""
    return proof.may_replace and proof.scope.is_exact


def _applicant(group: EnrollmentGroup, shown: frozenset[Method], proven: list[Proven]) -> Applicant:
    """Who asks, by the proof that pays and the narrowest of all scopes."""
    if not proven:
        return Applicant(
            method=group.ways[0].conditions[0] if group.ways[0].conditions else Method.ASK,
            token=TokenId(f"n:{group.name}"),
            scope=group.things,
            uses=None,
            policies=group.policies,
            is_known=False,
            is_proved=False,
        )
    first = proven[0]
    exact = next((each.scope for each in proven if each.scope.is_exact), None)
    scope = exact or first.scope
    expiries = [each.expires_at for each in proven if each.expires_at is not None]
    return Applicant(
        method=next(each for each in _PRIMARY if each in shown),
        token=first.account,
        scope=scope,
        uses=first.uses,
        expires_at=min(expiries, default=None),
        may_replace=scope.is_exact and (group.taken is TakenRule.REPLACE or _may_replace(first)),
        policies=group.policies if first.policies is None else first.policies,
        digest=first.digest,
        is_known=first.is_known,
        details={name: value for each in reversed(proven) for name, value in each.details.items()},
    )
