"""Group keys and factory certificates: what each proves, and each way in which it proves nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest

from keyborn.domain import errors
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_key import device_key, sign
from keyborn.domain.jws_enroll import draft_by_key
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.domain.token import TokenId, encode_secret
from keyborn.ports import Credential
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.methods import Proven
from keyborn.service.methods.factory import FactoryMethod
from keyborn.service.methods.group_key import GroupKeyMethod
from support.csr_make import make_key
from support.factory import Maker, Wanted, authority, manufacturer
from support.office import NOON, SOURCE
from support.signed_enrolling import (
    LINE,
    NAME,
    OTHER,
    SigningWorld,
    by_certificate,
    by_key,
    payload,
    shown,
)

ROOT = manufacturer()
PLANT = ROOT.authority("Plant")
DEVICE = PLANT.device("1")


def factory_table(name: str = "sensor-{serial_number}", *roots: Maker) -> str:
    pem = "".join(each.pem for each in roots or (ROOT,))
    return f'[factory]\nauthorities = """\n{pem}"""\nname = "{name}"\n'


Prove = Callable[[SigningWorld, Credential], Awaitable[Proven]]
BodyOf = Callable[..., Awaitable[bytes]]


@pytest.fixture
def world() -> SigningWorld:
    return SigningWorld()


async def rule(world: SigningWorld, name: GroupName = LINE) -> EnrollmentGroup:
    return await world.rules.rule(name)


async def keyed(world: SigningWorld, credential: Credential, group: GroupName = LINE) -> Proven:
    return await GroupKeyMethod(world.registry, world.nonces).prove(credential, await rule(world, group))


async def made(world: SigningWorld, credential: Credential, group: GroupName = LINE) -> Proven:
    return await FactoryMethod(world.nonces, world.clock).prove(credential, await rule(world, group))


# ── group keys ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_derived_key_proves_its_own_name_and_no_other(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key(uses=500)
    body = by_key(fresh.held.key, NAME, await world.place(), payload())
    proven = await keyed(world, shown(body))
    assert (proven.account, proven.scope) == (fresh.token.id, NameScope(NAME))
    assert proven.scope.is_exact
    assert (proven.uses, proven.expires_at) == (500, fresh.token.expires_at)
    assert proven.is_known
    assert not proven.may_replace
    assert proven.details == {"groupKey": fresh.token.id}


async def test_an_expired_key_still_proves_who_asks(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key(ttl=timedelta(hours=1))
    world.clock.turn(timedelta(hours=2))
    proven = await keyed(world, shown(by_key(fresh.held.key, NAME, await world.place(), payload())))
    assert proven.expires_at is not None
    assert proven.expires_at < world.clock.now()


async def test_a_key_for_another_name_is_refused(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key()
    body = by_key(fresh.held.key, "sensor-2", await world.place(), payload())
    with pytest.raises(errors.GroupKeyRefused):
        await keyed(world, shown(body))


async def test_the_group_key_itself_signs_nothing(world: SigningWorld) -> None:
    """It never has a reason to travel: a device that had it would be refused."""
    await world.group()
    fresh = await world.key()
    drafted = draft_by_key(fresh.token.id, await world.place(), payload())
    with pytest.raises(errors.GroupKeyRefused):
        await keyed(world, shown(drafted.signed(sign(fresh.held.key, drafted.signing_input))))


async def test_neither_the_group_key_nor_a_derived_one_is_a_bearer(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key()
    bearers = TokenAuthenticator(world.registry)
    for secret in (fresh.held.key, device_key(fresh.held.key, NAME)):
        with pytest.raises(errors.CredentialRefused):
            await bearers.authenticate(Credential(encode_secret(secret), SOURCE))


async def test_unknown_keys_and_wrong_signatures_have_one_answer(world: SigningWorld) -> None:
    await world.group()
    fresh, place = await world.key(), await world.place()
    wrong = by_key(bytes(32), NAME, place, payload(), kid=fresh.token.id)
    unknown = by_key(bytes(32), NAME, place, payload())
    told = set()
    for body in (wrong, unknown):
        with pytest.raises(errors.GroupKeyRefused) as refusal:
            await keyed(world, shown(body))
        told.add(str(refusal.value))
    assert len(told) == 1
    await world.nonces.spend(place.nonce)  # neither of them has used it up


async def test_the_id_of_a_token_is_no_group_key(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key()
    event = AuditEvent(NOON, "token.create", "done", "k", "operator")
    plain = replace(fresh.token, id=TokenId("k" + "0" * 16), key=None)
    await world.registry.add(plain, event)
    nobody = by_key(bytes(32), NAME, await world.place(), payload(), kid=plain.id)
    with pytest.raises(errors.GroupKeyRefused):
        await keyed(world, shown(nobody))


async def test_a_withdrawn_key_is_refused_as_an_unknown_one(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key()
    await world.registry.withdraw(
        fresh.token.id, AuditEvent(NOON, "token.withdraw", "done", fresh.token.id, "operator")
    )
    with pytest.raises(errors.GroupKeyRefused):
        await keyed(world, shown(by_key(fresh.held.key, NAME, await world.place(), payload())))


async def test_a_key_of_another_group_is_refused(world: SigningWorld) -> None:
    await world.group()
    await world.group(OTHER)
    fresh = await world.key()
    body = by_key(fresh.held.key, NAME, await world.place(), payload(group=OTHER))
    with pytest.raises(errors.GroupDiffers):
        await keyed(world, shown(body), OTHER)


async def test_a_key_may_be_for_fewer_names_than_its_group(world: SigningWorld) -> None:
    await world.group()
    fresh = await world.key(scope=NameScope("sensor-1*"))
    good = by_key(fresh.held.key, NAME, await world.place(), payload())
    assert (await keyed(world, shown(good))).scope == NameScope(NAME)
    other = by_key(fresh.held.key, "sensor-2", await world.place(), payload("sensor-2"))
    with pytest.raises(errors.NameNotPermitted):
        await keyed(world, shown(other))


@pytest.mark.parametrize("name", [None, 7, "", "a b", "x" * 65, ["sensor-1"], "sensor-1\n"])
async def test_what_is_no_name_has_no_key(world: SigningWorld, name: object) -> None:
    await world.group()
    fresh = await world.key()
    body = by_key(fresh.held.key, NAME, await world.place(), payload(name))
    with pytest.raises(errors.InvalidThingName):
        await keyed(world, shown(body))


async def test_two_keys_of_a_group_stand_side_by_side_so_that_one_can_follow_the_other(
    world: SigningWorld,
) -> None:
    await world.group()
    for fresh in (await world.key(), await world.key()):
        proven = await keyed(world, shown(by_key(fresh.held.key, NAME, await world.place(), payload())))
        assert proven.account == fresh.token.id


# ── factory certificates ──────────────────────────────────────────────────────────────────────────────


async def test_a_factory_certificate_proves_the_name_that_the_rule_makes_of_it(world: SigningWorld) -> None:
    await world.group(LINE, "factory", factory_table())
    body = by_certificate(DEVICE, PLANT, place=await world.place(), payload=payload())
    proven = await made(world, shown(body))
    signed = sha256(DEVICE.certificate.tbs_certificate_bytes).hexdigest()
    assert (proven.account, proven.scope) == ("f" + signed[:16], NameScope(NAME))
    assert proven.details["factoryCertificate"] == sha256(DEVICE.der).hexdigest()
    assert (proven.uses, proven.expires_at, proven.is_known, proven.may_replace) == (None, None, False, False)


@pytest.mark.parametrize("kind", ["p384", "p521", "rsa2048"])
async def test_each_kind_of_factory_key_signs(world: SigningWorld, kind: str) -> None:
    await world.group(LINE, "factory", factory_table("sensor-{common_name}"))
    device = ROOT.below("1", key=make_key(kind))
    proven = await made(world, shown(by_certificate(device, place=await world.place(), payload=payload())))
    assert proven.scope == NameScope(NAME)


async def test_two_devices_of_a_maker_pay_from_accounts_of_their_own(world: SigningWorld) -> None:
    await world.group(LINE, "factory", factory_table())
    accounts = set()
    for serial in ("1", "2"):
        body = by_certificate(
            PLANT.device(serial), PLANT, place=await world.place(), payload=payload(f"sensor-{serial}")
        )
        accounts.add((await made(world, shown(body))).account)
    assert len(accounts) == 2


async def test_a_request_that_another_key_signed_is_refused(world: SigningWorld) -> None:
    await world.group(LINE, "factory", factory_table())
    place = await world.place()
    for key in (make_key(), make_key("p384"), PLANT.key):
        body = by_certificate(DEVICE, PLANT, place=place, payload=payload(), key=key)
        with pytest.raises(errors.FactoryRefused, match="not signed by its key"):
            await made(world, shown(body))
    await world.nonces.spend(place.nonce)


async def test_another_makers_certificate_is_refused(world: SigningWorld) -> None:
    await world.group(LINE, "factory", factory_table())
    fake = manufacturer()
    body = by_certificate(fake.device("1"), fake, place=await world.place(), payload=payload())
    with pytest.raises(errors.FactoryRefused, match="no authority of the group"):
        await made(world, shown(body))


async def test_a_maker_of_another_group_is_refused(world: SigningWorld) -> None:
    other = manufacturer("Other")
    await world.group(LINE, "factory", factory_table())
    await world.group(OTHER, "factory", factory_table("sensor-{serial_number}", other))
    body = by_certificate(DEVICE, PLANT, place=await world.place(), payload=payload(group=OTHER))
    with pytest.raises(errors.FactoryRefused):
        await made(world, shown(body), OTHER)


async def test_several_makers_may_belong_to_one_group(world: SigningWorld) -> None:
    other = manufacturer("Other")
    await world.group(LINE, "factory", factory_table("sensor-{serial_number}", ROOT, other))
    for device in (DEVICE, other.device("2")):
        await made(world, shown(by_certificate(device, PLANT, place=await world.place(), payload=payload())))


async def test_an_expired_maker_is_refused_at_the_services_time(world: SigningWorld) -> None:
    short = manufacturer("Short", Wanted(ends=NOON + timedelta(days=1), extensions=[authority()]))
    await world.group(LINE, "factory", factory_table("sensor-{serial_number}", short))
    device = short.device("1")
    await made(world, shown(by_certificate(device, place=await world.place(), payload=payload())))
    world.clock.turn(timedelta(days=2))
    with pytest.raises(errors.FactoryRefused):
        await made(world, shown(by_certificate(device, place=await world.place(), payload=payload())))


@pytest.mark.parametrize("said", ["a b", "*", "?", "x" * 64, "ü", "1/2", "1\n"])
async def test_a_certificate_that_says_no_name_proves_none(world: SigningWorld, said: str) -> None:
    await world.group(LINE, "factory", factory_table("sensor-{common_name}"))
    body = by_certificate(PLANT.below(said), PLANT, place=await world.place(), payload=payload())
    with pytest.raises(errors.CredentialNameUnfit):
        await made(world, shown(body))


async def test_a_certificate_without_what_the_rule_needs_proves_nothing(world: SigningWorld) -> None:
    await world.group(LINE, "factory", factory_table())
    body = by_certificate(ROOT.below("1"), place=await world.place(), payload=payload())
    with pytest.raises(errors.CredentialNameUnfit):
        await made(world, shown(body))


async def test_a_group_without_makers_has_no_use_for_certificates(world: SigningWorld) -> None:
    await world.group()
    body = by_certificate(DEVICE, PLANT, place=await world.place(), payload=payload())
    with pytest.raises(errors.CredentialMissing):
        await made(world, shown(body))


# ── both ──────────────────────────────────────────────────────────────────────────────────────────────


async def _key_body(world: SigningWorld, **place: str) -> bytes:
    await world.group()
    fresh = await world.key()
    return by_key(fresh.held.key, NAME, replace(await world.place(), **place), payload())


async def _factory_body(world: SigningWorld, **place: str) -> bytes:
    await world.group(LINE, "factory", factory_table())
    where = replace(await world.place(), **place)
    return by_certificate(DEVICE, PLANT, place=where, payload=payload())


BOTH = pytest.mark.parametrize(
    ("body_of", "prove"), [(_key_body, keyed), (_factory_body, made)], ids=["group-key", "factory"]
)


@BOTH
async def test_a_request_is_good_once(world: SigningWorld, body_of: BodyOf, prove: Prove) -> None:
    body = await body_of(world)
    await prove(world, shown(body))
    with pytest.raises(errors.BadNonce):
        await prove(world, shown(body))


@BOTH
async def test_a_nonce_that_is_too_old_or_nobodys_is_refused(
    world: SigningWorld,
    body_of: BodyOf,
    prove: Prove,
) -> None:
    late = await body_of(world)
    world.clock.turn(timedelta(minutes=6))
    with pytest.raises(errors.BadNonce):
        await prove(world, shown(late))
    with pytest.raises(errors.BadNonce):
        await prove(world, shown(await body_of(world, nonce="made-up")))


@BOTH
@pytest.mark.parametrize(
    "url", ["https://ra.example:8443/v1/renew", "https://other.example/v1/enroll", "https://ra.example/"]
)
async def test_a_request_for_another_address_is_refused(
    world: SigningWorld,
    body_of: BodyOf,
    prove: Prove,
    url: str,
) -> None:
    with pytest.raises(errors.SignedForElsewhere):
        await prove(world, shown(await body_of(world, url=url)))


@BOTH
async def test_whoever_signed_nothing_has_no_credential(
    world: SigningWorld,
    body_of: BodyOf,
    prove: Prove,
) -> None:
    await body_of(world)
    with pytest.raises(errors.CredentialMissing):
        await prove(world, Credential(None, SOURCE))


@BOTH
async def test_no_byte_of_what_was_signed_may_change(
    world: SigningWorld,
    body_of: BodyOf,
    prove: Prove,
) -> None:
    good = shown(await body_of(world))
    assert good.signed is not None
    text = good.signed.signing_input
    for at in range(0, len(text), 7):
        changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(errors.Unauthenticated):
            await prove(world, replace(good, signed=replace(good.signed, signing_input=changed)))
    for signature in (b"", good.signed.signature[:-1], good.signed.signature + b"\0", bytes(32), bytes(64)):
        with pytest.raises(errors.Unauthenticated):
            await prove(world, replace(good, signed=replace(good.signed, signature=signature)))
    await prove(world, good)


@BOTH
async def test_what_a_name_is_decoded_as_makes_no_difference_to_whom_it_proves(
    world: SigningWorld,
    body_of: BodyOf,
    prove: Prove,
) -> None:
    """Should a door ever decode another name than the one that was signed, the scope stays the signer's."""
    body = await body_of(world)
    try:
        proven = await prove(world, shown(body, thing_name=ThingName("sensor-9")))
    except errors.GroupKeyRefused:
        return
    assert proven.scope == NameScope(NAME)
