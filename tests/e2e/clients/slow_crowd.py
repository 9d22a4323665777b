"""A crowd of slow and silent clients, in a process of its own so that its descriptors are its own.

Reads one JSON object from standard input (see ``Wish``), opens that many connections of each kind, prints one
JSON object when all of them have been made, and lets go of them when its standard input ends. Of the
connections that never get in it holds as many as fit; the older ones are let go for the newer.
"""

import json
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle

from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.packets import Connect, Publish, Subscribe, Subscription

WORKERS = 8
LIFE = 300
"""Seconds after which it ends, whatever happens."""
STEP = 0.02
V311 = 4
BUSY = "busy/topic"
PAYLOAD = b"b" * 64 * 1024


@dataclass(frozen=True)
class Wish:
    """What standard input says: where to connect, as whom, how many of each kind, how fast."""

    host: str
    port: int
    name: str
    """Client ids are ``<name>-<number>``."""
    certificate: str
    key: str
    roots: str
    counts: dict[str, int]
    rate: float
    """Connections a second."""
    hold: int
    """Connections held open that are not admitted."""
    busy_every: float
    """Seconds between two messages that nobody reads."""


@dataclass
class Crowd:
    """The connections that are held, and what has become of all of them."""

    wish: Wish
    context: ssl.SSLContext
    held: deque[socket.socket] = field(default_factory=deque)
    readers: list[socket.socket] = field(default_factory=list)
    dripping: dict[socket.socket, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: Counter[str] = field(default_factory=Counter)
    turned_away: Counter[str] = field(default_factory=Counter)
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self.context.wrap_bio(incoming, outgoing, server_hostname=self.wish.host).do_handshake()
        except ssl.SSLWantReadError:
            self.hello = outgoing.read()

    # ── kinds ─────────────────────────────────────────────────────────────────────────────────────────

    def silent(self, _number: int) -> None:
        """TCP, and nothing more."""
        self._hold(self._tcp())

    def half_hello(self, _number: int) -> None:
        """Half a ClientHello."""
        sock = self._tcp()
        sock.sendall(self.hello[: len(self.hello) // 2])
        self._hold(sock)

    def drip(self, _number: int) -> None:
        """A ClientHello byte by byte."""
        sock = self._tcp()
        self._hold(sock)
        with self.lock:
            self.dripping[sock] = 0

    def no_connect(self, _number: int) -> None:
        """A handshake with a good certificate, and nothing more."""
        self._hold(self._tls())

    def half_connect(self, number: int) -> None:
        """Half a CONNECT."""
        sock, packet = self._tls(), self._connect(number)
        sock.sendall(packet[: len(packet) // 2])
        self._hold(sock)

    def never_reads(self, number: int) -> None:
        """Admitted, subscribed to a busy topic, and never reads again."""
        sock = self._tls(receive_buffer=1)
        sock.sendall(self._connect(number))
        sock.recv(4)
        sock.sendall(encode(Subscribe(1, (Subscription(BUSY, number % 2),)), V311))
        with self.lock:
            self.readers.append(sock)
            self._count()

    # ── how ───────────────────────────────────────────────────────────────────────────────────────────

    def _connect(self, number: int) -> bytes:
        return encode(Connect(V311, f"{self.wish.name}-{number}", keep_alive=1200), V311)

    def _tcp(self, receive_buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(30)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect((self.wish.host, self.wish.port))
        return sock

    def _tls(self, receive_buffer: int = 0) -> socket.socket:
        return self.context.wrap_socket(self._tcp(receive_buffer), server_hostname=self.wish.host)

    def _hold(self, sock: socket.socket) -> None:
        with self.lock:
            self.held.append(sock)
            self._count()
            oldest = self.held.popleft() if len(self.held) > self.wish.hold else None
            if oldest is not None:
                self.dripping.pop(oldest, None)
        if oldest is not None:
            oldest.close()

    def _count(self) -> None:
        self.most = max(self.most, len(self.held) + len(self.readers))

    # ── work ──────────────────────────────────────────────────────────────────────────────────────────

    def one(self, kind: str, number: int) -> None:
        """Make one connection; the broker may refuse it."""
        self.made[kind] += 1
        try:
            make: Callable[[int], None] = getattr(self, kind)
            make(number)
        except OSError:
            self.turned_away[kind] += 1

    def all(self) -> None:
        """Make all, the kinds mixed, no faster than the wished rate."""
        began, kinds = time.monotonic(), mixed(self.wish.counts)
        with ThreadPoolExecutor(WORKERS) as pool:
            for number, kind in enumerate(kinds):
                ahead = number / self.wish.rate - (time.monotonic() - began)
                if ahead > STEP:
                    time.sleep(ahead)
                pool.submit(self.one, kind, number)

    def keep_dripping(self) -> None:
        """A byte for every slow ClientHello, again and again."""
        while not self.over.wait(0.25):
            with self.lock:
                drops = list(self.dripping.items())
            for sock, at in drops:
                self._drop(sock, at)

    def _drop(self, sock: socket.socket, at: int) -> None:
        try:
            sock.send(self.hello[at : at + 1])
            still = at + 1 < len(self.hello) - 1
        except OSError:
            still = False
        with self.lock:
            if sock in self.dripping and still:
                self.dripping[sock] = at + 1
            else:
                self.dripping.pop(sock, None)

    def keep_busy(self) -> None:
        """Publish what nobody reads."""
        with self._tls() as sock:
            sock.sendall(encode(Connect(V311, f"{self.wish.name}-busy"), V311))
            while not self.over.wait(self.wish.busy_every):
                sock.sendall(encode(Publish(BUSY, PAYLOAD, 1, packet_id=1), V311))


def mixed(counts: dict[str, int]) -> list[str]:
    """The kinds in turns, each as often as wished, ``never_reads`` first."""
    left = Counter(counts)
    first = ["never_reads"] * left.pop("never_reads", 0)
    turns = cycle(list(left))
    rest: list[str] = []
    while left.total():
        kind = next(turns)
        if left[kind]:
            left[kind] -= 1
            rest.append(kind)
    return [*first, *rest]


def take_descriptors() -> None:
    """As many as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    signal.alarm(LIFE)
    take_descriptors()
    wish = Wish(**json.loads(sys.stdin.readline()))
    context = ssl.create_default_context(cafile=wish.roots)
    context.load_cert_chain(wish.certificate, wish.key)
    crowd = Crowd(wish, context)
    for work in (crowd.keep_dripping, crowd.keep_busy):
        threading.Thread(target=work, daemon=True).start()
    crowd.all()
    told = {"made": crowd.made, "turnedAway": crowd.turned_away, "most": crowd.most}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    crowd.over.set()
    return 0


if __name__ == "__main__":
    sys.exit(main())
