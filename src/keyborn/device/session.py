"""One MQTT session over mutual TLS: MQTT 5, or 3.1.1 where the broker does not speak 5.

Single-threaded: the network moves only inside these methods, each of which ends by its time-out. The broker
must prove itself against ``roots.pem``, host name included; the device proves itself through its key store.
"""

import math
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from keyborn.device import tls
from keyborn.device.drain import FAILURE, Ending, Terms
from keyborn.device.identity import Identity
from keyborn.device.messages import Message
from keyborn.device.opening import Limits, Will
from keyborn.device.reasons import Reason, ending_of, explain, publisher, terms
from keyborn.device.unanswered import Unanswered
from keyborn.domain.errors import (
    BrokerUnreachable,
    BrokerUntrusted,
    SessionLost,
    SharedNotOffered,
    SubscribeDenied,
)

OPERATION_TIMEOUT = 5.0
KEEP_ALIVE = 60
"""Seconds; AWS IoT takes 30 to 1200."""
MQTT_5, MQTT_3_1_1 = 5, 4
_SHARED_NOT_SUPPORTED = 0x9E


@dataclass(frozen=True, slots=True)
class Received:
    """A message that arrived."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    publisher: str | None = None
    """The thing that published it, where an embedded broker tells that to a service."""


class Session:
    """An open session; make one with ``connect``, and close it."""

    def __init__(
        self,
        identity: Identity,
        context: ssl.SSLContext,
        version: int,
        limits: Limits,
        will: Will | None = None,
    ) -> None:
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        from keyborn.device.mqtt import TimedClient

        self._identity = identity
        self._limits = limits
        self._accepted: Reason | None = None
        self._ended: Reason | None = None
        self._over: SessionLost | None = None
        self._granted: dict[int, list[Reason]] = {}
        self._unanswered = Unanswered(time.monotonic())
        self.ending = Ending.NETWORK
        """How it ended, once SessionLost was raised."""
        self.terms = Terms()
        """What the broker takes, once it has answered."""
        self._inbox: deque[Received] = deque()
        self._client = TimedClient(
            CallbackAPIVersion.VERSION2,
            client_id=identity.broker.client_id,
            protocol=MQTTProtocolVersion(version),
            reconnect_on_failure=False,
        )
        context.set_alpn_protocols([identity.broker.alpn] if identity.broker.alpn else [])
        self._client.tls_set_context(context)
        if will is not None:
            self._client.will_set(will.topic, will.payload, 1, will.retain)
        self._listen()

    @property
    def version(self) -> int:
        """MQTT_5 or MQTT_3_1_1."""
        return int(self._client.protocol)

    def open(self) -> Reason | None:
        """Connect; returns the broker's answer, or None if it hung up without one.

        Raises BrokerUnreachable and BrokerUntrusted, whose cause is what network and TLS said.
        """
        broker, limits = self._identity.broker, self._limits
        self._client.connect_timeout = limits.left(limits.shake)
        try:
            self._client.connect(broker.endpoint, broker.port, KEEP_ALIVE)
            answered = self._pump(lambda: self._accepted is not None, limits.left(limits.answer))
        except SessionLost:
            return self._accepted or self._ended
        except ssl.SSLCertVerificationError as wrong:
            raise BrokerUntrusted(broker=self._name, detail=tls.explain(wrong)) from wrong
        except OSError as wrong:
            raise BrokerUnreachable(broker=self._name, detail=explain(wrong, limits.shake)) from wrong
        if not answered:
            detail = f"it did not answer within {limits.answer:.3g} s"
            raise BrokerUnreachable(broker=self._name, detail=detail)
        return self._accepted

    def publish(self, message: Message) -> Reason:
        """Publish and wait for the acknowledgement; returns its reason, also a permanent refusal.

        Raises SessionLost where nobody can say whether the broker has it: sending it again is right.
        """
        self.send([(message, None)])
        try:
            self._pump(lambda: message.id in self._unanswered.answers, math.inf)
        except SessionLost:
            if self._ended is not None and self._ended.permanent:
                return self._ended
            raise
        answer = self._unanswered.answers.pop(message.id)
        if answer.code >= FAILURE and not answer.permanent:
            raise self.lost(f"it did not take the message ({answer.name})")
        return answer

    def send(self, messages: Iterable[tuple[Message, float | None]]) -> None:
        """Send messages, each with the seconds it has left to live, at once; ``answers`` has the outcome."""
        with self._client.together():
            for message, lifetime in messages:
                mid = self._client.post(message.topic, message.payload, message.qos, lifetime=lifetime)
                if message.qos:
                    self._unanswered.sent(mid, message.id, time.monotonic())
                else:
                    self._unanswered.settled(message.id, Reason(0, "Success"))

    def answers(self) -> dict[int, Reason]:
        """What was answered since the last call, by message id; QoS 0 has no answer but that it was sent."""
        return self._unanswered.take()

    def ping(self) -> None:
        """Ask the broker for a sign of life: ``ponged`` says when it came."""
        self._unanswered.asked(time.monotonic())
        self._client.ping()

    @property
    def ponged(self) -> bool:
        """Whether the broker has answered the last ``ping``."""
        return self._unanswered.alive

    @property
    def unsent(self) -> int:
        """Bytes that the network has not taken yet."""
        return self._client.wire.unsent if self._client.wire else 0

    def fileno(self) -> int:
        """The descriptor that becomes readable when something arrives; -1 once the session is over."""
        return self._client.wire.fileno() if self._client.wire else -1

    @property
    def unread(self) -> bool:
        """Whether something has arrived already that the descriptor does not show."""
        return self._client.wire is not None and self._client.wire.pending() > 0

    def wait(self, seconds: float) -> None:
        """Let the network move until something new arrives, for up to ``seconds``; raises SessionLost."""
        asking, held = not self.ponged, len(self._inbox)
        self._pump(
            lambda: bool(self._unanswered.answers) or len(self._inbox) > held or (asking and self.ponged),
            seconds,
        )

    def subscribe(self, topic_filter: str, *, retained: bool = True) -> None:
        """Ask for messages with QoS 1; raises SubscribeDenied or SessionLost.

        ``retained`` False leaves out what the broker has kept from before; only MQTT 5 can ask for that.
        """
        _, mid = self._client.subscribe(topic_filter, **self._subscribing(retained=retained))
        assert mid is not None
        answer = self._grant(mid)
        if answer.code >= FAILURE:
            own = self._identity.broker.topic
            if answer.code == _SHARED_NOT_SUPPORTED:
                raise SharedNotOffered(topic=topic_filter, reason=answer.name, own=own)
            raise SubscribeDenied(topic=topic_filter, reason=answer.name, own=own)

    def _subscribing(self, *, retained: bool) -> dict[str, Any]:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        if self.version != MQTT_5:
            return {"qos": 1}
        handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
        if not retained:
            handling = SubscribeOptions.RETAIN_DO_NOT_SEND
        return {"options": SubscribeOptions(qos=1, retainHandling=handling)}

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for no more of these; nobody waits for the answer."""
        self._client.unsubscribe(topic_filter)

    def receive(self, seconds: float) -> Received | None:
        """The next message, or None if none came within ``seconds``; raises SessionLost."""
        self._pump(lambda: bool(self._inbox), seconds)
        return self._inbox.popleft() if self._inbox else None

    def leftover(self) -> Iterator[Received]:
        """What has arrived and was acknowledged, but not taken yet; the network may be gone."""
        while self._inbox:
            yield self._inbox.popleft()

    def idle(self, seconds: float) -> None:
        """Let time pass with the session alive; raises SessionLost."""
        self._pump(lambda: False, seconds)

    def close(self) -> None:
        """Say goodbye, if anybody is still there."""
        client = self._client
        client.disconnect()
        client.release()
        client.on_connect = client.on_disconnect = client.on_subscribe = None
        client.on_message = client.on_acknowledged = client.on_pong = None

    def _listen(self) -> None:
        """Callbacks only note what happened; whoever waits for it acts on it."""

        def _on_connect(_client: object, _data: object, _flags: object, reason: Any, more: object) -> None:  # noqa: ANN401 - paho's
            self._accepted = Reason(reason.value, str(reason))
            self.terms = terms(self._identity.broker.endpoint, more, explains=self.version == MQTT_5)

        def _on_disconnect(_client: object, _data: object, flags: Any, reason: Any, _more: object) -> None:  # noqa: ANN401 - paho's
            if flags.is_disconnect_packet_from_server:
                self._ended = Reason(reason.value, str(reason))

        def _on_acknowledged(mid: int, code: int, name: str) -> None:
            self._unanswered.answered(mid, Reason(code, name), time.monotonic())

        def _on_subscribe(_client: object, _data: object, mid: int, reasons: Any, _more: object) -> None:  # noqa: ANN401 - paho's
            self._granted[mid] = [Reason(each.value, str(each)) for each in reasons]

        def _on_message(_client: object, _data: object, message: Any) -> None:  # noqa: ANN401 - paho's
            received = Received(message.topic, message.payload, message.qos, message.retain)
            self._inbox.append(replace(received, publisher=publisher(message.properties)))

        def _on_pong() -> None:
            self._unanswered.pong(time.monotonic())

        self._client.on_connect = _on_connect
        self._client.on_disconnect = _on_disconnect
        self._client.on_acknowledged = _on_acknowledged
        self._client.on_subscribe = _on_subscribe
        self._client.on_message = _on_message
        self._client.on_pong = _on_pong

    def _grant(self, mid: int) -> Reason:
        """The one reason that answers a subscription."""
        if not self._pump(lambda: mid in self._granted, OPERATION_TIMEOUT):
            raise self.lost(f"it did not answer the subscription within {OPERATION_TIMEOUT:g} s")
        reasons = self._granted.pop(mid)
        if len(reasons) != 1:
            raise self.lost(f"it sent {len(reasons)} reasons in the place of one")
        return reasons[0]

    def _pump(self, done: Callable[[], bool], seconds: float) -> bool:
        """Move the network until ``done``; False when time is up.

        Raises SessionLost; but what came just before the end counts first.
        """
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._over is not None:
                raise self._over
            try:
                self._turn(min(left, self._patience()))
            except SessionLost as wrong:
                self._over = wrong
        return True

    def _patience(self) -> float:
        """Seconds until somebody has to look at the clock; raises SessionLost where something is overdue.

        Half-way, a broker that acknowledges nothing is asked whether it is there at all.
        """
        since = self._unanswered.since()
        if since == math.inf:
            return self._client.keepalive / 4  # time enough for paho's own ping, and few wake-ups
        waited = time.monotonic() - since
        if waited >= OPERATION_TIMEOUT:
            self.ending = Ending.IGNORED if self.ponged else Ending.NETWORK
            raise self.lost(f"it did not {self._unanswered.wanted()} within {OPERATION_TIMEOUT:g} s")
        if waited >= OPERATION_TIMEOUT / 2 and self._unanswered.doubtful(since):
            self.ping()
        return min(1.0, OPERATION_TIMEOUT / 4, OPERATION_TIMEOUT - waited)

    def _turn(self, seconds: float) -> None:
        from paho.mqtt.client import error_string
        from paho.mqtt.enums import MQTTErrorCode

        try:
            outcome = self._client.loop(seconds)
        except Exception as wrong:  # noqa: BLE001 - a broker's bytes can raise anything inside the parser
            raise self.lost(f"it sent something that is not MQTT ({type(wrong).__name__})") from None
        hung_up = self._client.wire is not None and self._client.wire.hung_up
        self.ending = ending_of(self._ended, hung_up=hung_up)
        if self._ended is not None:
            raise self.lost(self._ended.name)
        if outcome is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self.lost(error_string(outcome).rstrip(".").lower())

    def lost(self, detail: str) -> SessionLost:
        """The error that says so."""
        return SessionLost(broker=self._name, detail=detail)

    @property
    def _name(self) -> str:
        return f"{self._identity.broker.endpoint}:{self._identity.broker.port}"
