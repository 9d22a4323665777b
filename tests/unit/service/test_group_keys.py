"""The operator's office of group keys: what is kept, what is shown once, and codes that bring no secret."""

from datetime import timedelta

import pytest

from keyborn.domain import errors
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, NameScope
from keyborn.domain.token import digest
from support.office import NOON
from support.signed_enrolling import LINE, OTHER, YEAR, SigningWorld

HOUR = timedelta(hours=1)
ISSUER = '[oidc]\nissuer = "https://id.example.com"\naudience = "keyborn"\nname = "sensor-{sub}"\n'


@pytest.fixture
def world() -> SigningWorld:
    return SigningWorld()


async def test_a_key_is_kept_with_its_group_and_its_digest(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key(uses=7, scope=NameScope("sensor-1*"))
    kept = await world.token(fresh)
    assert (kept.key, kept.digest) == (fresh.held.key, digest(fresh.held.key))
    assert (kept.group, kept.uses, kept.scope.pattern) == (LINE, 7, "sensor-1*")
    assert (kept.issued_at, kept.expires_at) == (NOON, NOON + YEAR)
    assert kept.id == fresh.held.id
    assert (fresh.held.group, fresh.held.url) == (LINE, "https://ra.example:8443")


async def test_two_keys_are_never_the_same(world: SigningWorld) -> None:
    await world.group()
    assert len({(await world.key()).held.key for _ in range(20)}) == 20


async def test_the_trail_says_that_a_key_was_made_and_does_not_hold_it(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key()
    event = (await world.registry.records())[-1].event
    assert (event.action, event.outcome, event.subject) == ("group.key.create", "done", fresh.token.id)
    assert event.details == {"group": LINE}
    for shown in (repr(event), repr(fresh), repr(await world.token(fresh))):
        assert fresh.held.key.hex() not in shown
        assert repr(fresh.held.key)[2:20] not in shown


async def test_a_key_is_made_only_where_it_is_good_for_something(world: SigningWorld) -> None:
    with pytest.raises(errors.NotFound):
        await world.key()
    await world.group(LINE, "ask")
    with pytest.raises(errors.InvalidSetting, match="group-key"):
        await world.key()
    assert await world.registry.tokens() == []
    await world.group(LINE, "group-key + ask")
    await world.key()


@pytest.mark.parametrize("wish", [{"uses": 0}, {"ttl": timedelta(0)}, {"ttl": timedelta(days=4000)}])
async def test_limits_are_those_of_tokens(world: SigningWorld, wish: dict[str, object]) -> None:
    await world.group()
    with pytest.raises(errors.InvalidSetting):
        await world.key(LINE, **wish)


# ── codes ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_code_brings_no_secret_and_leaves_no_trace(world: SigningWorld) -> None:
    await world.group(LINE, "ask")
    records = len(await world.registry.records())
    code = await world.keys.code(LINE, None, HOUR)
    assert (code.secret, code.method, code.group) == (b"", Method.ASK, LINE)
    assert (code.issued_at, code.expires_at) == (NOON, NOON + HOUR)
    assert len(await world.registry.records()) == records
    assert await world.registry.tokens() == []


async def test_the_groups_first_way_without_a_secret_is_chosen(world: SigningWorld) -> None:
    await world.group(LINE, 'token", "group-key", "registered", "ask')
    assert (await world.keys.code(LINE, None, HOUR)).method is Method.REGISTERED
    assert (await world.keys.code(LINE, Method.ASK, HOUR)).method is Method.ASK
    with pytest.raises(errors.InvalidSetting, match="registered, ask"):
        await world.keys.code(LINE, Method.OIDC, HOUR)
    await world.group(OTHER, "oidc + ask", ISSUER)
    assert (await world.keys.code(OTHER, None, HOUR)).method is Method.OIDC


@pytest.mark.parametrize("methods", ["token", "group-key", "token + ask", 'group-key + registered", "token'])
async def test_where_every_way_takes_a_secret_there_is_no_such_code(
    world: SigningWorld, methods: str
) -> None:
    await world.group(LINE, methods)
    with pytest.raises(errors.InvalidSetting, match="takes a secret"):
        await world.keys.code(LINE, None, HOUR)


async def test_a_group_that_is_not_there_or_not_readable_has_no_codes(world: SigningWorld) -> None:
    with pytest.raises(errors.NotFound):
        await world.keys.code(GroupName("none"), None, HOUR)
    await world.group(LINE, "carrier-pigeon")
    with pytest.raises(errors.GroupUnknown):
        await world.keys.code(LINE, None, HOUR)
    with pytest.raises(errors.GroupUnknown):
        await world.key()
    await world.group(LINE, "ask")
    with pytest.raises(errors.InvalidSetting):
        await world.keys.code(LINE, None, timedelta(days=4000))
