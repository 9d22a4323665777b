"""The load client, one for all systems: closed loop, one thread, sockets and epoll, nothing in between.

Each of N clients sends a request that was made beforehand, waits for the whole answer, notes two times and
goes on. Bodies are kept and judged after the clock has stopped. It runs in a process of its own and reports
how much CPU it took, so that a figure which is the client's own ceiling can be told from a server's.
"""

import contextlib
import gc
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.support.load import Load, machine_cpu, process_cpu
from bench.support.requests import Door

PATIENCE = 15.0
"""Seconds to wait for the answers under way when the window closes."""
_CHUNK = 64 * 1024
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """One cell: whom to ask, and how."""

    host: str
    port: int
    door: Door
    pid: int
    """The server's process, whose CPU (children included) is counted."""
    tls: bool
    fresh: bool
    """A new connection, and with TLS a full handshake, for each request."""
    clients: int
    warmup: float
    """Seconds of load before the window; its answers are checked but not timed."""
    seconds: float


@dataclass(slots=True)
class Raw:
    """What happened, not yet judged."""

    opened: float = 0.0
    closed: float = 0.0
    answers: list[tuple[int, float, float, bytes]] = field(default_factory=list)
    """Request number, sent, received (seconds, monotonic), body; 2xx only."""
    failures: Counter[str] = field(default_factory=Counter)
    load: Load = field(default_factory=Load)
    """CPU seconds spent inside the window."""


class NotHttpError(Exception):
    """The server sent something that this client does not read."""


class _Client:
    """One closed-loop client with one connection at a time."""

    __slots__ = ("buffer", "number", "plan", "sent", "sock", "waits_for_handshake")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sock: socket.socket | None = None
        self.buffer = b""
        self.number = 0
        self.sent = 0.0
        self.waits_for_handshake = False

    def connect(self, context: ssl.SSLContext | None) -> socket.socket:
        """Connect (loopback: at once) and begin the handshake."""
        sock = socket.create_connection((self.plan.host, self.plan.port), timeout=PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False)
        sock.settimeout(0)
        self.waits_for_handshake = context is not None
        self.sock = sock
        return sock

    def shake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.waits_for_handshake = False
        return True

    def answer(self) -> tuple[int, bytes] | None:
        """Status and body once the whole answer is here. Raises OSError or NotHttpError."""
        assert self.sock is not None
        while True:
            try:
                chunk = self.sock.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                return None
            if not chunk:
                raise ConnectionResetError("closed before the answer was whole")
            self.buffer += chunk
            parsed = parse_answer(self.buffer)
            if parsed is not None:
                self.buffer = b""
                return parsed

    def close(self) -> None:
        """Drop the connection without ceremony."""
        if self.sock is not None:
            self.sock.close()
        self.sock, self.buffer = None, b""


def parse_answer(data: bytes) -> tuple[int, bytes] | None:
    """Status and body of a whole answer, None while bytes are missing. Raises NotHttpError."""
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    chunked = at < 0 and b"\r\ntransfer-encoding: chunked" in head
    if not head.startswith(b"http/1.1 ") or (at < 0 and not chunked):
        raise NotHttpError(repr(data[:60]))
    if chunked:
        whole = _joined(data, end + 4)
        return None if whole is None else (int(head[9:12]), whole)
    length = int(head[at + 17 :].split(b"\r\n", 1)[0])
    body = data[end + 4 :]
    if len(body) < length:
        return None
    return int(head[9:12]), body


def _joined(data: bytes, at: int) -> bytes | None:
    """The body of chunks that begins at ``at``; None while bytes are missing. Trailers are not understood."""
    if not data.endswith(b"0\r\n\r\n"):
        return None
    parts: list[bytes] = []
    while (end := data.find(b"\r\n", at)) >= 0:
        length = int(data[at:end].partition(b";")[0], 16)
        if not length:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + length])
        at = end + length + 4
    return None


class Driver:
    """Runs one plan."""

    def __init__(self, plan: Plan, requests: list[bytes], told: Callable[[], bool] | None = None) -> None:
        """``told`` says whether to close the window before its time; it is asked after every answer."""
        self._told = told
        self._plan = plan
        self._requests = requests
        self.begun = 0
        """How many requests were taken up."""
        self._context = _context() if plan.tls else None
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self.raw = Raw()
        self._ends = 0.0

    def run(self) -> Raw:
        """Warm up, open the window, close it, wait for what is under way.

        Raises IndexError if there were too few requests, OSError if the server takes no connections.
        """
        begun = time.monotonic()
        self._ends = begun + self._plan.warmup + self._plan.seconds
        gc.disable()
        try:
            for _ in range(self._plan.clients):
                self._next(_Client(self._plan))
            self._until(begun + self._plan.warmup)
            before = self._load()
            self.raw.opened = time.monotonic()
            self._until(self._ends)
            self.raw.closed = time.monotonic()
            self.raw.load = self._load() - before
            self._until(self._ends + PATIENCE)
        finally:
            gc.enable()
            self._end()
        return self.raw

    def _load(self) -> Load:
        return Load(process_cpu(self._plan.pid), time.process_time(), machine_cpu())

    def _until(self, deadline: float) -> None:
        while self._clients and (left := deadline - (now := time.monotonic())) > 0:
            if self._told is not None and now < self._ends and self._told():
                self._ends = now
                return
            for descriptor, _ in self._poll.poll(left):
                self._turn(descriptor)

    def _turn(self, descriptor: int) -> None:
        client = self._clients[descriptor]
        try:
            if client.waits_for_handshake:
                if client.shake():
                    self._send(client)
                return
            answer = client.answer()
        except (OSError, NotHttpError) as error:
            self.raw.failures[f"{type(error).__name__}: {error}"[:120]] += 1
            self._drop(client)
            self._next(client)
            return
        if answer is not None:
            self._take(client, *answer)

    def _take(self, client: _Client, status: int, body: bytes) -> None:
        if status in {200, 201}:
            self.raw.answers.append((client.number, client.sent, time.monotonic(), body))
        else:
            self.raw.failures[f"{status}: {body[:100].decode(errors='replace')}"] += 1
        if self._plan.fresh:
            self._drop(client)
        self._next(client)

    def _next(self, client: _Client) -> None:
        """Send the client's next request, or let it go when the window has closed.

        Raises OSError if the server takes no connections: then there is nothing to measure.
        """
        client.sent = time.monotonic()
        if client.sent >= self._ends:
            self._drop(client)
            return
        client.number = self.begun
        if client.number == len(self._requests):
            raise IndexError(f"{client.number} requests were too few: give --most-per-second a larger number")
        self.begun += 1
        if client.sock is not None:
            self._send(client)
            return
        sock = client.connect(self._context)
        self._clients[sock.fileno()] = client
        self._poll.register(sock, select.EPOLLIN)
        self._begin(client)

    def _begin(self, client: _Client) -> None:
        """Send as soon as the connection is good for it; that may be now, or in some turns."""
        with contextlib.suppress(OSError):  # the next turn tells
            if not client.waits_for_handshake or client.shake():
                self._send(client)

    def _send(self, client: _Client) -> None:
        """A request fits into any socket buffer, so that this never waits; reading tells of an end."""
        assert client.sock is not None
        with contextlib.suppress(OSError):
            client.sock.sendall(self._requests[client.number])

    def _drop(self, client: _Client) -> None:
        if client.sock is not None:
            self._clients.pop(client.sock.fileno(), None)
            self._poll.unregister(client.sock)
            client.close()

    def _end(self) -> None:
        self.raw.failures["no answer in time"] += len(self._clients)
        for client in list(self._clients.values()):
            self._drop(client)
        self._poll.close()


def _context() -> ssl.SSLContext:
    """TLS 1.2 or 1.3 without looking at the chain: that would be the client's CPU, not the server's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
