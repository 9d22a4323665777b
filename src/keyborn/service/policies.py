"""Use cases of access policies: keep, attach, detach, and say what they would decide.

Whatever changes is in force on every open session before the operator gets the answer.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from keyborn.domain.access import Action, Badge, Circumstances
from keyborn.domain.access_policy.attaching import in_force
from keyborn.domain.access_policy.document import (
    MAX_DOCUMENT,
    AccessPolicy,
    PolicyDocument,
    PolicyName,
    parse_policy_name,
)
from keyborn.domain.access_policy.explain import Explanation, explain
from keyborn.domain.access_policy.lint import Finding, lint, refused, size
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.errors import InvalidPolicy, NotFound
from keyborn.domain.names import ThingName
from keyborn.domain.thing import Thing
from keyborn.ports import (
    AccessPolicies,
    Clock,
    DeviceDirectory,
    Fleet,
    PolicyList,
    PolicyUse,
    Sessions,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy as it is kept now, and what lint has to say of it."""

    policy: AccessPolicy
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What to simulate: a thing, an action on a client id, topic or filter, and the connection."""

    thing: str
    action: Action
    resource: str
    circumstances: Circumstances
    document: str | None = None
    """A document to try in the place of the thing's own policies."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """The verdict of the policies, and the certificate on which a connection would rest today."""

    explanation: Explanation
    thing: Thing
    certificate: Certificate
    live: bool
    """Whether the broker would let that certificate in at all; if not, the verdict is of no use yet."""


class PolicyOffice:
    """Keeps policies and says who has them."""

    def __init__(
        self,
        *,
        policies: AccessPolicies,
        listing: PolicyList,
        use: PolicyUse,
        fleet: Fleet,
        directory: DeviceDirectory,
        sessions: Sessions | None,
        clock: Clock,
    ) -> None:
        """``sessions`` is None where no broker runs."""
        self._policies = policies
        self._listing = listing
        self._use = use
        self._fleet = fleet
        self._directory = directory
        self._sessions = sessions
        self._clock = clock

    async def put(self, name: str, text: str, *, actor: str = "operator", shipped: bool = False) -> Kept:
        """Keep a document under a name; raises InvalidPolicyName or InvalidPolicy.

        The latter also stands for what lint calls an error: a statement that can never do what it says, or a
        size that AWS refuses.
        """
        document = read_document(text)
        now = self._clock.now()
        details = {"documentHash": hashlib.sha256(text.encode()).hexdigest()}
        event = AuditEvent(now, "policy.put", "done", parse_policy_name(name), actor, details=details)
        offered = AccessPolicy(PolicyName(name), document, now, shipped=shipped)
        kept = await self._policies.put_policy(offered, event)
        await self._review(None)
        return Kept(kept, lint(document))

    async def ship(self, name: PolicyName, text: str) -> None:
        """Put a document that comes with Keyborn, unless an operator's stands in its place."""
        known = await self._policies.policy(name)
        if known is None or (known.shipped and known.document.text != text):
            await self.put(name, text, actor="keyborn", shipped=True)

    async def remove(self, name: str, *, actor: str = "operator") -> None:
        """Forget a policy that nobody has; raises NotFound or PolicyInUse."""
        event = AuditEvent(self._clock.now(), "policy.remove", "done", name, actor)
        await self._policies.remove_policy(PolicyName(name), event)

    async def attach(self, policy: str, thing: str, *, actor: str = "operator") -> Thing:
        """Give a thing or service one more policy; raises NotFound or TooManyPolicies."""
        event = self._change("policy.attach", policy, thing, actor)
        changed = await self._use.attach_policy(ThingName(thing), PolicyName(policy), event)
        await self._review([changed.name])
        return changed

    async def detach(self, policy: str, thing: str, *, actor: str = "operator") -> Thing:
        """Take a policy away; the last one leaves none.

        Raises NotFound for a thing, and for a policy that neither it has nor anybody ever put: a slip of the
        pen must not look as if something had been taken away.
        """
        known = await self._fleet.thing(ThingName(thing))
        if known is not None and policy not in in_force(known):
            await self.show(policy)
        event = self._change("policy.detach", policy, thing, actor)
        changed = await self._use.detach_policy(ThingName(thing), PolicyName(policy), event)
        await self._review([changed.name])
        return changed

    async def page(self, *, after: str | None = None, limit: int = 100) -> Sequence[AccessPolicy]:
        """A page of policies, by name."""
        return await self._listing.policies(after=PolicyName(after) if after else None, limit=limit)

    async def show(self, name: str) -> Kept:
        """One policy with its findings; raises NotFound."""
        policy = await self._policies.policy(PolicyName(name))
        if policy is None:
            raise NotFound(what="policy", name=ascii(name[:128]))
        return Kept(policy, lint(policy.document))

    async def users(self, name: str, *, after: str | None = None, limit: int = 100) -> Sequence[ThingName]:
        """Who has it by name, a page."""
        return await self._use.users(PolicyName(name), after=ThingName(after) if after else None, limit=limit)

    async def simulate(self, question: Question) -> Simulation:
        """What the broker would decide, and why; raises NotFound, or InvalidPolicy for a document to try."""
        badge = await self._badge(question.thing)
        if question.document is not None:
            document = parse_document(question.document)
            tried = AccessPolicy(PolicyName("the-given-document"), document, self._clock.now())
            badge = Badge(badge.certificate, badge.thing, (tried,))
        said = explain(badge, question.circumstances, question.action, question.resource)
        live = badge.certificate.live(self._clock.now())
        return Simulation(said, badge.thing, badge.certificate, live)

    async def _badge(self, name: str) -> Badge:
        """The badge of the certificate that is live, else of the newest; raises NotFound without one."""
        held = await self._fleet.certificates(ThingName(name))
        if not held:
            raise NotFound(what="thing", name=ascii(name[:64]))
        now = self._clock.now()
        chosen = next((each for each in held if each.live(now)), held[-1])
        badge = await self._directory.badge(chosen.id)
        if badge is None:
            raise NotFound(what="thing", name=ascii(name[:64]))
        return badge

    def _change(self, action: str, policy: str, thing: str, actor: str) -> AuditEvent:
        return AuditEvent(self._clock.now(), action, "done", thing, actor, details={"policy": policy})

    async def _review(self, names: Collection[ThingName] | None) -> None:
        if self._sessions is not None:
            await self._sessions.review(names)


def read_document(text: str) -> PolicyDocument:
    """A document that may be put: parses, fits AWS's size, and holds no statement that lint calls an error.

    Raises InvalidPolicy.
    """
    document = parse_document(text)
    if size(text) > MAX_DOCUMENT:
        detail = f"{size(text)} characters, white space not counted; AWS IoT takes {MAX_DOCUMENT}"
        raise InvalidPolicy(where="the document", detail=detail)
    for finding in refused(document):
        raise InvalidPolicy(where=finding.where, detail=finding.sentence.rstrip("."))
    return document
