"""A process that enrolls on a registry file and tells, line by line, what is durable; a test ends it.

Arguments: the file, and what to do: ``enroll`` or ``police`` for ever, or ``limit`` to meet a file size limit
on the way.
"""

import asyncio
import resource
import sys
from pathlib import Path

from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.errors import RegistryUnavailable
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
    task = {"enroll": enroll_for_ever, "police": police_for_ever, "limit": meet_a_limit}[sys.argv[2]]
    asyncio.run(task(Path(sys.argv[1])))
