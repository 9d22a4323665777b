"""A served broker, fresh devices, a service that hears everything: what tests of other clients need."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from support.server import Server, running
from support.talker import LISTENS, V5, Identity, Party, Talker, until

ALPN = "x-amzn-mqtt-ca"
DENIED = 0x87
TAKEN_OVER = 0x8E
_numbers = count(1)


@dataclass
class Stage:
    """``ear`` is connected and has subscribed to everything; it may publish everywhere too."""

    server: Server
    party: Party
    ear: Talker

    def device(self) -> Identity:
        """A device that no test has used."""
        return self.party.device(f"device-{next(_numbers)}")

    @property
    def alpn_port(self) -> int:
        """Where the broker requires ALPN."""
        return int(self.server.about["mqttAlpn"].rpartition(":")[2])

    def say(self, topic: str, payload: str) -> None:
        """Publish as a service, and wait for the acknowledgement."""
        assert self.ear.publish(topic, payload) == 0

    def heard(self) -> list[tuple[str, str]]:
        """All that has been delivered by now, topic and payload: what it says itself comes after all that."""
        mark = f"mark-{next(_numbers)}"
        self.say("marks", mark)
        self.ear.hears(mark)
        return [(each.topic, each.payload.decode()) for each in self.ear.heard if each.topic != "marks"]

    def connected(self, device: Identity) -> bool:
        """Whether the registry has noted that this very certificate has connected."""
        (row,) = self.server.active(device.name)
        assert row["certificateId"] == device.certificate_id
        return row["firstConnected"] is not None

    def refusals(self, *words: str) -> list[str]:
        """The server's log lines about refusals that hold every one of ``words``."""
        lines = self.server.log.read_text().splitlines()
        return [each for each in lines if " refused " in each and all(word in each for word in words)]

    def refused(self, *words: str) -> None:
        """Wait for such a line."""
        until(lambda: bool(self.refusals(*words)), f"a refusal with {words}")


def served(factory: pytest.TempPathFactory, *words: str) -> Iterator[Server]:
    """A server with both broker ports; for a fixture of module scope."""
    with running(factory.mktemp("served"), "--mqtt-alpn", "127.0.0.1:0", *words) as server:
        yield server


@contextlib.contextmanager
def staged(server: Server, folder: Path) -> Iterator[Stage]:
    """A stage whose clients end with the test."""
    party = Party(server, folder)
    try:
        identity = party.service(f"ear-{next(_numbers)}", *LISTENS, "Publish topic/*")
        ear = party.talker(identity, protocol=V5).connect()
        assert ear.subscribe("#") == [1]
        yield Stage(server, party, ear)
    finally:
        party.end()
