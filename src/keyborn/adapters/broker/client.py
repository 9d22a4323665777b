"""What the parts of one admitted connection share."""

from collections.abc import Callable
from dataclasses import dataclass

from keyborn.adapters.broker.admission import Doorkeeper
from keyborn.adapters.broker.answers import Answers
from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.hub import Hub
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.link import Link
from keyborn.adapters.broker.packets import V5, Reason
from keyborn.adapters.broker.refusals import Refusals
from keyborn.adapters.broker.session import Budget, Session
from keyborn.adapters.broker.turns import Turns
from keyborn.adapters.broker.wire import ProtocolError
from keyborn.domain.access import Action, Principal
from keyborn.ports import Clock


@dataclass(frozen=True, slots=True)
class House:
    """What all connections of a gateway share. ``now`` is monotonic, ``clock`` is the wall's."""

    hub: Hub
    gate: Gate
    doorkeeper: Doorkeeper
    refusals: Refusals
    clock: Clock
    now: Callable[[], float]
    limits: Limits
    turns: Turns
    pending: Budget
    """Bytes held for connections that have not been admitted."""
    admitted: Callable[[Link], None]
    """Told when a connection stops being pending."""
    met: Callable[[Principal], None]
    """Told who has connected with a certificate for the first time."""


class Denied(ProtocolError):
    """A refusal that ends the connection and has been logged already."""


@dataclass(frozen=True, slots=True)
class Client:
    """One admitted connection."""

    house: House
    link: Link
    version: int
    session: Session
    answers: Answers
    leave: Callable[[int, str], None]
    """Ends the connection from our side: a reason of MQTT 5, and in words."""

    @property
    def principal(self) -> Principal:
        """Who acts, with the rights in force now."""
        return self.session.principal

    @property
    def is_v5(self) -> bool:
        """Whether it speaks MQTT 5."""
        return self.version == V5

    def allows(self, action: Action, resource: str) -> bool:
        """Ask about the rights in force now; a denial is logged with the peer's address."""
        return self.house.gate.allows(self.session.principal, action, resource, peer=self.link.peer)

    def unwritten(self, what: str) -> None:
        """Something could not be made durable, and there is no word for that but to end the connection."""
        self.house.refusals.say(
            f"unwritten {self.principal.certificate}",
            "not durable",
            what=what,
            client=self.session.client_id,
            peer=self.link.peer,
        )
        self.leave(Reason.QUOTA_EXCEEDED, f"{what} could not be written")

    def deny(self, action: Action | str, resource: str, reason: str) -> None:
        """Log a refusal whose reason is the broker's own."""
        self.house.gate.deny(self.principal, action, resource, reason, peer=self.link.peer)
