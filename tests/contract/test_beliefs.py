"""Which roots things believe, in every registry that is told."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.errors import CertificateExpired, CertificateNotActive, SignatureRefused, ThingRevoked
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.roots import Belief, RootSet
from keyborn.domain.thing import ThingStatus
from support.registry_cases import LIFETIME
from support.renewing_cases import RENEWING, RenewingDesk

OLD, NEW = RootSet("0" * 64), RootSet("1" * 64)
Telling = MemoryRegistry | SqliteRegistry


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RenewingDesk]:
    async with RENEWING[request.param](tmp_path) as registry:
        yield RenewingDesk(registry)


def told(desk: RenewingDesk) -> Telling:
    return cast("Telling", desk.registry)


async def enrolled(desk: RenewingDesk, name: str) -> None:
    await desk.enroll(await desk.token(f"secret-{name}"), name, f"key-{name}")


async def say(desk: RenewingDesk, name: str, roots: RootSet) -> None:
    [held] = await desk.registry.certificates(ThingName(name))
    await told(desk).note_roots(held.id, roots, desk.now)


async def test_who_never_said_believes_nothing_that_is_known(desk: RenewingDesk) -> None:
    await enrolled(desk, "a")
    assert await told(desk).belief(ThingName("a")) == Belief(ThingName("a"))
    assert await told(desk).root_sets() == [(None, 1)]
    assert [one.thing for one in await told(desk).lacking(NEW)] == ["a"]


async def test_what_is_said_is_kept_with_the_first_time_it_was_said(desk: RenewingDesk) -> None:
    await enrolled(desk, "a")
    await say(desk, "a", OLD)
    first = desk.now
    desk.now += timedelta(hours=1)
    await say(desk, "a", OLD)
    assert await told(desk).belief(ThingName("a")) == Belief(ThingName("a"), OLD, first)
    await say(desk, "a", NEW)
    assert await told(desk).belief(ThingName("a")) == Belief(ThingName("a"), NEW, desk.now)


async def test_things_are_counted_by_set_and_who_lacks_one_is_listed(desk: RenewingDesk) -> None:
    for name in "abcd":
        await enrolled(desk, name)
    for name, roots in (("a", NEW), ("b", OLD), ("c", NEW)):
        await say(desk, name, roots)
    assert dict(await told(desk).root_sets()) == {NEW: 2, OLD: 1, None: 1}
    lacking = await told(desk).lacking(NEW)
    assert [(one.thing, one.roots) for one in lacking] == [("b", OLD), ("d", None)]
    assert [one.thing for one in await told(desk).lacking(NEW, limit=1)] == ["b"]
    assert [one.thing for one in await told(desk).lacking(NEW, after=ThingName("b"))] == ["d"]


async def test_who_is_gone_does_not_count_and_who_is_suspended_does(desk: RenewingDesk) -> None:
    for name in "abc":
        await enrolled(desk, name)
        await say(desk, name, OLD)
    await desk.order("a", ThingStatus.REVOKED)
    await desk.order("b", ThingStatus.SUSPENDED)
    assert dict(await told(desk).root_sets()) == {OLD: 2}
    assert [one.thing for one in await told(desk).lacking(NEW)] == ["b", "c"]


async def test_only_who_may_sign_is_heard(desk: RenewingDesk) -> None:
    await enrolled(desk, "a")
    with pytest.raises(SignatureRefused):
        await told(desk).note_roots(CertificateId("f" * 64), NEW, desk.now)
    [held] = await desk.registry.certificates(ThingName("a"))
    with pytest.raises(CertificateExpired):
        await told(desk).note_roots(held.id, NEW, desk.now + 2 * LIFETIME)
    with pytest.raises(CertificateNotActive):
        await told(desk).note_roots(held.id, NEW, desk.now - timedelta(days=1))
    await desk.order("a", ThingStatus.SUSPENDED)
    with pytest.raises(ThingRevoked):
        await say(desk, "a", NEW)
    assert (await told(desk).belief(ThingName("a"))).roots is None


async def test_keyborn_s_own_services_do_not_count(desk: RenewingDesk) -> None:
    await enrolled(desk, "keyborn-watch")
    await enrolled(desk, "a")
    assert dict(await told(desk).root_sets()) == {None: 1}
    assert [one.thing for one in await told(desk).lacking(NEW)] == ["a"]


async def test_who_holds_a_certificate_of_an_issuer_is_counted_and_listed(desk: RenewingDesk) -> None:
    for name in "abc":
        await enrolled(desk, name)
    await desk.order("c", ThingStatus.REVOKED)
    [held] = await desk.registry.certificates(ThingName("a"))
    for part, found in ((held.der, ["a"]), (b"", ["a", "b"]), (b"nobody", [])):
        assert await told(desk).count_holders(part, desk.now) == len(found)
        assert await told(desk).holders(part, desk.now) == found
    assert await told(desk).holders(b"", desk.now, after=ThingName("a")) == ["b"]
    assert await told(desk).holders(b"", desk.now, limit=1) == ["a"]
    assert await told(desk).count_holders(b"", desk.now + 2 * LIFETIME) == 0
