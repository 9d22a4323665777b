"""Signed checkpoints, in every registry that keeps them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast

import pytest
import pytest_asyncio

from keyborn.domain.audit import ChainHead
from keyborn.domain.checkpoint import Checkpoint
from keyborn.domain.errors import AuditBroken, InvalidSetting
from keyborn.ports import AuditTrail, Checkpoints
from keyborn.service.audit import AuditOffice, AuditPorts
from support.exports import NOON, NOTARY, Notary, happened, lines_of, trail as chained
from support.office import TurnedClock
from support.renewing_cases import RENEWING


class Kept(AuditTrail, Checkpoints, Protocol):
    """A registry of which only the trail is of interest."""


@pytest_asyncio.fixture(params=list(RENEWING))
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    opener = cast("Callable[[Path], AbstractAsyncContextManager[Kept]]", RENEWING[request.param])
    async with opener(tmp_path) as registry:
        yield registry


def head(sequence: int) -> ChainHead:
    return ChainHead(sequence, f"{sequence:064x}")


def signed(sequence: int, minutes: int = 0) -> Checkpoint:
    return NOTARY.checkpoint(head(sequence), NOON + timedelta(minutes=minutes))


async def test_there_is_none_at_first(kept: Kept) -> None:
    assert await kept.latest_checkpoint() is None
    assert list(await kept.checkpoints()) == []


async def test_what_was_kept_comes_back_in_the_order_of_its_records(kept: Kept) -> None:
    made = {number: signed(number, number) for number in (1_000_000, 2, 10, 999)}
    for one in made.values():
        await kept.add_checkpoint(one)
    assert list(await kept.checkpoints()) == [made[2], made[10], made[999], made[1_000_000]]
    assert await kept.latest_checkpoint() == made[1_000_000]


async def test_of_two_about_one_record_the_first_stays(kept: Kept) -> None:
    first = signed(7)
    for one in (first, signed(7, 1), first):
        await kept.add_checkpoint(one)
    assert list(await kept.checkpoints()) == [first]
    assert await kept.latest_checkpoint() == first


async def test_they_come_by_the_page(kept: Kept) -> None:
    made = [signed(number) for number in range(1, 8)]
    for one in made:
        await kept.add_checkpoint(one)
    assert list(await kept.checkpoints(limit=3)) == made[:3]
    assert list(await kept.checkpoints(after=3, limit=3)) == made[3:6]
    assert list(await kept.checkpoints(after=6)) == made[6:]
    assert list(await kept.checkpoints(after=7)) == []
    assert list(await kept.checkpoints(limit=0)) == []


# ── the office over each of them ──────────────────────────────────────────────────────────────────────


def office_of(kept: Kept, notary: Notary | None = None) -> AuditOffice:
    return AuditOffice(AuditPorts(kept, kept, notary or Notary(), TurnedClock(NOON)), lambda: "https://a")


async def recorded(kept: Kept, count: int, start: int = 1) -> None:
    for number in range(start, start + count):
        await kept.append(happened(number))


async def test_the_office_signs_where_the_trail_ends_and_only_when_it_has_grown(kept: Kept) -> None:
    office = office_of(kept)
    assert await office.vouch() is None
    await recorded(kept, 3)
    first = await office.vouch()
    assert first is not None
    assert first.head == ChainHead(3, list(chained(3))[-1].hash)
    assert await office.vouch() == first
    assert await office_of(kept).vouch() == first, "nor does another process"
    await recorded(kept, 1, start=4)
    second = await office.vouch()
    assert second is not None
    assert second.head.sequence == 4
    assert list(await kept.checkpoints()) == [first, second]


async def test_an_export_holds_whatever_it_is_made_from(kept: Kept) -> None:
    from keyborn.domain.audit_export import check_export

    office = office_of(kept)
    await recorded(kept, 4)
    await office.vouch()
    await recorded(kept, 3, start=5)
    raw = b"".join([piece async for piece in await office.export()])
    report = check_export(lines_of(raw))
    assert (report.end.count, report.end.checkpoints, report.end.head.sequence) == (7, 2, 7)
    assert list(await kept.records()) == list(chained(7))
    raw = b"".join([piece async for piece in await office.export(4)])
    later = check_export(lines_of(raw))
    assert (later.end.count, later.end.checkpoints, later.header.continues.sequence) == (3, 1, 4)
    with pytest.raises(InvalidSetting, match="the last record is 7"):
        await office.export(8)


async def test_nothing_is_signed_that_does_not_follow_from_what_was(kept: Kept) -> None:
    await recorded(kept, 3)
    await kept.add_checkpoint(NOTARY.checkpoint(ChainHead(2, "f" * 64)))
    with pytest.raises(AuditBroken, match="record 2"):
        await office_of(kept).vouch()
    await kept.add_checkpoint(NOTARY.checkpoint(ChainHead(9, "f" * 64)))
    with pytest.raises(AuditBroken, match="record 9"):
        await office_of(kept).vouch()
