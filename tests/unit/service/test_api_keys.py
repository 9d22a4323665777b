"""The office of API keys: what it makes, what it keeps, what it tells."""

from datetime import timedelta

import pytest

from keyborn.domain.api_key import DEFAULT_TTL, MAX_TTL, ApiKeyId, Role, api_key_id
from keyborn.domain.errors import InvalidSetting, NotFound
from keyborn.domain.token import digest
from keyborn.service.api_keys import ApiKeyWish
from support.operators import FINGERPRINT, URL, OperatorWorld


@pytest.fixture
def world() -> OperatorWorld:
    return OperatorWorld()


async def test_a_key_names_service_and_root_and_only_its_digest_is_kept(world: OperatorWorld) -> None:
    fresh = await world.keys.create(ApiKeyWish("alice", Role.APPROVER))
    kept = await world.registry.api_key(fresh.key.id)
    assert kept == fresh.key
    assert (fresh.word.url, fresh.word.fingerprint) == (URL, FINGERPRINT)
    assert kept.digest == digest(fresh.word.secret)
    assert kept.id == api_key_id(fresh.word.secret)
    assert kept.expires_at - kept.created_at == DEFAULT_TTL == timedelta(days=90)
    assert len(fresh.word.secret) == 32
    assert fresh.word.secret not in repr(kept).encode()


async def test_two_keys_for_one_name_are_two(world: OperatorWorld) -> None:
    one, two = [await world.key(Role.VIEWER) for _ in range(2)]
    assert one.key.id != two.key.id
    assert {key.id for key in await world.keys.page()} == {one.key.id, two.key.id}


async def test_what_is_made_and_ended_is_in_the_trail_without_a_secret(world: OperatorWorld) -> None:
    fresh = await world.keys.create(ApiKeyWish("alice", Role.ADMIN), actor="operator")
    await world.keys.withdraw(fresh.key.id, actor="a0 bob")
    made, ended = await world.events()
    assert (made.action, made.subject, made.actor) == ("api-key.create", fresh.key.id, "operator")
    assert made.details == {"name": "alice", "role": "admin"}
    assert (ended.action, ended.subject, ended.actor) == ("api-key.withdraw", fresh.key.id, "a0 bob")
    assert fresh.word.secret.hex() not in repr([made, ended])
    assert fresh.word.encode() not in repr([made, ended])


async def test_who_is_not_there_cannot_be_ended(world: OperatorWorld) -> None:
    with pytest.raises(NotFound, match="api-key"):
        await world.keys.withdraw(ApiKeyId("a0123456789abcdef"))
    assert await world.events() == []


@pytest.mark.parametrize(
    "ttl", [timedelta(0), timedelta(seconds=-1), MAX_TTL + timedelta(seconds=1), timedelta.max, timedelta.min]
)
def test_no_key_lives_for_ever_or_not_at_all(ttl: timedelta) -> None:
    with pytest.raises(InvalidSetting, match="--ttl"):
        ApiKeyWish("alice", Role.VIEWER, ttl)


def test_a_year_is_the_most() -> None:
    assert ApiKeyWish("alice", Role.VIEWER, timedelta(days=365)).ttl <= MAX_TTL < timedelta(days=367)


def test_a_name_that_does_not_fit_into_a_record_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="--name"):
        ApiKeyWish("a\nb", Role.VIEWER)
