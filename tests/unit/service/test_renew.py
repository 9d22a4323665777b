"""The renewal authority: who is heard, in which order, what is recorded, and what a crash leaves."""

from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.errors import (
    BadNonce,
    BrokerUnwritable,
    CertificateExpired,
    CertificateNotActive,
    CsrForeignName,
    CsrMalformed,
    CsrNameMismatch,
    JwsMalformed,
    KeybornError,
    KeyNotNew,
    Queued,
    RenewalPending,
    SignatureRefused,
    SignedForElsewhere,
    ThingRevoked,
    Throttled,
)
from keyborn.domain.names import CertificateId, NameScope, ThingName
from keyborn.domain.quota import place_name
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.service.admission import FailureBudget
from keyborn.service.enroll import Enrollment
from keyborn.service.nonces import MemoryNonces
from keyborn.service.renew import RenewalAuthority, RenewalPorts, SignedCaller
from keyborn.service.saga import SagaStep
from keyborn.service.things import Order
from keyborn.service.tokens import TokenWish
from support.csr_make import csr_for, make_key
from support.office import SOURCE, Crash, OfficeWorld, folder
from support.signing import NextKey, Signer
from support.turns import Leases, Quota

AT = "https://gateway.example:8443/v1/renew"
TOO_LONG = timedelta(days=91)


class Reviewed:
    """Sessions that remember whose badges were to be read again."""

    def __init__(self) -> None:
        self.names: list[Collection[ThingName] | None] = []
        self.trouble: KeybornError | None = None

    async def evict(self, name: ThingName, reason: str) -> int:
        raise AssertionError(f"{name} was evicted: {reason}")

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.names.append(names)


class RenewalWorld(OfficeWorld):
    """An office whose things renew."""

    def __init__(self, path: Path) -> None:
        self.memory = MemoryRegistry()
        super().__init__(path, self.memory)
        self.nonces = MemoryNonces(self.clock, SystemEntropy())
        self.sessions = Reviewed()
        self.quota, self.leases = Quota(), Leases()
        self.renewal = self.build_renewal()

    def build_renewal(self, **budgets: FailureBudget) -> RenewalAuthority:
        registry = self.memory
        return RenewalAuthority(
            RenewalPorts(registry, registry, registry, registry),
            authority=self.ca,
            nonces=self.nonces,
            clock=self.clock,
            entropy=SystemEntropy(),
            sessions=self.sessions,
            failures=budgets.get("failures") or FailureBudget(burst=5),
            refusals=budgets.get("refusals"),
            pace=budgets.get("pace"),
            quota=self.quota,
            leases=self.leases,
            on_step=self._on_step,
        )

    async def device(self, name: str = "sensor-1", key_type: str = "p256") -> Signer:
        """A device with its first certificate; nobody looks at its steps."""
        token, key = await self.token(name), make_key(key_type)
        enrolled = await self.enroll(name, csr_for(key, name), token)
        self.steps.clear()
        return Signer(name, key, enrolled.certificate.id)

    async def prove(self, signer: Signer, payload: object = None, *, at: str = AT) -> SignedCaller:
        body = signer.body(at, await self.renewal.nonce(), payload)
        return await self.renewal.authenticate(body, [AT], SOURCE)

    async def renew(self, signer: Signer, following: NextKey) -> Enrollment:
        return await self.renewal.renew(await self.prove(signer), following.csr)

    async def renewed(self, signer: Signer) -> tuple[Signer, Certificate]:
        """A successor, and who signs with its key."""
        following = signer.next_key()
        outcome = await self.renew(signer, following)
        return following.with_certificate(outcome.certificate.id), outcome.certificate

    async def confirm(self, signer: Signer) -> Certificate:
        return await self.renewal.confirm(await self.prove(signer))

    async def actions(self) -> list[tuple[str, str]]:
        return [(each.event.action, each.event.outcome) for each in await self.registry.records()]


@pytest.fixture
def world(tmp_path: Path) -> RenewalWorld:
    return RenewalWorld(folder(tmp_path))


# ── the way it goes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
async def test_a_renewal_from_the_old_key_to_the_new_one(world: RenewalWorld, key_type: str) -> None:
    first = await world.device(key_type=key_type)
    second, certificate = await world.renewed(first)

    assert (certificate.status, certificate.slot) == (CertificateStatus.ACTIVE, Slot.SUCCESSOR)
    assert certificate.renews == first.certificate_id
    assert len(await world.active("sensor-1")) == 2
    confirmed = await world.confirm(second)

    assert [one.id for one in await world.active("sensor-1")] == [confirmed.id] == [certificate.id]
    assert world.sessions.names == [{"sensor-1"}]
    assert (await world.actions())[-2:] == [("renew", "done"), ("renew.confirm", "done")]


async def test_the_trail_says_who_asked_and_from_where(world: RenewalWorld) -> None:
    first = await world.device()
    _, certificate = await world.renewed(first)
    last = (await world.registry.records())[-1].event

    assert (last.subject, last.actor, last.source) == ("sensor-1", first.certificate_id, SOURCE)
    assert last.details == {
        "certificateId": certificate.id,
        "keyHash": certificate.key_hash,
        "slot": "successor",
    }


async def test_each_effect_has_its_step(world: RenewalWorld) -> None:
    second, _ = await world.renewed(await world.device())
    assert world.steps == list(SagaStep)
    world.steps.clear()
    await world.confirm(second)
    assert world.steps == [SagaStep.AUTHENTICATED, SagaStep.ADMITTED, SagaStep.ACTIVATED]


async def test_a_lost_answer_is_given_again(world: RenewalWorld) -> None:
    first = await world.device()
    following = first.next_key()
    outcomes = [await world.renew(first, following) for _ in range(3)]

    assert [one.repeated for one in outcomes] == [False, True, True]
    assert len({one.certificate.id for one in outcomes}) == 1
    assert len(await world.active("sensor-1")) == 2


async def test_the_dates_are_those_of_today_s_profile(world: RenewalWorld) -> None:
    first = await world.device()
    world.clock.turn(timedelta(days=60))
    _, certificate = await world.renewed(first)
    assert certificate.not_after - world.clock.now() == timedelta(days=90)


async def test_confirming_again_is_the_same(world: RenewalWorld) -> None:
    second, _ = await world.renewed(await world.device())
    answers = [await world.confirm(second) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert [action for action, _ in await world.actions()].count("renew.confirm") == 1


async def test_a_program_s_identity_renews_as_a_device_s_does(world: RenewalWorld) -> None:
    """Keyborn's own have reserved names: a renewal asks for none, it keeps one."""
    name, key = "keyborn-watch", make_key()
    token = await world.tokens.create(TokenWish(NameScope(name), kind=ThingKind.SERVICE))
    enrolled = await world.enroll(name, csr_for(key, name), token)
    second, _ = await world.renewed(Signer(name, key, enrolled.certificate.id))
    await world.confirm(second)
    assert [one.id for one in await world.active(name)] == [second.certificate_id]


async def test_a_broker_that_does_not_answer_is_told_by_the_next_confirmation(world: RenewalWorld) -> None:
    """The confirmation itself is durable; who hears 503 asks again, and sessions are looked at again."""
    second, _ = await world.renewed(await world.device())
    world.sessions.trouble = BrokerUnwritable()
    with pytest.raises(BrokerUnwritable):
        await world.confirm(second)
    assert [one.id for one in await world.active("sensor-1")] == [second.certificate_id]
    world.sessions.trouble = None
    await world.confirm(second)
    assert world.sessions.names == [{"sensor-1"}]


async def test_where_no_broker_runs_beside_there_is_nothing_to_end(world: RenewalWorld) -> None:
    registry = world.memory
    world.renewal = RenewalAuthority(
        RenewalPorts(registry, registry, registry, registry),
        authority=world.ca,
        nonces=world.nonces,
        clock=world.clock,
        entropy=SystemEntropy(),
    )
    second, _ = await world.renewed(await world.device())
    assert (await world.confirm(second)).id == second.certificate_id


# ── who is heard ──────────────────────────────────────────────────────────────────────────────────────


async def refused(world: RenewalWorld, body: bytes, error: type[KeybornError]) -> None:
    with pytest.raises(error):
        await world.renewal.authenticate(body, [AT], SOURCE)


async def test_a_nonce_is_good_for_one_request(world: RenewalWorld) -> None:
    first = await world.device()
    body = first.body(AT, await world.renewal.nonce())
    await world.renewal.authenticate(body, [AT], SOURCE)
    await refused(world, body, BadNonce)


async def test_a_nonce_that_is_too_old_or_made_up_is_refused(world: RenewalWorld) -> None:
    first = await world.device()
    nonce = await world.renewal.nonce()
    world.clock.turn(timedelta(minutes=5))
    await refused(world, first.body(AT, nonce), BadNonce)
    await refused(world, first.body(AT, "A" * 54), BadNonce)


async def test_only_a_good_signature_uses_a_nonce_up(world: RenewalWorld) -> None:
    first = await world.device()
    nonce = await world.renewal.nonce()
    await refused(world, first.body(AT, nonce, key=make_key()), SignatureRefused)
    await refused(world, first.body("https://elsewhere.example/v1/renew", nonce), SignedForElsewhere)
    await world.renewal.authenticate(first.body(AT, nonce), [AT], SOURCE)


async def test_an_unknown_certificate_and_a_wrong_key_sound_the_same(world: RenewalWorld) -> None:
    first = await world.device()
    stranger = Signer("sensor-1", first.key, CertificateId("0" * 64))
    sentences = set()
    for body in (
        first.body(AT, await world.renewal.nonce(), key=make_key()),
        first.body(AT, await world.renewal.nonce(), key=make_key("rsa2048")),
        stranger.body(AT, await world.renewal.nonce()),
    ):
        with pytest.raises(SignatureRefused) as refusal:
            await world.renewal.authenticate(body, [AT], SOURCE)
        sentences.add(str(refusal.value))
    assert len(sentences) == 1


async def test_another_thing_s_key_speaks_for_that_thing_alone(world: RenewalWorld) -> None:
    first, other = await world.device(), await world.device("sensor-2")
    mixed = Signer("sensor-1", other.key, first.certificate_id)
    await refused(world, mixed.body(AT, await world.renewal.nonce()), SignatureRefused)
    with pytest.raises(CsrNameMismatch):
        await world.renewal.renew(await world.prove(other), first.next_key().csr)


async def test_the_address_counts_byte_for_byte(world: RenewalWorld) -> None:
    first = await world.device()
    for other in (f"{AT}/confirm", f"{AT}/", f"{AT}?", AT.replace("gateway", "Gateway"), AT[:-1]):
        with pytest.raises(SignedForElsewhere, match="signed for another address"):
            await world.prove(first, at=other)
        world.clock.turn(timedelta(minutes=1))


async def test_a_body_that_is_no_jws_is_refused(world: RenewalWorld) -> None:
    await refused(world, b"{}", JwsMalformed)


async def test_a_certificate_that_cannot_be_read_proves_nothing(world: RenewalWorld) -> None:
    first = await world.device()
    world.memory._state.certificates[first.certificate_id] = Certificate(
        first.certificate_id,
        ThingName("sensor-1"),
        (await world.active("sensor-1"))[0].key_hash,
        b"no certificate",
        world.clock.now(),
        world.clock.now(),
    )
    await refused(world, first.body(AT, await world.renewal.nonce()), SignatureRefused)


# ── budgets and records ───────────────────────────────────────────────────────────────────────────────


async def test_strangers_are_throttled_by_address_and_devices_are_not(world: RenewalWorld) -> None:
    first = await world.device()
    for _ in range(5):
        await refused(world, b"{}", JwsMalformed)
    await refused(world, b"{}", Throttled)
    await world.prove(first)
    assert ("renew", "jws_malformed") in await world.actions()


async def test_replays_are_throttled_and_not_recorded(world: RenewalWorld) -> None:
    first = await world.device()
    records = len(await world.registry.records())
    body = first.body(AT, await world.renewal.nonce())
    await world.renewal.authenticate(body, [AT], SOURCE)
    for _ in range(5):
        await refused(world, body, BadNonce)
    await refused(world, body, Throttled)
    assert len(await world.registry.records()) == records


async def test_a_refusal_of_a_known_device_is_recorded_with_its_certificate(world: RenewalWorld) -> None:
    first = await world.device()
    with pytest.raises(CsrMalformed):
        await world.renewal.renew(await world.prove(first), "no request")
    last = (await world.registry.records())[-1].event
    assert (last.action, last.outcome, last.subject, last.actor) == (
        "renew",
        "csr_malformed",
        "sensor-1",
        first.certificate_id,
    )


async def test_a_device_that_asks_for_nonsense_without_end_is_throttled(world: RenewalWorld) -> None:
    first = await world.device()
    world.renewal = world.build_renewal(refusals=FailureBudget(burst=2, per_minute=1))
    for _ in range(2):
        with pytest.raises(CsrMalformed):
            await world.renewal.renew(await world.prove(first), None)
    with pytest.raises(Throttled):
        await world.renewal.renew(await world.prove(first), None)


async def test_who_was_revoked_does_not_fill_the_trail(world: RenewalWorld) -> None:
    first = await world.device()
    await world.things().carry_out(Order("sensor-1", ThingStatus.REVOKED))
    before = len(await world.actions())
    for _ in range(200):
        with pytest.raises(Throttled if len(await world.actions()) - before == 60 else ThingRevoked):
            await world.confirm(first)
    assert len(await world.actions()) - before == 60
    world.clock.turn(timedelta(minutes=10))
    for _ in range(20):
        with suppress(Throttled, ThingRevoked):
            await world.confirm(first)
    assert len(await world.actions()) - before == 70, "one a minute from here"


async def test_a_device_that_renews_without_end_is_slowed_down(world: RenewalWorld) -> None:
    """Each new key stays known for ever; a broken device must not fill the registry."""
    first, other = await world.device(), await world.device("sensor-2")
    world.renewal = world.build_renewal(pace=FailureBudget(burst=3, per_minute=1))
    for _ in range(3):
        await world.renewed(first)
    with pytest.raises(Throttled) as slowed:
        await world.renewed(first)
    assert slowed.value.retry_after is not None
    await world.renewed(other)
    world.clock.turn(timedelta(minutes=1))
    await world.renewed(first)


async def test_a_device_that_confirms_what_it_asked_for_is_slowed_down_too(world: RenewalWorld) -> None:
    """Each round ends with another certificate, and none of them asks more than once."""
    device = await world.device()
    world.renewal = world.build_renewal(pace=FailureBudget(burst=3, per_minute=1))
    for _ in range(3):
        device, _ = await world.renewed(device)
        await world.confirm(device)
    with pytest.raises(Throttled):
        await world.renewed(device)


async def test_a_former_key_uses_nothing_up_of_the_device_s(world: RenewalWorld) -> None:
    first = await world.device()
    second, _ = await world.renewed(first)
    await world.confirm(second)
    world.renewal = world.build_renewal(pace=FailureBudget(burst=3, per_minute=1))
    for _ in range(3):
        with pytest.raises(CertificateNotActive):
            await world.renewed(first)
    with pytest.raises(Throttled):
        await world.renewed(first)
    await world.renewed(second)


# ── what the rules say, from here ─────────────────────────────────────────────────────────────────────


async def test_a_suspended_device_does_not_renew_until_it_is_activated(world: RenewalWorld) -> None:
    first = await world.device()
    await world.things().carry_out(Order("sensor-1", ThingStatus.SUSPENDED))
    with pytest.raises(ThingRevoked, match="suspended"):
        await world.renewed(first)
    await world.things().carry_out(Order("sensor-1", ThingStatus.ACTIVE))
    await world.renewed(first)


async def test_an_expired_certificate_is_refused_but_its_signature_is_understood(world: RenewalWorld) -> None:
    first = await world.device()
    world.clock.turn(TOO_LONG)
    with pytest.raises(CertificateExpired, match="keyborn thing grace sensor-1"):
        await world.renewed(first)


async def test_the_own_key_and_a_pending_successor_are_refused(world: RenewalWorld) -> None:
    first = await world.device()
    with pytest.raises(KeyNotNew):
        await world.renewal.renew(await world.prove(first), csr_for(first.key, "sensor-1"))
    second, certificate = await world.renewed(first)
    await world.registry.connected(certificate.id, world.clock.now())
    with pytest.raises(RenewalPending):
        await world.renewed(first)
    await world.confirm(second)
    with pytest.raises(CertificateNotActive, match="revoked"):
        await world.confirm(first)


async def test_names_in_the_request_are_the_thing_s_own(world: RenewalWorld) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    first, key = await world.device(), make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sensor-1")])
    for names, error in (({"sensor-2"}, CsrForeignName), ({"sensor-1"}, None)):
        wish = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        pem = builder.add_extension(wish, critical=False).sign(key, SHA256()).public_bytes(Encoding.PEM)
        caller = await world.prove(first)
        if error is None:
            assert not (await world.renewal.renew(caller, pem.decode())).repeated
        else:
            with pytest.raises(error):
                await world.renewal.renew(caller, pem.decode())
    with pytest.raises(CsrNameMismatch):
        await world.renewal.renew(await world.prove(first), csr_for(make_key(), "AWS IoT Certificate"))


# ── crashes ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", SagaStep)
async def test_a_crash_after_any_step_is_mended_by_asking_again(world: RenewalWorld, step: SagaStep) -> None:
    first = await world.device()
    following = first.next_key()
    world.crash_at = step
    with pytest.raises(Crash):
        await world.renew(first, following)
    assert len(await world.active("sensor-1")) == (2 if step is SagaStep.ACTIVATED else 1)
    world.crash_at = None

    outcome = await world.renew(first, following)
    second = following.with_certificate(outcome.certificate.id)
    world.crash_at = SagaStep.ACTIVATED
    with pytest.raises(Crash):
        await world.confirm(second)
    world.crash_at = None

    await world.confirm(second)
    assert [one.id for one in await world.active("sensor-1")] == [second.certificate_id]


# ── its turn ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_renewal_takes_its_turn_beside_the_claim_and_pays_before_the_signature(
    world: RenewalWorld,
) -> None:
    signer = await world.device()
    following = signer.next_key()
    await world.renew(signer, following)
    place = place_name(signer.certificate_id, None)
    assert world.quota.asked == [place, "meanwhile", "demand"]
    await world.renew(signer, following)
    assert world.quota.asked[3:] == [place, "meanwhile", "back"], "a repeated answer costs nothing"
    assert world.leases.given_up == []


async def test_who_is_refused_gives_the_turn_back(world: RenewalWorld) -> None:
    signer = await world.device()
    caller = await world.prove(signer)
    with pytest.raises(CsrMalformed):
        await world.renewal.renew(caller, "no csr")
    assert world.quota.asked[-1] == "back"


async def test_whose_turn_it_is_not_comes_again_and_leaves_no_trace(world: RenewalWorld) -> None:
    signer = await world.device()
    following, before = signer.next_key(), await world.actions()
    world.quota.closed = True
    with pytest.raises(Queued):
        await world.renew(signer, following)
    assert await world.registry.leftovers(before=world.clock.now() + TOO_LONG) == []
    world.quota.closed, world.quota.late = False, True
    with pytest.raises(Queued):
        await world.renew(signer, following)
    assert [one.renews for one in world.leases.given_up] == [signer.certificate_id]
    assert world.quota.asked[-1] == "back"
    world.quota.late = False
    assert (await world.renew(signer, following)).certificate.slot is Slot.SUCCESSOR
    assert await world.actions() == [*before, ("renew", "done")]


async def test_confirming_waits_for_no_turn(world: RenewalWorld) -> None:
    signer = await world.device()
    successor, _ = await world.renewed(signer)
    world.quota.asked.clear()
    await world.confirm(successor)
    assert world.quota.asked == []
