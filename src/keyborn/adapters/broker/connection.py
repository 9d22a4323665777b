"""One client, from CONNECT to the end: states, timers, and who handles which packet."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from functools import partial

from keyborn.adapters.broker.admission import Admitted, Refused
from keyborn.adapters.broker.answers import Answers
from keyborn.adapters.broker.client import Client, Denied, House
from keyborn.adapters.broker.decode import Decoder
from keyborn.adapters.broker.delivery import Sender
from keyborn.adapters.broker.encode import PINGRESP, encode_connack, encode_disconnect
from keyborn.adapters.broker.inbox import Inbox
from keyborn.adapters.broker.link import Link
from keyborn.adapters.broker.message import LastWill, Message
from keyborn.adapters.broker.packets import (
    V5,
    V311,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Prop,
    PubAck,
    Publish,
    Reason,
    Refused311,
    Subscribe,
    Unsubscribe,
)
from keyborn.adapters.broker.properties import number
from keyborn.adapters.broker.publishing import Intake
from keyborn.adapters.broker.refusals import LOG, line
from keyborn.adapters.broker.session import Session
from keyborn.adapters.broker.subscribing import subscribe, unsubscribe
from keyborn.adapters.broker.welcome import expiry, welcome
from keyborn.adapters.broker.wire import ProtocolError, violation
from keyborn.domain.certificate import Certificate
from keyborn.domain.names import CertificateId

_GRACE = 1.5
"""A client may be silent for one and a half keep-alive intervals (MQTT 5 section 3.1.2.10)."""
_REFUSALS = frozenset({Reason.NOT_AUTHORIZED, Reason.QUOTA_EXCEEDED})
"""Reasons for an end that CONNACK has a word for, too."""


class State(Enum):
    """Where a connection stands."""

    WAITING = auto()
    """for CONNECT"""
    DECIDING = auto()
    """whether to admit it; what comes meanwhile waits unread"""
    OPEN = auto()
    CLOSED = auto()


class Connection:
    """The user of a link, and the outlet of a session."""

    def __init__(self, house: House, link: Link, certificate: CertificateId) -> None:
        self._house = house
        self._link = link
        self._certificate_id = certificate
        self._loop = asyncio.get_running_loop()
        self._state = State.WAITING
        self._decoder = Decoder(house.limits.packet)
        self._held = 0
        self._silence = 0.0
        self._will: LastWill | None = None
        self._client: Client | None = None
        self._inbox: Inbox | None = None
        """There from the moment on at which the client hears that it is in."""
        self._sender: Sender | None = None
        self._intake: Intake | None = None
        self._task: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._after("connect", house.limits.connect_seconds, self._connect_late)

    # ── the link's user ───────────────────────────────────────────────────────────────────────────────

    def received(self, data: bytes) -> None:
        """Plain bytes from the client."""
        if self._inbox is not None:
            self._inbox.push(data)
            self._work()
        elif self._state is not State.CLOSED:
            self._before_it_is_in(data)

    def lost(self, reason: str) -> None:
        """The connection is over and nobody said goodbye."""
        if self._state is State.WAITING:
            self._refuse_line("iot:Connect", f"no CONNECT: {reason}")
        self._end(reason)

    def choked(self, *, on: bool) -> None:
        """The client reads too slowly, or has caught up; the link has stopped reading from it meanwhile."""
        if not on and self._sender is not None:
            self._sender.pump()
            self._caught_up()

    # ── the session's outlet ──────────────────────────────────────────────────────────────────────────

    def deliver(self, message: Message, qos: int, *, retain: bool) -> None:
        """A message for this client."""
        if self._sender is not None:
            self._sender.deliver(message, qos, retain=retain)

    def displaced(self) -> None:
        """A newer connection with this client id has been admitted."""
        self._leave(Reason.SESSION_TAKEN_OVER, "taken over by a newer connection")

    def removed(self, reason: str, code: Reason) -> None:
        """The operator ends it; the session has been taken care of."""
        self._will = None
        self._leave(code, reason)

    def shut_down(self) -> None:
        """The service stops: no will, because the client has not vanished; its session may wait for it."""
        self._will = None
        self._leave(Reason.SERVER_SHUTTING_DOWN, "the service stops")

    # ── coming in ─────────────────────────────────────────────────────────────────────────────────────

    def _before_it_is_in(self, data: bytes) -> None:
        try:
            self._decoder.push(data)
            self._hold(self._decoder.buffered)
            if self._state is State.WAITING:
                self._first()
        except ProtocolError as error:
            self._broke_protocol(error)

    def _first(self) -> None:
        packet = self._decoder.next()
        if packet is None:
            return
        assert isinstance(packet, Connect), "the decoder takes nothing else first"
        self._state = State.DECIDING
        self._cancel_timers()
        self._link.pause_reading()
        self._task = self._loop.create_task(self._decide(packet))

    async def _decide(self, connect: Connect) -> None:
        try:
            admitted = await self._house.doorkeeper.admit(self._certificate_id, connect, self._link.peer)
            self._open(connect, admitted)
        except Refused as refused:
            self._turn_away(connect, refused)
        except Exception:  # noqa: BLE001 - whatever fails, the client must not hang
            LOG.exception("admission of certificate %s failed", self._certificate_id)
            self._turn_away(connect, Refused(Reason.SERVER_UNAVAILABLE, "a fault of the broker's own"))

    def _open(self, connect: Connect, admitted: Admitted) -> None:
        """Attach; ``_begin`` follows at once, or when the end of an older durable session is written down."""
        limits, hub = self._house.limits, self._house.hub
        answers = Answers(hub.keeper, limits.in_flight, self._caught_up)
        mark = answers.mark()
        attached = hub.attach(connect.client_id, admitted.principal, self, clean=connect.clean_start)
        if attached is None:
            raise Refused(
                Reason.QUOTA_EXCEEDED, "as many sessions as there may be", thing=admitted.principal.thing
            )
        session, present = attached
        ended = not present and answers.mark() != mark
        session.circumstances = admitted.circumstances
        session.expiry = expiry(connect, limits.session_expiry)
        hub.keep(session)
        client = Client(self._house, self._link, connect.version, session, answers, self._leave)
        window = min(number(connect.properties, Prop.RECEIVE_MAXIMUM, limits.in_flight), limits.in_flight)
        largest = number(connect.properties, Prop.MAXIMUM_PACKET_SIZE, 2 * limits.packet)
        self._client, self._intake, self._sender = client, Intake(client), Sender(client, window, largest)
        self._state = State.OPEN
        self._hold(0)
        self._house.admitted(self._link)
        self._after_recheck(admitted.certificate)
        if admitted.first:
            self._house.met(admitted.principal)
        answer = welcome(connect, session.expiry, limits, present=present)
        answers.after(mark if ended else answers.mark(), partial(self._begin, client, connect, answer))

    def _begin(self, client: Client, connect: Connect, answer: ConnAck, written: bool) -> None:  # noqa: FBT001 - a callback's
        """Answer, send what waited, go on reading. From here to the end nothing waits."""
        if not written:
            client.unwritten("the end of an older session")
            return
        assert self._sender is not None, "who has left is not answered any more"
        self._log(
            "connected", session=connect.client_id, version=connect.version, resumed=answer.session_present
        )
        self._will = LastWill.of(connect.will) if connect.will is not None else None
        self._link.send(encode_connack(answer, connect.version))
        self._inbox = self._new_inbox(client.answers)
        self._watch_silence(connect.keep_alive)
        self._sender.pump()
        self._work()

    def _new_inbox(self, answers: Answers) -> Inbox:
        return Inbox(
            self._link,
            self._decoder,
            answers,
            self._house.turns,
            self._house.limits,
            handle=self._handle,
            work=self._work,
            tell=lambda seconds: self._log("slowed down", seconds=f"{seconds:.2f}"),
        )

    def _turn_away(self, connect: Connect, refused: Refused) -> None:
        if not refused.logged:
            self._refuse_line("iot:Connect", refused.why, resource=connect.client_id, thing=refused.thing)
        self._send_refusal(refused)
        self._end(refused.why)
        self._link.close()

    # ── while open ────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        """Handle what has come, as far as it is this client's turn."""
        try:
            if self._inbox is not None:
                self._inbox.work()
        except Denied as denied:
            self._leave(denied.reason, denied.detail)
        except ProtocolError as error:
            self._broke_protocol(error)

    def _caught_up(self) -> None:
        """There is one reason less to keep the client waiting."""
        if self._inbox is not None:
            self._inbox.go_on()

    def _handle(self, packet: Packet) -> None:
        assert self._client is not None
        assert self._sender is not None
        assert self._intake is not None
        if isinstance(packet, Publish):
            self._intake.publish(packet)
        elif isinstance(packet, PubAck):
            self._sender.acknowledged(packet.packet_id)
        elif isinstance(packet, PingReq):
            self._link.send(PINGRESP)
        elif isinstance(packet, Subscribe):
            subscribe(self._client, self._sender, packet)
        elif isinstance(packet, Unsubscribe):
            unsubscribe(self._client, packet)
        elif isinstance(packet, Disconnect):
            self._goodbye(packet, self._client.session)
        else:
            raise violation(f"a client may not send {type(packet).__name__}")

    def _goodbye(self, packet: Disconnect, session: Session) -> None:
        """DISCONNECT: the will is forgotten unless reason 0x04 asks for it (MQTT 5 section 3.14.2.1)."""
        wanted = number(packet.properties, Prop.SESSION_EXPIRY, session.expiry)
        if wanted and not session.expiry:
            raise violation("a session that was to end may not be kept")
        session.expiry = min(wanted, self._house.limits.session_expiry)
        if packet.reason == Reason.SUCCESS:
            self._will = None
        self._end("the client said goodbye")
        self._link.close()

    def _watch_silence(self, keep_alive: int) -> None:
        longest = self._house.limits.keep_alive
        self._silence = (keep_alive if 0 < keep_alive <= longest else longest) * _GRACE
        self._after("keep-alive", self._silence, self._check_silence)

    def _check_silence(self) -> None:
        assert self._inbox is not None
        left = self._inbox.heard + self._silence - self._loop.time()
        if left > 0 or self._inbox.waits:
            self._after("keep-alive", left if left > 0 else 1, self._check_silence)
        else:
            self._leave(Reason.KEEP_ALIVE_TIMEOUT, f"silent for {self._silence:g} s, keep-alive expired")

    def _after_recheck(self, certificate: Certificate) -> None:
        """Look again now and then, and exactly when the certificate's last millisecond is over."""
        left = (certificate.not_after - self._house.clock.now()).total_seconds()
        seconds = min(self._house.limits.recheck_seconds, max(left, 0) + 0.002)
        self._after("recheck", seconds, lambda: self._recheck(certificate))

    def _recheck(self, certificate: Certificate) -> None:
        if certificate.expired(self._house.clock.now()):
            self._will = None
            self._leave(Reason.NOT_AUTHORIZED, "the certificate has expired")
        else:
            assert self._client is not None
            session = self._client.session
            self._task = self._loop.create_task(self._look_again(certificate, session))

    async def _look_again(self, certificate: Certificate, session: Session) -> None:
        """Go on under what the registry says now; while it does not answer, under what it said last."""
        try:
            principal = await self._house.doorkeeper.renewed(certificate.id, session.circumstances)
        except Refused as refused:
            self._will = None
            self._leave(Reason.NOT_AUTHORIZED, refused.why)
            return
        if principal is None or self._house.hub.rebind(session, principal):
            self._after_recheck(certificate)

    # ── going ─────────────────────────────────────────────────────────────────────────────────────────

    def _broke_protocol(self, error: ProtocolError) -> None:
        self._refuse_line("protocol", error.detail)
        if self._state is State.WAITING:
            self._answer_bad_connect(error)
        self._leave(error.reason, error.detail)

    def _answer_bad_connect(self, error: ProtocolError) -> None:
        """A CONNECT that did not parse: say why where the client's version has a word for it."""
        if self._decoder.version == V5:
            self._link.send(encode_connack(ConnAck(session_present=False, reason=error.reason), V5))
        elif error.reason == Reason.UNSUPPORTED_VERSION:
            code = Refused311.UNACCEPTABLE_VERSION
            self._link.send(encode_connack(ConnAck(session_present=False, reason=code), V311))

    def _connect_late(self) -> None:
        self._refuse_line("iot:Connect", f"no CONNECT within {self._house.limits.connect_seconds:g} s")
        self._leave(Reason.KEEP_ALIVE_TIMEOUT, "no CONNECT in time")

    def _leave(self, reason: int, why: str) -> None:
        """End it from our side; MQTT 5 clients are told the reason, 3.1.1 has no packet for that."""
        if self._state is State.CLOSED:
            return
        if self._state is State.OPEN and self._inbox is None:
            self._send_refusal(
                Refused(Reason(reason) if reason in _REFUSALS else Reason.SERVER_UNAVAILABLE, why)
            )
        elif self._state is State.OPEN and self._decoder.version == V5:
            self._link.send(encode_disconnect(reason, V5))
        self._end(why)
        self._link.close()

    def _send_refusal(self, refused: Refused) -> None:
        """CONNACK; there is no DISCONNECT before it (MQTT 5, MQTT-3.14.0-1)."""
        version = self._decoder.version or V311
        code = refused.reason if version == V5 else refused.return_code
        self._link.send(encode_connack(ConnAck(session_present=False, reason=code), version))

    def _end(self, why: str) -> None:
        """Let go of everything, once."""
        was, self._state = self._state, State.CLOSED
        if was is State.CLOSED:
            return
        self._cancel_timers()
        self._hold(0)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        client, self._client, self._sender, self._intake = self._client, None, None, None
        if self._inbox is not None:
            self._inbox.close()
        if client is not None:
            client.answers.forget()
            self._log("disconnected", thing=client.principal.thing, reason=why)
            if client.session.outlet is self:
                self._house.hub.detach(client.session, self._will)

    # ── small things ──────────────────────────────────────────────────────────────────────────────────

    def _hold(self, count: int) -> None:
        """Account for ``count`` bytes of a client that is not admitted; too many in all end this one."""
        if count and not self._house.pending.take(count - self._held):
            raise ProtocolError(Reason.QUOTA_EXCEEDED, "too many bytes wait for admission")
        if not count:
            self._house.pending.give(self._held)
        self._held = count

    def _after(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(seconds, action)

    def _cancel_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _log(self, event: str, **fields: object) -> None:
        LOG.info("%s", line(event, **fields, certificate=self._certificate_id, peer=self._link.peer))

    def _refuse_line(self, action: str, reason: str, **fields: object) -> None:
        thing = self._client.principal.thing if self._client is not None else None
        facts = {"thing": thing, **fields, "certificate": self._certificate_id, "peer": self._link.peer}
        self._house.refusals.refuse(self._certificate_id, action=action, **facts, reason=reason)
