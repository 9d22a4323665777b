"""Who is admitted, what the registry is asked, and what happens when it changes its mind meanwhile."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keyborn.adapters.broker.admission import Doorkeeper, Refused, asked_for
from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.packets import Connect, Prop, Properties, Reason, Refused311, Will
from keyborn.adapters.broker.refusals import Refusals
from keyborn.domain.access import Badge, Circumstances, ConnectAttribute
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.thing import ThingKind, ThingStatus
from support.broker import Directory
from support.rights import OwnTopics

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = CertificateId("a" * 64)
DEV = ThingName("dev")
PRETENDING = (("keyborn:thing", "somebody"),)
WILL, PERSISTENT = ConnectAttribute.WILL, ConnectAttribute.PERSISTENT
LASTING: Properties = {Prop.SESSION_EXPIRY: 1}


class FixedClock:
    def now(self) -> datetime:
        return NOW


def certificate(**changes: object) -> Certificate:
    facts: dict[str, object] = {
        "id": ID,
        "thing": DEV,
        "key_hash": KeyHash("0" * 64),
        "der": b"",
        "not_before": NOW - timedelta(days=1),
        "not_after": NOW + timedelta(days=1),
        "status": CertificateStatus.ACTIVE,
    }
    return Certificate(**{**facts, **changes})  # type: ignore[arg-type] # each value has its field's type


class Door:
    def __init__(self, found: Certificate | None, limits: Limits | None = None) -> None:
        self.directory = Directory({} if found is None else {ID: found})
        gate = Gate(Refusals())
        self.keeper = Doorkeeper(self.directory, gate, FixedClock(), limits or Limits(), OwnTopics())

    async def refusal(self, connect: Connect) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.keeper.admit(ID, connect, "1.2.3.4:5")
        assert self.directory.first_connections == []
        return caught.value


def hello(client_id: str = "dev", will: Will | None = None) -> Connect:
    return Connect(5, client_id, will=will)


async def test_the_first_connection_is_recorded_once() -> None:
    door = Door(certificate())
    admitted = await door.keeper.admit(ID, hello(), "peer")
    assert (admitted.principal.thing, admitted.principal.certificate) == ("dev", ID)
    assert admitted.certificate.connected_at == NOW
    await door.keeper.admit(ID, hello(), "peer")
    assert door.directory.first_connections == [ID]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "the registry does not know the certificate"),
        (certificate(status=CertificateStatus.INACTIVE), "the certificate is inactive"),
        (certificate(status=CertificateStatus.REVOKED), "the certificate is revoked"),
        (certificate(not_after=NOW - timedelta(milliseconds=1)), "the certificate is expired"),
        (certificate(not_before=NOW + timedelta(milliseconds=1)), "the certificate is not valid yet"),
    ],
)
async def test_a_certificate_that_is_not_live_is_refused(found: Certificate | None, why: str) -> None:
    refused = await Door(found).refusal(hello())
    assert (refused.why, refused.reason) == (why, Reason.NOT_AUTHORIZED)
    assert refused.return_code == Refused311.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("client_id", "reason", "code"),
    [
        ("other", Reason.NOT_AUTHORIZED, 5),
        ("DEV", Reason.NOT_AUTHORIZED, 5),
        ("dev ", Reason.NOT_AUTHORIZED, 5),
        ("", Reason.CLIENT_ID_NOT_VALID, 2),
        ("é" * 65, Reason.CLIENT_ID_NOT_VALID, 2),
    ],
)
async def test_another_client_id_is_refused(client_id: str, reason: Reason, code: int) -> None:
    refused = await Door(certificate()).refusal(hello(client_id))
    assert (refused.reason, refused.return_code) == (reason, code)


@pytest.mark.parametrize(
    ("will", "reason"),
    [
        (Will("certtest/other", b""), Reason.NOT_AUTHORIZED),
        (Will("$aws/things/dev", b""), Reason.NOT_AUTHORIZED),
        (Will("certtest/dev", b"", 2), Reason.QOS_NOT_SUPPORTED),
        (Will("certtest/dev/#", b""), Reason.TOPIC_NAME_INVALID),
        (Will("", b""), Reason.TOPIC_NAME_INVALID),
        (Will("certtest/dev" + "/x" * 7, b""), Reason.TOPIC_NAME_INVALID),
        (Will("certtest/dev", b"x" * 131_073), Reason.PACKET_TOO_LARGE),
        (Will("certtest/dev", b"", properties={Prop.USER_PROPERTY: PRETENDING}), Reason.NOT_AUTHORIZED),
    ],
)
async def test_a_will_that_may_not_be_sent_is_refused_at_the_door(will: Will, reason: Reason) -> None:
    assert (await Door(certificate()).refusal(hello(will=will))).reason is reason


async def test_extended_authentication_is_not_offered() -> None:
    connect = Connect(5, "dev", properties={Prop.AUTH_METHOD: "SCRAM"})
    assert (await Door(certificate()).refusal(connect)).reason is Reason.BAD_AUTHENTICATION_METHOD


async def test_a_registry_that_cannot_answer_means_later_not_never() -> None:
    door = Door(certificate())
    door.directory.available = False
    refused = await door.refusal(hello())
    assert (refused.reason, refused.return_code) == (Reason.SERVER_UNAVAILABLE, 3)


async def test_a_registry_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    door = Door(certificate(), Limits(admission_seconds=0.01))
    door.directory.open.clear()
    assert (await door.refusal(hello())).reason is Reason.SERVER_UNAVAILABLE


async def test_a_certificate_that_vanishes_between_two_questions_is_refused() -> None:
    class Forgetful(Directory):
        async def badge(self, certificate: CertificateId) -> Badge | None:
            badge = await super().badge(certificate)
            del self.certificates[certificate]
            return badge

    door = Door(certificate())
    door.keeper._directory = Forgetful({ID: certificate()})
    with pytest.raises(Refused) as caught:
        await door.keeper.admit(ID, hello(), "peer")
    assert caught.value.reason is Reason.NOT_AUTHORIZED


async def test_who_is_evicted_while_the_registry_is_asked_does_not_slip_in() -> None:
    door = Door(certificate())
    door.directory.open.clear()
    task = asyncio.create_task(door.keeper.admit(ID, hello(), "peer"))
    await asyncio.sleep(0)
    door.keeper.evicted(DEV)
    door.directory.open.set()
    with pytest.raises(Refused, match="evicted while connecting"):
        await task
    await door.keeper.admit(ID, hello(), "peer")


async def test_another_things_eviction_disturbs_nobody() -> None:
    door = Door(certificate())
    door.keeper.evicted(DEV)
    door.directory.open.clear()
    task = asyncio.create_task(door.keeper.admit(ID, hello(), "peer"))
    await asyncio.sleep(0)
    door.keeper.evicted(ThingName("other"))
    door.directory.open.set()
    assert (await task).principal.thing == DEV
    assert door.keeper._evictions._of == {}, "nothing is remembered when nobody is asking"


async def test_an_open_session_outlives_an_outage_and_not_a_revocation() -> None:
    door = Door(certificate())
    me = Circumstances("dev")
    assert (await door.keeper.renewed(ID, me)) is not None
    door.directory.available = False
    assert (await door.keeper.renewed(ID, me)) is None
    door.directory.available = True
    door.directory.set_status(ID, CertificateStatus.REVOKED)
    for gone in (ID, CertificateId("f" * 64)):
        with pytest.raises(Refused):
            await door.keeper.renewed(gone, me)


# ── records, and what a connection adds to them ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("connect", "attributes"),
    [
        (Connect(4, "dev"), set()),
        (Connect(4, "dev", clean_start=False), {PERSISTENT}),
        (Connect(4, "dev", will=Will("certtest/dev", b"")), {WILL}),
        (Connect(4, "dev", clean_start=False, will=Will("certtest/dev", b"")), {WILL, PERSISTENT}),
        (Connect(5, "dev"), set()),
        (Connect(5, "dev", clean_start=False), set()),
        (Connect(5, "dev", clean_start=True, properties=LASTING), {PERSISTENT}),
        (Connect(5, "dev", clean_start=False, properties={Prop.SESSION_EXPIRY: 0}), set()),
        (Connect(5, "dev", will=Will("certtest/dev", b""), properties=LASTING), {WILL, PERSISTENT}),
    ],
)
async def test_what_a_connect_asks_for_beyond_a_plain_connection(
    connect: Connect, attributes: set[ConnectAttribute]
) -> None:
    assert asked_for(connect) == attributes
    admitted = await Door(certificate()).keeper.admit(ID, connect, "peer")
    assert admitted.circumstances == Circumstances("dev", frozenset(attributes))


@pytest.mark.parametrize("status", [ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_a_thing_that_is_not_in_good_standing_is_refused(status: ThingStatus) -> None:
    door = Door(certificate())
    door.directory.things[DEV] = replace(door.directory.thing(DEV), status=status)
    refused = await door.refusal(hello())
    assert (refused.why, refused.thing) == (f"the thing is {status.value}", DEV)
    assert refused.reason is Reason.NOT_AUTHORIZED


async def test_a_service_is_admitted_as_what_it_is() -> None:
    door = Door(certificate())
    door.directory.things[DEV] = replace(door.directory.thing(DEV), kind=ThingKind.SERVICE)
    assert (await door.keeper.admit(ID, hello(), "peer")).principal.kind is ThingKind.SERVICE


async def test_a_fault_in_the_registry_does_not_end_an_open_session() -> None:
    class Broken(Directory):
        async def badge(self, certificate: CertificateId) -> Badge | None:
            raise ZeroDivisionError

    door = Door(certificate())
    door.keeper._directory = Broken()
    assert await door.keeper.renewed(ID, Circumstances("dev")) is None
