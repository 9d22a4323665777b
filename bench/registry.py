"""What an enrolment costs at the registry's port: SQLite, every rule, real signatures, durable answers.

    python bench/registry.py                one and 32 callers, three steps and one, about a minute
    python bench/registry.py --count 500    a first look
    python bench/registry.py --filled 1000000 --folder DIR    over a registry of that many things

Requests are parsed and intents drawn up beforehand: that is not the registry's work. CPU is that of the whole
process, event loop and writer, in user and in kernel mode.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.enrollment import Attempt, Granted, Issue
from keyborn.domain.granting import enrolled
from keyborn.domain.issuance import approve
from keyborn.domain.issued import read_issued
from keyborn.domain.names import ThingName, key_hash
from keyborn.domain.profile import CertificateProfile
from keyborn.service.issuing import Permission, propose
from support.registry_cases import applicant, event, make_token

CALLERS = (1, 32)
Enrol = Callable[[Attempt], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a number of enrolments took."""

    count: int
    seconds: float
    user: float
    system: float
    slowest: float
    """Seconds that the 99th percentile waited."""
    commits: int

    def __str__(self) -> str:
        user, system = (each / self.count * 1e6 for each in (self.user, self.system))
        return (
            f"{self.count / self.seconds:8,.0f}/s   CPU {user + system:6.0f} µs "
            f"({user:.0f} user, {system:.0f} kernel)   p99 {self.slowest * 1e3:6.1f} ms   "
            f"{self.count / self.commits:5.1f} enrolments to a commit"
        )


class Yard:
    """A registry, an authority, and attempts at new names with new keys."""

    def __init__(self, registry: SqliteRegistry, authority: EmbeddedAuthority) -> None:
        self.registry = registry
        self.authority = authority
        self.clock, self.entropy = SystemClock(), SystemEntropy()
        self.token = make_token("bench", now=self.clock.now(), ttl=timedelta(days=1))

    def attempt(self, name: str) -> Attempt:
        """Drawn up as the registration authority does."""
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        request = CertificateRequest(name, spki, key_hash(spki), "p256", "", frozenset())
        now = self.clock.now()
        intent = propose(
            ThingName(name),
            request,
            Permission(self.token.id),
            now,
            profile=CertificateProfile(),
            entropy=self.entropy,
        )
        return Attempt(applicant(self.token), intent, now, request=request, source="127.0.0.1")

    async def at_once(self, attempt: Attempt) -> None:
        """One command."""
        verdict = await self.registry.claim(attempt)
        assert isinstance(verdict, Granted)

    async def in_steps(self, attempt: Attempt) -> None:
        """Claim, sign, store, activate: the saga."""
        assert attempt.request is not None
        verdict = await self.registry.claim(replace(attempt, request=None))
        assert isinstance(verdict, Issue)
        approved = approve(verdict.intent, attempt.request)
        signed = read_issued(await self.authority.issue(approved), approved)
        kept = await self.registry.store(verdict.intent, signed)
        told = enrolled(verdict.intent, kept, self.clock.now(), attempt.source, attempt.proof)
        await self.registry.activate(verdict.intent.id, told)

    async def spend(self, attempts: Sequence[Attempt], callers: int, enrol: Enrol) -> Spent:
        """Let so many callers work them off."""
        waiting, waits = iter(attempts), []

        async def call() -> None:
            for attempt in waiting:
                begun = time.perf_counter()
                await enrol(attempt)
                waits.append(time.perf_counter() - begun)

        commits, before = self.registry.counters.commits, resource.getrusage(resource.RUSAGE_SELF)
        begun = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
        return Spent(
            len(attempts),
            seconds,
            after.ru_utime - before.ru_utime,
            after.ru_stime - before.ru_stime,
            sorted(waits)[len(waits) * 99 // 100],
            self.registry.counters.commits - commits,
        )


async def measure(folder: Path, options: argparse.Namespace) -> None:
    """Every number of callers, both ways, in turn."""
    authority = open_authority(folder / "ca", clock=SystemClock(), entropy=SystemEntropy())
    async with SqliteRegistry(folder / "registry.db", signer=authority) as registry:
        yard = Yard(registry, authority)
        await registry.add(yard.token, event("token.create", yard.token.id, datetime.now(UTC)))
        if options.filled:
            for part in range(options.filled // 1000):
                filling = [yard.attempt(f"fill-{part}-{number}") for number in range(1000)]
                await yard.spend(filling, 128, yard.at_once)
        for turn in range(options.repeats):
            for callers in CALLERS:
                count = options.count if callers > 1 else options.count // 4
                for way, enrol in (("three steps", yard.in_steps), ("one command", yard.at_once)):
                    names = [f"{way[:3]}-{turn}-{callers}-{number}" for number in range(count)]
                    spent = await yard.spend(list(map(yard.attempt, names)), callers, enrol)
                    print(f"{callers:3} callers, {way}: {spent}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=4000, help="enrolments of 32; one makes a quarter")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--filled", type=int, default=0, help="things that are there before")
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-registry-", dir=options.folder) as name:
        asyncio.run(measure(Path(name), options))


if __name__ == "__main__":
    main()
