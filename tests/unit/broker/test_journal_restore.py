"""A hub on a file, ended and started again: what comes back, in which order, and what must not."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import LastWill, Message
from keyborn.adapters.broker.packets import Subscription, Will
from keyborn.domain.access import Action, Badge, Circumstances, ConnectAttribute, Rights, Ruling
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import ThingStatus
from support.durable import Shop, waiting_payloads

COST = Message("t", b"x", properties=b"\x01\x01").cost
NOTHING = {"sessions": 0, "subscriptions": 0, "messages": 0, "deliveries": 0, "retained": 0}
BOTH = pytest.mark.parametrize("crashed", [True, False], ids=["killed", "closed"])


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = await Shop(tmp_path / "broker.db").open()
    yield made
    await made.close()


class Denying:
    """Rights to everything but what is listed."""

    def __init__(self, *denied: tuple[Action, str]) -> None:
        self.denied = denied
        self.bound: list[Circumstances] = []

    def __call__(self, _badge: Badge, circumstances: Circumstances) -> Rights:
        self.bound.append(circumstances)
        return self

    def decide(self, action: Action, resource: str) -> Ruling:
        return Ruling((action, resource) not in self.denied, "listed")


# ── what comes back ───────────────────────────────────────────────────────────────────────────────────


@BOTH
async def test_a_session_comes_back_with_all_it_had(shop: Shop, *, crashed: bool) -> None:
    session = shop.waiting("a", "t", "u/+")
    shop.hub.subscribe(session, Subscription("v/#", 1, no_local=True, retain_as_published=True))
    for number in range(3):
        shop.say("t", str(number).encode())
    await shop.journal.durable()
    await shop.again(crashed=crashed)

    again = shop.session("a")
    assert waiting_payloads(again) == [b"0", b"1", b"2"]
    assert list(again.subscriptions.values()) == [
        Subscription("t", 1),
        Subscription("u/+", 1),
        Subscription("v/#", 1, no_local=True, retain_as_published=True),
    ]
    assert again.principal == session.principal
    assert again.circumstances == Circumstances("a", frozenset({ConnectAttribute.PERSISTENT}))
    assert again.held_bytes == shop.hub.budget.used == 3 * COST
    taken = again.take()
    assert taken is not None
    assert taken[1].message.properties == b"\x01\x01"


@BOTH
async def test_it_goes_on_queueing_and_the_next_start_has_both(shop: Shop, *, crashed: bool) -> None:
    shop.waiting("a", "t")
    shop.say("t", b"before")
    await shop.journal.durable()
    await shop.again(crashed=crashed)
    shop.say("t", b"after")
    await shop.journal.durable()
    await shop.again(crashed=crashed)
    assert waiting_payloads(shop.session("a")) == [b"before", b"after"]


async def test_what_was_under_way_keeps_its_identifier_and_its_place(shop: Shop) -> None:
    session, _ = shop.join("a")
    shop.hub.subscribe(session, Subscription("t", 1))
    for number in range(5):
        shop.say("t", str(number).encode())
    for _ in range(3):
        assert session.take() is not None
    session.acknowledge(1)
    await shop.journal.durable()
    await shop.again()

    again = shop.session("a")
    assert again.unacknowledged() == [2, 3]
    assert waiting_payloads(again) == [b"1", b"2", b"3", b"4"]
    taken = again.take()
    assert taken is not None
    assert taken[0] == 4, "identifiers go on, none is used twice"


async def test_an_acknowledged_message_does_not_come_back_once_that_is_written(shop: Shop) -> None:
    session, _ = shop.join("a")
    shop.hub.subscribe(session, Subscription("t", 1))
    shop.say("t")
    await shop.journal.durable()
    assert session.take() is not None
    session.acknowledge(1)
    await shop.journal.durable()
    assert shop.books() == {**NOTHING, "sessions": 1, "subscriptions": 1}
    await shop.again()
    assert waiting_payloads(shop.session("a")) == []


async def test_a_message_that_is_acknowledged_at_once_is_never_written(shop: Shop) -> None:
    session, _ = shop.join("a")
    shop.hub.subscribe(session, Subscription("t", 1))
    await shop.journal.durable()
    shop.say("t", b"x" * 1000)
    assert session.take() is not None
    session.acknowledge(1)
    assert not shop.journal.changes


async def test_a_message_for_many_is_stored_once_and_goes_with_the_last(shop: Shop) -> None:
    sessions = [shop.waiting(name, "t") for name in "abc"]
    shop.say("t", retain=True)
    await shop.journal.durable()
    assert (shop.rows("messages"), shop.rows("deliveries"), shop.rows("retained")) == (1, 3, 1)
    await shop.again()
    sessions = [shop.session(name) for name in "abc"]
    for session in sessions:
        taken = session.take()
        assert taken is not None
        session.acknowledge(taken[0])
    await shop.journal.durable()
    assert (shop.rows("messages"), shop.rows("deliveries")) == (1, 0)
    shop.say("t", b"", retain=True)
    for session in sessions:
        session.clear()
    await shop.journal.durable()
    assert shop.books() == {**NOTHING, "sessions": 3, "subscriptions": 3}


async def test_retained_messages_come_back_and_replaced_ones_do_not(shop: Shop) -> None:
    shop.say("a", b"old", retain=True)
    shop.say("b", b"gone", retain=True)
    await shop.journal.durable()
    shop.say("a", b"new", retain=True, qos=0)
    shop.say("b", b"", retain=True)
    await shop.journal.durable()
    await shop.again()
    (kept,) = shop.hub.retained.select("#", 0)
    assert (kept.topic, kept.payload, kept.qos, kept.properties) == ("a", b"new", 0, b"\x01\x01")
    assert shop.books() == {**NOTHING, "messages": 1, "retained": 1}


async def test_clean_sessions_and_qos_0_cost_nothing(shop: Shop) -> None:
    session, _ = shop.join("a", expiry=0, clean=True)
    shop.hub.subscribe(session, Subscription("t", 1))
    lasting, _ = shop.join("b")
    shop.hub.subscribe(lasting, Subscription("u", 0))
    await shop.journal.durable()
    before = shop.journal.urgent
    for qos in (0, 1):
        shop.say("t", qos=qos)
    shop.say("u", qos=1)
    lasting.offer(Message("u", b"x"), 0, retain=False)
    assert session.take() is not None
    session.acknowledge(1)
    shop.hub.detach(session, None)
    assert shop.journal.urgent == before
    assert not shop.journal.changes


async def test_a_restored_session_can_be_resumed_replaced_and_ended(shop: Shop) -> None:
    for name in "abc":
        shop.waiting(name, "t")
    shop.say("t")
    await shop.journal.durable()
    await shop.again()
    resumed, ear = shop.join("a")
    assert ear.present
    assert waiting_payloads(resumed) == [b"x"]
    _, ear = shop.join("b", clean=True)
    assert not ear.present
    shop.hub.end(shop.session("c"))
    await shop.journal.durable()
    await shop.again()
    assert waiting_payloads(shop.session("a")) == [b"x"]
    assert shop.session("b").subscriptions == {}
    assert shop.hub.sessions.find("c") is None
    assert shop.books() == {"sessions": 2, "subscriptions": 1, "messages": 1, "deliveries": 1, "retained": 0}


async def test_a_session_that_lasts_no_longer_is_forgotten_with_its_messages(shop: Shop) -> None:
    """MQTT 5: resumed with a session expiry of 0, it ends with its connection, or with the broker."""
    shop.waiting("a", "t")
    shop.say("t", b"1")
    await shop.journal.durable()
    session, ear = shop.join("a", expiry=0)
    assert ear.present
    await shop.journal.durable()
    assert shop.books() == NOTHING
    assert waiting_payloads(session) == [b"1"]
    shop.say("t", b"2")
    assert waiting_payloads(session) == [b"1", b"2"]
    taken = session.take()
    assert taken is not None
    session.acknowledge(taken[0])
    await shop.again()
    assert shop.hub.sessions.find("a") is None


async def test_an_ended_subscription_does_not_come_back(shop: Shop) -> None:
    session = shop.waiting("a", "t", "u")
    await shop.journal.durable()
    shop.hub.unsubscribe(session, "t")
    shop.hub.subscribe(session, Subscription("u", 0))
    await shop.journal.durable()
    await shop.again()
    assert shop.session("a").subscriptions == {"u": Subscription("u", 0)}


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_expires_by_the_wall_clock(shop: Shop) -> None:
    shop.waiting("a", "t", expiry=60)
    shop.waiting("b", "t", expiry=3600)
    await shop.journal.durable()
    await shop.again(seconds=59)
    assert len(shop.hub.sessions) == 2
    shop.time.pass_by(0.5)
    shop.hub.tick()
    assert len(shop.hub.sessions) == 2, "half a second is left"
    await shop.again(seconds=0.5)
    assert [each.client_id for each in shop.hub.sessions] == ["b"]
    assert shop.rows("sessions") == 1


async def test_a_session_whose_client_was_connected_waits_its_whole_time(shop: Shop) -> None:
    shop.join("a", expiry=60)
    await shop.journal.durable()
    await shop.again(seconds=1000)
    assert shop.session("a").outlet is None
    shop.time.pass_by(59)
    shop.hub.tick()
    assert shop.hub.sessions.find("a") is not None
    await shop.journal.durable()
    await shop.again(seconds=1)
    assert shop.hub.sessions.find("a") is None, "another crash does not give it more"


async def test_a_clock_that_was_set_back_lengthens_no_session(shop: Shop) -> None:
    shop.waiting("a", "t", expiry=60)
    await shop.journal.durable()
    await shop.again(seconds=-100_000)
    shop.time.pass_by(60)
    shop.hub.tick()
    assert shop.hub.sessions.find("a") is None


async def test_messages_expire_by_the_wall_clock(shop: Shop) -> None:
    shop.waiting("a", "t")
    shop.say("t", b"short", lifetime=10)
    shop.say("t", b"long", lifetime=100)
    shop.say("r", b"short", lifetime=10, retain=True)
    shop.say("s", b"long", lifetime=100, retain=True)
    await shop.journal.durable()
    await shop.again(seconds=20)
    (waiting,) = shop.session("a")._queue
    assert waiting.message.payload == b"long"
    assert waiting.message.expires == shop.time.reading + 80
    assert [each.payload for each in shop.hub.retained.select("#", shop.time.reading)] == [b"long"]
    assert (shop.rows("messages"), shop.rows("deliveries"), shop.rows("retained")) == (2, 1, 1)


# ── who is in good standing ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_what_was_taken_away_while_the_broker_was_down_stays_away(
    shop: Shop, status: ThingStatus
) -> None:
    shop.waiting("gone", "t")
    shop.waiting("stays", "t")
    shop.say("t", b"theirs", thing="gone", retain=True)
    shop.say("u", b"theirs too", thing="gone", retain=True)
    shop.say("t", b"good", thing="stays")
    shop.say("t", b"the service's own")
    await shop.journal.durable()
    shop.set_status("gone", status)
    await shop.again()
    assert shop.hub.sessions.find("gone") is None
    assert waiting_payloads(shop.session("stays")) == [b"good", b"the service's own"]
    assert shop.hub.retained.select("#", 0) == []
    assert shop.books() == {"sessions": 1, "subscriptions": 1, "messages": 2, "deliveries": 2, "retained": 0}


async def test_what_the_registry_does_not_know_does_not_come_back(shop: Shop) -> None:
    lost = shop.waiting("lost", "t")
    shop.waiting("stays", "t")
    shop.say("t", thing="lost", retain=True)
    await shop.journal.durable()
    del shop.directory.things[ThingName("lost")]
    del shop.directory.certificates[lost.principal.certificate]
    await shop.again()
    assert [each.client_id for each in shop.hub.sessions] == ["stays"]
    assert shop.books() == {**NOTHING, "sessions": 1, "subscriptions": 1}


async def test_a_certificate_of_another_thing_inherits_nothing(shop: Shop) -> None:
    session = shop.waiting("a", "t")
    await shop.journal.durable()
    other = shop.certify("b")
    shop.directory.certificates[session.principal.certificate] = shop.directory.certificates[
        other.certificate
    ]
    await shop.again()
    assert len(shop.hub.sessions) == 0


async def test_an_expired_or_superseded_certificate_alone_ends_no_session(shop: Shop) -> None:
    """The device renews and comes back; until it has shown a live certificate it gets nothing."""
    session = shop.waiting("a", "t")
    principal = shop.certify("a", until=timedelta(seconds=1))
    assert principal.certificate == session.principal.certificate
    await shop.journal.durable()
    await shop.again(seconds=30)
    shop.say("t", b"waits")
    assert waiting_payloads(shop.session("a")) == [b"waits"]


async def test_rights_are_bound_anew_and_with_what_connect_asked_for(shop: Shop) -> None:
    shop.waiting("a", "t", "u")
    await shop.journal.durable()
    rights = Denying((Action.SUBSCRIBE, "u"), (Action.RECEIVE, "t/secret"))
    shop.rights_of = rights
    await shop.again()
    session = shop.session("a")
    assert rights.bound == [Circumstances("a", frozenset({ConnectAttribute.PERSISTENT}))]
    assert list(session.subscriptions) == ["t"]
    shop.hub.subscribe(session, Subscription("t/secret", 1))
    shop.say("t/secret")
    assert session.queued == 0
    await shop.journal.durable()
    shop.rights_of = Denying((Action.CONNECT, "a"))
    await shop.again()
    assert len(shop.hub.sessions) == 0
    assert shop.books() == NOTHING


async def test_a_registry_that_does_not_answer_stops_the_start_and_loses_nothing(shop: Shop) -> None:
    shop.waiting("a", "t")
    await shop.journal.durable()
    shop.directory.available = False
    with pytest.raises(RegistryUnavailable):
        await shop.again()
    await shop.journal.close()
    shop.directory.available = True
    await shop.open()
    assert shop.session("a").subscriptions == {"t": Subscription("t", 1)}


async def test_a_purge_is_durable(shop: Shop) -> None:
    shop.waiting("gone", "t")
    stays = shop.waiting("stays", "t")
    for thing in ("gone", "stays"):
        shop.say("t", thing.encode(), thing=thing)
        shop.say(f"r/{thing}", thing.encode(), thing=thing, retain=True)
    assert stays.take() is not None
    await shop.journal.durable()
    shop.hub.remove(ThingName("gone"), "revoked")
    await shop.journal.durable()
    await shop.again()
    assert shop.hub.sessions.find("gone") is None
    assert waiting_payloads(shop.session("stays")) == [b"stays"]
    assert [each.payload for each in shop.hub.retained.select("#", 0)] == [b"stays"]


async def test_a_will_outlives_its_session_as_a_message(shop: Shop) -> None:
    shop.waiting("ear", "w")
    session, _ = shop.join("a", expiry=0)
    shop.hub.detach(session, LastWill.of(Will("w", b"gone", 1, retain=True)))
    await shop.journal.durable()
    await shop.again()
    assert waiting_payloads(shop.session("ear")) == [b"gone"]
    assert [each.payload for each in shop.hub.retained.select("w", 0)] == [b"gone"]


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────


async def fill(shop: Shop, limits: Limits) -> None:
    """Six messages to each of two sessions and six retained, then a start with smaller limits."""
    for name in "ab":
        shop.waiting(name, "t")
    for number in range(6):
        shop.say("t", f"{number}".encode())
        shop.say(f"r/{number}", f"{number}".encode(), retain=True, thing="p")
    await shop.journal.durable()
    shop.limits = limits
    await shop.again()


@pytest.mark.parametrize(
    ("limits", "a", "b"),
    [
        (Limits(queue_messages=4), b"0123", b"0123"),
        (Limits(queue_bytes=3 * COST), b"012", b"012"),
        (Limits(total_queue_bytes=5 * COST), b"01", b"01"),  # nobody holds more than is free for all
    ],
)
async def test_smaller_limits_drop_the_newest_with_a_log_line(
    shop: Shop, caplog: pytest.LogCaptureFixture, limits: Limits, a: bytes, b: bytes
) -> None:
    await fill(shop, limits)
    assert b"".join(waiting_payloads(shop.session("a"))) == a
    assert b"".join(waiting_payloads(shop.session("b"))) == b
    assert shop.hub.budget.used == (len(a) + len(b)) * COST
    assert f"the newest dropped messages={12 - len(a) - len(b)}" in caplog.text
    assert shop.rows("deliveries") == len(a) + len(b)


async def test_messages_under_way_count_too(shop: Shop) -> None:
    session = shop.waiting("a", "t")
    for number in range(4):
        shop.say("t", f"{number}".encode())
    for _ in range(3):
        assert session.take() is not None
    await shop.journal.durable()
    shop.limits = Limits(queue_bytes=2 * COST)
    await shop.again()
    assert waiting_payloads(shop.session("a")) == [b"0", b"1"]
    assert shop.session("a").unacknowledged() == [1, 2]


@pytest.mark.parametrize("limits", [Limits(retained_messages=4), Limits(retained_per_thing=4)])
async def test_retained_ones_beyond_the_limits_are_dropped(shop: Shop, limits: Limits) -> None:
    await fill(shop, limits)
    assert sorted(each.payload for each in shop.hub.retained.select("#", 0)) == [b"0", b"1", b"2", b"3"]
    assert shop.rows("retained") == 4


async def test_sessions_beyond_the_limit_are_dropped(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    await fill(shop, Limits(sessions=1))
    assert [each.client_id for each in shop.hub.sessions] == ["a"]
    assert shop.hub.budget.used == 6 * COST
    assert "too many sessions, one not restored client=b" in caplog.text
    assert (shop.rows("sessions"), shop.rows("subscriptions"), shop.rows("deliveries")) == (1, 1, 6)


async def test_orphans_in_the_file_are_swept(shop: Shop) -> None:
    """Rows whose session or message is missing: whoever edits the file, the broker starts."""
    shop.waiting("a", "t")
    shop.say("t")
    await shop.journal.durable()
    connection = shop.journal._file._connection
    assert connection is not None
    connection.execute("INSERT INTO deliveries VALUES (900, 1, 555, 0, NULL), (901, 444, 1, 0, NULL)")
    connection.execute("INSERT INTO subscriptions VALUES (444, 't', 1, 0, 0, 0)")
    connection.execute("INSERT INTO retained VALUES ('r', 555)")
    connection.execute("INSERT INTO messages VALUES (777, 't', x'00', 1, NULL, x'', NULL)")
    await shop.again()
    assert shop.books() == {"sessions": 1, "subscriptions": 1, "messages": 1, "deliveries": 1, "retained": 0}
    shop.say("t", b"new")
    await shop.journal.durable()
    await shop.again()
    assert waiting_payloads(shop.session("a")) == [b"x", b"new"]


async def test_a_packet_identifier_that_stands_twice_is_used_once(shop: Shop) -> None:
    session = shop.waiting("a", "t")
    for number in range(2):
        shop.say("t", f"{number}".encode())
    assert session.take() is not None
    await shop.journal.durable()
    connection = shop.journal._file._connection
    assert connection is not None
    connection.execute("UPDATE deliveries SET packet_id = 1")
    await shop.again()
    assert waiting_payloads(shop.session("a")) == [b"0"]
    assert shop.hub.budget.used == COST


async def test_the_start_says_what_it_found(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "keyborn.broker")
    shop.waiting("a", "t")
    shop.say("t")
    await shop.journal.durable()
    await shop.again()
    assert "restored sessions=1 messages=1" in caplog.messages


async def test_ids_go_on_after_a_restart(shop: Shop) -> None:
    """A new session must not take an older one's rows."""
    shop.waiting("a", "t")
    shop.say("t", b"old")
    await shop.journal.durable()
    await shop.again()
    shop.waiting("b", "t")
    shop.say("t", b"new")
    await shop.journal.durable()
    await shop.again()
    assert waiting_payloads(shop.session("a")) == [b"old", b"new"]
    assert waiting_payloads(shop.session("b")) == [b"new"]
    assert shop.session("b").principal.certificate == CertificateId("b" * 64)
