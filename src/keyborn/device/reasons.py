"""What a broker said, or did not say, in the words of the outbox: reasons, terms, and how a session ended."""

import socket
import ssl
from dataclasses import dataclass
from math import inf
from typing import Any

from keyborn.device import tls
from keyborn.device.drain import NEVER, UNEXPLAINING, WINDOW, Ending, Terms
from keyborn.device.identity import Identity
from keyborn.domain.errors import BrokerUnreachable, SessionRefused

_FOR_NOW = frozenset({0x88, 0x89, 0x97, 0x9F})
"""Unavailable, busy, quota or rate exceeded: AWS IoT lets one client id connect once a second."""
PUBLISHER = "keyborn:thing"
"""The user property in which the embedded broker tells a service who published."""
AWS = (".amazonaws.com", ".amazonaws.com.cn")
_AWS_MESSAGES, _AWS_BYTES = 100.0, 512.0 * 1024
"""Publishes and bytes a second of one connection (AWS IoT Core endpoints and quotas)."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What a broker answered: MQTT 5 reason code and its name."""

    code: int
    name: str

    @property
    def permanent(self) -> bool:
        """Whether the same packet will never be taken."""
        return self.code in NEVER


def terms(endpoint: str, properties: Any, *, explains: bool) -> Terms:  # noqa: ANN401 - paho's, of a CONNACK
    """What the broker takes, as it says (MQTT 5 3.2.2.3) or as AWS documents for its endpoints."""
    in_flight = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
    packet = getattr(properties, "MaximumPacketSize", inf)
    if endpoint.endswith(AWS):
        return Terms(explains, in_flight, packet, _AWS_MESSAGES, _AWS_BYTES)
    return Terms(explains, in_flight, packet)


def ending_of(said: Reason | None, *, hung_up: bool) -> Ending:
    """What the end of a connection says: by the broker's DISCONNECT, or without one."""
    if said is None:
        return Ending.UNEXPLAINED if hung_up else Ending.NETWORK
    if said.permanent:
        return Ending.REFUSED
    return Ending.UNEXPLAINED if said.code in UNEXPLAINING else Ending.EXPLAINED


def publisher(properties: Any) -> str | None:  # noqa: ANN401 - paho's, None before MQTT 5
    """What the broker says of the publisher; it refuses messages that say it themselves."""
    told: list[tuple[str, str]] = getattr(properties, "UserProperty", [])
    return next((value for name, value in told if name == PUBLISHER), None)


def is_barred(cause: BaseException | None) -> bool:
    """Whether the network is at fault: no way, no answer, or a connection cut in the handshake.

    A name without addresses has none for the other port either, and who answers in TLS is there.
    """
    if isinstance(cause, ssl.SSLError):
        return isinstance(cause, ssl.SSLEOFError)
    return isinstance(cause, OSError) and not isinstance(cause, socket.gaierror)


def explain(wrong: OSError, patience: float) -> str:
    """Why there is no connection, in the middle of a sentence; ``patience`` is the time limit in seconds."""
    if isinstance(wrong, ssl.SSLError):
        return f"TLS: {tls.explain(wrong)}"
    if isinstance(wrong, TimeoutError):
        return f"no answer within {patience:.3g} s"
    if isinstance(wrong, socket.gaierror):
        return f"its name has no address ({wrong.strerror})"
    return wrong.strerror or "the connection broke"


def refusal(identity: Identity, answer: Reason | None) -> SessionRefused | BrokerUnreachable:
    """What it means that the broker did not accept; None: it hung up without an answer."""
    silent = "it closed the connection without a reason, as brokers do with a certificate they do not know"
    name = f"{identity.broker.endpoint}:{identity.broker.port}"
    if answer is not None and answer.code in _FOR_NOW:
        return BrokerUnreachable(broker=name, detail=f"it takes no session just now ({answer.name})")
    return SessionRefused(broker=name, detail=answer.name if answer else silent, thing=identity.thing)
