"""What devices cost that keep their connection open and say nothing: the server's memory for each.

    python bench/idle.py                  1,000 connections over TLS, and 2,000 new ones at once beside them
    python bench/idle.py --count 4000     more of them

Each has asked for ``/healthz`` once. Memory is the PSS of ``keyborn serve`` and its workers. Then a crowd
connects at once from a process of its own; meanwhile one of the idle ones asks on.
"""

import argparse
import asyncio
import multiprocessing
import resource
import ssl
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support import machine, tree
from bench.support.system import Target
from bench.support.systems import Keyborn
from bench.support.verdict import quantile

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_SPAWN = multiprocessing.get_context("spawn")
_STEP = 0.005
"""Seconds between two requests beside a crowd."""
_REST = 2.0
"""Seconds after which memory is looked at."""


class _Idle:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self) -> None:
        """Open the connection."""
        opening = asyncio.open_connection(self._target.host, self._target.port, ssl=self._context)
        self.reader, self.writer = await opening

    async def ask(self) -> float:
        """Ask once; seconds until the answer."""
        began = time.monotonic()
        self.writer.write(GET)
        await self.reader.readuntil(b"\r\n\r\nok\n")
        return time.monotonic() - began


def main() -> int:
    """Measure and print."""
    options = _parse()
    _all_descriptors()
    with tempfile.TemporaryDirectory(prefix="bench-idle-", dir=options.folder) as name:
        facts = machine.describe(Path(name))
        with Keyborn(tls=True).running(Path(name)) as target:
            lines = asyncio.run(_measured(options, target))
    print("\n".join([*(f"- {fact}" for fact in facts), "", *lines]))
    return 0


async def _measured(options: argparse.Namespace, target: Target) -> list[str]:
    before = tree.memory(target.pid)
    idle = [_Idle(target) for _ in range(options.count)]
    for each in idle:
        await each.connect()
        await each.ask()
    await asyncio.sleep(_REST)
    after = tree.memory(target.pid)
    waits, seconds = await _beside(idle[0], options.crowd, target)
    p50, p99 = (quantile(waits, share) * 1e3 for share in (0.5, 0.99))
    each_kib = (after - before) / 1024 / options.count
    idle_line = (
        f"{options.count:,} idle connections: {before / tree.MIB:.0f} MiB before, {after / tree.MIB:.0f} MiB "
        f"with them, {each_kib:.0f} KiB for each."
    )
    crowd_line = (
        f"{options.crowd:,} new connections at once took {seconds:.1f} s; a request beside them: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(waits) * 1e3:.1f} ms."
    )
    return [idle_line, crowd_line]


async def _beside(one: _Idle, crowd: int, target: Target) -> tuple[list[float], float]:
    """How long a request takes while a crowd connects, and how long that goes on."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_come, args=(target, crowd, there), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(here.recv)
        began, waits = time.monotonic(), list[float]()
        here.send(None)
        while not here.poll():
            waits.append(await one.ask())
            await asyncio.sleep(_STEP)
    finally:
        process.kill()
        process.join()
    return waits, time.monotonic() - began


def _come(target: Target, crowd: int, pipe: Connection) -> None:
    """The crowd's process: ready, told to come, all there."""
    _all_descriptors()
    pipe.send(crowd)
    pipe.recv()
    pipe.send(asyncio.run(_connected(target, crowd)))


async def _connected(target: Target, crowd: int) -> int:
    new = [_Idle(target) for _ in range(crowd)]
    await asyncio.gather(*(each.connect() for each in new))
    return len(new)


def _all_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--crowd", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="for the data; not a tmpfs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
