from dataclasses import replace

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import CredentialMissing, CredentialRefused, OpenEnrollmentRefused, TokenExhausted
from keyborn.domain.group_key import device_key, group_key_id
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.domain.token import digest, encode_secret, token_id
from keyborn.ports import Credential
from keyborn.service.authenticate import OpenEnrollment, TokenAuthenticator
from keyborn.service.tokens import TokenWish
from support.csr_make import make_csr
from support.office import OfficeWorld

LOCAL = Credential(bearer=None, source="127.0.0.1")


async def test_the_right_secret_proves_the_token_and_what_it_permits(world: OfficeWorld) -> None:
    token = await world.token("sensor-1", replace=True)
    applicant = await TokenAuthenticator(world.registry).authenticate(bearer(token.code.secret))
    assert applicant.token == token.token.id
    assert applicant.bound_to == "sensor-1"
    assert applicant.may_replace
    assert applicant.fresh(world.clock.now())
    assert not applicant.fresh(token.token.expires_at)


async def test_no_credential_and_a_wrong_one_are_told_apart(world: OfficeWorld) -> None:
    authenticator = TokenAuthenticator(world.registry)
    with pytest.raises(CredentialMissing):
        await authenticator.authenticate(LOCAL)
    with pytest.raises(CredentialRefused):
        await authenticator.authenticate(bearer(bytes(32)))


async def test_a_secret_whose_id_exists_but_whose_digest_differs_is_refused(world: OfficeWorld) -> None:
    """The id is a prefix of the digest: a collision of the prefix must not be enough."""
    token = await world.token("sensor-1")
    registry = world.registry

    class Colliding(type(registry)):  # type: ignore[misc]  # one answer of the real registry, altered
        async def find(self, _token: object) -> object:
            return replace(token.token, digest=bytes(32))

    with pytest.raises(CredentialRefused):
        await TokenAuthenticator(Colliding()).authenticate(bearer(token.code.secret))


async def test_a_group_key_proves_nothing_by_being_shown(world: OfficeWorld) -> None:
    """Neither under its own id, nor under the one that a token of the same bytes would have."""
    key = bytes(range(32))
    kept = (await world.token("sensor-1")).token
    for identity in (group_key_id(key), token_id(key)):
        held = replace(kept, id=identity, digest=digest(key), key=key, group=GroupName("line-7"))
        registry = MemoryRegistry()
        await registry.add(held, AuditEvent(world.clock.now(), "key.create", "done", identity, "tester"))
        for shown in (key, digest(key), device_key(key, ThingName("sensor-1"))):
            with pytest.raises(CredentialRefused):
                await TokenAuthenticator(registry).authenticate(bearer(shown))


async def open_door(world: OfficeWorld, uses: int = 100) -> OpenEnrollment:
    shared = await world.tokens.create(TokenWish(NameScope("*"), uses))
    return OpenEnrollment(world.registry, shared.token.id, TokenAuthenticator(world.registry))


async def test_open_enrollment_is_for_plain_requests_from_this_machine(world: OfficeWorld) -> None:
    door = await open_door(world)
    assert (await door.authenticate(LOCAL)).method == "open"
    assert (await door.authenticate(replace(LOCAL, source="::1"))).method == "open"
    for stranger in (
        replace(LOCAL, source="192.0.2.1"),
        replace(LOCAL, source=""),
        replace(LOCAL, proxied=True),
    ):
        with pytest.raises(OpenEnrollmentRefused):
            await door.authenticate(stranger)


async def test_open_enrollment_still_takes_tokens_from_anywhere(world: OfficeWorld) -> None:
    door, token = await open_door(world), await world.token("sensor-1")
    applicant = await door.authenticate(replace(bearer(token.code.secret), source="192.0.2.1"))
    assert applicant.token == token.token.id


async def test_open_enrollment_never_replaces_and_ends_with_its_count(world: OfficeWorld) -> None:
    authority = world.build(await open_door(world, uses=2))
    for name in ("a", "b"):
        await world.present(LOCAL, name, make_csr(name)[1], authority=authority)
    with pytest.raises(TokenExhausted):
        await world.present(LOCAL, "c", make_csr("c")[1], authority=authority)


async def test_open_enrollment_takes_no_generic_name(world: OfficeWorld) -> None:
    from keyborn.domain.errors import GenericNameRefused

    authority = world.build(await open_door(world))
    _, csr = make_csr("AWS IoT Certificate")
    with pytest.raises(GenericNameRefused):
        await world.present(LOCAL, "a", csr, generic=True, authority=authority)


async def test_open_enrollment_ends_when_its_token_is_withdrawn(world: OfficeWorld) -> None:
    shared = await world.token()
    door = OpenEnrollment(world.registry, shared.token.id, TokenAuthenticator(world.registry))
    await world.tokens.withdraw(shared.token.id)
    with pytest.raises(OpenEnrollmentRefused):
        await door.authenticate(LOCAL)


def bearer(secret: bytes) -> Credential:
    return Credential(bearer=encode_secret(secret), source="127.0.0.1")
