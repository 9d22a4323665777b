"""One TLS connection over a plain asyncio transport.

Not asyncio's own TLS: that swallows the reasons of failed handshakes and keeps a 256 KiB buffer per
connection. Here the handshake's fault reaches the log, all connections of a loop share one receive buffer,
and what is written in one turn of the loop leaves as one record and one system call.
"""

import asyncio
import contextlib
import select
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from keyborn.adapters.broker.limits import KIB, Limits
from keyborn.adapters.broker.tls import handshake_fault

RECEIVE_BUFFER = 64 * KIB
_FLUSH_AT = 64 * KIB


class User(Protocol):
    """Who lives above a link."""

    def received(self, data: bytes) -> None:
        """Plain bytes have come."""
        ...

    def lost(self, reason: str) -> None:
        """The connection is over, once, whoever ended it."""
        ...

    def choked(self, *, on: bool) -> None:
        """The peer reads too slowly (``on``), or has caught up."""
        ...


class Owner(Protocol):
    """Who keeps the links: the listener."""

    def accepted(self, link: "Link") -> None:
        """A TCP connection is there."""
        ...

    def opened(self, link: "Link", certificate: bytes) -> User:
        """The handshake is done and the peer's leaf is ``certificate`` (DER); returns who uses the link."""
        ...

    def failed(self, link: "Link", reason: str) -> None:
        """There was no handshake, in words."""
        ...

    def gone(self, link: "Link") -> None:
        """The TCP connection is gone."""
        ...


class Link(asyncio.BufferedProtocol):
    """TLS from the first byte to the last.

    ``buffer`` is filled and emptied within one step of the loop, so that all links of that loop may share it.
    A handshake that has not agreed on ``alpn``, where one is given, is refused.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        buffer: memoryview,
        limits: Limits,
        owner: Owner,
        *,
        alpn: str | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._buffer = buffer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._owner = owner
        self._alpn = alpn
        self._over = False
        self._user: User | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._flushing = False
        self._closing = False
        self._lost = False
        self._paused = False
        self._stalled_at = 0
        self._progress = self._loop.time()
        self.peer = "?"
        self.writable = True

    # ── asyncio's side ────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A TCP connection has been accepted."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._limits.write_buffer)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else "?"
        self._after(self._limits.handshake_seconds, self._handshake_late)
        self._owner.accepted(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the loop may put what it receives."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """The loop has received something."""
        if self._closing:
            return
        self._incoming.write(self._buffer[:nbytes])
        if self._user is None:
            self._shake_hands()
        if self._user is not None:
            self._read()

    def eof_received(self) -> bool:
        """The peer will send no more: nothing is kept half open."""
        self._finish("the client closed the connection")
        self._after(self._limits.close_seconds, self.abort)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone."""
        self._lost = True
        self._cancel_timer()
        self._finish(f"connection lost: {exc}" if exc else "the client closed the connection")
        self._owner.gone(self)

    def pause_writing(self) -> None:
        """The peer leaves more unread than it may."""
        self.writable = False
        self._stalled_at = self._unread()
        self._after(self._limits.stall_seconds, self._check_stall)
        if self._user is not None and not self._closing:
            self._stop_reading()
            self._user.choked(on=True)

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.writable = True
        if self._user is not None and not self._closing:
            self._cancel_timer()
            self._read_on()
            self._user.choked(on=False)

    # ── the user's side ───────────────────────────────────────────────────────────────────────────────

    def send(self, data: bytes) -> None:
        """Write plain bytes, together with whatever else this turn of the loop writes."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _FLUSH_AT:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Encrypt and hand over what is pending."""
        self._flushing = False
        if not self._pending or self._lost:
            return
        data = memoryview(b"".join(self._pending))
        self._pending.clear()
        self._pending_bytes = 0
        try:
            while data:
                data = data[self._tls.write(data) :]
        except ssl.SSLError:
            self.abort()
            return
        self._push()

    def pause_reading(self) -> None:
        """Take nothing more from the peer until ``resume_reading``."""
        self._paused = True
        self._stop_reading()

    def resume_reading(self) -> None:
        """Take again; if the peer does not take from us, as soon as it does."""
        self._paused = False
        self._read_on()

    def close(self) -> None:
        """Send what is pending and TLS's goodbye; cut when the peer closes, or after ``close_seconds``."""
        if self._closing or self._transport is None or self._lost:
            return
        self.flush()
        self._closing = True
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()  # raises because it wants the peer's goodbye too; ours is written
        self._push()
        if self._lost or self._transport.is_closing():
            return
        self._transport.resume_reading()
        self._after(self._limits.close_seconds, self.abort)
        if not self._unread():
            with contextlib.suppress(OSError):
                self._transport.write_eof()  # raises where the peer has reset the connection meanwhile

    def abort(self) -> None:
        """Cut the connection now; unread bytes are lost."""
        if self._transport is not None:
            self._transport.abort()

    def keeps_us_waiting(self, seconds: float) -> bool:
        """Whether the peer owes us bytes, has sent none, and has made no progress for ``seconds``."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if not transport.is_reading() or self._loop.time() - self._progress < seconds:
            return False
        poll = select.poll()
        poll.register(transport.get_extra_info("socket"), select.POLLIN)
        return not poll.poll(0)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    def _stop_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _read_on(self) -> None:
        """Read, unless the peer does not take from us or our user has had enough."""
        may = self.writable and not self._paused
        if may and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._outgoing.pending:
                self._progress = self._loop.time()
            self._push()
            return
        except ssl.SSLError as error:
            self._fail(handshake_fault(error))
            return
        self._cancel_timer()
        self._progress = self._loop.time()
        self._push()
        der = self._tls.getpeercert(binary_form=True)
        if der is None:
            self._fail("no client certificate")
        elif self._alpn is not None and self._tls.selected_alpn_protocol() != self._alpn:
            self._fail(f"the client did not ask for ALPN {self._alpn}, which this port requires")
        else:
            self._user = self._owner.opened(self, der)

    def _read(self) -> None:
        chunks = []
        ended = ""
        try:
            while chunk := self._tls.read(RECEIVE_BUFFER):
                chunks.append(chunk)
            ended = "the client closed the connection"
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            ended = f"TLS failed: {error.reason}"
        self._push()
        if chunks and self._user is not None:
            self._user.received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if ended:
            self._finish(ended)
            self.close()

    def _push(self) -> None:
        if self._outgoing.pending and self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._outgoing.read())

    def _fail(self, reason: str) -> None:
        self._finish(reason)
        self.close()

    def _finish(self, reason: str) -> None:
        """Tell whoever must know that it is over, once."""
        if self._over:
            return
        self._over = True
        user, self._user = self._user, None
        if user is None:
            self._owner.failed(self, reason)
        else:
            user.lost(reason)

    def _handshake_late(self) -> None:
        self._finish(f"no TLS handshake within {self._limits.handshake_seconds:g} s")
        self.abort()

    def _check_stall(self) -> None:
        """Cut a reader that has read nothing since the last look."""
        unread = self._unread()
        if unread >= self._stalled_at:
            self._finish(f"read nothing for {self._limits.stall_seconds:g} s")
            self.abort()
            return
        self._stalled_at = unread
        self._after(self._limits.stall_seconds, self._check_stall)

    def _unread(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
