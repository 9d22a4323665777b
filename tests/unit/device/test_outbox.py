"""The outbox: durable, in order, bounded, and never silent about what became of a message."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyborn.device import outbox as outboxes
from keyborn.device.messages import (
    UNBOUNDED,
    Counts,
    Draft,
    Fate,
    Message,
    OutboxLimits,
    Outcome,
    Overflow,
)
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.device.topics import MAX_PAYLOAD, MAX_TOPIC
from keyborn.domain.errors import InvalidSetting, MessageUnknown, OutboxFull, OutboxUnusable
from support.device_home import now

DELIVERED, WAITING = Fate(Outcome.DELIVERED), Fate(Outcome.WAITING)
REFUSED = Fate(Outcome.QUARANTINED, "Not authorized")
LARGEST = MAX_PAYLOAD + MAX_TOPIC


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with open_outbox(path, UNBOUNDED) as opened:
        yield opened


def bounded(messages: int, overflow: Overflow = Overflow.DROP_OLDEST) -> OutboxLimits:
    return OutboxLimits(messages=messages, overflow=overflow)


def keep(outbox: Outbox, count: int, *, topic: str = "t") -> list[int]:
    return outbox.append_many([Draft(topic, b"%d" % number) for number in range(count)], now())


def ids(messages: list[Message]) -> list[int]:
    return [each.id for each in messages]


# ── in and out ──


def test_an_empty_outbox_has_nothing_to_send(outbox: Outbox) -> None:
    assert outbox.waiting(0, 10) == []
    assert outbox.counts() == Counts(0, 0)


def test_messages_come_out_in_the_order_they_went_in(outbox: Outbox) -> None:
    kept = [outbox.append(f"t/{number}", bytes([number]), now()) for number in range(5)]
    found = outbox.waiting(0, 10)
    assert [(each.id, each.topic, each.payload) for each in found] == [
        (kept[number], f"t/{number}", bytes([number])) for number in range(5)
    ]


def test_a_batch_keeps_its_order_and_the_ids_say_so(outbox: Outbox) -> None:
    first, second = keep(outbox, 3), keep(outbox, 2)
    assert ids(outbox.waiting(0, 10)) == [*first, *second] == sorted({*first, *second})


def test_reading_goes_on_where_it_stopped(outbox: Outbox) -> None:
    kept = keep(outbox, 5)
    assert ids(outbox.waiting(0, 2)) == kept[:2]
    assert ids(outbox.waiting(kept[1], 2)) == kept[2:4]


@pytest.mark.parametrize("payload", [b"", b"\x00\xff" * 9, bytes(131_072), "ü".encode()])
def test_every_payload_comes_back_as_it_was(outbox: Outbox, payload: bytes) -> None:
    number = outbox.append("täglich", payload, now(), qos=0)
    assert outbox.waiting(0, 1) == [Message(number, "täglich", payload, 0)]


def test_an_id_is_never_given_twice(outbox: Outbox) -> None:
    """A publisher that watches its message leave must not watch another one."""
    (first,) = keep(outbox, 1)
    outbox.settle([(first, DELIVERED)])
    assert keep(outbox, 1)[0] > first
    assert outbox.fate(first) == DELIVERED


def test_what_was_appended_is_there_for_the_next_process(path: Path) -> None:
    with open_outbox(path) as outbox:
        (number,) = keep(outbox, 1)
    with open_outbox(path) as outbox:
        assert ids(outbox.waiting(0, 9)) == [number]


@pytest.mark.parametrize("qos", [-1, 2])
def test_a_quality_of_service_that_is_not_offered_is_refused(outbox: Outbox, qos: int) -> None:
    with pytest.raises(InvalidSetting, match="qos"):
        outbox.append("t", b"", now(), qos=qos)


@pytest.mark.parametrize("lifetime", [0, -1, 2**32])
def test_a_lifetime_that_cannot_be_is_refused(outbox: Outbox, lifetime: float) -> None:
    with pytest.raises(InvalidSetting, match="lifetime"):
        outbox.append("t", b"", now(), lifetime=lifetime)


def test_a_lifetime_is_told_with_what_is_left_of_it(outbox: Outbox) -> None:
    at = now()
    outbox.append("t", b"", at, lifetime=60)
    outbox.append("t", b"", at)
    short, endless = outbox.waiting(0, 2)
    assert short.lifetime(at.timestamp() + 20) == pytest.approx(40)
    assert endless.lifetime(at.timestamp() + 20) is None


# ── what became of it ──


def test_a_refused_message_is_set_aside_with_its_reason(outbox: Outbox) -> None:
    first, second = keep(outbox, 2)
    outbox.settle([(first, REFUSED)])
    assert outbox.fate(first) == REFUSED
    assert outbox.fate(second) == WAITING
    assert ids(outbox.waiting(0, 9)) == [second]
    assert outbox.counts() == Counts(1, 1)


def test_every_end_is_known_afterwards(outbox: Outbox) -> None:
    ends = [DELIVERED, REFUSED, Fate(Outcome.EXPIRED), Fate(Outcome.DROPPED, "why")]
    kept = keep(outbox, 5)
    outbox.settle(zip(kept, ends, strict=False))
    assert [outbox.fate(each) for each in kept] == [*ends, WAITING]
    assert outbox.counts() == Counts(1, 1, dropped=1, expired=1)


def test_an_end_that_was_recorded_already_changes_nothing(outbox: Outbox) -> None:
    kept = keep(outbox, 2)
    outbox.settle([(kept[0], DELIVERED)])
    outbox.settle([(kept[0], DELIVERED), (kept[0], REFUSED), (99, DELIVERED)])
    assert outbox.fate(kept[0]) == DELIVERED
    assert outbox.counts() == Counts(1, 0)


@pytest.mark.parametrize("number", [0, -1, 2, 10**9])
def test_of_a_message_that_never_was_nobody_claims_delivery(outbox: Outbox, number: int) -> None:
    keep(outbox, 1)
    assert outbox.fate(number).outcome is Outcome.FORGOTTEN


def test_ends_are_forgotten_in_the_end_and_that_is_said(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "REMEMBERED", 20)
    monkeypatch.setattr(outboxes, "_FORGOTTEN_AT_ONCE", 10)
    kept = keep(outbox, 100)
    outbox.settle((each, Fate(Outcome.EXPIRED)) for each in kept)
    told = [outbox.fate(each).outcome for each in kept]
    assert set(told[:70]) == {Outcome.FORGOTTEN}
    assert set(told[-20:]) == {Outcome.EXPIRED}
    assert outbox.counts() == Counts(0, 0, expired=100)
    ((rows,),) = outbox._connection.execute("SELECT count(*) FROM outcome")
    assert rows <= 30


def test_an_observer_hears_of_each_end_once_it_is_on_disk(outbox: Outbox, path: Path) -> None:
    heard: list[tuple[int, Fate]] = []

    def listen(number: int, fate: Fate) -> None:
        with open_outbox(path) as other:
            assert other.fate(number) == fate
        heard.append((number, fate))

    outbox.observe(listen)
    first, second = keep(outbox, 2)
    outbox.settle([(first, DELIVERED), (second, REFUSED)])
    outbox.settle([(first, DELIVERED)])
    assert heard == [(first, DELIVERED), (second, REFUSED)]


def test_an_observer_hears_nothing_of_what_was_undone(outbox: Outbox) -> None:
    heard: list[int] = []
    outbox.observe(lambda number, _fate: heard.append(number))
    (first,) = keep(outbox, 1)

    def ends() -> Iterator[tuple[int, Fate]]:
        yield first, DELIVERED
        raise EOFError

    with pytest.raises(EOFError):
        outbox.settle(ends())
    assert heard == []
    assert outbox.fate(first) == WAITING


def test_whoever_changes_something_is_noticed(outbox: Outbox, path: Path) -> None:
    seen = [outbox.version()]
    assert outbox.version() == seen[0]
    keep(outbox, 1)
    seen.append(outbox.version())
    with open_outbox(path) as other:
        keep(other, 1)
    seen.append(outbox.version())
    assert len(set(seen)) == 3


def test_what_was_set_aside_is_listed_without_its_payload_the_last_ones_in_order(outbox: Outbox) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    kept = [outbox.append(f"t/{number}", b"secret", at) for number in range(5)]
    outbox.settle((each, REFUSED) for each in kept[:4])
    listed = outbox.set_aside(2)
    assert [(each.id, each.topic, each.size) for each in listed] == [(kept[2], "t/2", 6), (kept[3], "t/3", 6)]
    assert {(each.created_at, each.reason) for each in listed} == {(at, "Not authorized")}
    assert "secret" not in repr(listed)


# ── suspects ──


def test_a_suspect_is_apart_and_its_topic_waits_for_it(outbox: Outbox) -> None:
    kept = [outbox.append(topic, b"", now()) for topic in ("a", "b", "a", "c")]
    outbox.suspect({kept[0]: 2})
    assert ids(outbox.waiting(0, 9)) == [kept[1], kept[3]]
    assert [(each.id, each.strikes) for each in outbox.suspects()] == [(kept[0], 2)]


@pytest.mark.parametrize("end", [DELIVERED, REFUSED])
def test_once_a_suspect_has_left_its_topic_goes_on(outbox: Outbox, end: Fate) -> None:
    kept = [outbox.append(topic, b"", now()) for topic in ("a", "a")]
    outbox.suspect({kept[0]: 0})
    assert outbox.waiting(0, 9) == []
    outbox.settle([(kept[0], end)])
    assert outbox.suspects() == []
    assert ids(outbox.waiting(0, 9)) == [kept[1]]


def test_suspicion_survives_the_process(path: Path) -> None:
    with open_outbox(path) as outbox:
        (number,) = keep(outbox, 1)
        outbox.suspect({number: 1})
    with open_outbox(path) as outbox:
        assert [each.strikes for each in outbox.suspects()] == [1]


# ── set aside: again, or away ──


def test_what_was_set_aside_can_wait_again_in_its_place(outbox: Outbox) -> None:
    kept = keep(outbox, 3)
    outbox.suspect({kept[0]: 2})
    outbox.settle([(kept[0], REFUSED), (kept[1], REFUSED)])
    assert outbox.retry([kept[0]]) == 1
    assert ids(outbox.waiting(0, 9)) == [kept[0], kept[2]]
    assert outbox.suspects() == []
    assert outbox.retry(None) == 1
    assert outbox.counts() == Counts(3, 0)


def test_what_was_set_aside_can_be_dropped_and_that_is_counted(outbox: Outbox) -> None:
    kept = keep(outbox, 3)
    outbox.settle((each, REFUSED) for each in kept)
    assert outbox.drop([kept[1]]) == 1
    assert outbox.fate(kept[1]) == Fate(Outcome.DROPPED, "dropped by hand")
    assert outbox.drop(None) == 2
    assert outbox.drop(None) == 0
    assert outbox.counts() == Counts(0, 0, dropped=3)


def test_a_message_that_waits_is_neither_dropped_nor_retried(outbox: Outbox) -> None:
    waiting, aside = keep(outbox, 2)
    outbox.settle([(aside, REFUSED)])
    with pytest.raises(MessageUnknown):
        outbox.drop([aside, waiting])
    with pytest.raises(MessageUnknown):
        outbox.retry([aside, waiting])
    assert outbox.counts() == Counts(1, 1)


def test_a_retry_needs_room(path: Path) -> None:
    with open_outbox(path, bounded(2, Overflow.DROP_OLDEST)) as outbox:
        (first,) = keep(outbox, 1)
        outbox.settle([(first, REFUSED)])
        keep(outbox, 2)
        with pytest.raises(OutboxFull):
            outbox.retry([first])
        assert outbox.counts() == Counts(2, 1)


def test_what_is_set_aside_is_bounded_and_the_oldest_gives_way(path: Path) -> None:
    with open_outbox(path, OutboxLimits(set_aside=3)) as outbox:
        kept = keep(outbox, 5)
        outbox.settle((each, REFUSED) for each in kept)
        assert [each.id for each in outbox.set_aside(9)] == kept[2:]
        assert outbox.counts() == Counts(0, 3, dropped=2)
        assert "set aside after it" in str(outbox.fate(kept[0]).reason)


def test_bytes_that_are_set_aside_are_bounded_too(path: Path) -> None:
    with open_outbox(path, OutboxLimits(set_aside_size=LARGEST)) as outbox:
        kept = [outbox.append("t", bytes(MAX_PAYLOAD), now()) for _ in range(3)]
        outbox.settle((each, REFUSED) for each in kept)
        assert [each.id for each in outbox.set_aside(9)] == kept[2:]


# ── bounds ──


def test_a_full_outbox_drops_the_oldest(path: Path) -> None:
    with open_outbox(path, bounded(3)) as outbox:
        kept = keep(outbox, 5)
        assert ids(outbox.waiting(0, 9)) == kept[2:]
        assert outbox.counts() == Counts(3, 0, dropped=2)
        assert outbox.fate(kept[0]) == Fate(Outcome.DROPPED, "it had to make room for newer messages")


def test_or_the_newest_which_has_an_id_and_a_fate_all_the_same(path: Path) -> None:
    with open_outbox(path, bounded(3, Overflow.DROP_NEWEST)) as outbox:
        before = keep(outbox, 2)
        kept = keep(outbox, 3)
        assert ids(outbox.waiting(0, 9)) == [*before, kept[0]]
        assert outbox.fate(kept[1]) == Fate(Outcome.DROPPED, "there was no room for it")
        assert outbox.counts() == Counts(3, 0, dropped=2)


def test_or_refuses_and_then_keeps_nothing_of_the_batch(path: Path) -> None:
    with open_outbox(path, bounded(3, Overflow.REFUSE)) as outbox:
        kept = keep(outbox, 2)
        with pytest.raises(OutboxFull):
            keep(outbox, 2)
        assert ids(outbox.waiting(0, 9)) == kept
        assert outbox.counts() == Counts(2, 0)
        outbox.settle([(kept[0], DELIVERED)])
        assert len(keep(outbox, 2)) == 2


@pytest.mark.parametrize("overflow", Overflow)
def test_bytes_are_a_bound_too(path: Path, overflow: Overflow) -> None:
    """Two largest messages do not fit into one and a half."""
    limits = OutboxLimits(size=LARGEST * 3 // 2, overflow=overflow)
    with open_outbox(path, limits) as outbox:
        first = outbox.append("t", bytes(MAX_PAYLOAD), now())
        if overflow is Overflow.REFUSE:
            with pytest.raises(OutboxFull):
                outbox.append("t", bytes(MAX_PAYLOAD), now())
            survivor = first
        else:
            second = outbox.append("t", bytes(MAX_PAYLOAD), now())
            survivor = second if overflow is Overflow.DROP_OLDEST else first
        assert ids(outbox.waiting(0, 9)) == [survivor]
        assert outbox.size() == MAX_PAYLOAD + 1


def test_what_has_expired_makes_room_before_anything_is_dropped(path: Path) -> None:
    with open_outbox(path, bounded(2)) as outbox:
        first = outbox.append("t", b"", now() - timedelta(hours=1))
        stale = outbox.append("t", b"", now() - timedelta(hours=1), lifetime=60)
        fresh = outbox.append("t", b"", now(), lifetime=60)
        assert ids(outbox.waiting(0, 9)) == [first, fresh]
        assert outbox.fate(stale) == Fate(Outcome.EXPIRED)
        assert outbox.counts() == Counts(2, 0, dropped=0, expired=1)


def test_what_was_dropped_on_its_way_and_arrived_was_not_lost(path: Path) -> None:
    with open_outbox(path, bounded(1)) as outbox:
        (on_its_way,) = keep(outbox, 1)
        keep(outbox, 1)
        assert outbox.counts().dropped == 1
        outbox.settle([(on_its_way, DELIVERED)])
        assert outbox.fate(on_its_way) == DELIVERED
        assert outbox.counts() == Counts(1, 0, dropped=0)


def test_drops_are_counted_across_processes(path: Path) -> None:
    for _ in range(2):
        with open_outbox(path, bounded(1)) as outbox:
            keep(outbox, 3)
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(1, 0, dropped=5)


def test_without_bounds_nothing_gives_way(outbox: Outbox) -> None:
    keep(outbox, 2000)
    assert outbox.counts() == Counts(2000, 0)


@pytest.mark.parametrize(
    ("name", "value"), [("messages", 0), ("size", LARGEST - 1), ("set_aside", 0), ("set_aside_size", 1)]
)
def test_limits_that_no_message_fits_into_are_refused(name: str, value: int) -> None:
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(InvalidSetting, match=f"outbox {name} "):
        OutboxLimits(**wrong)


# ── processes ──


def test_two_processes_append_side_by_side(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from keyborn.device.outbox import open_outbox\n"
        "with open_outbox(Path(sys.argv[1])) as outbox:\n"
        "    for number in range(20): outbox.append(f'{sys.argv[2]}/{number}', b'x', datetime.now(UTC))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, path, name]) for name in "ab"]
    assert [writer.wait(30) for writer in writers] == [0, 0]
    seen: dict[str, list[int]] = {"a": [], "b": []}
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(40, 0)
        for message in outbox.waiting(0, 99):
            name, _, number = message.topic.partition("/")
            seen[name].append(int(number))
    assert seen == {"a": list(range(20)), "b": list(range(20))}


def test_a_killed_writer_loses_nothing_that_it_reported(path: Path) -> None:
    program = (
        "import sys, os, signal; from pathlib import Path; from datetime import datetime, UTC\n"
        "from keyborn.device.outbox import open_outbox\n"
        "with open_outbox(Path(sys.argv[1])) as outbox:\n"
        "    for number in range(10): print(outbox.append('t', b'x', datetime.now(UTC)), flush=True)\n"
        "    with outbox._transaction() as run:\n"
        "        run.execute('DELETE FROM message')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert len(done.stdout.split()) == 10
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(10, 0)


def test_a_full_disk_is_said_nothing_is_kept_and_it_goes_on_afterwards(outbox: Outbox) -> None:
    (first,) = keep(outbox, 1)
    ((pages,),) = outbox._connection.execute("PRAGMA page_count")
    outbox._connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(OutboxUnusable, match="full"):
        outbox.append_many([Draft("t", bytes(2000))] * 20, now())
    assert outbox.counts() == Counts(1, 0)
    assert outbox.size() == 2
    outbox.settle([(first, DELIVERED)])
    outbox._connection.execute(f"PRAGMA max_page_count = {pages + 400}")
    assert len(keep(outbox, 20)) == 20
