"""``python -m support.function_instances``: the enrolment function in instances that die where they are told.

One process with everything loaded, and no thread, forks the instances, one at a time, as Lambda starts them:
each composes the product's own handler. Orders come as JSON, one a line:

    {"arm": POINT or null}    a fresh instance; it kills itself (SIGKILL) at the point
    {"event": EVENT}          one invocation; a fresh instance answers if there is none

Each says how many seconds a fresh instance's clock is ``ahead``, and what the template told it: its
``environment``. The answer is a line, too: what the handler returned and the calls to AWS that it made, or
how the instance ended that died.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from keyborn.adapters.system import SystemClock
from keyborn.testing import SkewedClock
from keyborn.wiring.aws import ClientOf, build_enrollment, clients, hush, read_stack
from support.lambda_events import Context

BEFORE, AFTER = "before-send", "after-call"
"""botocore's hooks: nothing has left this machine yet; the answer is here."""
Call = tuple[str, str, int]
"""Service, operation, and how many of that name there were before in this instance."""


@dataclass(slots=True)
class Watch:
    """What an instance calls, and where it dies."""

    death: tuple[str, str, int, str] | None
    """Service, operation, turn, moment."""
    calls: list[Call] = field(default_factory=list)
    _turns: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def over(self, make: ClientOf) -> ClientOf:
        """The same clients, watched."""

        def watched(service: str) -> object:
            client: Any = make(service)
            for moment in (BEFORE, AFTER):
                client.meta.events.register_first(f"{moment}.{service}", self._hook(service, moment))
            return client

        return watched

    def _hook(self, service: str, moment: str) -> Callable[..., None]:
        def hook(event_name: str, **_: object) -> None:
            self._note(service, event_name.rpartition(".")[2], moment)

        return hook

    def _note(self, service: str, operation: str, moment: str) -> None:
        with self._lock:
            turn = self._turns[service, operation, moment]
            self._turns[service, operation, moment] += 1
            if (service, operation, turn, moment) == self.death:
                os.kill(os.getpid(), signal.SIGKILL)
            if moment == BEFORE:
                self.calls.append((service, operation, turn))


def serve(channel: socket.socket, order: dict[str, Any]) -> None:
    """One instance: it starts as on Lambda, then answers each event that comes."""
    hush()
    os.environ.update(order["environment"])
    death = order.get("arm")
    watch, stack = Watch(tuple(death) if death else None), read_stack(os.environ)
    handler = build_enrollment(
        stack,
        watch.over(clients(stack.region)),
        roots=os.environ["ROOTS"],
        clock=SkewedClock(SystemClock(), timedelta(seconds=order["ahead"])),
    )
    handler.prepare()
    with channel.makefile("rw") as lines:
        for line in lines:
            answer = handler(json.loads(line), Context())
            lines.write(json.dumps({"answer": answer, "calls": watch.calls}) + "\n")
            lines.flush()
            watch.calls.clear()


@dataclass(slots=True)
class Instance:
    """A process, and the way to it."""

    pid: int
    channel: socket.socket

    def ask(self, event: object) -> dict[str, Any]:
        """What it answered; its exit status if it died over it."""
        try:
            self.channel.sendall(json.dumps(event).encode() + b"\n")
            with self.channel.makefile("r") as lines:
                said = lines.readline()
        except (BrokenPipeError, ConnectionResetError):
            said = ""
        if not said:
            return {"died": self.end()}
        answer: dict[str, Any] = json.loads(said)
        return answer

    def end(self) -> int:
        """Close the channel and wait; how it ended (negative: by a signal)."""
        self.channel.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(order: dict[str, Any]) -> Instance:
    """Fork an instance."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return Instance(pid, ours)
    ours.close()
    try:
        serve(theirs, order)
        os._exit(0)
    except BaseException as wrong:  # noqa: BLE001 - the parent sees how it ended
        sys.stderr.write(f"{wrong!r}\n")
        os._exit(1)


def main() -> None:
    """Obey until there are no more orders."""
    instance: Instance | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if "event" in order:
            instance = instance or start(order)
            said = instance.ask(order["event"])
            instance = None if "died" in said else instance
        else:
            ended = instance.end() if instance else 0
            instance, said = start(order), {"ended": ended}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    if instance:
        instance.end()


if __name__ == "__main__":
    main()
