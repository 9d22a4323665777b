"""What one enrolment costs a worker: microseconds of its CPU from the request's bytes to the answer's.

    python bench/worker.py                  best of seven rounds
    python bench/worker.py --profile        and where they go, by cProfile (which makes small functions dear)

The application is a worker's own, with its registry to read from; sockets, TLS and the line to the core are
left out: claims come back at once, granted. CPU time of this process alone, so that other load hardly counts.
"""

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support.requests import Door, make_device

from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.adapters.workers.line import Line
from keyborn.adapters.workers.remote import RemoteNonces
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Attempt, Granted
from keyborn.domain.names import NameScope, certificate_id
from keyborn.domain.token import EnrollmentToken, digest, encode_secret, token_id
from keyborn.http.app import build_app
from keyborn.http.connections import Connections
from keyborn.http.observing import Observing
from keyborn.http.protocol import GuardedProtocol, HttpLimits
from keyborn.service.admission import LateRefusals
from keyborn.settings import read_settings_text
from keyborn.wiring.front import Parts, Place, build_service, new_lines
from keyborn.wiring.watching import new_meter
from keyborn.wiring.worker import WorkerRegistry

ROUNDS, DEVICES = 7, 400
_PEM = "-----BEGIN CERTIFICATE-----\n" + ("A" * 64 + "\n") * 9 + "-----END CERTIFICATE-----\n"
_SECRET = bytes(range(32))


class Core:
    """In the place of the line: whoever claims is granted a certificate when the loop comes round."""

    async def ask(self, _call: object, attempt: Attempt) -> Granted:
        """Answer a claim."""
        await asyncio.sleep(0)
        der, dates = b"\x30" * 420, attempt.proposal
        made = Certificate(
            certificate_id(der), dates.thing, dates.key_hash, der, dates.not_before, dates.not_after
        )
        return Granted(made, repeated=False)


class Authority:
    """What a worker knows of the authority."""

    def roots_pem(self) -> str:
        """One root."""
        return _PEM

    def chain_pem(self, _der: bytes | None = None) -> str:
        """One intermediate."""
        return _PEM


class Wire(asyncio.Transport):
    """A connection to nowhere."""

    answers = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count an answer, which must be 201."""
        assert bytes(data).startswith(b"HTTP/1.1 201")
        Wire.answers += 1

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio has it
        """One address."""
        return ("127.0.0.1", 4321) if name in {"peername", "sockname"} else default


async def _prepare(path: Path) -> None:
    """A registry with one token."""
    now = SystemClock().now()
    token = EnrollmentToken(
        token_id(_SECRET), digest(_SECRET), NameScope("bench-*"), None, now, now + timedelta(hours=1)
    )
    async with SqliteRegistry(path) as registry:
        event = AuditEvent(now, "token", "done", token.id, "bench", "")
        await registry.add(token, event)


def _application(path: Path) -> Observing:
    line = cast("Line", Core())
    registry = WorkerRegistry(line, line, path)
    registry.open()
    meter = new_meter()
    parts = Parts(
        registry=cast("Any", registry),
        reports=registry,
        authority=cast("Any", Authority()),
        nonces=RemoteNonces(line),
        sessions=cast("Any", None),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        prove_writable=registry.prove_writable,
        late=LateRefusals(),
        meter=meter,
        lines=new_lines(),
    )
    service = build_service(
        parts, read_settings_text(""), Place(lambda: "https://localhost", ("localhost", 8883))
    )
    return Observing(build_app(service), meter)


async def _measure(path: Path, profile: cProfile.Profile | None) -> float:
    """Microseconds for one enrolment, the best round's."""
    door = Door("/v1/enroll", "thingName", "csr", ("certificatePem",), encode_secret(_SECRET))
    requests = [door.request(make_device(number), close=False) for number in range(DEVICES)]
    connections = Connections(1.0)
    lines = [GuardedProtocol(_application(path), HttpLimits(), connections) for _ in range(16)]
    for line in lines:
        line.connection_made(Wire())
    rounds = []
    for number in range(ROUNDS):
        if profile is not None and number == 1:
            profile.enable()
        began = time.process_time()
        for at in range(0, DEVICES, len(lines)):
            for line, request in zip(lines, requests[at:], strict=False):
                line.data_received(request)
            while connections.tasks:  # noqa: ASYNC110 - an event would be one more thing to measure
                await asyncio.sleep(0)
        rounds.append((time.process_time() - began) / DEVICES * 1e6)
    if profile is not None:
        profile.disable()
    assert Wire.answers == ROUNDS * DEVICES, Wire.answers
    return min(rounds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profile = cProfile.Profile() if options.profile else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "registry.db"
        asyncio.run(_prepare(path))
        took = asyncio.run(_measure(path, profile))
    print(f"{datetime.now(UTC):%H:%M:%S}  {took:.1f} µs for one enrolment")
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(60)


if __name__ == "__main__":
    main()
