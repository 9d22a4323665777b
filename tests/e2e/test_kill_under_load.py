"""kill -9 at full load: what was answered is in the registry, what was not is settled by the retry.

A real ``keyborn serve``, 32 clients that enrol as fast as they are answered, and SIGKILL for the core at a
moment that nobody chose. Its workers, as many as it has by default, end by themselves. Before anything is
started again the data folder as it was left must hold every certificate that a client was given.
"""

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyborn.cli.console import ask
from support.figures import Figure
from support.hasty import Heard, Rush, crowd
from support.server import Answer, Server
from support.talker import until
from support.walks import FULL

if TYPE_CHECKING:
    from bench.support.requests import Device

ROUNDS = 50 if FULL else 3
CLIENTS = 32
EARLIEST, LATEST = 0.1, 0.6
"""Seconds after the clients have begun."""
MOST_PER_SECOND = 6000
LINGER = 5.0
"""Seconds that other processes of the service may take to notice that the main one is gone."""
REPEATED = 5
"""Of the answered ones, how many ask once more."""


def offspring(pid: int) -> list[int]:
    """Every process below this one."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *offspring(child)]
    return found


def has_ended(pid: int) -> bool:
    """Gone, or dead and not yet buried by whoever inherited it."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    return True


@contextmanager
def left_behind(data: Path, folder: Path) -> Iterator[sqlite3.Connection]:
    """The registry as the killed server left it: a copy, so that looking at it does not mend it."""
    folder.mkdir()
    for part in ("registry.db", "registry.db-wal"):
        if (data / part).exists():
            shutil.copyfile(data / part, folder / part)
    with closing(sqlite3.connect(folder / "registry.db")) as connection:
        yield connection
    shutil.rmtree(folder)


def whole(registry: sqlite3.Connection) -> set[str]:
    """Certificates that are active, attached to an active thing, and whose enrolment is in the trail."""
    question = (
        "SELECT c.id FROM certificates c JOIN things t ON t.name = c.thing "
        "JOIN attachments a ON a.certificate = c.id AND a.thing = c.thing "
        "WHERE c.status = 'active' AND t.status = 'active' AND t.key_hash = c.key_hash AND c.id IN "
        "(SELECT json_extract(event, '$.details.certificateId') FROM audit "
        "WHERE json_extract(event, '$.action') = 'enroll' AND json_extract(event, '$.outcome') = 'done')"
    )
    return {row[0] for row in registry.execute(question)}


def twice(registry: sqlite3.Connection) -> list[tuple[str, str]]:
    """Things with more than one active certificate, and keys too."""
    question = "SELECT {0}, count(*) FROM certificates WHERE status = 'active' GROUP BY {0}"
    question += " HAVING count(*) > 1"
    return [row for column in ("thing", "key_hash") for row in registry.execute(question.format(column))]


@dataclass
class Siege:
    """One data folder, killed again and again."""

    server: Server
    folder: Path
    secret: str
    given: int = 0
    settled: int = 0
    created: int = 0

    def kill_at_full_load(self, rush: Rush, running: "Future[Heard]", chance: random.Random) -> Heard:
        """SIGKILL for the main process; all that it had started is gone soon after."""
        assert self.server.process is not None
        time.sleep(chance.uniform(EARLIEST, LATEST))
        below = offspring(self.server.process.pid)
        assert below, "the service has workers"
        self.server.kill()
        killed = time.monotonic()
        until(lambda: all(map(has_ended, below)), "the others end by themselves")
        assert time.monotonic() - killed < LINGER
        heard = running.result(LINGER + rush.longest)
        assert heard.unanswered, "it was killed while clients waited"
        assert heard.wrong == 0
        assert all(what[:3] == "503" and "registry_unavailable" in what for what in heard.refused), (
            "a worker outlives the main process for a moment, and says so"
        )
        return heard

    def assert_kept(self, heard: Heard, number: int) -> None:
        """All that was given is there, before anybody has mended anything."""
        with left_behind(self.server.data, self.folder / f"left-{number}") as registry:
            assert heard.given - whole(registry) == set(), "a certificate was given and is not registered"
            assert twice(registry) == []
        self.given += len(heard.given)

    def settle(self, heard: Heard, chance: random.Random) -> None:
        """Whoever got no answer asks again, and so do some who got one: everybody gets one certificate."""
        again = [*heard.unanswered, *chance.sample(heard.answered, min(REPEATED, len(heard.answered)))]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(self._ask, again))
        assert {answer.status for answer in answers} <= {200, 201}
        ids = [answer.json["certificateId"] for answer in answers]
        known = ids[len(heard.unanswered) :]
        assert set(known) <= heard.given, "who asks again gets the same certificate"
        for device, certificate in zip(again, ids, strict=True):
            assert [row["certificateId"] for row in self.server.active(device.name)] == [certificate]
        self.settled += len(heard.unanswered)
        self.created += sum(answer.status == 201 for answer in answers)

    def _ask(self, device: "Device") -> Answer:
        return self.server.enroll(device.name, device.csr, self.secret)

    def assert_tidy(self) -> None:
        """No intent is open, and nothing is there twice."""
        place = self.server.data / "registry.db"
        with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as registry:
            assert registry.execute("SELECT thing FROM intents").fetchall() == []
            assert twice(registry) == []

    def assert_trail_whole(self) -> None:
        """As an operator would look."""
        order = [sys.executable, "-m", "keyborn", "audit", "verify", "--data", str(self.server.data)]
        done = subprocess.run(order, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "unbroken" in done.stdout


@pytest.fixture
def siege(tmp_path: Path) -> Iterator[Siege]:
    server = Server(tmp_path / "server", tmp_path / "server.log", workers=None).start()
    ask(server.data, "POST", "/v1/tokens", {"match": "other-*", "uses": 1})
    siege = Siege(server, tmp_path, server.token(match="bench-*", uses=0)["secret"])
    try:
        yield siege
    finally:
        assert server.process is not None
        if server.process.poll() is None:
            server.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_that_was_answered_is_lost_and_nothing_unanswered_stays_open(
    siege: Siege, figure: Figure
) -> None:
    chance = random.Random(f"{ROUNDS}")
    with crowd() as loose:
        for number in range(ROUNDS):
            assert siege.server.process is not None
            assert siege.server.process.poll() is None
            count = int(MOST_PER_SECOND * (LATEST + 0.2))
            address, pid = siege.server.address, siege.server.process.pid
            rush = Rush(address, pid, siege.secret, CLIENTS, number * count, count, 10.0)
            heard = siege.kill_at_full_load(rush, loose(rush), chance)
            siege.assert_kept(heard, number)
            siege.server.start()
            siege.settle(heard, chance)
            siege.assert_tidy()
            if number % 10 == 9 or number == ROUNDS - 1:
                siege.assert_trail_whole()
    figure(
        f"kill -9 at full load: {ROUNDS} times, {siege.given} certificates given, all of them kept; "
        f"{siege.settled} requests without an answer settled by the retry, {siege.created} of them new then"
    )
