"""Worker processes of a server under test, and callers that enrol without a pause."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from support.csr_make import make_csr
from support.server import Server

_WORKER = b"keyborn.wiring.worker"


def worker_pids(server: Server) -> list[int]:
    """The processes that answer HTTPS for ``server``, by age."""
    assert server.process is not None
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [pid for pid in map(int, children.read_text().split()) if is_worker(pid)]


def is_worker(pid: int) -> bool:
    """Whether the process lives, and is a worker."""
    with contextlib.suppress(OSError):
        return _WORKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def until(true: Callable[[], bool], patience: float = 10.0) -> float:
    """Wait; returns how long it took, in seconds."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < patience, "it did not become so"
        time.sleep(0.01)
    return time.monotonic() - began


def descriptors_of(pid: int) -> list[str]:
    """What the descriptors of a process are open on, less those that are closed while this looks."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(each.readlink()))
    return found


def sockets_of(pid: int) -> int:
    """How many descriptors of a process are sockets."""
    return sum(name.startswith("socket:") for name in descriptors_of(pid))


@dataclass
class Load:
    """What callers have seen by now."""

    given: dict[str, bytes] = field(default_factory=dict)
    """Bodies of whole answers 200 and 201, by thing."""
    refused: list[int] = field(default_factory=list)
    """Other statuses."""
    broken: int = 0
    """Connections that ended without an answer."""
    half: int = 0
    """Answers that began and did not end."""


@contextlib.contextmanager
def loaded(server: Server, callers: int = 4) -> Iterator[Load]:
    """Callers that enrol one thing after the other; what gets no answer is asked for again.

    They end with the context, or once the server is not there any more.
    """
    load, done, numbers = Load(), threading.Event(), count()
    secret = server.token(match="load-*", uses=0)["secret"]
    context, address = server.context(), server.address

    def call() -> None:
        connection = http.client.HTTPSConnection(*address, timeout=10, context=context)
        while not done.is_set():
            _enroll(connection, f"load-{next(numbers)}", secret, load, done)
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for each in threads:
        each.start()
    try:
        until(lambda: len(load.given) > 2 * callers)
        yield load
    finally:
        done.set()
        for each in threads:
            each.join(15)


def _enroll(
    connection: http.client.HTTPSConnection, name: str, secret: str, load: Load, done: threading.Event
) -> None:
    """Until there is an answer, or nobody is there."""
    _, csr = make_csr(name)
    body = json.dumps({"thingName": name, "csr": csr})
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    while not done.is_set():
        try:
            connection.request("POST", "/v1/enroll", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.IncompleteRead:
            load.half += 1
        except ConnectionRefusedError:
            return
        except (OSError, http.client.HTTPException):
            load.broken += 1
        else:
            if answer.status in (200, 201):
                load.given[name] = text
                return
            load.refused.append(answer.status)
        connection.close()
        time.sleep(0.02)
