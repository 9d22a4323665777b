"""A new root while agents run and talk: introduced, switched to, the old one retired; nobody is lost.

Four devices in `make test`, a hundred in the whole set; real processes, a real server, nothing stands still.
"""

import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyborn.cli.console import ask
from keyborn.device.verify import ders
from keyborn.domain.roots import root_set
from support.agent_stage import Process, status_of
from support.agents import Chatter, Crowd, Ear, eventually, listening
from support.device import keyborn, keyborn_json
from support.server import Server, running
from support.walks import FULL

COUNT = 100 if FULL else 4
PAUSE = 2.0 if FULL else 0.3
"""Seconds between two rounds of messages."""


class Desk:
    """The operator, at the command line."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def ca(self, *words: str, expect: int = 0) -> str:
        done = keyborn("ca", *words, "--data", self.server.data, expect=expect)
        self.server.trust_anew()
        return done.stdout + done.stderr

    def roots(self) -> dict[str, Any]:
        report: dict[str, Any] = ask(self.server.data, "GET", "/v1/roots")
        return report

    def lacking(self) -> int:
        return int(self.roots()["lacking"])

    def pem(self, role: str) -> str:
        rows = ask(self.server.data, "GET", "/v1/authorities")
        return next(str(row["pem"]) for row in rows if row["role"] == role)

    def serves_under(self, root: str) -> bool:
        """Whether HTTPS and the broker both prove themselves to who believes ``root`` alone."""
        return all(_leads_to(root, *where) for where in (self.server.address, self.server.mqtt))


def _leads_to(root: str, host: str, port: int) -> bool:
    context = ssl.create_default_context(cadata=root)
    try:
        with socket.create_connection((host, port), timeout=10) as raw:
            context.wrap_socket(raw, server_hostname=host).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_new_root_while_agents_run_and_talk(tmp_path: Path, figure: Callable[[str], None]) -> None:
    begun = time.monotonic()
    with running(tmp_path) as server, listening(server, tmp_path / "heard") as ear:
        desk = Desk(server)
        crowd = Crowd(server, tmp_path / "homes", COUNT)
        try:
            crowd.start()
            with Chatter(crowd, PAUSE) as chatter:
                old = desk.pem("root")
                _introduce(desk, crowd)
                _switch(desk, crowd, old)
                _restart(desk, crowd, chatter, ear)
                _retire(desk, crowd, old)
                _restart(desk, crowd, chatter, ear)
                memory = crowd.memory()
            _everything_arrives(chatter, ear)
            said = sum(map(len, chatter.said.values()))
        finally:
            crowd.end()
    figure(
        f"{COUNT} agents through a change of the root: {said} messages, none lost, "
        f"{memory / 1024:.0f} MiB PSS together, {time.monotonic() - begun:.0f} s"
    )


def _introduce(desk: Desk, crowd: Crowd) -> None:
    assert "may not issue yet" in desk.ca("renew-root")
    assert f"Things that do not have the newest roots, as far as they have said: {COUNT}" in desk.ca(
        "switch-root", "--yes", expect=1
    )
    crowd.look()
    eventually(lambda: desk.lacking() == 0, "all have both roots")
    report = desk.roots()
    [newest] = report["sets"]
    assert (newest["things"], newest["newest"], report["maySwitch"]) == (COUNT, True, True)
    bundle = desk.server.request("GET", "/v1/trust-bundle").body
    assert all(agent.home.roots.read_bytes() == bundle for agent in crowd.agents.values())
    crowd.all_connected()


def _switch(desk: Desk, crowd: Crowd, old: str) -> None:
    """Live: every session goes on, and whoever comes from now on sees the new certificate."""
    before = {name: _sessions(agent) for name, agent in crowd.agents.items()}
    following = desk.pem("next-root")
    assert desk.serves_under(old)
    assert "may not go yet" in desk.ca("switch-root", "--yes")
    assert desk.serves_under(following)
    assert not desk.serves_under(old)
    crowd.all_connected()
    assert {name: _sessions(agent) for name, agent in crowd.agents.items()} == before


def _restart(desk: Desk, crowd: Crowd, chatter: Chatter, ear: Ear) -> None:
    """All sessions are opened anew, under the roots as they are now; the watcher's must be there first."""
    with chatter.quiet():
        _everything_arrives(chatter, ear)
        ear.end()
        desk.server.kill()
        desk.server.start()
        ear.listen()
    crowd.all_connected()


def _retire(desk: Desk, crowd: Crowd, old: str) -> None:
    names = list(crowd.agents)
    first, rest = names[: COUNT // 3], names[COUNT // 3 :]
    assert f"certificate from the old root: {COUNT}" in desk.ca("retire-root", "--yes", expect=1)
    crowd.renew(first)
    report = desk.roots()
    assert (report["underOldRoot"], report["oldRootMayGo"]) == (len(rest), False)
    assert f"certificate from the old root: {len(rest)}" in desk.ca("retire-root", "--yes", expect=1)
    listed = keyborn_json("ca", "roots", "--under-old", "--data", desk.server.data)
    assert [row["thingName"] for row in listed] == rest
    crowd.renew(rest)
    assert "may go: keyborn ca retire-root" in desk.ca("roots")
    assert "is the only root now" in desk.ca("retire-root", "--yes")
    assert old not in desk.server.request("GET", "/v1/trust-bundle").body.decode()
    crowd.look()
    eventually(lambda: desk.lacking() == 0, "all have dropped the old root")
    assert not any(old in agent.home.roots.read_text() for agent in crowd.agents.values())


def _sessions(agent: Process) -> int:
    return sum(each.get("stage") == "connected" for each in agent.events())


def _everything_arrives(chatter: Chatter, ear: Ear) -> None:
    """What an agent has taken arrives, from each of them, in order; twice only as QoS 1 allows."""
    assert len(chatter.said) == COUNT

    def _all() -> bool:
        found = ear.heard()
        return all(set(said) <= set(found[name]) for name, said in chatter.said.items())

    eventually(_all, "all messages arrive")
    for name, found in ear.heard().items():
        assert list(dict.fromkeys(found)) == sorted(set(found), key=int), name


# ── a device that was away ──


def by_a_step_back(tmp_path: Path) -> None:
    """It believes the old root alone: the new certificate of service and broker is a stranger's to it."""
    with running(tmp_path) as server:
        desk, crowd = Desk(server), Crowd(server, tmp_path / "homes", 1)
        [agent] = crowd.agents.values()
        try:
            desk.ca("renew-root")
            assert "Nobody is there to ask" in desk.ca("switch-root", expect=2)
            desk.ca("switch-root", "--yes", expect=1)
            assert "lamp-000" in desk.ca("roots", "--lacking")
            desk.ca("switch-root", "--yes", "--force")
            agent.start()
            eventually(lambda: bool(status_of(agent.home)["error"]), "it does not trust the broker")
            assert "not be trusted" in status_of(agent.home)["error"]
            assert not status_of(agent.home)["connected"]
            desk.ca("switch-root", "--back", "--yes")
            agent.send(signal.SIGHUP)
            eventually(lambda: desk.lacking() == 0, "it has both roots")
            assert "may issue: keyborn ca switch-root" in desk.ca("roots")
            desk.ca("switch-root", "--yes")
            crowd.all_connected()
        finally:
            crowd.end()


def by_a_renewal_or_another_code(tmp_path: Path) -> None:
    """With the new root by a renewal, which asks for no certificate; without it by another code."""
    with running(tmp_path) as server:
        desk, crowd = Desk(server), Crowd(server, tmp_path / "homes", 2)
        knowing, lost = (agent.home for agent in crowd.agents.values())
        desk.ca("renew-root")
        assert "others now" in keyborn("look", "--home", knowing.path).stdout
        server.stop()  # the same commands, where no server runs
        desk.ca("switch-root", "--yes", "--force")
        assert "may not go yet: 1 lack" in desk.ca("roots")
        desk.ca("retire-root", "--yes", expect=1)
        assert "is the only root now" in desk.ca("retire-root", "--yes", "--force")
        assert "no old root" in desk.ca("retire-root", "--yes", expect=1)
        server.start()
        for home in (knowing, lost):
            keyborn("publish", "certtest/x", "x", "--home", home.path, expect=1)
        keyborn("renew", "--now", "--timeout", "1", "--home", lost.path, expect=1)
        keyborn("renew", "--now", "--home", knowing.path)
        code = server.token(thing="lamp-001", replace=True)["code"]
        keyborn("forget", "--yes", "--home", lost.path)
        keyborn("enroll", "-", "--thing", "lamp-001", "--home", lost.path, typed=code)
        for home, name in ((knowing, "lamp-000"), (lost, "lamp-001")):
            assert keyborn("publish", f"certtest/{name}", "x", "--home", home.path).stdout == "delivered\n"
        assert root_set(ders(lost.roots.read_text())) == desk.roots()["newest"]
        trail = [row["action"] for row in ask(server.data, "GET", "/v1/audit")]
        assert [each for each in trail if each.startswith("ca.")] == [
            action for action in ("ca.renew-root", "ca.switch-root", "ca.retire-root") for _ in range(2)
        ]


WAYS: dict[str, Callable[[Path], None]] = {
    "by a renewal, or another code": by_a_renewal_or_another_code,
    "by a step back": by_a_step_back,
}


@pytest.mark.slow
@pytest.mark.parametrize("way", list(WAYS)[: len(WAYS) if FULL else 1])
@pytest.mark.whole
def test_a_device_that_was_away_comes_back(way: str, tmp_path: Path) -> None:
    WAYS[way](tmp_path)
