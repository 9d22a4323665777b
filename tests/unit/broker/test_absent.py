"""A broker that does not run forgets a thing all the same, and nothing else."""

import asyncio
from pathlib import Path

import pytest

from keyborn.adapters.broker import Journal
from keyborn.adapters.broker.absent import AbsentBroker
from keyborn.adapters.broker.journal_rows import (
    DeliveryRow,
    MessageRow,
    RetainedRow,
    SessionRow,
    SubscriptionRow,
)
from keyborn.adapters.broker.packets import Subscription
from keyborn.domain.errors import BrokerFileUnusable
from keyborn.domain.names import ThingName
from keyborn.ports import Sessions

GONE, OTHER = ThingName("gone"), ThingName("other")


async def fill(path: Path) -> None:
    """Two things, each with a session, a message waiting there, one in the other's, and a retained one."""
    made = await Journal.open(path)
    changes = made.changes
    for number, thing in enumerate((GONE, OTHER), start=1):
        changes.sessions.put(number, SessionRow(number, thing, "1" * 64, thing, "", 600, None))
        wanted = Subscription(f"{thing}/#", 1)
        changes.subscriptions.put((number, wanted.topic_filter), SubscriptionRow(number, wanted))
        for message in range(10 * number, 10 * number + 3):
            changes.messages.put(message, MessageRow(message, f"{thing}/t", b"x", 1, thing, b"", None))
        for message, session in ((10 * number, number), (10 * number + 1, 3 - number)):
            changes.deliveries.put(
                message, DeliveryRow(message, session, message, retain=False, packet_id=None)
            )
        changes.retained.put(f"{thing}/retained", RetainedRow(f"{thing}/retained", 10 * number + 2))
    made.touch(urgent=True)
    await made.durable()
    await made.close()


async def test_it_forgets_sessions_queues_and_what_the_thing_has_published(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    await fill(path)
    broker: Sessions = AbsentBroker(path)
    assert await broker.evict(GONE, "suspended") == 0
    await broker.review([OTHER])
    opened = await Journal.open(path)
    kept = await opened.read()
    await opened.close()
    assert [row.thing for row in kept.sessions] == [OTHER]
    assert [row.session for row in kept.subscriptions] == [2]
    assert [(row.session, row.message) for row in kept.deliveries] == [(2, 20)]
    assert [row.topic for row in kept.retained] == ["other/retained"]
    assert {row.thing for row in kept.messages} == {OTHER}


async def test_repeating_it_and_strangers_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    await fill(path)
    broker = AbsentBroker(path)
    for name in (GONE, GONE, ThingName("nobody")):
        await broker.evict(name, "revoked")
    opened = await Journal.open(path)
    assert len((await opened.read()).sessions) == 1
    await opened.close()


async def test_where_no_broker_ever_ran_no_file_is_made(tmp_path: Path) -> None:
    await AbsentBroker(tmp_path / "broker.db").evict(GONE, "revoked")
    assert not await asyncio.to_thread((tmp_path / "broker.db").exists)


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    await asyncio.to_thread(path.write_bytes, b"no database at all " * 100)
    with pytest.raises(BrokerFileUnusable):
        await AbsentBroker(path).evict(GONE, "revoked")
