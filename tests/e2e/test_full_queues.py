"""Other clients' full queues take nothing from a healthy reader."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.packets import Connect, Subscribe, Subscription
from support.server import running
from support.talker import Identity, Party, until

READERS = 80  # more than Limits.total_queue_bytes / Limits.queue_bytes
CROWD = ("Subscribe topicfilter/busy/*", "Receive topic/*", "Publish topic/*")


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    with running(tmp_path) as server:
        party = Party(server, tmp_path)
        yield party
        party.end()


def never_reads(party: Party, identity: Identity, number: int) -> ssl.SSLSocket:
    """Admitted, subscribed to a busy topic, and never reads again."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.connect(party.server.mqtt)
    tls = identity.context.wrap_socket(sock, server_hostname="127.0.0.1")
    tls.sendall(encode(Connect(4, f"{identity.name}-{number}", keep_alive=1200), 4))
    tls.recv(4)
    tls.sendall(encode(Subscribe(1, (Subscription("busy/topic", 1),)), 4))
    return tls


def test_full_queues_of_those_who_never_read_take_nothing_from_a_healthy_reader(party: Party) -> None:
    assert READERS * Limits().queue_bytes > Limits().total_queue_bytes
    healthy = party.talker(party.device("healthy")).connect()
    assert healthy.subscribe("certtest/healthy/#") == [1]
    crowd = party.service("crowd", *CROWD)
    with ExitStack() as stack:
        for number in range(READERS):
            stack.enter_context(never_reads(party, crowd, number))
        busy = party.talker(crowd, client_id="crowd-busy").connect()
        for size, count in ((60_000, 90), (1_000, 60), (1, 60)):
            for _ in range(count):
                assert busy.publish("busy/topic", "b" * size) == 0
        for number in range(20):
            assert healthy.publish("certtest/healthy/data", str(number)) == 0
        until(lambda: len(healthy.heard) == 20, "the healthy one hears what was acknowledged")
