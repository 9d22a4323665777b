"""Who comes in over TLS: the silent cost nothing and leave, the rest get their turn."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from starlette.responses import PlainTextResponse, Response

from keyborn.adapters.ca import ServiceIdentity, https_context, service_names
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.http import doorway
from keyborn.http.dispatch import Dispatch
from keyborn.http.incoming import Incoming
from keyborn.http.protocol import HttpLimits
from keyborn.http.server import HttpServer
from support.figures import Figure
from support.office import OfficeWorld, folder

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
RECORD = b"\x16\x03\x01\x00\x05hello"
"""Whole, and no ClientHello."""
QUICK = HttpLimits(handshake=0.4, headers=0.4, body=0.4, idle=0.5, linger=0.2)


async def hello(_request: Incoming) -> Response:
    return PlainTextResponse("hello")


@dataclass
class Place:
    """A listener, and what its clients trust."""

    address: tuple[str, int]
    server: HttpServer
    trusting: ssl.SSLContext

    async def ask(self) -> bytes:
        """A request on a connection of its own."""
        reader, writer = await asyncio.open_connection(*self.address, ssl=self.trusting)
        writer.write(GET)
        answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        return answer

    async def ends(self, said: bytes) -> float:
        """Connect, say that, and nothing more; returns after how many seconds the server has closed."""
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return time.monotonic() - began


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and one that trusts it."""
    path = folder(tmp_path_factory.mktemp("doorway"))
    ca = OfficeWorld(path).ca
    names, clock, entropy = service_names(), SystemClock(), SystemEntropy()
    identity = ServiceIdentity(path / "ca", ca, names=names, clock=clock, entropy=entropy)
    identity.prepare()
    served = https_context(identity.server_chain_path, identity.server_key_path, ca.client_ca_pem())
    return served, ssl.create_default_context(cadata=ca.roots_pem())


@asynccontextmanager
async def open_place(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], limits: HttpLimits = QUICK, host: str = "127.0.0.1"
) -> AsyncIterator[Place]:
    server = HttpServer(Dispatch([("GET", "/", hello)]), limits=limits)
    address = await server.listen_tls(host, 0, contexts[0])
    try:
        yield Place(address, server, contexts[1])
    finally:
        await server.stop(0.1)


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.mark.parametrize("said", [b"", HALF_HELLO, HALF_HELLO[:1]])
async def test_who_does_not_go_on_with_its_handshake_is_closed_in_time(
    contexts: Contexts, said: bytes
) -> None:
    async with open_place(contexts) as place:
        assert QUICK.handshake * 0.9 < await place.ends(said) < QUICK.handshake + 0.6


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 300])
async def test_what_is_not_tls_is_closed_at_once(contexts: Contexts, said: bytes) -> None:
    async with open_place(contexts, HttpLimits()) as place:
        assert await place.ends(said) < 2


async def test_a_crowd_that_says_nothing_keeps_nobody_waiting(contexts: Contexts, figure: Figure) -> None:
    async with open_place(contexts, HttpLimits(handshake=2)) as place:
        silent = [asyncio.create_task(place.ends(said)) for said in [b"", HALF_HELLO] * 250]
        await asyncio.sleep(0.3)
        took = []
        for _ in range(50):
            began = time.monotonic()
            assert (await place.ask()).endswith(b"hello")
            took.append((time.monotonic() - began) * 1000)
        longest = max(await asyncio.gather(*silent))
    took.sort()
    figure(f"beside 500 silent callers: new connections p50 {took[25]:.1f} ms, longest {took[-1]:.1f} ms")
    assert took[12] < 30, "not the 40 ms either for which TCP waits for an acknowledgement"
    assert longest < 2 + 5, "a thousand ends of connections in one process, beside all other tests"


async def test_a_storm_is_let_in_one_after_another(contexts: Contexts) -> None:
    async with open_place(contexts, HttpLimits()) as place:
        answers = await asyncio.gather(*(place.ask() for _ in range(200)))
    assert all(each.endswith(b"hello") for each in answers)


async def test_where_there_is_no_room_the_oldest_silent_one_leaves(contexts: Contexts) -> None:
    async with open_place(contexts, HttpLimits(connections=3)) as place:
        first = asyncio.create_task(place.ends(b""))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(place.ends(b"")) for _ in range(3)]
        await asyncio.wait_for(first, 2)
        assert (await place.ask()).endswith(b"hello")
        await place.server.stop(0.1)
        await asyncio.gather(*others)


async def test_connections_over_the_limit_are_told_when_to_come_again(contexts: Contexts) -> None:
    async with open_place(contexts, HttpLimits(connections=2)) as place:
        held = [await asyncio.open_connection(*place.address, ssl=place.trusting) for _ in range(2)]
        answer = await place.ask()
        for _, writer in held:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"\r\nretry-after: " in answer


async def test_who_left_before_its_turn_gets_no_handshake(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "AT_ONCE", 0)
    async with open_place(contexts, HttpLimits()) as place:
        here = socket.create_connection(place.address)
        here.send(RECORD)
        await asyncio.sleep(0.05)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        here.close()
        (door,) = place.server.doorways
        await asyncio.sleep(0.05)
        assert len(door.waiting) == 1
        monkeypatch.setattr(doorway, "AT_ONCE", 1)
        assert (await place.ask()).endswith(b"hello")
        assert door.handshakes == 1


def _calls(place: Place, said: bytes) -> socket.socket:
    here = socket.create_connection(place.address)
    here.send(said)
    return here


async def test_a_record_in_parts_is_waited_for_without_a_handshake(contexts: Contexts) -> None:
    async with open_place(contexts, HttpLimits()) as place:
        (door,) = place.server.doorways
        with _calls(place, RECORD[:1]) as here:
            for part in (RECORD[1:4], RECORD[4:6], RECORD[6:-1]):
                await asyncio.sleep(0.02)
                here.send(part)
            await asyncio.sleep(0.05)
            assert door.handshakes == 0
            here.send(RECORD[-1:])
            await asyncio.sleep(0.05)
            assert door.handshakes == 1


async def test_half_a_record_and_the_end_costs_no_time(contexts: Contexts) -> None:
    async with open_place(contexts, HttpLimits()) as place:
        with _calls(place, HALF_HELLO) as here:
            await asyncio.sleep(0.05)
            here.shutdown(socket.SHUT_WR)
            here.setblocking(False)  # noqa: FBT003 - the socket's own signature
            loop = asyncio.get_running_loop()
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(loop.sock_recv(here, 100), 2) is not None


async def test_beyond_those_who_wait_nobody_is_accepted_until_there_is_room(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "AT_ONCE", 0)
    async with open_place(contexts, HttpLimits(arrivals=3)) as place:
        (door,) = place.server.doorways
        early = [_calls(place, RECORD) for _ in range(3)]
        await asyncio.sleep(0.05)
        callers = [asyncio.create_task(place.ask()) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert len(door.waiting) == 3
        monkeypatch.setattr(doorway, "AT_ONCE", 1)
        door.next_one()
        for each in early:
            each.close()
        assert all(each.endswith(b"hello") for each in await asyncio.gather(*callers))


async def test_who_waits_for_too_long_is_closed_and_makes_room(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "AT_ONCE", 0)
    async with open_place(contexts, HttpLimits(handshake=0.4, arrivals=2)) as place:
        late = await asyncio.gather(*(place.ends(RECORD) for _ in range(2)))
        monkeypatch.setattr(doorway, "AT_ONCE", 1)
        assert (await place.ask()).endswith(b"hello")
    assert max(late) < 0.4 + 0.6


@pytest.mark.parametrize(("waited", "first"), [(0.0, "oldest"), (0.6, "newest")])
async def test_the_first_come_is_served_first_unless_it_has_waited_for_long(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch, waited: float, first: str
) -> None:
    monkeypatch.setattr(doorway, "AT_ONCE", 0)
    async with open_place(contexts, HttpLimits(handshake=1.0)) as place:
        (door,) = place.server.doorways
        with _calls(place, RECORD) as old:
            await asyncio.sleep(0.05 + waited)
            with _calls(place, RECORD) as new:
                await asyncio.sleep(0.05)
                monkeypatch.setattr(doorway, "AT_ONCE", 1)
                door.next_one()
                (left,) = door.waiting
                assert left[0].getpeername() == (new if first == "oldest" else old).getsockname()


async def test_hardly_anybody_is_let_in_while_others_stand_in_line(contexts: Contexts) -> None:
    server = HttpServer(Dispatch([("GET", "/", hello)]), limits=HttpLimits(), crowded=lambda: True)
    address = await server.listen_tls("127.0.0.1", 0, contexts[0])
    place = Place(address, server, contexts[1])
    began = time.monotonic()
    answers = await asyncio.gather(*(place.ask() for _ in range(20)))
    took = time.monotonic() - began
    await server.stop(0.1)
    assert all(each.endswith(b"hello") for each in answers)
    assert took > 20 * 0.01 * 0.9


def test_processes_share_what_one_may_take() -> None:
    whole, part = HttpLimits(), HttpLimits().shared_by(2)
    assert (part.connections, part.arrivals) == (whole.connections // 2, whole.arrivals // 2)
    assert part.handshake == whole.handshake
    assert HttpLimits().shared_by(64).arrivals > 0


async def test_nobody_is_left_open_when_the_service_stops(contexts: Contexts) -> None:
    async with open_place(contexts, HttpLimits()) as place:
        waiting = [asyncio.create_task(place.ends(said)) for said in (b"", HALF_HELLO)]
        await asyncio.sleep(0.1)
        await place.server.stop(0.1)
        took = await asyncio.gather(*waiting)
    assert max(took) < 2
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await asyncio.open_connection(*place.address)


async def test_every_address_of_a_name_gets_the_same_port() -> None:
    sockets = await doorway.bound("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
    finally:
        for each in sockets:
            each.close()


async def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    (sock,) = await doorway.bound("127.0.0.1", 0)
    with sock, pytest.raises(OSError, match="in use"):
        await doorway.bound("127.0.0.1", sock.getsockname()[1])
