"""The rude world itself: what it does to effects, and that one seed is one run."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.api_key import ApiKey, ApiKeyId, Role
from keyborn.domain.audit import ChainHead
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.enrollment import Issue
from keyborn.domain.errors import KeybornError, NotFound, RegistryUnavailable, Unavailable
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.pruning import Pruned
from keyborn.domain.roots import Belief, RootSet
from keyborn.domain.search import Search
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.domain.token import TokenId
from keyborn.ports import (
    CertificateAuthority,
    GroupingRegistry,
    Registry,
    RenewingRegistry,
)
from keyborn.testing import (
    Crash,
    FaultyBeliefs,
    FaultyCheckpoints,
    FaultyKeys,
    FaultyScale,
    Moment,
    Point,
    Rudeness,
    SeededEntropy,
    SkewedClock,
    SteppedLoop,
    VirtualClock,
    World,
    every_crash,
    interleave,
    pause,
    run,
)
from support.exports import NOTARY
from support.grouping_cases import GroupingDesk, Rule, hourly, proving, registered
from support.registry_cases import START, Desk, event, make_token
from support.renewing_cases import RenewingDesk

# ── time and entropy ──────────────────────────────────────────────────────────────────────────────────


def test_a_virtual_clock_moves_only_when_told() -> None:
    clock = VirtualClock(START)
    assert clock.now() == clock.now() == START
    assert clock.advance(timedelta(hours=1, microseconds=1500)) == START + timedelta(hours=1, milliseconds=1)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(timedelta(seconds=-1))


def test_a_skewed_clock_is_off_by_as_much_as_told() -> None:
    clock = VirtualClock(START)
    behind = SkewedClock(clock, timedelta(days=-400))
    clock.advance(timedelta(hours=1))
    assert behind.now() == START + timedelta(hours=1, days=-400)


def test_one_seed_is_one_stream_of_bytes() -> None:
    one, same, other = SeededEntropy(7), SeededEntropy(7), SeededEntropy(8)
    first = one.token_bytes(32)
    assert len(first) == 32
    assert same.token_bytes(32) == first
    assert other.token_bytes(32) != first
    assert one.token_bytes(32) != first


# ── stepping ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_coroutine_runs_to_its_end_without_a_loop() -> None:
    async def work() -> int:
        for _ in range(3):
            await pause()
        return 7

    assert run(work()) == 7


def test_waiting_for_a_real_thing_without_a_loop_is_said() -> None:
    loop = asyncio.new_event_loop()

    async def work() -> None:
        await loop.create_future()

    with pytest.raises(RuntimeError, match="needs an event loop"):
        run(work())
    loop.close()


def test_interleaving_tries_different_orders_and_repeats_them_by_seed() -> None:
    def orders(seed: int) -> str:
        seen: list[str] = []

        async def work(name: str) -> str:
            for _ in range(3):
                seen.append(name)
                await pause()
            if name == "c":
                raise Crash(name)
            return name

        ended = interleave(Random(seed), work("a"), work("b"), work("c"))
        assert ended[:2] == ["a", "b"]
        assert isinstance(ended[2], Crash)
        return "".join(seen)

    assert orders(1) == orders(1)
    assert len({orders(seed) for seed in range(30)}) > 10


def test_a_stepped_loop_sleeps_in_no_time() -> None:
    clock = VirtualClock(START)

    async def work() -> list[str]:
        seen: list[str] = []

        async def later(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(name)

        await asyncio.gather(later("day", 86_400), later("hour", 3600), later("minute", 60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return seen

    with asyncio.Runner(loop_factory=lambda: SteppedLoop(clock)) as runner:
        assert runner.run(work()) == ["minute", "hour", "day"]
    assert timedelta(days=1, seconds=30) <= clock.now() - START < timedelta(days=1, seconds=31)


def test_a_stepped_loop_still_hears_other_threads() -> None:
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        assert runner.run(asyncio.to_thread(Path.cwd)) == Path.cwd()


# ── effects ───────────────────────────────────────────────────────────────────────────────────────────


async def count(done: list[int]) -> int:
    done.append(1)
    return len(done)


def test_a_polite_world_changes_nothing() -> None:
    world, done = World(1), list[int]()
    assert run(world.effect("x", lambda: count(done))) == 1
    assert world.journal == ["x"]


def test_a_refusal_happens_before_and_a_lost_reply_after_the_effect() -> None:
    for rudeness, effects in ((Rudeness(refusal=1), 0), (Rudeness(lost_reply=1), 1)):
        world, done = World(1, rudeness), list[int]()
        with pytest.raises(RegistryUnavailable):
            run(world.effect("x", lambda done=done: count(done)))  # type: ignore[misc] # bound here
        assert len(done) == effects


def test_a_duplicate_is_done_twice_and_answers_first() -> None:
    world, done = World(1, Rudeness(duplicate=1)), list[int]()
    assert run(world.effect("x", lambda: count(done))) == 1
    assert len(done) == 2
    run(world.effect("x", lambda: count(done), repeatable=False))
    assert len(done) == 3


def test_latency_lets_others_run_and_time_pass() -> None:
    world = World(1, Rudeness(latency=1, slowness=timedelta(seconds=10)), START)
    seen: list[str] = []

    async def work(name: str) -> None:
        for _ in range(5):
            await world.effect(name, lambda: count([]))
            seen.append(name)

    interleave(world.random, work("a"), work("b"))
    assert "".join(seen) not in ("aaaaabbbbb", "bbbbbaaaaa")
    assert world.clock.now() > START


@pytest.mark.parametrize(("moment", "effects"), [(Moment.BEFORE, 1), (Moment.AFTER, 2)])
def test_a_scripted_crash_happens_once_at_its_turn(moment: Moment, effects: int) -> None:
    world, done = World(1), list[int]()
    world.crash_at(Point("x", moment, turn=2))
    run(world.effect("x", lambda: count(done)))
    with pytest.raises(Crash, match=f"{moment} x, turn 2"):
        run(world.effect("x", lambda: count(done)))
    assert len(done) == effects

    with pytest.raises(Crash):
        run(world.effect("y", lambda: count(done)))
    assert len(done) == effects, "a dead process has no effects"

    world.reboot()
    for _ in range(3):
        run(world.effect("x", lambda: count(done)))
    assert len(done) == effects + 3


def test_a_crash_ends_everybody_who_was_under_way() -> None:
    world = World(3, Rudeness(latency=1))
    world.crash_at(Point("x", Moment.AFTER, turn=2))
    alive: list[bool] = []

    async def act() -> None:
        alive.append(not world.dead)

    ended = interleave(world.random, *(world.effect("x", act) for _ in range(5)))

    assert sum(isinstance(one, Crash) for one in ended) >= 2
    assert all(alive), "a dead process has no effects"


def test_a_crash_is_no_exception_that_code_could_swallow() -> None:
    assert not issubclass(Crash, Exception)


def test_one_seed_is_one_run() -> None:
    rudeness = Rudeness(0.3, 0.2, 0.2, 0.2, 0.1)

    def story(seed: int) -> list[str]:
        world, told = World(seed, rudeness), list[str]()
        for _ in range(40):
            try:
                told.append(str(run(world.effect("x", lambda: count([])))))
            except RegistryUnavailable:
                told.append("unavailable")
            except Crash as crash:
                told.append(str(crash))
                world.reboot()
        return told

    assert story(5) == story(5)
    assert story(5) != story(6)
    assert len(Counter(story(5))) > 3


# ── the wrapped ports ─────────────────────────────────────────────────────────────────────────────────


class Signer:
    """A certificate authority that signs anything."""

    async def issue(self, _approved: ApprovedRequest) -> bytes:
        return b"der"

    def chain_pem(self, der: bytes | None = None) -> str:
        return "chain"

    def roots_pem(self) -> str:
        return "roots"


def test_the_authority_s_trouble_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApprovedRequest, "__post_init__", lambda _self: None)
    approved = ApprovedRequest(intent=None, public_key_der=b"", csr_pem="", seal=None)  # type: ignore[arg-type] # unread
    signer: CertificateAuthority = World(1).authority(Signer())
    assert run(signer.issue(approved)) == b"der"
    assert (signer.chain_pem(), signer.roots_pem()) == ("chain", "roots")
    with pytest.raises(Unavailable) as refusal:
        run(World(1, Rudeness(refusal=1)).authority(Signer()).issue(approved))
    assert not isinstance(refusal.value, RegistryUnavailable)


async def tour(registry: Registry) -> None:
    """Call every method of the port once."""
    desk = Desk(registry)
    token = await desk.token("secret")
    certificate = await desk.enroll(token, "lamp-1", "k1")
    issue = await desk.claim(token, "lamp-2", "k2")
    assert await desk.connect(certificate) == await registry.certificate(certificate.id)
    assert (await registry.leftovers(before=START + timedelta(days=1)))[0] == issue.intent
    assert await desk.drop(issue)
    assert (await desk.thing("lamp-1")).status is ThingStatus.ACTIVE
    assert len(await registry.things()) == len(await registry.tokens()) == 1
    assert len(await registry.certificates(ThingName("lamp-1"))) == 1
    await desk.order("lamp-1", ThingStatus.SUSPENDED)
    await registry.append(event())
    assert await registry.find(token.id) == token
    await registry.withdraw(token.id, event())
    await policy_tour(desk, certificate.id)
    assert len(await registry.records()) == 10


async def policy_tour(desk: Desk, certificate: CertificateId) -> None:
    """Call every method about policies once; a thing lamp-1 must be there."""
    registry = desk.registry
    kept = await desk.put("fleet")
    assert (await desk.attach("lamp-1", "fleet")).policies == (DEFAULT_POLICY, "fleet")
    assert await registry.users(kept.name) == ["lamp-1"]
    badge = await registry.badge(certificate)
    assert badge is not None
    assert badge.policies == (kept,)
    assert (await desk.detach("lamp-1", "fleet")).policies == (DEFAULT_POLICY,)
    assert await registry.policies() == [await registry.policy(kept.name)]
    await desk.remove("fleet")


async def renewing_tour(registry: RenewingRegistry) -> None:
    """Call every method of renewal once."""
    desk = RenewingDesk(registry)
    first = await desk.enroll(await desk.token("of lamp-9"), "lamp-9", "k8")
    second = await desk.confirm(await desk.renew(first, "k9"))
    third = await desk.renew(second, "k10")
    assert await desk.overdue(timedelta(days=-1)) == [third]
    assert await desk.withdraw(third)
    assert await desk.active("lamp-9") == [second]
    assert (await desk.grace("lamp-9", START)).grace_until == START


async def grouping_tour(registry: GroupingRegistry) -> None:
    """Call every method of groups once; what is said twice counts once."""
    desk, known = GroupingDesk(registry), registered("k9", "lamp-7")
    group = await desk.put_group()
    assert await registry.group(group.name) == group
    await desk.join(await desk.token("of lamp-7"), "lamp-7", "k7")
    assert [use.taken for use in await registry.groups()] == [1]
    assert (await desk.release("lamp-7")).release_until is not None
    assert (await desk.move("lamp-7", None)).group is None
    assert (await desk.describe("lamp-7", {"a": "1"})).attributes == {"a": "1"}
    await desk.register(known)
    assert await registry.registered(known.key_hash) == known
    assert await registry.registered_in(known.group) == [known]
    await desk.unregister("k9")
    decided = await desk.decide(await desk.ask(desk.wish("lamp-8")))
    assert await registry.approval(decided.id) == decided
    assert await registry.approvals(decided.state) == [decided]
    await registry.forget_approvals(before=START + timedelta(days=1))
    assert await registry.approvals(decided.state) == []
    await desk.remove_group()
    assert await registry.group(group.name) is None
    assert (await desk.told())[-1] == "group.remove"


async def believing_tour(beliefs: FaultyBeliefs, registry: MemoryRegistry) -> None:
    """Call every method that is about roots once; what is said twice counts once."""
    desk, roots = Desk(registry), RootSet("0" * 64)
    kept = await desk.enroll(await desk.token("of lamp-5"), "lamp-5", "k5")
    await beliefs.note_roots(kept.id, roots, START)
    assert await beliefs.belief(ThingName("lamp-5")) == Belief(ThingName("lamp-5"), roots, START)
    assert await beliefs.root_sets() == [(roots, 1)]
    assert await beliefs.lacking(roots) == []
    assert await beliefs.count_holders(b"issuer", START) == 0
    assert await beliefs.holders(b"issuer", START) == []


async def signing_tour(checkpoints: FaultyCheckpoints) -> None:
    """Call every method that is about checkpoints once."""
    signed = NOTARY.checkpoint(ChainHead(1, "a" * 64))
    await checkpoints.add_checkpoint(signed)
    assert await checkpoints.latest_checkpoint() == signed
    assert await checkpoints.checkpoints() == [signed]


async def operating_tour(keys: FaultyKeys) -> None:
    """Call every method that is about remote operators once; what is said twice counts once."""
    key = ApiKey(ApiKeyId("a0"), bytes(32), "alice", Role.VIEWER, START, START + timedelta(days=1))
    await keys.add_api_key(key, event())
    assert await keys.api_key(key.id) == key
    ended = await keys.withdraw_api_key(key.id, event())
    assert await keys.api_keys() == [ended]


async def scale_tour(scale: FaultyScale, registry: MemoryRegistry) -> None:
    """Find, count and forget once; what is forgotten twice counts once."""
    desk, late = Desk(registry), START + timedelta(days=30)
    kept = await desk.enroll(await desk.token("of lamp-3"), "lamp-3", "k3")
    assert [one.name for one in await scale.find_things(Search(prefix="lamp-"))] == [kept.thing]
    assert (await scale.census(START)).certificates == {CertificateStatus.ACTIVE: 1}
    assert await scale.due(before=late) == Pruned(redemptions=1)
    assert await scale.prune(event("prune"), before=late) == Pruned(redemptions=1)
    assert [one.event.action for one in await registry.records()].count("prune") == 1


def test_every_method_of_the_registry_is_a_named_effect() -> None:
    world = World(1)
    run(operating_tour(world.keys(MemoryRegistry())))
    run(scale_tour(world.scale(finding := MemoryRegistry()), finding))
    run(signing_tour(world.checkpoints(MemoryRegistry())))
    run(believing_tour(world.beliefs(believing := MemoryRegistry()), believing))
    run(tour(world.registry(MemoryRegistry())))
    run(renewing_tour(world.renewing(MemoryRegistry())))
    run(grouping_tour(world.grouping(MemoryRegistry())))
    methods = {name for name in dir(MemoryRegistry) if not name.startswith("_")}
    assert {name.removeprefix("registry.") for name in world.journal} == methods


def test_a_duplicating_world_holds_the_registry_s_promises() -> None:
    run(tour(World(1, Rudeness(duplicate=1)).registry(MemoryRegistry())))
    run(renewing_tour(World(1, Rudeness(duplicate=1)).renewing(MemoryRegistry())))
    run(grouping_tour(World(1, Rudeness(duplicate=1)).grouping(MemoryRegistry())))
    real = MemoryRegistry()
    run(believing_tour(World(1, Rudeness(duplicate=1)).beliefs(real), real))
    run(signing_tour(World(1, Rudeness(duplicate=1)).checkpoints(MemoryRegistry())))
    run(operating_tour(World(1, Rudeness(duplicate=1)).keys(MemoryRegistry())))
    run(scale_tour(World(1, Rudeness(duplicate=1)).scale(finding := MemoryRegistry()), finding))


def test_a_lost_reply_about_a_policy_is_mended_by_asking_again() -> None:
    """Put, attach and detach are repeated without a second effect; what was removed is not found."""
    real = MemoryRegistry()
    run(Desk(real).enroll(run(Desk(real).token("secret")), "lamp-1", "k1"))
    before = len(run(real.records()))
    deaf, hearing = Desk(World(1, Rudeness(lost_reply=1)).registry(real)), Desk(real)

    for order in ("put", "attach", "detach"):
        arguments = ("fleet",) if order == "put" else ("lamp-1", "fleet")
        with pytest.raises(RegistryUnavailable):
            run(getattr(deaf, order)(*arguments))
        run(getattr(hearing, order)(*arguments))
    with pytest.raises(RegistryUnavailable):
        run(deaf.remove("fleet"))
    with pytest.raises(NotFound):
        run(hearing.remove("fleet"))
    assert len(run(real.records())) == before + 4


def test_services_are_listed_through_the_world() -> None:
    real = MemoryRegistry()
    desk = Desk(World(1).registry(real))
    token = run(desk.token("secret", kind=ThingKind.SERVICE))
    run(desk.claim(token, "collector", "k1"))
    assert [one.name for one in run(desk.registry.things(kind=ThingKind.SERVICE))] == ["collector"]
    assert run(desk.registry.things()) == []


def test_a_saga_that_crashes_anywhere_ends_with_one_active_certificate() -> None:
    """The walk: find the points, crash at each, start again, look."""

    async def enroll(desk: Desk, registry: Registry) -> None:
        desk.registry = registry
        await desk.enroll(make_token("secret", uses=1), "lamp-1", "k1")

    def prepared() -> tuple[World, Registry]:
        registry = MemoryRegistry()
        run(registry.add(make_token("secret", uses=1), event()))
        return World(1), registry

    world, real = prepared()
    run(enroll(Desk(real), world.registry(real)))
    points = list(every_crash(world.journal))
    assert len(points) == 6

    for point in points:
        world, real = prepared()
        world.crash_at(point)
        desk = Desk(real)
        with pytest.raises(Crash):
            run(enroll(desk, world.registry(real)))
        world.reboot()
        run(enroll(desk, world.registry(real)))
        (certificate,) = run(real.certificates(ThingName("lamp-1")))
        assert certificate.status is CertificateStatus.ACTIVE, point
        assert [use.uses_taken for use in run(real.tokens())] == [1]


@pytest.mark.parametrize("seed", range(40))
def test_a_rude_world_never_makes_two_certificates_of_one_request(seed: int) -> None:
    rudeness = Rudeness(latency=0.5, refusal=0.1, lost_reply=0.1, duplicate=0.1, crash=0.05)
    world, real = World(seed, rudeness, START), MemoryRegistry()
    run(real.add(make_token("secret", uses=1), event()))
    desk = Desk(world.registry(real))

    async def device() -> None:
        for _ in range(20):
            try:
                await desk.enroll(make_token("secret", uses=1), "lamp-1", "k1")
            except KeybornError as refusal:
                assert refusal.code == "registry_unavailable"  # noqa: PT017 - a retry is the point
            else:
                return

    for _ in range(100):
        ended = interleave(world.random, *(device() for _ in range(5)))
        world.reboot()
        if not any(isinstance(one, Crash) for one in ended):
            break
    (certificate,) = run(real.certificates(ThingName("lamp-1")))
    assert certificate.status is CertificateStatus.ACTIVE
    assert run(real.leftovers(before=START + timedelta(days=1))) == []


def test_an_unknown_token_or_certificate_is_none_in_any_world() -> None:
    registry = World(1).registry(MemoryRegistry())
    assert run(registry.find(TokenId("t0000000000000000"))) is None
    assert run(registry.certificate(CertificateId("0" * 64))) is None
    assert run(registry.badge(CertificateId("0" * 64))) is None
    assert run(registry.policy(PolicyName("fleet"))) is None


def test_a_claim_through_the_world_is_a_claim() -> None:
    real = MemoryRegistry()
    desk = Desk(World(1).registry(real))
    token = run(desk.token("secret"))
    assert isinstance(run(desk.claim(token, "lamp-1", "k1")), Issue)
    assert run(real.thing(ThingName("lamp-1"))) is not None


def test_every_crash_of_a_claim_under_a_group_is_settled_by_the_next_attempt() -> None:
    """The accounts, too: whatever was paid before the crash is paid once."""
    rule = Rule(limit=1, rate=hourly(1))

    def prepared() -> tuple[World, MemoryRegistry]:
        registry = MemoryRegistry()
        run(GroupingDesk(registry).put_group())
        return World(1), registry

    world, real = prepared()
    run(GroupingDesk(world.grouping(real)).join(proving("chip", uses=1), "lamp-1", "k1", rule))
    for point in every_crash(world.journal):
        world, real = prepared()
        world.crash_at(point)
        desk = GroupingDesk(world.grouping(real))
        with pytest.raises(Crash):
            run(desk.join(proving("chip", uses=1), "lamp-1", "k1", rule))
        world.reboot()
        certificate = run(desk.join(proving("chip", uses=1), "lamp-1", "k1", rule))
        assert certificate.status is CertificateStatus.ACTIVE, point
        assert run(desk.taken()) == 1
