"""Rights read again after a change: who goes on, who ends, and what an unwilling registry leads to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from keyborn.adapters.broker.admission import Doorkeeper
from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.hub import Hub
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import LastWill, Message
from keyborn.adapters.broker.packets import Connect, Prop, Reason, Subscription, Will
from keyborn.adapters.broker.refusals import Refusals
from keyborn.adapters.broker.review import Reviewer
from keyborn.adapters.broker.session import Session
from keyborn.domain.access import Action, Badge, Circumstances, ConnectAttribute, Rights, Ruling
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.thing import ThingStatus
from support.broker import Directory
from support.rights import OwnTopics

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
UNREADABLE = "the registry could not be read again"
NARROW, SHUT = PolicyName("narrow"), PolicyName("shut")


class FixedClock:
    def now(self) -> datetime:
        return NOW


class Policies(OwnTopics):
    """Own topics; with the policy ``narrow`` no subscription to b, with ``shut`` no connection at all."""

    def __init__(self) -> None:
        self.bound: list[Circumstances] = []

    def __call__(self, badge: Badge, circumstances: Circumstances) -> Rights:
        self.bound.append(circumstances)
        return super().__call__(badge, circumstances)

    def decide(self, badge: Badge, circumstances: Circumstances, action: Action, resource: str) -> Ruling:
        own = badge.thing.policies or ()
        if SHUT in own or (NARROW in own and action is Action.SUBSCRIBE and resource.endswith("b")):
            return Ruling(allowed=False, reason="denied by a policy")
        return super().decide(badge, circumstances, action, resource)


@dataclass
class Unwilling(Directory):
    """Fails as often as it is told to, for the certificates it is told."""

    failures: int = 0
    error: Callable[[], Exception] = RegistryUnavailable
    about: set[CertificateId] = field(default_factory=set)
    asked: list[CertificateId] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    async def badge(self, certificate: CertificateId) -> Badge | None:
        self.asked.append(certificate)
        if self.failures and (not self.about or certificate in self.about):
            self.failures -= 1
            raise self.error()
        badge = await super().badge(certificate)
        self.meanwhile()
        return badge


class Ear:
    """The outlet of a session."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, Reason]] = []
        self.heard: list[str] = []

    def deliver(self, message: Message, _qos: int, *, retain: bool) -> None:
        self.heard.append(message.topic)

    def displaced(self) -> None:
        self.ended.append(("displaced", Reason.SESSION_TAKEN_OVER))

    def removed(self, reason: str, code: Reason) -> None:
        self.ended.append((reason, code))


def certificate_of(name: str) -> CertificateId:
    return CertificateId(name[0] * 64)


class Stage:
    """A hub with sessions, a registry, and a reviewer that does not pause."""

    def __init__(self, attempts: int = 3, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.policies = Policies()
        self.directory = Unwilling()
        refusals = Refusals()
        gate = Gate(refusals)
        self.keeper = Doorkeeper(self.directory, gate, FixedClock(), limits, self.policies)
        self.hub = Hub(gate, refusals, limits, lambda: 1000.0)
        self.reviewer = Reviewer(self.hub, self.keeper, [0.0] * attempts)

    def join(self, name: str, *attributes: ConnectAttribute) -> tuple[Session, Ear]:
        """A device that is connected and has subscribed to a and b."""
        found = self.directory.certificates.setdefault(certificate_of(name), certificate(name))
        ear = Ear()
        me = Circumstances(name, frozenset(attributes))
        badge = Badge(found, self.directory.thing(found.thing), ())
        attached = self.hub.attach(name, self.keeper.bind(badge, me), ear, clean=False)
        assert attached is not None
        session, _ = attached
        session.circumstances, session.expiry = me, 60
        for each in "ab":
            self.hub.subscribe(session, Subscription(f"certtest/{name}/{each}", 1))
        self.policies.bound.clear()
        return session, ear

    def wait(self, name: str) -> Session:
        """A device whose session waits for it."""
        session, _ = self.join(name)
        self.hub.detach(session, None)
        return session

    def filters(self, session: Session) -> list[str]:
        return [each[-1] for each in session.subscriptions]

    async def review(self, *names: str) -> None:
        await self.reviewer.review([ThingName(each) for each in names] if names else None)


def certificate(name: str) -> Certificate:
    day = timedelta(days=1)
    return Certificate(
        certificate_of(name),
        ThingName(name),
        KeyHash("0" * 64),
        b"",
        NOW - day,
        NOW + day,
        CertificateStatus.ACTIVE,
        connected_at=NOW,
    )


@pytest.fixture
def stage() -> Stage:
    return Stage()


# ── what a change does ────────────────────────────────────────────────────────────────────────────────


async def test_a_subscription_that_is_denied_now_ends_and_the_session_stays(stage: Stage) -> None:
    session, ear = stage.join("dev")
    stage.directory.attach("dev", NARROW)
    await stage.review("dev")
    assert stage.filters(session) == ["a"]
    assert ear.ended == []


async def test_who_may_not_connect_any_more_is_closed_and_leaves_no_will(stage: Stage) -> None:
    session, ear = stage.join("dev")
    stage.directory.attach("dev", SHUT)
    await stage.review("dev")
    assert ear.ended == [("its policies no longer let it connect", Reason.NOT_AUTHORIZED)]
    assert stage.hub.sessions.find("dev") is None
    assert session.subscriptions == {}


async def test_wider_rights_are_felt_at_once(stage: Stage) -> None:
    session, _ = stage.join("dev")
    stage.directory.attach("dev", NARROW)
    await stage.review("dev")
    stage.directory.attach("dev")
    await stage.review("dev")
    assert session.principal.rights.decide(Action.SUBSCRIBE, "certtest/dev/b").allowed


async def test_a_waiting_session_is_reviewed_like_an_open_one(stage: Stage) -> None:
    narrowed, shut = stage.wait("narrowed"), stage.wait("shut")
    shut.will = (2000.0, LastWill.of(Will("certtest/shut/w", b"", properties={Prop.WILL_DELAY: 9})))
    stage.directory.attach("narrowed", NARROW)
    stage.directory.attach("shut", SHUT)
    await stage.review()
    assert stage.filters(narrowed) == ["a"]
    assert stage.hub.sessions.find("shut") is None
    assert shut.will is None, "an operator's change is not the client's vanishing"


async def test_only_those_who_are_named_are_asked_about(stage: Stage) -> None:
    one, _ = stage.join("one")
    two, _ = stage.join("two")
    for name in ("one", "two"):
        stage.directory.attach(name, NARROW)
    await stage.review("one", "nobody")
    assert stage.directory.asked == [certificate_of("one")]
    assert (stage.filters(one), stage.filters(two)) == (["a"], ["a", "b"])
    await stage.review()
    assert stage.filters(two) == ["a"]


async def test_rights_are_bound_with_what_the_sessions_own_connect_asked_for(stage: Stage) -> None:
    session, _ = stage.join("dev", ConnectAttribute.WILL)
    await stage.review()
    assert stage.policies.bound == [session.circumstances]


async def test_two_sessions_of_one_certificate_cost_one_question(stage: Stage) -> None:
    session, _ = stage.join("dev")
    attached = stage.hub.attach("second", session.principal, Ear(), clean=True)
    assert attached is not None
    await stage.review("dev")
    assert stage.directory.asked == [certificate_of("dev")]
    assert stage.hub.sessions.find("second") is None, "its client id is not the thing's name"
    assert stage.hub.sessions.find("dev") is session


# ── badges that are no good any more ──────────────────────────────────────────────────────────────────


async def test_an_open_session_whose_certificate_is_not_live_is_closed(stage: Stage) -> None:
    _, ear = stage.join("dev")
    stage.directory.set_status(certificate_of("dev"), CertificateStatus.REVOKED)
    await stage.review("dev")
    assert ear.ended == [("the certificate is revoked", Reason.NOT_AUTHORIZED)]


async def test_a_waiting_session_outlasts_its_certificate_but_not_its_thing(stage: Stage) -> None:
    session = stage.wait("dev")
    stage.directory.set_status(certificate_of("dev"), CertificateStatus.REVOKED)
    await stage.review("dev")
    assert stage.hub.sessions.find("dev") is session
    thing = stage.directory.thing(ThingName("dev"))
    stage.directory.things[thing.name] = replace(thing, status=ThingStatus.SUSPENDED)
    await stage.review("dev")
    assert stage.hub.sessions.find("dev") is None


@pytest.mark.parametrize("status", [ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_a_thing_that_is_not_in_good_standing_is_closed(stage: Stage, status: ThingStatus) -> None:
    _, ear = stage.join("dev")
    thing = stage.directory.thing(ThingName("dev"))
    stage.directory.things[thing.name] = replace(thing, status=status)
    await stage.review()
    assert ear.ended == [(f"the thing is {status.value}", Reason.NOT_AUTHORIZED)]


async def test_a_certificate_that_the_registry_has_forgotten_ends_its_sessions(stage: Stage) -> None:
    _, ear = stage.join("dev")
    stage.wait("gone")
    stage.directory.certificates.clear()
    await stage.review()
    assert ear.ended == [("the registry does not know the certificate", Reason.NOT_AUTHORIZED)]
    assert len(stage.hub.sessions) == 0


# ── a registry that does not answer ───────────────────────────────────────────────────────────────────


async def test_a_registry_that_fails_twice_is_asked_a_third_time(stage: Stage) -> None:
    session, ear = stage.join("dev")
    stage.directory.attach("dev", NARROW)
    stage.directory.failures = 2
    await stage.review()
    assert len(stage.directory.asked) == 3
    assert (stage.filters(session), ear.ended) == (["a"], [])


@pytest.mark.parametrize("error", [RegistryUnavailable, ZeroDivisionError])
async def test_what_cannot_be_read_in_the_end_is_closed(stage: Stage, error: type[Exception]) -> None:
    _, ear = stage.join("dev")
    stage.wait("idle")
    stage.directory.failures, stage.directory.error = 99, error
    await stage.review()
    assert ear.ended == [(UNREADABLE, Reason.ADMINISTRATIVE_ACTION)]
    assert len(stage.hub.sessions) == 0


async def test_one_record_that_cannot_be_read_takes_nobody_else_along(stage: Stage) -> None:
    _, bad = stage.join("bad")
    good, ear = stage.join("good")
    stage.directory.attach("good", NARROW)
    stage.directory.failures, stage.directory.about = 99, {certificate_of("bad")}
    await stage.review()
    assert bad.ended == [(UNREADABLE, Reason.ADMINISTRATIVE_ACTION)]
    assert (stage.filters(good), ear.ended) == (["a"], [])


async def test_a_registry_that_hangs_is_not_waited_for_once_per_session() -> None:
    stage = Stage(attempts=2, limits=Limits(admission_seconds=0.005))
    ears = [stage.join(name)[1] for name in ("one", "two", "3", "4", "5")]
    stage.directory.open.clear()
    await stage.review()
    assert len(stage.directory.asked) == 2
    assert all(ear.ended == [(UNREADABLE, Reason.ADMINISTRATIVE_ACTION)] for ear in ears)


async def test_one_record_that_hangs_takes_nobody_else_along() -> None:
    stage = Stage(limits=Limits(admission_seconds=0.005))
    _, bad = stage.join("bad")
    good, ear = stage.join("good")
    stage.directory.attach("good", NARROW)
    stage.directory.failures, stage.directory.about = 99, {certificate_of("bad")}
    stage.directory.error = TimeoutError
    await stage.review()
    assert bad.ended == [(UNREADABLE, Reason.ADMINISTRATIVE_ACTION)]
    assert (stage.filters(good), ear.ended) == (["a"], [])


# ── what happens meanwhile ────────────────────────────────────────────────────────────────────────────


async def test_who_has_connected_again_meanwhile_keeps_the_newer_answer(stage: Stage) -> None:
    session, _ = stage.join("dev")

    def connect_again() -> None:
        stage.directory.meanwhile = lambda: None
        stage.directory.attach("dev")
        stage.join("dev")

    stage.directory.attach("dev", SHUT)
    stage.directory.meanwhile = connect_again
    await stage.review("dev")
    assert stage.hub.sessions.find("dev") is session
    assert session.principal.rights.decide(Action.CONNECT, "dev").allowed


async def test_who_has_gone_meanwhile_is_left_alone(stage: Stage) -> None:
    session, ear = stage.join("dev")
    stage.directory.meanwhile = lambda: stage.hub.end(session)
    await stage.review("dev")
    assert ear.ended == []


async def test_an_admission_under_way_is_asked_about_again_and_not_refused(stage: Stage) -> None:
    stage.directory.certificates[certificate_of("dev")] = certificate("dev")
    stage.directory.open.clear()
    connect = Connect(5, "dev")
    coming = asyncio.create_task(stage.keeper.admit(certificate_of("dev"), connect, "peer"))
    await asyncio.sleep(0)
    stage.directory.attach("dev", NARROW)
    reviewing = asyncio.create_task(stage.review("dev"))
    await asyncio.sleep(0)
    stage.directory.open.set()
    rights = (await coming).principal.rights
    await reviewing
    assert not rights.decide(Action.SUBSCRIBE, "certtest/dev/b").allowed
    assert stage.directory.asked == [certificate_of("dev")] * 2


async def test_another_things_review_does_not_make_an_admission_ask_again(stage: Stage) -> None:
    stage.directory.certificates[certificate_of("dev")] = certificate("dev")
    stage.directory.open.clear()
    coming = asyncio.create_task(stage.keeper.admit(certificate_of("dev"), Connect(5, "dev"), "peer"))
    await asyncio.sleep(0)
    await stage.review("other")
    stage.directory.open.set()
    await coming
    assert len(stage.directory.asked) == 1


async def test_a_routine_look_that_began_before_a_review_looks_again(stage: Stage) -> None:
    session, _ = stage.join("dev")
    stage.directory.open.clear()
    looking = asyncio.create_task(stage.keeper.renewed(certificate_of("dev"), session.circumstances))
    await asyncio.sleep(0)
    stage.directory.attach("dev", NARROW)
    stage.keeper.reviewed(None)
    stage.directory.open.set()
    principal = await looking
    assert principal is not None
    assert not principal.rights.decide(Action.SUBSCRIBE, "certtest/dev/b").allowed


async def test_the_later_of_two_reviews_has_the_last_word(stage: Stage) -> None:
    session, _ = stage.join("dev")
    stage.directory.open.clear()
    stage.directory.attach("dev")
    first = asyncio.create_task(stage.review("dev"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stage.directory.attach("dev", NARROW)
    second = asyncio.create_task(stage.review("dev"))
    await asyncio.sleep(0)
    stage.directory.open.set()
    await asyncio.gather(first, second)
    assert stage.filters(session) == ["a"]


async def test_a_long_review_lets_others_have_their_turn(stage: Stage) -> None:
    session, _ = stage.join("dev")
    for number in range(200):
        principal = replace(session.principal, certificate=CertificateId(f"{number:064x}"))
        stage.hub.attach(f"client-{number}", principal, Ear(), clean=True)
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(somebody_else())
    await stage.review()
    other.cancel()
    assert turns >= 5
