"""Devices that power on at once: real keys, real TLS handshakes, the real client's rules for coming again.

One process holds as many of them as its descriptors allow. Nobody waits for anybody: a device starts at its
moment, and comes again when the service's ``Retry-After`` or its own back-off says so (``keyborn.device``).
"""

import contextlib
import errno
import gc
import heapq
import itertools
import random
import resource
import select
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from bench.support.driver import NotHttpError, parse_answer
from bench.support.requests import Device, Door, make_device
from bench.support.verdict import fingerprint

from keyborn.device.https import CONNECT_TIMEOUT, EXCHANGE_TIMEOUT
from keyborn.device.pace import Pace

MOST = 15_000
"""Devices of one process; each may hold a connection."""
_TURN = 64
"""How many devices are started, and how many are served, before the other gets its turn."""
_LOOK = 0.25
"""Seconds between two looks for those whose time is over."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Which devices, whom they ask, when they start (seconds, monotonic), and when it is over."""

    host: str
    port: int
    door: Door
    number: int
    """Which of the processes this is: each has addresses of its own, for their ports."""
    begins: float
    within: float
    ends: float


@dataclass(slots=True)
class Tally:
    """What one process saw; moments are seconds after the beginning."""

    started: list[float] = field(default_factory=list)
    enrolled: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    tries: Counter[int] = field(default_factory=Counter)
    """How often a device asked until it was enrolled, and how many did so."""
    certificates: frozenset[str] = frozenset()
    wrong: int = 0
    cpu: float = 0.0
    late: float = 0.0
    """The longest that a device's first connection came after its moment: what this client is not able to."""


class _Caller:
    """One device, with at most one connection."""

    __slots__ = ("body", "buffer", "device", "due", "over", "shaking", "sock", "tries")

    def __init__(self, device: Device, due: float) -> None:
        self.device = device
        self.due = due
        self.tries = 0
        self.sock: socket.socket | None = None
        self.buffer = b""
        self.body = b""
        self.shaking = False
        self.over = 0.0


def serve_orders(first: int, count: int, pipe: Connection) -> None:
    """The process: makes its devices, says so, is given a wave, and sends what it saw."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    devices = [make_device(number) for number in range(first, first + count)]
    pipe.send(count)
    wave: Wave = pipe.recv()
    pipe.send(_Crowd(wave, devices).run())


class _Crowd:
    def __init__(self, wave: Wave, devices: list[Device]) -> None:
        chance = random.Random(wave.number)
        moments = sorted(wave.begins + chance.random() * wave.within for _ in devices)
        self._wave = wave
        self._callers = [_Caller(device, due) for device, due in zip(devices, moments, strict=True)]
        self._due = [(caller.due, number) for number, caller in enumerate(self._callers)]
        self._open: dict[int, _Caller] = {}
        self._poll = select.epoll()
        self._tally = Tally()
        self._pace = Pace()
        self._sources = itertools.cycle(f"127.0.{1 + wave.number}.{last}" for last in range(1, 9))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def run(self) -> Tally:
        """Until every device is enrolled, or the wave's end."""
        heapq.heapify(self._due)
        gc.collect()
        gc.freeze()
        gc.disable()
        look, before = 0.0, time.process_time()
        while (now := time.monotonic()) < self._wave.ends and (self._due or self._open):
            self._start_due(now)
            if now >= look:
                self._hang_up(now)
                look = now + _LOOK
            rest = 0.0 if self._due and self._due[0][0] <= now else _LOOK / 5
            for descriptor, _ in self._poll.poll(rest if rest == 0.0 else self._rest(now), _TURN):
                if caller := self._open.get(descriptor):
                    self._turn(caller)
        self._tally.cpu = time.process_time() - before
        self._judge()
        return self._tally

    def _rest(self, now: float) -> float:
        soon = self._due[0][0] - now if self._due else _LOOK
        return min(max(0.0, soon), _LOOK)

    def _start_due(self, now: float) -> None:
        for _ in range(_TURN):
            if not self._due or self._due[0][0] > now:
                return
            _, number = heapq.heappop(self._due)
            self._dial(self._callers[number], number)

    def _dial(self, caller: _Caller, number: int) -> None:
        now = time.monotonic()
        caller.tries += 1
        if caller.tries == 1:
            self._tally.started.append(now - self._wave.begins)
            self._tally.late = max(self._tally.late, now - caller.due)
        caller.due = float(number)  # from here on: who it is in the list
        try:
            sock = self._socket()
        except OSError as error:
            self._again(caller, None, f"no socket: {errno.errorcode.get(error.errno or 0)}")
            return
        code = sock.connect_ex((self._wave.host, self._wave.port))
        caller.sock, caller.buffer, caller.shaking = sock, b"", True
        caller.over = now + CONNECT_TIMEOUT
        self._open[sock.fileno()] = caller
        self._poll.register(sock, select.EPOLLOUT)
        if code not in {0, errno.EINPROGRESS}:
            self._again(caller, None, errno.errorcode.get(code, str(code)))

    def _socket(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)  # noqa: FBT003 - the library's own signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: chosen when it connects
        sock.bind((next(self._sources), 0))
        return sock

    def _turn(self, caller: _Caller) -> None:
        try:
            if caller.shaking:
                self._shake(caller)
            else:
                self._hear(caller)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except (OSError, NotHttpError) as error:
            what = "shaking hands" if caller.shaking else "waiting for the answer"
            self._again(caller, None, f"{type(error).__name__} while {what}")

    def _shake(self, caller: _Caller) -> None:
        assert caller.sock is not None
        if not isinstance(caller.sock, ssl.SSLSocket):
            if code := caller.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, "connect")
            plain = caller.sock
            caller.sock = self._context.wrap_socket(
                plain, server_hostname="localhost", do_handshake_on_connect=False
            )
            self._poll.modify(caller.sock, select.EPOLLIN)
        caller.sock.do_handshake()
        caller.shaking = False
        caller.over = time.monotonic() + EXCHANGE_TIMEOUT
        caller.sock.sendall(self._wave.door.request(caller.device, close=True))

    def _hear(self, caller: _Caller) -> None:
        assert caller.sock is not None
        chunk = caller.sock.recv(65536)
        if not chunk:
            raise ConnectionResetError("closed before the answer was whole")
        caller.buffer += chunk
        if (answer := parse_answer(caller.buffer)) is not None:
            self._take(caller, *answer)

    def _take(self, caller: _Caller, status: int, body: bytes) -> None:
        now = time.monotonic() - self._wave.begins
        if status in {200, 201}:
            self._tally.statuses[str(status)] += 1
            self._tally.enrolled.append(now)
            self._tally.tries[caller.tries] += 1
            caller.body = body
            self._close(caller)
            return
        seconds = _retry_after(caller.buffer)
        named = "" if seconds is not None else ", no Retry-After"
        self._tally.statuses[f"{status}{named}"] += 1
        self._tally.refused.append(now)
        self._again(caller, seconds, None)

    def _again(self, caller: _Caller, seconds: float | None, failure: str | None) -> None:
        """Come again as the device's client does: what was asked for and a tenth, or full jitter."""
        if failure is not None:
            self._tally.failures[failure] += 1
            self._tally.failed.append(time.monotonic() - self._wave.begins)
        self._close(caller)
        due = time.monotonic() + self._pace.pause(caller.tries - 1, seconds)
        heapq.heappush(self._due, (due, int(caller.due)))

    def _close(self, caller: _Caller) -> None:
        if caller.sock is not None:
            self._open.pop(caller.sock.fileno(), None)
            caller.sock.close()  # the poll forgets it
        caller.sock, caller.buffer = None, b""

    def _hang_up(self, now: float) -> None:
        for caller in [each for each in self._open.values() if each.over <= now]:
            shaken = "no handshake" if isinstance(caller.sock, ssl.SSLSocket) else "no connection"
            what = shaken if caller.shaking else "no answer"
            limit = CONNECT_TIMEOUT if caller.shaking else EXCHANGE_TIMEOUT
            self._again(caller, None, f"{what} within {limit:.0f} s")

    def _judge(self) -> None:
        found: set[str] = set()
        for caller in self._callers:
            if caller.body:
                name = fingerprint(self._wave.door, caller.body, caller.device)
                if name is None or name in found:
                    self._tally.wrong += 1
                else:
                    found.add(name)
            self._close(caller)
        self._tally.certificates = frozenset(found)


def _retry_after(answer: bytes) -> float | None:
    """Whole seconds, as the device's client reads them."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    _, found, rest = head.partition(b"\r\nretry-after:")
    text = rest.split(b"\r\n", 1)[0].strip()
    with contextlib.suppress(ValueError):
        return float(text) if found and text.isdigit() else None
    return None
