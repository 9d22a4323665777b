"""Clients that mean no good, or cannot do better: half a handshake, half a header, a byte a second, too much,
and never reading. Each notes how long the server kept it, and what it was told.
"""

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

HEAD = b"POST /v1/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ASKING = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
HUGE = 60_000_000
_CHUNK = b"x" * 16384
_PILE = 8
"""Requests each half second of one who never reads the answers, of 100 KB each: soon more than the kernel
keeps for both sides."""


@dataclass(frozen=True)
class Party:
    """How many of each kind come, how many of them a second, and how long they wait to be shown out."""

    host: str
    port: int
    counts: dict[str, int]
    rate: float
    hold: float


@dataclass
class Kept:
    """What one kind went through."""

    seconds: list[float] = field(default_factory=list)
    """From the moment at which it owed something, to the end of its connection."""
    told: dict[str, int] = field(default_factory=dict)
    most_sent: int = 0
    """Bytes of a body that the server took before the connection ended, kernel's buffers included."""
    open: int = 0
    """Still open when everybody went home."""


@dataclass
class Seen:
    """Everything, and the most connections that were open at one time."""

    kinds: dict[str, Kept]
    together: int = 0
    seconds: float = 0.0
    """Until the last one had come."""


class _Guest:
    def __init__(self, party: Party, seen: Seen) -> None:
        self.party = party
        self.seen = seen
        self.here = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.hello = _hello(self.context)

    async def stay(self, kind: str) -> None:
        """Come, behave as ``kind`` does, note the end."""
        kept = self.seen.kinds[kind]
        tls = None if kind == "half a handshake" else self.context
        sock = socket.socket()
        if kind == "never reads":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)  # noqa: FBT003 - the library's own signature
        try:
            await asyncio.get_running_loop().sock_connect(sock, (self.party.host, self.party.port))
            name = "localhost" if tls else None
            reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name)
        except OSError as error:
            sock.close()
            kept.told[type(error).__name__] = kept.told.get(type(error).__name__, 0) + 1
            return
        self.here += 1
        self.seen.together = max(self.seen.together, self.here)
        began = time.monotonic()
        told = ""
        try:
            async with asyncio.timeout(self.party.hold):
                told = await _WAYS[kind](self, reader, writer, kept)
        except TimeoutError:
            kept.open += 1
        except OSError:
            kept.seconds.append(time.monotonic() - began)
        else:
            kept.seconds.append(time.monotonic() - began)
        finally:
            self.here -= 1
            kept.told[told or "nothing"] = kept.told.get(told or "nothing", 0) + 1
            writer.transport.abort()

    async def half_handshake(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _kept: Kept
    ) -> str:
        writer.write(self.hello[: len(self.hello) // 2])
        return await _end(reader)

    async def half_headers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _kept: Kept
    ) -> str:
        writer.write(HEAD[:-20])
        return await _end(reader)

    async def drip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _kept: Kept) -> str:
        writer.write(HEAD + b"Content-Length: 600\r\n\r\n")
        ending = asyncio.create_task(_end(reader))
        while not ending.done():
            writer.write(b"{")
            await asyncio.wait([ending], timeout=1)
        return await ending

    async def too_much(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: Kept) -> str:
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % HUGE)
        ending, sent = asyncio.create_task(_end(reader)), 0
        with contextlib.suppress(OSError):
            while not ending.done() and sent < HUGE:
                writer.write(_CHUNK)
                await writer.drain()
                sent += len(_CHUNK)
                await asyncio.sleep(0)
        kept.most_sent = max(kept.most_sent, sent)
        return await ending

    async def deaf(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _kept: Kept) -> str:
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        ending = asyncio.create_task(writer.wait_closed())
        while not ending.done():
            writer.write(ASKING * _PILE)  # and only writing tells of an end, when nothing is read
            await asyncio.wait([ending], timeout=0.5)
        with contextlib.suppress(OSError):
            await ending
        return ""


_Way = Callable[[_Guest, asyncio.StreamReader, asyncio.StreamWriter, Kept], Awaitable[str]]
_WAYS: dict[str, _Way] = {
    "half a handshake": _Guest.half_handshake,
    "half a header": _Guest.half_headers,
    "a byte a second": _Guest.drip,
    "a body of 60 MB": _Guest.too_much,
    "never reads": _Guest.deaf,
}
KINDS = tuple(_WAYS)


def loiter(party: Party, pipe: Connection) -> None:
    """The process: comes at once, and sends what it saw when the last one has gone."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.disable()  # asyncio would complain of every connection that ends while it is written to
    pipe.send(asyncio.run(_all(party)))


async def _all(party: Party) -> Seen:
    seen = Seen({kind: Kept() for kind in party.counts})
    guest = _Guest(party, seen)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # connections end as they may
    order = sorted(
        ((number + 0.5) / count, kind) for kind, count in party.counts.items() for number in range(count)
    )
    began = time.monotonic()
    tasks = []
    for number, (_, kind) in enumerate(order):
        await asyncio.sleep(max(0.0, began + number / party.rate - time.monotonic()))
        tasks.append(asyncio.create_task(guest.stay(kind)))
    seen.seconds = time.monotonic() - began
    await asyncio.gather(*tasks)
    return seen


async def _end(reader: asyncio.StreamReader) -> str:
    """Read until the connection ends; the status that came, if one did."""
    first = b""
    with contextlib.suppress(OSError):
        while data := await reader.read(4096):
            first = first or data
    return first[9:12].decode(errors="replace") if first.startswith(b"HTTP/1.1 ") else ""


def _hello(context: ssl.SSLContext) -> bytes:
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(coming, going, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return going.read()
