"""What is remembered of tokens: found ones, for a minute, a bounded number; what happens beside a read."""

import asyncio
import hashlib
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from keyborn.domain.errors import CredentialRefused, RegistryUnavailable
from keyborn.domain.token import EnrollmentToken, TokenId, encode_secret
from keyborn.ports import Credential
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.together import beside
from keyborn.service.token_memory import KEPT, TokenMemory
from support.csr_make import make_csr
from support.office import NOON, OfficeWorld
from support.registry_cases import make_token


@dataclass
class Shelf:
    """Where tokens are kept; counts how often it is asked."""

    tokens: dict[TokenId, EnrollmentToken] = field(default_factory=dict)
    asked: list[TokenId] = field(default_factory=list)
    broken: bool = False

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        self.asked.append(token)
        if self.broken:
            raise RegistryUnavailable
        return self.tokens.get(token)

    def add(self, name: str) -> EnrollmentToken:
        token = make_token(name)
        self.tokens[token.id] = token
        return token


@dataclass
class Stage:
    """A memory on a clock."""

    shelf: Shelf = field(default_factory=Shelf)
    now: float = 100.0
    beside: int = 0

    def memory(self, most: int = 256) -> TokenMemory:
        return TokenMemory(self.shelf, meanwhile=self._meanwhile, seconds=lambda: self.now, most=most)

    async def _meanwhile(self) -> None:
        self.beside += 1


async def test_a_token_is_read_once_a_minute() -> None:
    stage = Stage()
    memory, token = stage.memory(), stage.shelf.add("fleet")
    for _ in range(5):
        assert await memory.find(token.id) == token
        stage.now += KEPT / 5 - 0.1
    assert len(stage.shelf.asked) == 1
    stage.now += 1
    assert await memory.find(token.id) == token
    assert len(stage.shelf.asked) == 2


async def test_being_asked_for_does_not_keep_it_longer() -> None:
    stage = Stage()
    memory, token = stage.memory(), stage.shelf.add("fleet")
    for _ in range(100):
        await memory.find(token.id)
        stage.now += KEPT / 10
    assert len(stage.shelf.asked) == 10


async def test_that_nothing_was_found_is_not_remembered() -> None:
    stage = Stage()
    memory, token = stage.memory(), make_token("new")
    assert await memory.find(token.id) is None
    stage.shelf.add("new")
    assert await memory.find(token.id) == token


async def test_a_token_that_was_withdrawn_is_read_each_time() -> None:
    stage = Stage()
    memory, token = stage.memory(), stage.shelf.add("fleet")
    gone = stage.shelf.tokens[token.id] = replace(token, withdrawn_at=NOON)
    for _ in range(3):
        assert await memory.find(token.id) == gone
    assert len(stage.shelf.asked) == 3


async def test_a_registry_that_does_not_answer_is_no_memory_either() -> None:
    stage = Stage()
    memory, token = stage.memory(), stage.shelf.add("fleet")
    stage.shelf.broken = True
    with pytest.raises(RegistryUnavailable):
        await memory.find(token.id)
    stage.shelf.broken = False
    assert await memory.find(token.id) == token
    stage.shelf.broken = True
    assert await memory.find(token.id) == token


async def test_the_one_asked_for_longest_ago_is_forgotten_first() -> None:
    stage = Stage()
    memory = stage.memory(most=3)
    tokens = [stage.shelf.add(f"t{number}") for number in range(4)]
    for token in (*tokens[:3], tokens[0], tokens[3]):
        await memory.find(token.id)
    stage.shelf.asked.clear()
    for token in (tokens[0], tokens[3], tokens[2], tokens[1]):
        await memory.find(token.id)
    assert stage.shelf.asked == [tokens[1].id]


async def test_with_each_read_and_only_then_something_else_is_done() -> None:
    stage = Stage()
    memory, token = stage.memory(), stage.shelf.add("fleet")
    for _ in range(3):
        await memory.find(token.id)
    await memory.find(TokenId("t0"))
    assert stage.beside == 2


async def test_a_memory_works_alone_too() -> None:
    shelf = Shelf()
    token = shelf.add("fleet")
    assert await TokenMemory(shelf).find(token.id) == token


async def test_a_wrong_secret_with_a_remembered_id_proves_nothing() -> None:
    """Ids are 64 bits of a digest: somebody may find a secret with the id of another one."""
    stage = Stage()
    memory, token = stage.memory(), stage.shelf.add("fleet")
    right = hashlib.sha256(b"fleet").digest()
    authenticator = TokenAuthenticator(memory)
    applicant = await authenticator.authenticate(Credential(encode_secret(right), "192.0.2.1"))
    assert applicant.token == token.id
    stage.shelf.tokens[token.id] = replace(token, digest=bytes(32))
    stage.now += KEPT + 1
    with pytest.raises(CredentialRefused):
        await authenticator.authenticate(Credential(encode_secret(right), "192.0.2.1"))
    with pytest.raises(CredentialRefused):
        await authenticator.authenticate(Credential(encode_secret(right), "192.0.2.1"))


async def test_a_remembered_token_that_was_withdrawn_enrolls_nobody_and_repeats_nothing(
    world: OfficeWorld,
) -> None:
    csr, token, _ = await world.enrolled("sensor-1")
    fleet, (_, other) = await world.token("*", uses=None), make_csr("sensor-2")
    authority = world.build(TokenAuthenticator(TokenMemory(world.registry)))
    for one in (token, fleet):
        credential = Credential(encode_secret(one.code.secret), "192.0.2.1")
        await authority.authenticate(credential)  # from here on it is remembered
        await world.tokens.withdraw(one.token.id)
        for name, request in (("sensor-1", csr), ("sensor-2", other)):
            with pytest.raises(CredentialRefused):
                await world.present(credential, name, request, authority=authority)


async def test_a_remembered_token_expires_at_its_time(world: OfficeWorld) -> None:
    token = await world.token("*", uses=None)
    authority = world.build(TokenAuthenticator(TokenMemory(world.registry)))
    credential = Credential(encode_secret(token.code.secret), "192.0.2.1")
    applicant = await authority.authenticate(credential)
    world.clock.turn(timedelta(hours=2))
    again = await authority.authenticate(credential)
    assert applicant.fresh(NOON)
    assert not again.fresh(world.clock.now())


# ── two things at once ────────────────────────────────────────────────────────────────────────────────


async def test_both_are_waited_for_whatever_becomes_of_the_first() -> None:
    done: list[str] = []

    async def fails() -> None:
        raise CredentialRefused

    async def other() -> None:
        await asyncio.sleep(0.01)
        done.append("other")

    with pytest.raises(CredentialRefused):
        await beside(fails(), other())
    assert done == ["other"]


async def test_who_stops_waiting_stops_both() -> None:
    stopped: list[str] = []

    async def waits(name: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(name)
            raise

    task = asyncio.create_task(beside(waits("one"), waits("two")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(stopped) == ["one", "two"]


async def test_what_the_first_sets_in_its_context_is_the_caller_s() -> None:
    mark = ContextVar("mark", default="unset")

    async def sets() -> str:
        await asyncio.sleep(0)
        mark.set("set")
        return "done"

    async def other() -> None:
        mark.set("elsewhere")

    assert await beside(sets(), other()) == "done"
    assert mark.get() == "set"


async def test_what_should_raise_nothing_and_does_is_nobody_s_trouble() -> None:
    async def fine() -> int:
        return 1

    async def wrong() -> None:
        raise RegistryUnavailable

    assert await beside(fine(), wrong()) == 1
