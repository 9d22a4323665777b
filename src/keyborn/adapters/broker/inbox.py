"""What one admitted client has sent, handled as fast as its limits, the disk and the other clients allow."""

import asyncio
from collections.abc import Callable

from keyborn.adapters.broker.answers import Answers
from keyborn.adapters.broker.decode import Decoder
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.link import Link
from keyborn.adapters.broker.meter import Meter
from keyborn.adapters.broker.packets import Packet
from keyborn.adapters.broker.turns import Turns

_TELL_EVERY = 60.0
"""Seconds between two log lines that say that one client is slowed down."""


class Inbox:
    """Packets wait here, and then with their sender, who is read from no further.

    ``handle`` takes one packet. ``work`` is called when it is time to go on: it ends up in ``work`` here, and
    takes what that raises. ``tell`` logs that the client is slowed down for so many seconds.
    """

    def __init__(
        self,
        link: Link,
        decoder: Decoder,
        answers: Answers,
        turns: Turns,
        limits: Limits,
        *,
        handle: Callable[[Packet], None],
        work: Callable[[], None],
        tell: Callable[[float], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._decoder = decoder
        self._answers = answers
        self._turns = turns
        self._handle = handle
        self._again = work
        self._tell = tell
        self._told = float("-inf")
        self._meter = Meter(limits, self._loop.time())
        self._unpaid = 0
        self._queued = False
        self._reading = False
        self._closed = False
        self._debt: asyncio.TimerHandle | None = None
        self.heard = self._loop.time()
        """When the client last sent something, or was last kept waiting."""

    @property
    def slowed(self) -> bool:
        """Whether the client has been faster than its limits, and waits until that is paid for."""
        return self._debt is not None

    @property
    def waits(self) -> bool:
        """Whether it is for us to go on: nobody may call the client silent."""
        return self.slowed or self._queued or self._answers.crowded or not self._link.writable

    def push(self, data: bytes) -> None:
        """Bytes have come; call ``work`` next."""
        self.heard = self._loop.time()
        self._unpaid += len(data)
        self._decoder.push(data)

    def work(self) -> None:
        """Handle whole packets until there is no more or it is time to wait; raises ProtocolError."""
        if self.waits or self._closed:
            return
        handled, more = 0, True
        while more and not self.waits and not self._closed and self._turns.left():
            packet = self._decoder.next()
            if packet is None:
                more = False
            else:
                handled += 1
                self._handle(packet)
        if not self._closed:
            self._go_on(handled, more=more)

    def go_on(self) -> None:
        """A reason to wait is gone; there may be others."""
        self.heard = self._loop.time()
        self._again()

    def close(self) -> None:
        """Handle nothing more."""
        self._closed = True
        if self._debt is not None:
            self._debt.cancel()

    def _go_on(self, handled: int, *, more: bool) -> None:
        """Pay for what has been handled; read on where nothing is left of it."""
        now = self._loop.time()
        debt = self._meter.spend(handled, self._unpaid, now)
        self._unpaid = 0
        if debt:
            self._slow_down(debt, now)
        elif more and not self.waits:
            self._queued = True
            self._turns.wait(self._my_turn)
        self._read(on=not more and not self.waits)

    def _slow_down(self, seconds: float, now: float) -> None:
        self._debt = self._loop.call_later(seconds, self._paid)
        if now - self._told >= _TELL_EVERY:
            self._told = now
            self._tell(seconds)

    def _paid(self) -> None:
        self._debt = None
        self.go_on()

    def _my_turn(self) -> None:
        self._queued = False
        self.go_on()

    def _read(self, *, on: bool) -> None:
        if on is self._reading:
            return
        self._reading = on
        if on:
            self._link.resume_reading()
        else:
            self._link.pause_reading()
