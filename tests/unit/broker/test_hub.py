"""Routing without sockets: who gets what, wills, waiting sessions, eviction; time is a number here."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.hub import Hub
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import LastWill, Message
from keyborn.adapters.broker.packets import Prop, Reason, Subscription, Will
from keyborn.adapters.broker.refusals import Refusals
from keyborn.adapters.broker.session import Session
from keyborn.domain.access import Action, Principal, Ruling
from keyborn.domain.names import CertificateId, ThingName


class Rules:
    """Allow everything but what is listed."""

    def __init__(self) -> None:
        self.denied: set[tuple[Action, str]] = set()

    def decide(self, action: Action, resource: str) -> Ruling:
        return Ruling((action, resource) not in self.denied, "listed")


class Ear:
    """The outlet of a session that listens."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, int, bool]] = []
        self.ended: list[str] = []
        self.session: Session | None = None
        self.on_end: Callable[[], None] = lambda: None

    def deliver(self, message: Message, qos: int, *, retain: bool) -> None:
        self.heard.append((message.topic, message.payload, qos, retain))

    def displaced(self) -> None:
        self.ended.append("displaced")
        self.on_end()

    def removed(self, reason: str, code: Reason) -> None:
        self.ended.append(reason)
        self.code = code


class Office:
    """A hub with a clock that tests set."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.rules = Rules()
        refusals = Refusals(lambda: self.now)
        self.hub = Hub(Gate(refusals), refusals, limits or Limits(), lambda: self.now)

    def join(self, name: str, *, clean: bool = True, expiry: int = 0, thing: str = "") -> tuple[Session, Ear]:
        ear = Ear()
        principal = Principal(CertificateId(name * 64), ThingName(thing or name), self.rules)
        attached = self.hub.attach(name, principal, ear, clean=clean)
        assert attached is not None
        session, _ = attached
        session.expiry = expiry
        ear.session = session
        return session, ear

    def listener(self, name: str, *filters: str, qos: int = 1) -> tuple[Session, Ear]:
        session, ear = self.join(name)
        for each in filters:
            self.hub.subscribe(session, Subscription(each, qos))
        return session, ear

    def say(self, topic: str, payload: bytes = b"x", *, qos: int = 1, retain: bool = False) -> bool:
        return self.hub.publish(Message(topic, payload, qos=qos, retain=retain, thing=ThingName("p")))


@pytest.fixture
def office() -> Office:
    return Office()


def will(topic: str = "w", *, delay: int = 0, retain: bool = False) -> LastWill:
    return LastWill.of(Will(topic, b"bye", 1, retain, {Prop.WILL_DELAY: delay}))


def test_only_those_who_asked_get_it_at_the_lower_qos(office: Office) -> None:
    _, one = office.listener("a", "t/#", qos=1)
    _, zero = office.listener("b", "t/+", qos=0)
    _, none = office.listener("c", "u")
    office.say("t/x", qos=1)
    office.say("t/y", qos=0)
    assert one.heard == [("t/x", b"x", 1, False), ("t/y", b"x", 0, False)]
    assert zero.heard == [("t/x", b"x", 0, False), ("t/y", b"x", 0, False)]
    assert none.heard == []


def test_overlapping_subscriptions_deliver_once_at_the_highest_qos(office: Office) -> None:
    session, ear = office.listener("a", "t/#", qos=0)
    office.hub.subscribe(session, Subscription("t/x", 1))
    office.say("t/x")
    assert ear.heard == [("t/x", b"x", 1, False)]


def test_no_local_keeps_ones_own_messages_away(office: Office) -> None:
    session, ear = office.join("a")
    office.hub.subscribe(session, Subscription("t", no_local=True))
    office.hub.publish(Message("t", b"mine"), session)
    office.hub.publish(Message("t", b"theirs"))
    assert [payload for _, payload, _, _ in ear.heard] == [b"theirs"]


def test_the_retain_flag_reaches_only_those_who_asked_for_it(office: Office) -> None:
    _, plain = office.listener("a", "t")
    session, as_published = office.join("b")
    office.hub.subscribe(session, Subscription("t", 1, retain_as_published=True))
    office.say("t", retain=True)
    assert plain.heard[0][3] is False
    assert as_published.heard[0][3] is True


def test_an_empty_retained_message_deletes_and_is_delivered(office: Office) -> None:
    _, ear = office.listener("a", "t")
    office.say("t", b"old", retain=True)
    assert [each.payload for each in office.hub.retained.select("t", 0)] == [b"old"]
    office.say("t", b"", retain=True)
    assert office.hub.retained.select("t", 0) == []
    assert [payload for _, payload, _, _ in ear.heard] == [b"old", b""]


def test_what_cannot_be_retained_is_not_routed_either() -> None:
    office = Office(Limits(retained_messages=0))
    _, ear = office.listener("a", "t")
    assert not office.say("t", retain=True)
    assert ear.heard == []


def test_unsubscribing_ends_it_once(office: Office) -> None:
    session, ear = office.listener("a", "t")
    assert office.hub.unsubscribe(session, "t")
    assert not office.hub.unsubscribe(session, "t")
    office.say("t")
    assert ear.heard == []


def test_subscribing_again_replaces(office: Office) -> None:
    session, ear = office.listener("a", "t", qos=1)
    assert not office.hub.subscribe(session, Subscription("t", 0))
    office.say("t")
    assert ear.heard == [("t", b"x", 0, False)]


# ── waiting sessions ──────────────────────────────────────────────────────────────────────────────────


def waiting(office: Office, name: str = "a", expiry: int = 60) -> Session:
    session, _ = office.join(name, clean=False, expiry=expiry)
    office.hub.subscribe(session, Subscription("t", 1))
    office.hub.detach(session, None)
    return session


def test_a_waiting_session_queues_qos_1_and_not_qos_0(office: Office) -> None:
    session = waiting(office)
    office.say("t", b"0", qos=0)
    office.say("t", b"1", qos=1)
    assert session.queued == 1
    again, _ = office.join("a", clean=False)
    assert again is session
    taken = session.take()
    assert taken is not None
    assert taken[1].message.payload == b"1"


def test_a_denied_message_does_not_enter_a_waiting_queue(office: Office) -> None:
    session = waiting(office)
    office.rules.denied.add((Action.RECEIVE, "t"))
    office.say("t")
    assert session.queued == 0


def test_a_full_queue_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    office = Office(Limits(queue_messages=1))
    waiting(office)
    office.say("t")
    office.say("t")
    assert "queue full, message dropped client=a" in caplog.text


def test_a_session_expires_when_its_time_is_over_and_not_before(office: Office) -> None:
    session = waiting(office, expiry=60)
    office.say("t")
    office.now += 59.9
    office.hub.tick()
    assert office.hub.sessions.find("a") is session
    office.now += 0.1
    office.hub.tick()
    assert office.hub.sessions.find("a") is None
    assert office.hub.budget.used == 0
    office.say("t")
    assert session.queued == 0, "its subscriptions are gone"


def test_a_session_that_came_back_does_not_expire(office: Office) -> None:
    session = waiting(office, expiry=60)
    office.join("a", clean=False, expiry=60)
    office.now += 1000
    office.hub.tick()
    assert office.hub.sessions.find("a") is session


def test_a_clean_start_forgets_the_old_session(office: Office) -> None:
    session = waiting(office)
    office.say("t")
    fresh, _ = office.join("a", clean=True)
    assert fresh is not session
    assert (fresh.queued, fresh.subscriptions) == (0, {})
    assert office.hub.budget.used == 0


def test_another_things_session_is_not_inherited(office: Office) -> None:
    session = waiting(office)
    office.say("t")
    fresh, _ = office.join("a", clean=False, thing="thief")
    assert fresh is not session
    assert (fresh.queued, fresh.subscriptions) == (0, {})


def test_a_resumed_session_loses_subscriptions_that_are_denied_now(office: Office) -> None:
    waiting(office)
    office.rules.denied.add((Action.SUBSCRIBE, "t"))
    session, ear = office.join("a", clean=False)
    assert session.subscriptions == {}
    office.say("t")
    assert ear.heard == []


def test_the_newer_connection_displaces_the_older(office: Office) -> None:
    session, old = office.join("a", clean=False, expiry=60)
    old.on_end = lambda: office.hub.detach(session, None)
    again, _ = office.join("a", clean=False)
    assert old.ended == ["displaced"]
    assert again is session


def test_beyond_the_limit_nobody_new_comes_in() -> None:
    office = Office(Limits(sessions=1))
    office.join("a")
    principal = Principal(CertificateId("b" * 64), ThingName("b"), office.rules)
    assert office.hub.attach("b", principal, Ear(), clean=True) is None
    office.hub.end(next(iter(office.hub.sessions)))
    assert office.hub.attach("b", principal, Ear(), clean=True) is not None


# ── wills ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_will_without_delay_is_sent_at_once(office: Office) -> None:
    _, ear = office.listener("l", "w")
    session, _ = office.join("a")
    office.hub.detach(session, will())
    assert ear.heard == [("w", b"bye", 1, False)]


def test_a_will_asks_the_rules_again_when_it_is_sent(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    _, ear = office.listener("l", "w")
    for action in (Action.PUBLISH, Action.RETAIN):
        session, _ = office.join("a")
        office.rules.denied = {(action, "w")}
        office.hub.detach(session, will(retain=True))
        assert ear.heard == []
        assert f"refused action={action}" in caplog.messages[-1]


def test_a_delayed_will_waits_and_is_forgotten_when_the_client_is_back(office: Office) -> None:
    _, ear = office.listener("l", "w")
    session, _ = office.join("a", clean=False, expiry=60)
    office.hub.detach(session, will(delay=5))
    office.now += 4.9
    office.hub.tick()
    assert ear.heard == []
    session, _ = office.join("a", clean=False, expiry=60)
    office.now += 10
    office.hub.tick()
    assert ear.heard == []
    office.hub.detach(session, will(delay=5))
    office.now += 5
    office.hub.tick()
    office.hub.tick()
    assert len(ear.heard) == 1


def test_a_will_does_not_wait_longer_than_its_session(office: Office) -> None:
    _, ear = office.listener("l", "w")
    session, _ = office.join("a", clean=False, expiry=2)
    office.hub.detach(session, will(delay=500))
    office.now += 2
    office.hub.tick()
    assert len(ear.heard) == 1


def test_a_clean_start_ends_the_old_session_and_sends_its_waiting_will(office: Office) -> None:
    _, ear = office.listener("l", "w")
    session, _ = office.join("a", clean=False, expiry=60)
    office.hub.detach(session, will(delay=5))
    office.join("a", clean=True)
    assert len(ear.heard) == 1


# ── eviction, rights that change ──────────────────────────────────────────────────────────────────────────


def test_removing_a_thing_leaves_nothing_of_it(office: Office) -> None:
    gone, ear = office.join("p", expiry=60)
    other = waiting(office, "b")
    _, listener = office.listener("l", "w", "t")
    office.say("t", retain=True)
    office.hub.publish(Message("t", b"kept", qos=1, thing=ThingName("z")))
    gone.will = (0.0, will())
    assert other.queued == 2
    assert office.hub.remove(ThingName("p"), "revoked") == 1
    assert ear.ended == ["revoked"]
    assert office.hub.sessions.find("p") is None
    assert other.queued == 1
    assert office.hub.retained.select("#", 0) == []
    assert "w" not in [topic for topic, *_ in listener.heard], "no will"


def test_removing_a_thing_drops_its_waiting_will_and_queue(office: Office) -> None:
    _, listener = office.listener("l", "w")
    session, _ = office.join("p", clean=False, expiry=60)
    office.hub.detach(session, will(delay=5))
    assert office.hub.remove(ThingName("p"), "revoked") == 0
    office.now += 100
    office.hub.tick()
    assert listener.heard == []
    assert len(office.hub.sessions) == 1


def test_rights_that_are_read_again_end_subscriptions_and_sessions(office: Office) -> None:
    one, first = office.listener("a", "t", "u")
    two, second = office.listener("b", "t")
    office.rules.denied = {(Action.SUBSCRIBE, "u"), (Action.CONNECT, "b")}
    assert office.hub.rebind(one, replace(one.principal))
    assert not office.hub.rebind(two, replace(two.principal))
    office.say("t")
    office.say("u")
    assert [topic for topic, *_ in first.heard] == ["t"]
    assert second.ended == ["its policies no longer let it connect"]
    assert second.code is Reason.NOT_AUTHORIZED
    assert second.heard == []


def test_a_waiting_session_that_may_not_connect_any_more_ends_without_its_will(office: Office) -> None:
    _, ear = office.listener("l", "w")
    session, _ = office.join("a", clean=False, expiry=60)
    office.hub.detach(session, will(delay=5))
    office.rules.denied = {(Action.CONNECT, "a")}
    assert not office.hub.rebind(session, replace(session.principal))
    office.now += 100
    office.hub.tick()
    assert office.hub.sessions.find("a") is None
    assert ear.heard == []


def test_messages_that_wait_in_vain_keep_no_room() -> None:
    """A device is away while a thousand short-lived commands come; the one that still counts must fit."""
    office = Office(Limits(queue_messages=2))
    session = waiting(office, expiry=600)
    for lifetime in (5.0, 10.0):
        message = Message("t", b"old", qos=1, thing=ThingName("p"), expires=office.now + lifetime)
        office.hub.publish(message)
    office.now += 5
    office.hub.tick()
    assert session.queued == 1
    office.say("t", b"lasting")
    office.now += 5
    office.hub.tick()
    office.say("t", b"new")
    assert [each.message.payload for each in session._queue] == [b"lasting", b"new"]
    assert office.hub.budget.used == session.held_bytes


def test_retained_messages_whose_time_has_passed_keep_no_room() -> None:
    office = Office(Limits(retained_messages=2))
    for number, lifetime in enumerate((5.0, 10.0)):
        message = Message(f"t/{number}", b"x", retain=True, thing=ThingName("p"))
        message.expires = office.now + lifetime
        assert office.hub.publish(message)
    assert not office.say("t/3", retain=True)
    office.now += 5
    office.hub.tick()
    assert office.say("t/3", retain=True)
    assert not office.say("t/4", retain=True)
    office.now += 5
    office.hub.tick()
    assert office.say("t/4", retain=True)
    assert [each.topic for each in office.hub.retained.select("#", office.now)] == ["t/3", "t/4"]


def test_a_will_that_cannot_be_retained_is_said(caplog: pytest.LogCaptureFixture) -> None:
    office = Office(Limits(retained_messages=0))
    session, _ = office.join("a")
    office.hub.detach(session, will(retain=True))
    assert "as many retained messages as there may be" in caplog.text
    assert "resource=w" in caplog.text


def test_a_client_id_hides_nobody_elses_refusals(caplog: pytest.LogCaptureFixture) -> None:
    """A client may choose the words that stand for another: here those of its certificate."""
    office = Office(Limits(queue_messages=1))
    waiting(office)
    hidden = CertificateId("b" * 64)
    session, _ = office.join(hidden, expiry=60, thing="x")
    office.hub.subscribe(session, Subscription("noise", 1))
    office.hub.detach(session, None)
    for _ in range(200):
        office.say("noise")
    caplog.clear()
    other, _ = office.join("b")
    assert other.principal.certificate == hidden
    office.rules.denied.add((Action.PUBLISH, "w"))
    office.hub.detach(other, will())
    assert "resource=w" in caplog.text
