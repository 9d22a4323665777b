"""What an operator takes away is gone: open sessions, wills, queues, retained messages, new connections."""

import threading
import time
from dataclasses import dataclass, field

from keyborn.cli.console import ask
from support.device import keyborn
from support.figures import Figure
from support.server import Server
from support.talker import LISTENS, V5, V311, Identity, Party, Talker, until

ROUNDS = 20
BOUND = 1.0
"""Seconds from the operator's order to the end of the open session (design GOALS P8)."""


@dataclass
class Bystander:
    """Another device that goes on publishing, and must not notice anything."""

    talker: Talker
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> "Bystander":
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self) -> None:
        while not self.stop.is_set():
            if self.talker.publish(f"certtest/{self.talker.identity.name}", str(self.sent)) != 0:
                return
            self.sent += 1

    def finish(self) -> int:
        self.stop.set()
        self.thread.join(20)
        return self.sent


def order(server: Server, name: str, status: str) -> float:
    """Give an order; when it was given, monotonic."""
    given = time.monotonic()
    ask(server.data, "POST", f"/v1/things/{name}/status", {"status": status})
    return given


def publishing(talker: Talker) -> threading.Thread:
    """Publish without end, until the connection is closed."""

    def _run() -> None:
        number = 0
        while talker.publish(f"certtest/{talker.identity.name}/data", f"{number}") is not None:
            number += 1

    thread = threading.Thread(target=_run, daemon=True)
    thread.start()
    return thread


def refused_again(party: Party, identity: Identity) -> bool:
    return not party.talker(identity).connect().is_in


def taken_away(party: Party, status: str, rounds: int) -> list[float]:
    """Give the order ``rounds`` times to things that are publishing; how long each session took to end.

    A listener hears everything all the time, an absent one has a queue, and a bystander goes on publishing.
    """
    listener = party.talker(party.service(f"listener-{status}", *LISTENS)).connect()
    absent = party.service(f"absent-{status}", *LISTENS)
    sleeper = party.talker(absent, session=600).connect()
    sleeper.subscribe(f"certtest/{status}-0/#")
    sleeper.leave()
    bystander = Bystander(party.talker(party.device(f"bystander-{status}")).connect()).start()
    listener.subscribe("#")
    durations = [
        _one_round(party, f"{status}-{number}", status, protocol=number % 2 == 0) for number in range(rounds)
    ]
    assert bystander.finish() > rounds, "the bystander went on publishing"
    assert bystander.talker.is_in, "and was never disconnected"
    assert not [each for each in listener.payloads() if each.startswith("will of")]
    back = party.talker(absent, session=600).connect()
    assert back.resumed
    back.subscribe("nothing/at/all")  # its answer comes after what was queued
    assert back.payloads() == [], "nothing that was queued comes from a thing that is gone"
    return durations


def _one_round(party: Party, name: str, status: str, *, protocol: bool) -> float:
    identity = party.device(name)
    topic = f"certtest/{name}"
    talker = party.talker(identity, protocol=V5 if protocol else V311, session=600)
    talker.will(f"{topic}/will", f"will of {name}").connect()
    talker.subscribe(f"{topic}/#")
    assert talker.publish(f"{topic}/kept", f"retained of {name}", retain=True) == 0
    thread = publishing(talker)
    until(lambda: len(talker.heard) > 2, "it publishes and hears itself")
    given = order(party.server, name, status)
    until(talker.closed.is_set, "its session is closed")
    thread.join(20)
    assert refused_again(party, identity)
    newcomer = party.talker(party.service(f"newcomer-{name}", *LISTENS)).connect()
    newcomer.subscribe(f"{topic}/#")
    newcomer.subscribe("nothing/at/all")  # its answer comes after the retained messages
    assert newcomer.payloads() == [], "no retained message of it is left"
    newcomer.leave()
    return talker.closed_at - given


def told(durations: list[float], what: str) -> str:
    ordered = sorted(durations)
    return (
        f"{what}: {len(ordered)} of {ROUNDS} open, publishing sessions closed; "
        f"median {ordered[len(ordered) // 2] * 1000:.0f} ms, slowest {ordered[-1] * 1000:.0f} ms"
    )


def test_revoking_closes_an_open_publishing_session_twenty_times_of_twenty(
    party: Party, figure: Figure
) -> None:
    durations = taken_away(party, "revoked", ROUNDS)
    figure(told(durations, "revoke"))
    assert len(durations) == ROUNDS
    assert max(durations) <= BOUND


def test_suspending_closes_it_too_and_activating_lets_it_back(party: Party, figure: Figure) -> None:
    durations = taken_away(party, "suspended", ROUNDS)
    figure(told(durations, "suspend"))
    assert max(durations) <= BOUND
    for number in range(ROUNDS):
        name = f"suspended-{number}"
        order(party.server, name, "active")
        identity = Identity(name, "", *(party.folder / f"{name}.{kind}" for kind in ("key", "crt", "roots")))
        back = party.talker(identity).connect()
        assert back.is_in
        assert not back.resumed, "its old session and queue are gone"
        assert back.publish(f"certtest/{name}", "back") == 0


def test_messages_of_a_revoked_thing_do_not_reach_somebody_who_was_away(party: Party) -> None:
    away = party.service("away", *LISTENS)
    talker = party.talker(away, session=600).connect()
    talker.subscribe("#")
    talker.leave()
    lost, kept = party.device("lost"), party.device("kept")
    for each in (lost, kept):
        sender = party.talker(each).connect()
        assert sender.publish(f"certtest/{each.name}", f"from {each.name}") == 0
    order(party.server, "lost", "revoked")
    back = party.talker(away, session=600).connect()
    assert back.resumed
    back.hears("from kept")
    assert back.payloads() == ["from kept"]


def test_a_queue_that_waits_for_a_thing_goes_with_it(party: Party) -> None:
    sleeper = party.device("sleeper")
    talker = party.talker(sleeper, session=600).connect()
    talker.subscribe("certtest/sleeper/#")
    talker.leave()
    boss = party.talker(party.service("boss", "Publish topic/*")).connect()
    assert boss.publish("certtest/sleeper/orders", "open the door") == 0
    order(party.server, "sleeper", "suspended")
    order(party.server, "sleeper", "active")
    back = party.talker(sleeper, session=600).connect()
    assert not back.resumed
    assert back.subscribe("certtest/sleeper/#") == [1]
    assert back.publish("certtest/sleeper/mine", "last") == 0
    back.hears("last")
    assert back.payloads() == ["last"]


def test_what_waits_is_purged_also_while_no_service_runs(party: Party) -> None:
    sleeper = party.device("asleep")
    talker = party.talker(sleeper, session=600).connect()
    talker.subscribe("certtest/asleep/#")
    assert talker.publish("certtest/asleep/kept", "retained", retain=True) == 0
    talker.leave()
    waker = party.talker(party.service("waker", "Publish topic/*")).connect()
    assert waker.publish("certtest/asleep/orders", "wake up") == 0
    waker.leave()
    server, data = party.server, ("--data", party.server.data)
    assert server.stop() == 0
    try:
        assert keyborn("thing", "suspend", "asleep", *data).stdout == "asleep is suspended.\n"
        assert keyborn("thing", "activate", "asleep", *data).stdout == "asleep is active.\n"
    finally:
        server.start()
    back = party.talker(sleeper, session=600).connect()
    assert not back.resumed
    back.subscribe("certtest/asleep/#")
    assert back.publish("certtest/asleep/mine", "last") == 0
    back.hears("last")
    assert back.payloads() == ["last"]


def test_the_commands_say_what_they_did_and_take_a_certificate_id(party: Party) -> None:
    data = ("--data", party.server.data)
    identity = party.device("commanded")
    talker = party.talker(identity).connect()
    done = keyborn("thing", "suspend", identity.certificate_id, "--reason", "stolen?", *data)
    assert done.stdout == "commanded is suspended. Open sessions closed: 1.\n"
    until(talker.closed.is_set, "the session is closed")
    assert keyborn("thing", "suspend", "commanded", *data).stdout == "commanded is suspended.\n"
    assert keyborn("thing", "activate", "commanded", *data).stdout == "commanded is active.\n"
    assert party.talker(identity).connect().is_in
    assert "is retired" in keyborn("thing", "retire", "commanded", *data).stdout
    assert "is revoked" in keyborn("thing", "revoke", "commanded", *data).stdout
    assert "thing_revoked" in keyborn("thing", "activate", "commanded", *data, expect=1).stderr
    assert "not_found" in keyborn("thing", "revoke", "nobody", *data, expect=1).stderr
    trail = keyborn("audit", "show", *data).stdout
    for action in ("thing.suspend", "thing.activate", "thing.retire", "thing.revoke"):
        assert action in trail
    assert keyborn("audit", "verify", *data).returncode == 0


def test_a_revoked_key_and_name_do_not_come_back(party: Party) -> None:
    party.device("gone")
    order(party.server, "gone", "revoked")
    from support.csr_make import make_csr

    answer = party.server.enroll("gone", make_csr("gone")[1], party.server.token(thing="gone")["secret"])
    assert (answer.status, answer.json["code"]) == (403, "thing_revoked")
