"""Turns of the loop: what they allow in one, who comes next, and that nobody is forgotten."""

import asyncio

from keyborn.adapters.broker.turns import Turns


class Time:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.reading = 0.0

    def __call__(self) -> float:
        return self.reading


class Clients:
    """So many clients with so many packets each, of one second's work; what they did, turn by turn."""

    def __init__(self, seconds: float, *packets: int) -> None:
        self.time = Time()
        self.turns = Turns(seconds, self.time)
        self.left = dict(enumerate(packets))
        self.done: list[int] = []

    def work(self, client: int) -> None:
        while self.left[client] and self.turns.left():
            self.left[client] -= 1
            self.time.reading += 1
            self.done.append(client)
        if self.left[client]:
            self.turns.wait(lambda: self.work(client))

    def begin(self) -> None:
        for client in self.left:
            self.work(client)

    async def turn(self) -> list[int]:
        """What one more turn of the loop brings."""
        self.done.clear()
        await asyncio.sleep(0)
        return self.done.copy()


async def test_one_turn_has_so_much_time_for_all_together() -> None:
    clients = Clients(3, 2, 5, 1)
    clients.begin()
    assert clients.done == [0, 0, 1], "the third finds no time left"
    assert await clients.turn() == [1, 1, 1]
    assert await clients.turn() == [2, 1]
    assert await clients.turn() == []


async def test_who_has_waited_longest_comes_next_and_a_newcomer_last() -> None:
    clients = Clients(2, 4, 4, 0)
    clients.begin()
    assert await clients.turn() == [0, 0]
    clients.left[2] = 1
    clients.work(2)
    assert await clients.turn() == [1, 1]
    assert await clients.turn() == [2, 1]
    assert await clients.turn() == [1]


async def test_a_packet_that_takes_longer_than_a_turn_is_not_cut_and_each_turn_does_one() -> None:
    clients = Clients(0.5, 3)
    clients.begin()
    assert clients.done == [0]
    assert [await clients.turn() for _ in range(3)] == [[0], [0], []]


async def test_time_that_passed_while_nobody_worked_counts_for_nothing() -> None:
    clients = Clients(2, 1)
    clients.begin()
    await clients.turn()
    clients.time.reading += 100
    clients.left[0] = 2
    clients.work(0)
    assert clients.left[0] == 0


async def test_what_fails_keeps_nobody_else_from_a_turn() -> None:
    loop = asyncio.get_running_loop()
    faults: list[object] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context["exception"]))
    clients = Clients(1, 1, 1)
    clients.begin()

    def _fail() -> None:
        raise ValueError("of its own")

    clients.turns.wait(_fail)
    clients.turns.wait(lambda: clients.work(0))
    clients.left[0] = 1
    assert [await clients.turn() for _ in range(4)] == [[1], [], [0], []]
    assert [str(each) for each in faults] == ["of its own"]
