"""Claims lines: crowds share commits past the event loop, and whoever misbehaves loses its own line alone."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.workers.calls import OF_CLAIMS
from keyborn.adapters.workers.claims import MAX_CLAIM, MAX_UNREAD, ClaimLines
from keyborn.adapters.workers.line import Line
from keyborn.domain.enrollment import Attempt, Granted
from keyborn.domain.errors import RegistryUnavailable, ThingNameTaken, Unavailable
from keyborn.domain.token import EnrollmentToken
from support.gate import Gate
from support.granting_cases import Pen, request_of
from support.registry_cases import Desk, event

(CLAIM,) = OF_CLAIMS
HEAD = struct.Struct("<IBI")


def no_one(name: str) -> Callable[..., Awaitable[Any]]:
    raise AssertionError(name)


class Asking:
    """A worker's end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.line = Line((), no_one, self.ended.set)

    async def claim(self, attempt: Attempt) -> Granted:
        outcome = await self.line.ask(CLAIM, attempt)
        assert isinstance(outcome, Granted)
        return outcome


@dataclass
class Ground:
    lines: ClaimLines
    registry: SqliteRegistry
    desk: Desk
    pen: Pen
    token: EnrollmentToken

    async def asking(self) -> Asking:
        ours, theirs = socket.socketpair()
        asking = Asking()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: asking.line, theirs)
        self.lines.add(ours)
        return asking

    def bare(self) -> socket.socket:
        """A worker's end that says whatever a test wants."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)  # noqa: FBT003 - as the library has it
        self.lines.add(ours)
        return theirs

    def attempt(self, number: int, key: str = "k") -> Attempt:
        return self.desk.attempt(self.token, f"lamp-{number}", f"{key}{number}")

    async def wait_for(self, count: int) -> None:
        """Until so many things are known."""
        async with asyncio.timeout(10):
            while len(await self.registry.things(limit=1000)) < count:  # noqa: ASYNC110 - a thread writes
                await asyncio.sleep(0.01)


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    lines, pen = ClaimLines(), Pen()
    async with SqliteRegistry(tmp_path / "registry.db", signer=pen, claims=lines) as registry:
        desk = Desk(registry, request=request_of)
        yield Ground(lines, registry, desk, pen, await desk.token("secret"))


def frame(attempt: Attempt, number: int = 1) -> bytes:
    body = b"\0" + CLAIM.takes.write((attempt,))
    return HEAD.pack(len(body), 0, number) + body


async def received(end: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(end, 1 << 20)


async def is_hung_up(end: socket.socket) -> bool:
    """Whether the core ends the line, whatever it says before."""
    try:
        while await received(end):
            pass
    except ConnectionError:
        pass
    return True


async def said(end: socket.socket, words: bytes) -> OSError | None:
    """Say something; what became of that."""
    try:
        await asyncio.get_running_loop().sock_sendall(end, words)
    except OSError as trouble:
        return trouble
    return None


async def test_a_crowd_of_two_workers_shares_commits_with_the_calls_of_the_loop(ground: Ground) -> None:
    one, other = await ground.asking(), await ground.asking()
    gate, commits = Gate(), ground.registry.counters.commits
    held = await gate.closed_behind(ground.registry)
    crowd = [
        asyncio.ensure_future((one, other)[number % 2].claim(ground.attempt(number))) for number in range(60)
    ]
    told = asyncio.ensure_future(ground.registry.append(event("meanwhile")))
    await asyncio.sleep(0)
    gate.open()
    outcomes = await asyncio.gather(*crowd)
    await asyncio.gather(held, told)

    assert {outcome.certificate.thing for outcome in outcomes} == {f"lamp-{number}" for number in range(60)}
    assert not any(outcome.repeated for outcome in outcomes)
    assert len(await ground.registry.things(limit=100)) == 60
    assert ground.registry.counters.commits - commits < 15


async def test_a_refusal_comes_over_and_a_repeated_claim_gets_what_it_had(ground: Ground) -> None:
    asking = await ground.asking()
    first = await asking.claim(ground.attempt(1))
    with pytest.raises(ThingNameTaken):
        await asking.claim(ground.attempt(1, "other"))
    again = await asking.claim(ground.attempt(1))
    assert again == replace(first, repeated=True)


async def test_a_fault_says_nothing_and_harms_nobody(ground: Ground) -> None:
    asking = await ground.asking()

    ground.pen.trouble = LookupError("secret")
    with pytest.raises(Unavailable) as fault:
        await asking.claim(ground.attempt(1))
    assert "secret" not in str(fault.value)
    ground.pen.trouble = None
    assert not (await asking.claim(ground.attempt(1))).repeated


@pytest.mark.parametrize(
    "sent",
    [
        HEAD.pack(MAX_CLAIM + 1, 0, 1),
        HEAD.pack(0xFFFFFFFF, 0, 1),
        HEAD.pack(0, 0, 1),
        HEAD.pack(3, 0, 1) + b"\0[]",
        HEAD.pack(3, 0, 1) + b"\1[]",
        HEAD.pack(50_001, 0, 1) + b"\0" + b"[" * 50_000,
        HEAD.pack(2, 1, 1) + b"{}",
        HEAD.pack(2, 2, 1) + b"{}",
        HEAD.pack(2, 7, 1) + b"{}",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_hostile_bytes_end_that_line_and_no_other(ground: Ground, sent: bytes) -> None:
    asking = await ground.asking()
    with ground.bare() as hostile:
        await asyncio.get_running_loop().sock_sendall(hostile, sent)
        assert await is_hung_up(hostile)
    assert (await asking.claim(ground.attempt(1))).certificate.thing == "lamp-1"


async def test_a_claim_without_its_request_ends_the_line_and_records_nothing(ground: Ground) -> None:
    with ground.bare() as hostile:
        hostile.send(frame(replace(ground.attempt(1), request=None)))
        assert await is_hung_up(hostile)
    assert await ground.registry.things() == []


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_claims_may_come_in_any_pieces(ground: Ground, step: int) -> None:
    sent = b"".join(frame(ground.attempt(number), number) for number in range(3))
    with ground.bare() as end:
        loop, answers = asyncio.get_running_loop(), b""
        for at in range(0, len(sent), step):
            await loop.sock_sendall(end, sent[at : at + step])
        numbers: list[tuple[int, int]] = []
        while len(numbers) < 3:
            answers += await received(end)
            while len(answers) >= HEAD.size and len(answers) >= HEAD.size + HEAD.unpack_from(answers)[0]:
                size, kind, number = HEAD.unpack_from(answers)
                numbers.append((kind, number))
                answers = answers[HEAD.size + size :]
        assert numbers == [(1, 0), (1, 1), (1, 2)]


async def test_a_worker_that_goes_in_the_middle_of_a_frame_is_forgotten(ground: Ground) -> None:
    asking = await ground.asking()
    with ground.bare() as end:
        end.send(frame(ground.attempt(1)) + frame(ground.attempt(2))[:100])
        await ground.wait_for(1)
    assert (await asking.claim(ground.attempt(3))).certificate.thing == "lamp-3"
    assert [thing.name for thing in await ground.registry.things()] == ["lamp-1", "lamp-3"]
    assert len(ground.lines._ends) == 1


async def test_what_a_worker_asked_for_before_it_died_is_whole_or_not_there(ground: Ground) -> None:
    asking = await ground.asking()
    gate = Gate()
    held = await gate.closed_behind(ground.registry)
    with ground.bare() as end:
        for number in range(10):
            end.send(frame(ground.attempt(number), number))
    gate.open()
    await held
    repeated = [(await asking.claim(ground.attempt(number))).repeated for number in range(10)]
    assert len(repeated) == len(await ground.registry.things()) == 10


async def test_a_worker_that_does_not_read_is_cut_off_and_others_go_on(ground: Ground) -> None:
    asking = await ground.asking()
    await asking.claim(ground.attempt(1))
    once_more, sent = frame(ground.attempt(1)), 0
    with ground.bare() as deaf:
        async with asyncio.timeout(30):
            while (trouble := await said(deaf, once_more)) is None:
                sent += 1
    assert isinstance(trouble, ConnectionError)
    assert sent > MAX_UNREAD / 2000, "answers are smaller than that"
    assert (await asking.claim(ground.attempt(2))).certificate.thing == "lamp-2"
    assert len(ground.lines._ends) == 1


async def test_a_worker_that_reads_late_gets_every_answer(ground: Ground) -> None:
    asking = await ground.asking()
    await asking.claim(ground.attempt(1))
    once_more = frame(ground.attempt(1))
    with ground.bare() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for _ in range(300):
            await asyncio.get_running_loop().sock_sendall(late, once_more)
        await asking.claim(ground.attempt(2))
        heard, count = b"", 0
        while count < 300:
            heard += await received(late)
            while len(heard) >= HEAD.size and len(heard) >= HEAD.size + HEAD.unpack_from(heard)[0]:
                size, kind, _ = HEAD.unpack_from(heard)
                assert kind == 1
                heard, count = heard[HEAD.size + size :], count + 1


async def test_one_worker_that_asks_for_a_thousand_does_not_keep_another_from_its_turn(
    ground: Ground,
) -> None:
    greedy, modest = await ground.asking(), await ground.asking()
    crowd = [asyncio.ensure_future(greedy.claim(ground.attempt(number))) for number in range(300)]
    await asyncio.sleep(0)
    await modest.claim(ground.attempt(1000))
    assert sum(each.done() for each in crowd) < 250
    await asyncio.gather(*crowd)


async def test_when_the_registry_closes_the_lines_end_and_waiting_claims_hear_so(tmp_path: Path) -> None:
    lines, pen = ClaimLines(), Pen()
    registry = SqliteRegistry(tmp_path / "registry.db", signer=pen, claims=lines)
    await registry.open()
    desk = Desk(registry, request=request_of)
    ground = Ground(lines, registry, desk, pen, await desk.token("secret"))
    asking, gate = await ground.asking(), Gate()
    held = await gate.closed_behind(registry)
    waiting = asyncio.ensure_future(asking.claim(ground.attempt(1)))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(registry.close())
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(held, closing)
    async with asyncio.timeout(5):
        await asking.ended.wait()
    with pytest.raises(RegistryUnavailable):
        await waiting
    with ground.bare() as late:  # a line that is added too late ends at once
        assert await is_hung_up(late)
    await registry.close()
