"""A process that enrolls on a registry file and tells, line by line, what is durable; a test ends it.

Arguments: the file, and what to do: ``enroll``, ``grant``, ``police`` or ``group`` for ever,
``fill`` a group that is there, or ``limit`` to meet a file size limit on the way.
"""

import asyncio
import os
import resource
import sys
from itertools import count
from pathlib import Path

from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.errors import ApprovalsFull, GroupFull, RegistryUnavailable
from support.granting_cases import Pen, request_of
from support.grouping_cases import GroupingDesk, Rule, hourly, proving, registered
from support.registry_cases import Desk


def say(*words: object) -> None:
    """One line, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def enroll_for_ever(path: Path) -> None:
    """Eight devices at a time; each line names one whose activation was awaited."""
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        say("ready")

        async def devices(lane: int) -> None:
            number = lane
            while True:
                certificate = await desk.enroll(token, f"lamp-{number}", f"k{number}")
                say("active", certificate.thing, certificate.id)
                number += 8

        await asyncio.gather(*(devices(lane) for lane in range(8)))


async def grant_for_ever(path: Path) -> None:
    """The same, each in one command of a registry that has a signer."""
    async with SqliteRegistry(path, signer=Pen()) as registry:
        desk = Desk(registry, request=request_of)
        token = await desk.token("secret")
        say("ready")

        async def devices(lane: int) -> None:
            for number in count(lane, 8):
                certificate = await desk.enroll(token, f"lamp-{number}", f"k{number}")
                say("active", certificate.thing, certificate.id)

        await asyncio.gather(*(devices(lane) for lane in range(8)))


async def police_for_ever(path: Path) -> None:
    """Four devices, each with a policy of its own that changes, comes and goes; each line was awaited."""
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        token = await desk.token("secret")

        async def orders(name: str) -> None:
            await desk.enroll(token, name, f"key of {name}")
            policy = f"of-{name}"
            while True:
                await desk.put(policy, "Connect")
                say("policy.put", policy)
                await desk.attach(name, policy)
                say("policy.attach", name)
                await desk.put(policy, "Publish")
                say("policy.put", policy)
                await desk.detach(name, policy)
                say("policy.detach", name)

        await asyncio.gather(*(orders(f"lamp-{lane}") for lane in range(4)))


async def group_for_ever(path: Path) -> None:
    """Four lines that enrol, ask a person, and announce keys; each line said was awaited."""
    async with SqliteRegistry(path) as registry:
        desk = GroupingDesk(registry)
        await desk.put_group()
        say("ready")

        async def work(lane: int) -> None:
            for number in count(lane, 4):
                name = f"lamp-{number}"
                await desk.join(proving(f"{number}"), name, name, Rule(rate=hourly(10**6)))
                say("joined", name)
                await desk.decide(await desk.ask(desk.wish(name, name)))
                say("decided", name)
                await desk.register(*(registered(f"{name}-{each}") for each in range(3)))
                say("registered", name)

        await asyncio.gather(*(work(lane) for lane in range(4)))


async def fill_the_group(path: Path) -> None:
    """Enrol under a group of 40 and ask for 30 places of which 20 are free, beside others who do so, too."""
    async with SqliteRegistry(path) as registry:
        desk = GroupingDesk(registry, numbers=count(os.getpid() * 10**6))
        say("ready")
        sys.stdin.readline()  # all begin at once
        joined = asked = 0
        for number in count():
            try:
                await desk.join(proving(name := f"{os.getpid()}-{number}"), name, name, Rule(limit=40))
            except GroupFull:
                break
            joined += 1
            await asyncio.sleep(0.01)  # SQLite has no queue: who asks again at once keeps the other out
        for number in range(30):
            try:
                await desk.ask(desk.wish(f"lamp-{number}"), most=20)
            except ApprovalsFull:
                continue
            asked += 1
        say("joined", joined, "asked", asked)


async def meet_a_limit(path: Path) -> None:
    """Enroll until the file system refuses, keep trying, and go on when it takes writes again."""
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        number = refused = 0
        while refused < 5:
            try:
                await desk.enroll(token, f"lamp-{number}", f"k{number}")
                number += 1
            except RegistryUnavailable:
                refused += 1
        say("enrolled", number)
        say("readable", sum([await desk.registry.find(token.id) == token]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await desk.enroll(token, f"lamp-{number}", f"k{number}")
        say("recovered", registry.counters.failures)


if __name__ == "__main__":
    tasks = {
        "enroll": enroll_for_ever,
        "grant": grant_for_ever,
        "police": police_for_ever,
        "group": group_for_ever,
        "fill": fill_the_group,
        "limit": meet_a_limit,
    }
    asyncio.run(tasks[sys.argv[2]](Path(sys.argv[1])))
