"""The agent's desk: the thread that has the local socket, and works for the programs that connect to it.

It never waits for the network or for a program: a message is on disk, and answered, whatever the session
does. Everything a program can make it hold is bounded.
"""

import selectors
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from keyborn.device.agent import protocol
from keyborn.device.agent.audience import audience
from keyborn.device.agent.box import Box
from keyborn.device.agent.bridge import Arrived, Bridge, Call, Denied, Ended, Granted, News
from keyborn.device.agent.guest import MAX_UNSENT, Guest
from keyborn.device.agent.protocol import Ref
from keyborn.device.messages import Fate
from keyborn.device.messenger import TOO_SHORT
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import (
    InvalidLine,
    KeybornError,
    NoIdentity,
    OutboxFull,
    SlowReader,
    TooMuchAtOnce,
)
from keyborn.domain.journey import Stage

MAX_GUESTS = 64
MAX_FILTERS = 100
"""Of one program."""
MAX_WAITING = 1000
"""Answers that programs wait for, together."""
LAST_WORD = 10.0
"""Seconds for who is sent away to read what is left."""
_LATER = inf


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Somebody waits for the end of a message."""

    guest: Guest
    ref: Ref
    message: int
    until: float


_Wish = tuple[Guest, Ref, protocol.Publish]
"""A message that a program wants to have kept."""


class Desk:
    """Started and stopped by the agent; all but ``start`` and ``stop`` happens in its own thread."""

    def __init__(self, bridge: Bridge, listener: socket.socket, box: Box, around: Surroundings) -> None:
        self._bridge = bridge
        self._listener = listener
        self._box = box
        self._around = around
        self._guests: list[Guest] = []
        self._waiting: list[_Waiting] = []
        self._since: dict[str, int] = {}
        self._number = 0
        self._batch: list[_Wish] = []
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and every conversation."""
        self._stopping = True
        self._bridge.knock()
        self._thread.join()

    # ── the loop ──

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as wrong:  # noqa: BLE001 - the agent ends with it, and says so
            self._bridge.failed = wrong
            self._bridge.call(Call.STOP)
        finally:
            for guest in self._guests:
                guest.flush()
                guest.socket.close()
            self._selector.close()
            self._box.close()

    def _serve(self) -> None:
        self._listener.settimeout(0)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bridge.bell, selectors.EVENT_READ)
        while not self._stopping:
            for key, events in self._selector.select(self._pause()):
                if key.fileobj is self._listener:
                    self._welcome()
                elif isinstance(key.data, Guest):
                    self._move(key.data, events)
            for news in self._bridge.news():
                self._hear(news)
            for guest in self._guests:
                self._listen(guest)
            self._keep()
            self._time_out()
            self._see_off()

    def _pause(self) -> float | None:
        """Seconds until somebody has waited long enough; None for ever."""
        if any(guest.waiting for guest in self._guests):
            return 0.0
        ends = [*(each.until for each in self._waiting), *(guest.leave_by for guest in self._guests)]
        first = min(ends, default=_LATER)
        return None if first == _LATER else max(first - self._around.pace.monotonic(), 0.0)

    # ── programs come and go ──

    def _welcome(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has gone already, or there is no descriptor left
            return
        guest = Guest(sock)
        self._guests.append(guest)
        self._selector.register(sock, selectors.EVENT_READ, guest)
        if len(self._guests) > MAX_GUESTS:
            self._dismiss(guest, TooMuchAtOnce(limit=MAX_GUESTS, what="programs"))

    def _move(self, guest: Guest, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            guest.flush()
        if events & selectors.EVENT_READ:
            guest.read()

    def _see_off(self) -> None:
        """Who has ended goes; who has not read everything is written to when that is possible."""
        now = self._around.pace.monotonic()
        for guest in self._guests[:]:
            gone = guest.leaving and (not guest.unsent or guest.leave_by <= now)
            if gone or (guest.ended and not guest.waiting):
                self._part(guest)
            else:
                reading = 0 if guest.leaving or guest.ended else selectors.EVENT_READ
                writing = selectors.EVENT_WRITE if guest.unsent else 0
                self._watch(guest, reading | writing)

    def _watch(self, guest: Guest, events: int) -> None:
        if not events:
            return
        if self._selector.get_key(guest.socket).events != events:
            self._selector.modify(guest.socket, events, guest)

    def _part(self, guest: Guest) -> None:
        self._guests.remove(guest)
        self._selector.unregister(guest.socket)
        guest.socket.close()
        for each in [each for each in self._waiting if each.guest is guest]:
            self._forget(each)
        if guest.filters:
            guest.filters.clear()
            self._want()

    def _dismiss(self, guest: Guest, wrong: KeybornError) -> None:
        """Its place and what it left unread are others' again soon, though it never reads anything."""
        guest.dismiss(protocol.problem(wrong), self._around.pace.monotonic() + LAST_WORD)

    def _tell(self, guest: Guest, line: bytes) -> None:
        if not guest.put(line):
            slow = SlowReader(limit=MAX_UNSENT)
            self._around.say(str(slow))
            self._dismiss(guest, slow)

    def _answer(self, guest: Guest, ref: Ref, members: dict[str, Any]) -> None:
        self._tell(guest, protocol.encode(members, ref))

    # ── orders ──

    def _listen(self, guest: Guest) -> None:
        if guest.overlong and not guest.leaving:
            self._dismiss(guest, InvalidLine(detail=f"it has more than {protocol.MAX_LINE} bytes"))
        for line in guest.lines():
            ref: Ref = None
            try:
                members = protocol.decode(line)
                ref = protocol.ref_of(members)
                order = protocol.order_of(members)
                if isinstance(order, protocol.Publish):
                    self._batch.append((guest, ref, order))
                    continue
                self._keep()  # what was ordered before has its answer before
                self._obey(guest, ref, order)
            except KeybornError as wrong:
                self._keep()
                self._answer(guest, ref, protocol.problem(wrong))

    def _obey(self, guest: Guest, ref: Ref, order: protocol.Order) -> None:
        match order:
            case protocol.Ask(message, wait):
                self._ask(guest, ref, message, wait)
            case protocol.Subscribe(name):
                self._subscribe(guest, ref, name)
            case protocol.Unsubscribe(name):
                guest.filters.pop(name, None)
                guest.asking.pop(name, None)
                self._want()
                self._answer(guest, ref, {"unsubscribed": name})
            case protocol.Status():
                self._answer(guest, ref, {"status": self._status()})
            case protocol.Look() | protocol.Renew():
                self._bridge.call(Call.RENEW if isinstance(order, protocol.Renew) else Call.LOOK)
                self._answer(guest, ref, {"called": True})
            case protocol.Wake():
                self._bridge.wake()
                self._answer(guest, ref, {"called": True})

    def _keep(self) -> None:
        """Keep what programs have published in this turn, with one sync of the disk, and answer.

        Where it does not all fit and the policy is to refuse, each message is asked about by itself.
        """
        batch, self._batch = self._batch, []
        if batch:
            self._keep_all(batch)

    def _keep_all(self, batch: Sequence[_Wish]) -> None:
        try:
            self._append(batch)
        except OutboxFull as full:
            if len(batch) == 1:
                self._refuse(batch, full)
            else:
                for wish in batch:
                    self._keep_all([wish])
        except KeybornError as wrong:
            self._refuse(batch, wrong)

    def _append(self, batch: Sequence[_Wish]) -> None:
        if self._bridge.standing.stage == Stage.UNPROVISIONED:
            raise NoIdentity(path=self._box.path.parent, detail="it is not enrolled yet")
        drafts = [order.draft for _, _, order in batch]
        numbers = self._box.open().append_many(drafts, self._around.clock.now())
        self._bridge.wake()
        for (guest, ref, order), message in zip(batch, numbers, strict=True):
            try:
                self._ask(guest, ref, message, order.wait)
            except KeybornError as wrong:
                self._answer(guest, ref, protocol.problem(wrong))

    def _refuse(self, batch: Sequence[_Wish], wrong: KeybornError) -> None:
        for guest, ref, _ in batch:
            self._answer(guest, ref, protocol.problem(wrong))

    def _ask(self, guest: Guest, ref: Ref, message: int, wait: float) -> None:
        """Answer at once, or once it is known; whoever looks first is told by the other."""
        waiting = _Waiting(guest, ref, message, self._around.pace.monotonic() + wait)
        if wait and len(self._waiting) < MAX_WAITING:
            self._waiting.append(waiting)
            self._bridge.awaited.add(message)
        try:
            fate = self._box.open().fate(message)
        except KeybornError:
            self._forget(waiting)
            raise
        if not fate.waiting or waiting not in self._waiting:
            self._settle(waiting, fate)

    def _settle(self, waiting: _Waiting, fate: Fate) -> None:
        self._forget(waiting)
        outcome: dict[str, Any] = {"id": waiting.message, "outcome": fate.outcome.value}
        outcome["outbox"] = self._counts()
        if reason := self._why() if fate.waiting else fate.reason:
            outcome["reason"] = reason
        standing = self._bridge.standing
        if fate.waiting and not standing.connected and standing.trouble:
            outcome |= {"trouble": standing.trouble, "detail": standing.detail}
        self._answer(waiting.guest, waiting.ref, outcome)

    def _forget(self, waiting: _Waiting) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        if all(each.message != waiting.message for each in self._waiting):
            self._bridge.awaited.discard(waiting.message)

    def _time_out(self) -> None:
        now = self._around.pace.monotonic()
        for each in [each for each in self._waiting if each.until <= now]:
            try:
                fate = self._box.open().fate(each.message)
            except KeybornError as wrong:
                self._forget(each)
                self._answer(each.guest, each.ref, protocol.problem(wrong))
            else:
                self._settle(each, fate)

    def _why(self) -> str:
        """Why a message still waits, in the middle of a sentence."""
        standing = self._bridge.standing
        if not standing.connected:
            return standing.error or "the agent has no session with the broker"
        return TOO_SHORT

    def _subscribe(self, guest: Guest, ref: Ref, name: str) -> None:
        if name not in guest.filters and len(guest.filters) >= MAX_FILTERS:
            raise TooMuchAtOnce(limit=MAX_FILTERS, what="filters of one program")
        self._number += 1
        guest.filters[name] = self._number
        guest.asking[name] = ref
        self._want()
        if not self._bridge.standing.connected:
            self._answer(guest, ref, {"waiting": name, "reason": self._why()})

    def _want(self) -> None:
        wanted: dict[str, int] = {}
        for guest in self._guests:
            for name, number in guest.filters.items():
                wanted[name] = max(wanted.get(name, 0), number)
        self._since = {name: since for name, since in self._since.items() if name in wanted}
        self._bridge.wants = wanted
        self._bridge.wake()

    def _status(self) -> dict[str, Any]:
        report = asdict(self._bridge.standing)
        report["certificateId"] = report.pop("certificate_id")
        report["renewalError"] = report.pop("renewal_error")
        return {**report, "outbox": self._counts(), "programs": len(self._guests)}

    def _counts(self) -> dict[str, int] | None:
        """What is in the outbox, or None where that cannot be told."""
        try:
            counts = self._box.open().counts()
        except KeybornError:
            return None
        return {name: getattr(counts, name) for name in ("waiting", "refused", "dropped", "expired")}

    # ── news ──

    def _hear(self, news: News) -> None:
        match news:
            case Arrived():
                self._deliver(news)
            case Ended(message, fate):
                for each in [each for each in self._waiting if each.message == message]:
                    self._settle(each, fate)
            case Granted(name, since):
                self._since[name] = since
                for guest in self._guests:
                    if name in guest.asking:
                        self._answer(guest, guest.asking.pop(name), {"subscribed": name})
            case Denied(name, wrong):
                self._deny(name, protocol.problem(wrong))

    def _deny(self, name: str, answer: dict[str, Any]) -> None:
        """All who wanted it are told, those too who had it in a session before."""
        for guest in self._guests:
            if guest.filters.pop(name, None) is not None:
                self._answer(guest, guest.asking.pop(name, None), answer)
        self._want()

    def _deliver(self, news: Arrived) -> None:
        """To every program once that it is for."""
        line = protocol.encode(protocol.message(news.received))
        for guest in audience(self._guests, news.received, self._since):
            self._tell(guest, line)
