"""The one place where the broker asks about rights, and where a denial becomes a log line."""

from keyborn.adapters.broker.refusals import Refusals
from keyborn.domain.access import Action, Principal


class Gate:
    """Asks on connect, publish, retain, will, subscribe and each delivery."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def allows(self, principal: Principal, action: Action, resource: str, *, peer: str | None = None) -> bool:
        """Whether ``principal`` may; a denial is logged with its reason (policy and statement)."""
        ruling = principal.rights.decide(action, resource)
        if not ruling.allowed:
            self.deny(principal, action, resource, ruling.reason, peer=peer)
        return ruling.allowed

    def may_publish(self, principal: Principal, topic: str, *, retain: bool, peer: str | None = None) -> bool:
        """Publish, and retain too where that is asked."""
        return self.allows(principal, Action.PUBLISH, topic, peer=peer) and (
            not retain or self.allows(principal, Action.RETAIN, topic, peer=peer)
        )

    def deny(
        self,
        principal: Principal,
        action: Action | str,
        resource: str,
        reason: str,
        *,
        peer: str | None = None,
    ) -> None:
        """Log a refusal whose reason is the broker's own."""
        self._refusals.refuse(
            principal.certificate,
            action=action,
            thing=principal.thing,
            certificate=principal.certificate,
            resource=resource,
            reason=reason,
            peer=peer,
        )
