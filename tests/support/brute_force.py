"""Guessing at full speed, in a process of its own, and what good callers notice of it meanwhile.

For any credential that travels as ``Authorization: Bearer``, and for group keys, whose guesses are signed:
say which request is made and how a guess looks.
The process that guesses is ``python -m support.brute_force``; it takes the attack as JSON and prints what it
was answered.
"""

import asyncio
import base64
import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

GROUP_KEY = "group-key"
RANDOM = "RANDOM"
"""Stands in ``Attack.bearer`` where the random part of a guess goes."""


@dataclass(frozen=True, slots=True)
class Attack:
    """Who guesses, at what, and how."""

    host: str
    port: int
    root_pem: str
    method: str
    path: str
    bearer: str
    """The word with ``RANDOM`` where 32 random bytes go, in base64url, new in each guess; or ``api-key``; or
    ``group-key`` and perhaps the id of one: a signed request with a fresh nonce and a MAC of random bytes.
    Empty for a request that shows nothing."""
    body: str = ""
    connections: int = 16
    """Guesses under way at any time."""
    patient: bool = True
    """Wait for each answer; an impatient one opens a new connection for every guess and leaves it at once."""


@dataclass(slots=True)
class Loot:
    """What an attack was answered."""

    guesses: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """By status; ``none`` is no answer."""
    seconds: float = 0.0

    @property
    def successes(self) -> int:
        """Answers that are no refusal: anything below 400."""
        return sum(count for status, count in self.statuses.items() if status.isdigit() and int(status) < 400)


@contextmanager
def attacking(attack: Attack) -> Iterator[Callable[[], Loot]]:
    """Guess for as long as the context lasts; call what it yields, once, to end it and count."""
    folder = Path(__file__).resolve().parents[1]
    words = [sys.executable, "-m", "support.brute_force"]
    process = subprocess.Popen(words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(attack)) + "\n")
    process.stdin.flush()

    def _end() -> Loot:
        out, _ = process.communicate("", timeout=30)
        return Loot(**json.loads(out))

    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "guessing\n"
        yield _end
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@dataclass(frozen=True, slots=True)
class Watched:
    """How long good callers waited, in seconds."""

    times: Sequence[float]

    def share(self, part: float) -> float:
        """The time that ``part`` of the calls did not exceed."""
        return sorted(self.times)[min(len(self.times) - 1, int(part * len(self.times)))]

    def __str__(self) -> str:
        """``n calls, p50 …, p99 … ms``."""
        p50, p99 = (f"{self.share(part) * 1000:.1f}" for part in (0.5, 0.99))
        return f"{len(self.times)} calls, p50 {p50} ms, p99 {p99} ms"


def watch(call: Callable[[], None], *, seconds: float, pause: float = 0.01) -> Watched:
    """Call again and again; ``call`` raises where a good caller is not served as it should be."""
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        call()
        times.append(time.monotonic() - begun)
        time.sleep(pause)
    return Watched(times)


SIEGES = 3


@dataclass(frozen=True, slots=True)
class Siege:
    """One attack, and good callers before, during and after it."""

    loot: Loot
    quiet: Watched
    loud: Watched

    @property
    def harmed(self) -> bool:
        """Whether good callers waited more than twice as long as when it was quiet."""
        return self.loud.share(0.99) > 2 * self.quiet.share(0.99)

    def told(self, what: str) -> str:
        """A figure."""
        rate = f"{self.loot.guesses / self.loot.seconds:.0f} a second"
        tried = f"{self.loot.guesses} {what}, {rate}, {self.loot.statuses}"
        return f"{tried}; quiet: {self.quiet}; meanwhile: {self.loud}"


def besiege(call: Callable[[], None], attack: Attack, seconds: float) -> Siege:
    """Quiet first, then under attack, then quiet again."""
    before = watch(call, seconds=seconds / 4)
    with attacking(attack) as end:
        loud = watch(call, seconds=seconds)
        loot = end()
    after = watch(call, seconds=seconds / 4)
    assert loot.guesses >= 5
    return Siege(loot, Watched([*before.times, *after.times]), loud)


def sieges(call: Callable[[], None], attack: Attack, seconds: float) -> list[Siege]:
    """Attacks up to the first that harmed nobody, three at most, and in none of them anybody gets in.

    What else a machine does may harm callers in one of them; a fault of ours would in each.
    """
    done: list[Siege] = []
    while len(done) < SIEGES and (not done or done[-1].harmed):
        done.append(besiege(call, attack, seconds))
        loot = done[-1].loot
        assert loot.successes == 0
        assert set(loot.statuses) <= {"401", "429", "none", "left"}, loot
    return done


# ── the process that guesses ──


async def _guess_for_ever(attack: Attack, context: ssl.SSLContext, loot: Counter[str]) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection(attack.host, attack.port, ssl=context)
        except OSError:
            loot["none"] += 1
            await asyncio.sleep(0.01)
            continue
        try:
            await _on_one_connection(attack, reader, writer, loot)
        except (OSError, EOFError, ValueError, asyncio.IncompleteReadError):
            loot["none"] += 1
        finally:
            writer.transport.abort()


async def _on_one_connection(
    attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, loot: Counter[str]
) -> None:
    nonce = ""
    while True:
        writer.write(_request(attack, nonce))
        await writer.drain()
        if not attack.patient:
            loot["left"] += 1
            return
        head = await reader.readuntil(b"\r\n\r\n")
        if nonce or not attack.bearer.startswith(GROUP_KEY):
            loot[head.split(b" ", 2)[1].decode()] += 1
        nonce = _nonce_in(head)
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        await reader.readexactly(length)


def _nonce_in(head: bytes) -> str:
    """What the answer brings for the next signed request."""
    lines = head.decode("latin-1").lower().split("\r\n"), head.decode("latin-1").split("\r\n")
    return next((line for low, line in zip(*lines, strict=True) if low.startswith("replay-nonce:")), "")[
        13:
    ].strip()


def _request(attack: Attack, nonce: str) -> bytes:
    if attack.bearer.startswith(GROUP_KEY):
        if not nonce:
            return f"GET /v1/nonce HTTP/1.1\r\nHost: {attack.host}\r\n\r\n".encode()
        return _posted(attack, _guessed_mac(attack, nonce), "Content-Type: application/jose+json\r\n")
    guess = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    word = _api_key(attack.host) if attack.bearer == "api-key" else attack.bearer.replace(RANDOM, guess)
    return _posted(attack, attack.body.encode(), f"Authorization: Bearer {word}\r\n" if word else "")


def _posted(attack: Attack, body: bytes, said: str) -> bytes:
    head = f"{attack.method} {attack.path} HTTP/1.1\r\nHost: {attack.host}\r\n{said}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _guessed_mac(attack: Attack, nonce: str) -> bytes:
    """A request that is right in all but its signature; without an id of a key, by one that nobody knows."""
    from keyborn.domain.jws_enroll import Place, draft_by_key
    from keyborn.domain.token import TokenId

    kid = attack.bearer.removeprefix(GROUP_KEY) or f"k{os.urandom(8).hex()}"
    place = Place(f"https://{attack.host}{attack.path}", nonce)
    return draft_by_key(TokenId(kid), place, attack.body.encode()).signed(os.urandom(32))


def _api_key(host: str) -> str:
    """A word that is whole, with a secret that is not: a guess that costs the service a look-up."""
    from keyborn.domain.api_key import ApiKeyWord

    return ApiKeyWord(f"https://{host}", bytes(32), os.urandom(32)).encode()


async def _attack(attack: Attack) -> Loot:
    os.nice(19)  # a real one has a machine of its own: this one takes what nobody else wants of ours
    context = ssl.create_default_context(cadata=attack.root_pem)
    loot: Counter[str] = Counter()
    begun = time.monotonic()
    crowd = [asyncio.create_task(_guess_for_ever(attack, context, loot)) for _ in range(attack.connections)]
    print("guessing", flush=True)  # noqa: T201 - the parent waits for it
    await asyncio.to_thread(sys.stdin.read)
    for one in crowd:
        one.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*crowd, return_exceptions=True)
    return Loot(loot.total(), dict(loot), time.monotonic() - begun)


def main() -> None:
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    print(json.dumps(asdict(asyncio.run(_attack(Attack(**told))))))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
