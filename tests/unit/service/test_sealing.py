"""Who is let in by a seal, how often the registry is asked, and what is remembered."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.errors import (
    CredentialMissing,
    CredentialRefused,
    RegistryUnavailable,
    ThingNameTaken,
    Throttled,
)
from keyborn.domain.names import NameScope
from keyborn.domain.seal import TokenFacts
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import EnrollmentToken, TokenId, digest, encode_secret, token_id
from keyborn.ports import Credential
from keyborn.service.sealing import RandomSecrets, SealedAuthenticator, SealedSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from support.csr_make import make_csr
from support.office import NOON, SOURCE, OfficeWorld
from support.registry_cases import event
from support.seals import KEY, sealed_token

FACTS = TokenFacts(NameScope("lamp-*"), 7, NOON + timedelta(hours=1))
SPOKEN = "A" * 86


@dataclass
class Shelf:
    """Where the key is kept; counts how often it is asked for."""

    key: bytes | None = None
    asked: int = 0
    broken: bool = False

    async def seal_key(self) -> bytes | None:
        self.asked += 1
        if self.broken:
            raise RegistryUnavailable
        return self.key

    async def make_seal_key(self, fresh: bytes) -> bytes:
        self.key = self.key or fresh
        return self.key


class Tokens(MemoryRegistry):
    """A registry that counts how often a token is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[TokenId] = []

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        self.found.append(token)
        return await super().find(token)


@dataclass
class Stage:
    """A service under a seal, on a clock."""

    shelf: Shelf = field(default_factory=Shelf)
    tokens: Tokens = field(default_factory=Tokens)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.secrets = SealedSecrets(self.shelf, SystemEntropy())
        self.door = SealedAuthenticator(self.shelf, self.tokens, seconds=lambda: self.now)

    async def secret(self, facts: TokenFacts = FACTS) -> bytes:
        return await self.secrets.make(facts)

    async def asks(self, secret: bytes | str) -> str:
        """What becomes of who shows ``secret``: a token's id, or the code of a refusal."""
        spoken = secret if isinstance(secret, str) else encode_secret(secret)
        try:
            return (await self.door.authenticate(Credential(spoken, SOURCE))).token
        except (CredentialRefused, RegistryUnavailable) as refusal:
            return refusal.code


async def test_the_first_secret_makes_the_key_and_all_others_use_it() -> None:
    stage = Stage()
    await asyncio.gather(*(stage.secret() for _ in range(5)))
    key = stage.shelf.key
    await stage.secret()
    assert stage.shelf.key == key
    assert key is not None
    assert len(key) == 32


async def test_a_sealed_secret_makes_the_applicant_that_its_token_says() -> None:
    stage = Stage()
    facts = TokenFacts(
        NameScope("watcher"),
        None,
        NOON,
        replace=True,
        kind=ThingKind.SERVICE,
        policies=(PolicyName("watch"),),
    )
    secret = await stage.secret(facts)
    applicant = await stage.door.authenticate(Credential(encode_secret(secret), SOURCE))
    assert (applicant.method, applicant.token) == ("token", token_id(secret))
    assert (applicant.scope, applicant.uses, applicant.expires_at) == (facts.scope, None, NOON)
    assert (applicant.may_replace, applicant.kind, applicant.policies) == (True, facts.kind, facts.policies)
    assert applicant.digest == digest(secret), "the claim has to ask for it"
    assert not applicant.fresh(NOON), "expired, but known: it may repeat an answer"
    assert secret.hex() not in repr(applicant)
    assert str(applicant.digest) not in repr(applicant)


async def test_the_key_is_asked_for_at_the_start_and_nothing_after_that() -> None:
    stage = Stage()
    secrets = [await stage.secret() for _ in range(20)]
    stage.shelf.asked = 0
    await stage.door.prepare()
    for secret in secrets:
        stage.now += 10
        assert await stage.asks(secret) == token_id(secret)
    assert stage.shelf.asked == 1


async def test_strangers_ask_nothing_but_once_a_second_whether_there_is_another_key() -> None:
    stage = Stage()
    await stage.secret()
    await stage.door.prepare()
    stage.shelf.asked = 0
    for _ in range(100):
        stage.now += 0.05
        assert await stage.asks(SPOKEN) == "credential_refused"
    assert 4 <= stage.shelf.asked <= 5


@pytest.mark.parametrize("spoken", ["", "A", "A" * 42, "A" * 10_000, "é" * 50, "A" * 43 + "="])
async def test_what_is_no_secret_asks_nothing(spoken: str) -> None:
    stage = Stage()
    assert await stage.asks(spoken) == "credential_refused"
    assert stage.shelf.asked == 0


async def test_without_a_credential_nobody_is_an_applicant() -> None:
    with pytest.raises(CredentialMissing):
        await Stage().door.authenticate(Credential(None, SOURCE))


async def test_before_there_is_a_key_nobody_is_let_in_and_then_its_first_secret_is_at_once() -> None:
    stage = Stage()
    await stage.door.prepare()
    assert await stage.asks(SPOKEN) == "credential_refused"
    secret = await stage.secret()
    assert await stage.asks(secret) == token_id(secret)


async def test_where_the_key_cannot_be_had_that_is_said_and_not_that_the_secret_is_wrong() -> None:
    stage = Stage()
    secret = await stage.secret()
    stage.shelf.broken = True
    with pytest.raises(RegistryUnavailable):
        await stage.door.prepare()
    assert await stage.asks(secret) == "registry_unavailable"
    stage.shelf.broken = False
    assert await stage.asks(secret) == token_id(secret)


async def test_a_registry_that_is_away_stops_nobody_whose_key_is_known() -> None:
    stage = Stage()
    secret = await stage.secret()
    await stage.door.prepare()
    stage.shelf.broken = True
    stage.now += 10
    stage.shelf.asked = 0
    for _ in range(10):
        assert await stage.asks(SPOKEN) == "registry_unavailable", "it might be under a newer key"
        assert await stage.asks(secret) == token_id(secret)
    assert stage.shelf.asked == 1
    stage.shelf.broken = False
    stage.now += 1
    assert await stage.asks(SPOKEN) == "credential_refused"


async def test_a_new_key_is_known_within_a_second_and_the_old_one_s_secrets_are_over() -> None:
    stage = Stage()
    old = await stage.secret()
    await stage.door.prepare()
    stage.shelf.key = None
    new = await stage.secret()
    stage.now += 1
    assert await stage.asks(new) == token_id(new)
    assert await stage.asks(old) == "credential_refused"


async def test_a_key_that_is_gone_from_the_table_is_not_forgotten() -> None:
    stage = Stage()
    secret = await stage.secret()
    await stage.door.prepare()
    stage.shelf.key = None
    stage.now += 10
    assert await stage.asks(SPOKEN) == "credential_refused"
    assert await stage.asks(secret) == token_id(secret)


async def test_a_token_that_was_found_withdrawn_is_refused_from_then_on_without_a_question() -> None:
    stage = Stage()
    secret, other = await stage.secret(), await stage.secret()
    await stage.door.prepare()
    stage.door.end(token_id(secret))
    stage.shelf.asked = 0
    assert await stage.asks(secret) == "credential_refused"
    assert await stage.asks(other) == token_id(other)
    assert stage.shelf.asked == 0


async def test_what_is_remembered_of_withdrawn_tokens_is_bounded() -> None:
    stage = Stage()
    secret = await stage.secret()
    stage.door.end(token_id(secret))
    for number in range(1024):
        stage.door.end(TokenId(f"t{number:016x}"))
    assert await stage.asks(secret) == token_id(secret), "the claim refuses it once more"


async def test_where_no_claim_asks_a_token_is_looked_up_once_a_minute() -> None:
    stage = Stage()
    token, secret = sealed_token("fleet", now=NOON)
    stage.shelf.key = KEY
    await stage.tokens.add(token, event())
    applicant = await stage.door.authenticate(Credential(encode_secret(secret), SOURCE))
    for _ in range(5):
        await stage.door.confirm(applicant)
        stage.now += 10
    assert stage.tokens.found == [token.id]
    await stage.tokens.withdraw(token.id, event())
    stage.now += 20
    with pytest.raises(CredentialRefused):
        await stage.door.confirm(applicant)
    assert await stage.asks(secret) == "credential_refused"
    assert len(stage.tokens.found) == 2


@pytest.mark.parametrize("case", ["unknown", "another digest"])
async def test_a_look_up_finds_out_who_only_has_the_key(case: str) -> None:
    stage = Stage()
    stage.shelf.key = KEY
    token, secret = sealed_token("forged", now=NOON)
    if case == "another digest":
        await stage.tokens.add(replace(token, digest=bytes(32)), event())
    applicant = await stage.door.authenticate(Credential(encode_secret(secret), SOURCE))
    with pytest.raises(CredentialRefused):
        await stage.door.confirm(applicant)
    assert await stage.asks(secret) == "credential_refused"


async def test_random_secrets_are_256_bits_and_say_nothing() -> None:
    secrets = {await RandomSecrets(SystemEntropy()).make(FACTS) for _ in range(50)}
    assert {len(secret) for secret in secrets} == {32}
    assert len(secrets) == 50


# ── the whole way ─────────────────────────────────────────────────────────────────────────────────────


class Door:
    """An authority behind a seal, and the office that hands out its codes."""

    def __init__(self, folder: Path) -> None:
        self.world, self.stage = OfficeWorld(folder), Stage()
        self.stage.door = SealedAuthenticator(self.stage.shelf, self.world.registry)
        self.authority = self.world.build(self.stage.door, late=self.stage.door)
        self.office = TokenOffice(
            tokens=self.world.registry,
            listing=self.world.registry,
            clock=self.world.clock,
            secrets=self.stage.secrets,
            trust=lambda: ("https://localhost:8443", bytes(32)),
        )

    async def token(self, pattern: str, uses: int | None = 1) -> tuple[TokenId, Credential]:
        fresh = await self.office.create(TokenWish(NameScope(pattern), uses))
        return fresh.token.id, Credential(encode_secret(fresh.code.secret), SOURCE)


async def test_a_device_enrolls_with_a_sealed_code_and_repeats_a_lost_answer(tmp_path: Path) -> None:
    door = Door(tmp_path)
    (_, credential), csr = await door.token("lamp-1"), make_csr("lamp-1")[1]
    first = await door.world.present(credential, "lamp-1", csr, authority=door.authority)
    door.world.clock.turn(timedelta(hours=2))
    again = await door.world.present(credential, "lamp-1", csr, authority=door.authority)
    assert again.certificate == first.certificate
    with pytest.raises(ThingNameTaken):
        await door.world.present(
            (await door.token("*"))[1], "lamp-1", make_csr("lamp-1")[1], authority=door.authority
        )


async def test_who_has_the_key_but_no_token_fills_neither_the_trail_nor_the_line(tmp_path: Path) -> None:
    """Each secret that it makes is another one: what is bounded is its address."""
    door = Door(tmp_path)
    await door.token("lamp-1")
    before = len(await door.world.outcomes())
    for number in range(60):
        secret = await door.stage.secret(replace(FACTS, uses=number))
        csr = make_csr("lamp-1")[1] if number % 2 else "no request"
        with pytest.raises((CredentialRefused, Throttled)):
            await door.world.present(
                Credential(encode_secret(secret), SOURCE), "lamp-1", csr, authority=door.authority
            )
    assert len(await door.world.outcomes()) - before <= 12


async def test_a_withdrawn_code_repeats_nothing_and_is_not_looked_at_twice(tmp_path: Path) -> None:
    door = Door(tmp_path)
    (token, credential), csr = await door.token("lamp-1"), make_csr("lamp-1")[1]
    await door.world.present(credential, "lamp-1", csr, authority=door.authority)
    await door.office.withdraw(token)
    with pytest.raises(CredentialRefused):
        await door.world.present(credential, "lamp-1", csr, authority=door.authority)
    with pytest.raises(CredentialRefused):
        await door.authority.authenticate(credential)
