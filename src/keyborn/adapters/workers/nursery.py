"""The worker processes: started, watched, started again when one dies, ended with the core.

A worker holds one end of two socket pairs, its line and its claims line, the core the other. When the core
ends, in whatever way, the worker reads the end of them and goes. Each is a process group of its own: a
terminal's Ctrl-C is for the core.
"""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyborn.adapters.workers.line import Line
from keyborn.adapters.workers.tally import Tally

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a worker that died is started again; doubled each time that it dies young."""
_YOUNG = 30.0
_SECRETS = ("KEYBORN_CA_PASSPHRASE",)
"""What of the core's environment is for the core alone."""
_log = logging.getLogger("keyborn.workers")

Attend = Callable[["Place"], Line]
"""Makes the core's end of the line of a worker."""
TakeClaims = Callable[[socket.socket], None]
"""Takes the core's end of a worker's claims line."""


@dataclass(eq=False, slots=True)
class Place:
    """One worker's place: the process that has it now, and the line to that."""

    number: int
    process: "subprocess.Popen[bytes] | None" = None
    line: Line | None = None
    greeted: bool = False
    """Whether it has been given its orders."""
    ready: bool = False
    """Whether it serves."""
    tally: Tally | None = None
    counted: int = 0
    """Requests answered by those who had the place before."""
    began: float = 0.0
    pause: float = _FIRST_PAUSE


class Nursery:
    """Keeps ``count`` workers; for one event loop."""

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sequence[socket.socket],
        count: int,
        attend: Attend,
        take_claims: TakeClaims,
    ) -> None:
        """``command`` is followed by descriptors: its two lines, its tally and the listening sockets."""
        self._command = command
        self._sockets = sockets
        self._attend = attend
        self._take_claims = take_claims
        self.places = [Place(number) for number in range(count)]
        self._changed = asyncio.Event()
        self._again: set[asyncio.TimerHandle] = set()
        self._ending = False

    @property
    def requests(self) -> int:
        """How many requests all of them have answered."""
        return sum(place.counted + (place.tally.value if place.tally else 0) for place in self.places)

    async def start(self) -> None:
        """Start all of them; raises OSError."""
        for place in self.places:
            await self._start(place)

    async def serving(self, patience: float) -> bool:
        """Wait until all serve; False where that takes too long."""
        return await self._until(lambda: all(place.ready for place in self.places), patience)

    @property
    def is_ending(self) -> bool:
        """Whether none is started again."""
        return self._ending

    def end(self) -> None:
        """Start none again."""
        self._ending = True
        for handle in self._again:
            handle.cancel()

    async def stop(self, patience: float) -> None:
        """Wait until all have ended; kill those that have not."""
        self.end()
        if not await self._until(self._empty, patience):
            for place in self.places:
                self.kill(place)
            await self._until(self._empty, patience)

    def kill(self, place: Place) -> None:
        """End a worker at once; another one takes its place."""
        if place.process is not None:
            place.process.kill()

    def tell(self) -> None:
        """A place has changed."""
        self._changed.set()

    def _empty(self) -> bool:
        return all(place.process is None for place in self.places)

    async def _until(self, true: Callable[[], bool], patience: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not true():
                    self._changed.clear()
                    await self._changed.wait()
        return true()

    async def _start(self, place: Place) -> None:
        if self._ending:
            return
        loop = asyncio.get_running_loop()
        (ours, theirs), (our_claims, their_claims) = socket.socketpair(), socket.socketpair()
        tally = Tally.make()
        try:
            place.tally = Tally(tally)
            place.process = self._spawn(theirs.fileno(), their_claims.fileno(), tally)
        except OSError:
            ours.close()
            our_claims.close()
            raise
        finally:
            os.close(tally)
            theirs.close()
            their_claims.close()
        self._take_claims(our_claims)
        place.began, place.greeted, place.ready = loop.time(), False, False
        self._watch(place, place.process)
        place.line = line = self._attend(place)
        await loop.connect_accepted_socket(lambda: line, ours)

    def _spawn(self, *own: int) -> "subprocess.Popen[bytes]":
        descriptors = (*own, *(each.fileno() for each in self._sockets))
        words = [*self._command, *map(str, descriptors)]
        environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        return subprocess.Popen(  # noqa: S603 - our own command
            words,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            process_group=0,
            env=environment,
        )

    # ── death ─────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, place: Place, process: "subprocess.Popen[bytes]") -> None:
        """Hear of its end by a descriptor of the process (pidfd_open(2)): signals are the caller's affair."""
        descriptor, loop = os.pidfd_open(process.pid), asyncio.get_running_loop()

        def _ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._buried(place, process.wait())

        loop.add_reader(descriptor, _ended)

    def _buried(self, place: Place, code: int) -> None:
        if place.tally is not None:
            place.counted += place.tally.value
        if place.line is not None:
            place.line.close()
        place.process = place.line = place.tally = None
        place.greeted = place.ready = False
        self.tell()
        if self._ending:
            return
        loop = asyncio.get_running_loop()
        _log.error("worker %d ended with %d: another one takes its place", place.number, code)
        is_young = loop.time() - place.began < _YOUNG
        pause, place.pause = place.pause, min(_LONGEST_PAUSE, place.pause * 2 if is_young else _FIRST_PAUSE)
        self._later(pause if is_young else _FIRST_PAUSE, place)

    def _later(self, pause: float, place: Place) -> None:
        loop = asyncio.get_running_loop()
        self._again = {handle for handle in self._again if handle.when() > loop.time()}
        self._again.add(loop.call_later(pause, self._replace, place))

    def _replace(self, place: Place) -> None:
        task = asyncio.ensure_future(self._start(place))
        task.add_done_callback(lambda done: self._replaced(place, done))

    def _replaced(self, place: Place, task: "asyncio.Future[None]") -> None:
        if task.cancelled() or self._ending:
            return
        if (trouble := task.exception()) is not None:
            _log.error("worker %d cannot be started: %s", place.number, trouble)
            place.pause = min(_LONGEST_PAUSE, place.pause * 2)
            self._later(place.pause, place)
