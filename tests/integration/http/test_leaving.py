"""Callers who leave, crowds beyond the slots, and a service that stops: what is done, and what no more."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse, Response

from keyborn.http import guards
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress
from keyborn.http.dispatch import Dispatch, Door
from keyborn.http.incoming import Incoming
from keyborn.http.server import HttpServer
from keyborn.service.admission import Admission
from support.waiting_stage import WaitingWorld

CROWD = 500


@dataclass
class Stage:
    """Work behind slots, that a test lets go on when it wants."""

    admission: Admission
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, request: Incoming) -> Response:
        name = (await guards.read_body(request)).decode()
        async with self.admission.slot():
            self.begun.append(name)
            await self.go_on.wait()
            self.done.append(name)
        return PlainTextResponse(name)

    def doors(self) -> list[Door]:
        return [("POST", "/work", self.work)]


@asynccontextmanager
async def serving(app: Dispatch, folder: Path) -> AsyncIterator[HttpServer]:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(folder / "s"))
    server = HttpServer(app)
    await server.listen_unix(sock)
    try:
        yield server
    finally:
        await server.stop(0.1)


@dataclass
class Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def says(self, name: str) -> None:
        head = f"POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: {len(name)}\r\n\r\n{name}"
        self.writer.write(head.encode())

    async def hears(self) -> bytes:
        """The head and the body of the next answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return head + await self.reader.readexactly(length)

    async def leaves(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


Caller = Callable[[], Awaitable[Line]]


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    """Makes connections, and closes them at the end."""
    made: list[Line] = []

    async def call() -> Line:
        made.append(Line(*await asyncio.open_unix_connection(str(tmp_path / "s"))))
        return made[-1]

    yield call
    for each in made:
        each.writer.close()
        with contextlib.suppress(ConnectionError):
            await each.writer.wait_closed()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.001)


@pytest.fixture
def stage() -> Stage:
    return Stage(Admission(slots=1))


async def test_who_leaves_before_its_turn_has_nothing_done(
    tmp_path: Path, stage: Stage, caller: Caller
) -> None:
    async with serving(Dispatch(stage.doors()), tmp_path):
        first, leaver, last = [await caller() for _ in range(3)]
        first.says("first")
        await until(lambda: stage.begun == ["first"])
        leaver.says("leaver")
        await asyncio.sleep(0.05)
        last.says("last")
        await leaver.leaves()
        await asyncio.sleep(0.05)
        stage.go_on.set()
        assert (await last.hears()).endswith(b"last")
    assert stage.done == ["first", "last"]


async def test_what_has_begun_is_finished_for_who_left(tmp_path: Path, stage: Stage, caller: Caller) -> None:
    async with serving(Dispatch(stage.doors()), tmp_path):
        leaver, last = [await caller() for _ in range(2)]
        leaver.says("leaver")
        await until(lambda: stage.begun == ["leaver"])
        await leaver.leaves()
        await asyncio.sleep(0.05)
        stage.go_on.set()
        last.says("last")
        assert (await last.hears()).endswith(b"last")
    assert stage.done == ["leaver", "last"]


async def test_requests_behind_an_answer_are_not_begun_for_who_left(
    tmp_path: Path, stage: Stage, caller: Caller
) -> None:
    async with serving(Dispatch(stage.doors()), tmp_path):
        leaver, last = [await caller() for _ in range(2)]
        for name in ("one", "two", "three"):
            leaver.says(name)
        await until(lambda: stage.begun == ["one"])
        await leaver.leaves()
        await asyncio.sleep(0.05)
        stage.go_on.set()
        last.says("last")
        assert (await last.hears()).endswith(b"last")
    assert stage.done == ["one", "last"]


async def test_an_answer_on_its_way_when_the_service_stops_is_the_last_and_says_so(
    tmp_path: Path, stage: Stage, caller: Caller
) -> None:
    async with serving(Dispatch(stage.doors()), tmp_path) as server:
        busy, idle = [await caller() for _ in range(2)]
        busy.says("busy")
        await until(lambda: stage.begun == ["busy"])
        stopping = asyncio.create_task(server.stop(5))
        assert await asyncio.wait_for(idle.reader.read(), 5) == b"", "who asks nothing is let go"
        assert not stopping.done()
        stage.go_on.set()
        answer = await busy.hears()
        await asyncio.wait_for(stopping, 2)
        assert b"\r\nconnection: close\r\n" in answer
        assert await busy.reader.read() == b""
        with pytest.raises(OSError, match=r"refused|No such file"):
            await caller()


async def test_an_answer_that_takes_longer_than_the_grace_is_given_up(
    tmp_path: Path, stage: Stage, caller: Caller
) -> None:
    async with serving(Dispatch(stage.doors()), tmp_path) as server:
        busy = await caller()
        busy.says("busy")
        await until(lambda: stage.begun == ["busy"])
        await asyncio.wait_for(server.stop(0.1), 2)
        assert await busy.reader.read() == b""
    assert stage.done == []


async def test_a_service_that_stops_says_that_it_is_not_ready(tmp_path: Path, caller: Caller) -> None:
    async def ready() -> None:
        """It would be."""

    world = WaitingWorld(tmp_path)
    broker = BrokerAddress("localhost", 8883, "certtest", world.ca.roots_pem, world.ca.chain_pem)
    async with serving(build_app(Service(world.authority, broker, ready)), tmp_path) as server:
        asking = await caller()
        question = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        asking.writer.write(question)
        assert (await asking.hears()).startswith(b"HTTP/1.1 200")
        asking.writer.write(question)  # in the kernel when the service begins to stop
        await server.stop(5)
        answer = await asking.hears()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"stopping"' in answer
    assert b"retry-after: 2\r\n" in answer
    assert b"connection: close\r\n" in answer


async def test_a_crowd_is_served_or_told_when_to_come_again(tmp_path: Path, caller: Caller) -> None:
    stage = Stage(Admission(slots=4, waiting=100))
    async with serving(Dispatch(stage.doors()), tmp_path):
        lines = [await caller() for _ in range(CROWD)]
        for number, each in enumerate(lines):
            each.says(str(number))
        refused = CROWD - 104
        answers = [asyncio.create_task(each.hears()) for each in lines]
        await until(lambda: sum(each.done() for each in answers) == refused)
        stage.go_on.set()
        told = await asyncio.gather(*answers)
    statuses = [answer.split(b" ")[1] for answer in told]
    assert (statuses.count(b"200"), statuses.count(b"503")) == (104, refused)
    waits = {
        each.partition(b"retry-after: ")[2].partition(b"\r")[0] for each in told if b" 503 " in each[:16]
    }
    assert waits == {b"1", b"2", b"3", b"4"}, "not all at once"
