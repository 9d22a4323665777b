"""An enrollment against AWS IoT and DynamoDB, end to end, as the stand-in plays them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from keyborn.adapters.aws.authority import IotAuthority
from keyborn.adapters.aws.revoker import Revoker
from keyborn.adapters.aws.settle import Settlement
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import AwsRefused, EnrollmentInterrupted, ThingRevoked, Unavailable
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.service.sweep import Sweeper
from keyborn.service.things import Order
from support.aws_faults import ENDLESS, Fault, Killed, Plan
from support.aws_saga import ACCOUNT, IMPATIENT, LAMP, LEASE, NoBody, Process, Stage
from support.csr_make import make_csr


@pytest.fixture
async def stage(ground: Stage) -> Stage:
    """An account with the service, and nobody enrolled."""
    await ground.prepare()
    return ground


@pytest.fixture
async def one(stage: Stage) -> AsyncIterator[Process]:
    """A process of the service."""
    async with stage.process() as process:
        yield process


def requests_of(stage: Stage, operation: str) -> list[dict[str, Any]]:
    """What is asked of an operation from now on."""
    asked: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: object) -> None:
        asked.append(params)

    stage.iot.client.meta.events.register(f"provide-client-params.iot.{operation}", note)
    return asked


async def test_a_device_gets_a_certificate_with_its_thing_and_its_policy(stage: Stage, one: Process) -> None:
    given = await one.enroll(stage.csr)
    stage.assert_enrolled(given.certificate.id)
    assert not given.repeated
    assert given.certificate.status is CertificateStatus.ACTIVE
    assert given.certificate.not_after.year == 2049, "AWS IoT chooses the dates"
    assert await one.registry.certificate(given.certificate.id) == given.certificate
    assert [record.event.action for record in await one.registry.records()][-1] == "enroll"


async def test_the_thing_is_exclusively_the_certificate_s_and_of_our_type(stage: Stage, one: Process) -> None:
    asked = requests_of(stage, "AttachThingPrincipal")
    await one.enroll(stage.csr, attributes={"room": "kitchen"})
    assert [params["thingPrincipalType"] for params in asked] == ["EXCLUSIVE_THING"]
    thing = stage.iot.client.describe_thing(thingName=LAMP)
    assert (thing["thingTypeName"], thing["attributes"]) == ("keyborn-device", {"room": "kitchen"})


async def test_a_repeat_gives_the_same_certificate_and_signs_nothing(stage: Stage, one: Process) -> None:
    first = await one.enroll(stage.csr)
    stage.iot.plan()
    async with stage.process() as another:
        again = await another.enroll(stage.csr)
    assert (again.certificate, again.repeated) == (first.certificate, True)
    assert [call.operation for call in stage.iot.calls] == []


async def test_the_calls_of_a_new_device(stage: Stage, one: Process) -> None:
    stage.iot.plan()
    stage.dynamodb.plan()
    await one.enroll(stage.csr)
    assert [call.operation for call in stage.dynamodb.calls] == ["TransactWriteItems"] * 3
    assert sorted([call.operation for call in stage.iot.calls]) == [
        "AttachPolicy",
        "AttachThingPrincipal",
        "CreateCertificateFromCsr",
        "CreateThing",
        "UpdateCertificate",
    ]


async def test_fifty_equal_requests_at_once_give_one_certificate(stage: Stage) -> None:
    async def ask(process: Process) -> str:
        while True:
            try:
                return (await process.enroll(stage.csr)).certificate.id
            except Unavailable:
                await asyncio.sleep(0.05)  # as a device does

    async with stage.process(threads=64) as process, asyncio.timeout(60):
        given = await asyncio.gather(*(ask(process) for _ in range(50)))
    assert len(set(given)) == 1
    assert list(stage.certificates()) == [given[0]]
    stage.assert_enrolled(given[0])


async def test_revoking_ends_the_certificate_and_the_session(stage: Stage, one: Process) -> None:
    given = await one.enroll(stage.csr)
    await stage.things(one).carry_out(Order(LAMP, ThingStatus.REVOKED))
    assert stage.certificates() == {given.certificate.id: "REVOKED"}
    assert len(stage.closed) == 1
    assert f"/connections/{LAMP}?" in stage.closed[0]
    assert "preventWillMessage=true" in stage.closed[0]
    assert "cleanSession=true" in stage.closed[0]
    await stage.settle(timedelta(hours=1))
    assert stage.certificates() == {given.certificate.id: "REVOKED"}


async def test_suspending_switches_off_and_activating_on_again(stage: Stage, one: Process) -> None:
    given = await one.enroll(stage.csr)
    await stage.things(one).carry_out(Order(LAMP, ThingStatus.SUSPENDED))
    assert stage.certificates() == {given.certificate.id: "INACTIVE"}
    await stage.things(one).carry_out(Order(LAMP, ThingStatus.ACTIVE))
    stage.assert_enrolled(given.certificate.id)


@pytest.mark.parametrize("operation", ["CreateCertificateFromCsr", "AttachPolicy", "UpdateCertificate"])
@pytest.mark.parametrize("order", [ThingStatus.REVOKED, ThingStatus.SUSPENDED])
async def test_an_order_that_comes_while_an_enrollment_is_slow_wins(
    stage: Stage, operation: str, order: ThingStatus
) -> None:
    async with stage.process() as slow, stage.process() as operator:
        with stage.held(f"after-call.iot.{operation}") as (came, go):
            enrolling = asyncio.create_task(slow.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            await operator.registry.set_status(LAMP, order, stage.event("order"))
            go.set()
            with pytest.raises(ThingRevoked):
                await enrolling
    assert stage.active() == []
    await stage.settle(LEASE + timedelta(hours=1))
    assert stage.active() == []
    stage.assert_foreign_untouched()


async def test_an_order_that_aws_iot_does_not_hear_is_carried_out_later(stage: Stage, one: Process) -> None:
    given = await one.enroll(stage.csr)
    stage.iot.plan(Plan(Fault.THROTTLED, times=ENDLESS))
    async with stage.process(patience=IMPATIENT) as hasty:
        with pytest.raises(Unavailable):
            await hasty.registry.set_status(LAMP, ThingStatus.REVOKED, stage.event("order"))
    stage.iot.plan()
    assert stage.active() == [given.certificate.id]
    settled = await stage.settle()
    assert (settled.told, settled.troubles) == (1, [])
    assert stage.certificates() == {given.certificate.id: "REVOKED"}
    assert len(stage.closed) == 1, "the sweeper ends the session, too"


async def test_policies_follow_the_record(stage: Stage, one: Process) -> None:
    given = (await one.enroll(stage.csr)).certificate.id
    await stage.put(one, "extra", "Connect")
    await one.registry.attach_policy(LAMP, PolicyName("extra"), stage.event())
    assert stage.policies(given) == ["kb-extra", f"kb-{DEFAULT_POLICY}"]
    await one.registry.detach_policy(LAMP, DEFAULT_POLICY, stage.event())
    assert stage.policies(given) == ["kb-extra"]
    await one.registry.detach_policy(LAMP, PolicyName("extra"), stage.event())
    assert stage.policies(given) == []
    await one.registry.remove_policy(PolicyName("extra"), stage.event())
    names = [found["policyName"] for found in stage.iot.client.list_policies()["policies"]]
    assert names == [f"kb-{DEFAULT_POLICY}"]


async def test_the_default_policy_can_be_taken_from_who_has_it_by_default(stage: Stage, one: Process) -> None:
    given = (await one.enroll(stage.csr)).certificate.id
    await one.registry.detach_policy(LAMP, DEFAULT_POLICY, stage.event())
    assert stage.policies(given) == []


@contextmanager
def five_versions_at_most(stage: Stage) -> Iterator[None]:
    """The stand-in keeps any number of versions: here the sixth is refused as AWS IoT does it."""
    client, events = stage.stack.client("iot"), stage.iot.client.meta.events

    def refuse(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if len(client.list_policy_versions(policyName="kb-extra")["policyVersions"]) < 5:
            return None
        return AWSResponse(request.url, 409, {"x-amzn-errortype": "VersionsLimitExceededException"}, NoBody())

    events.register_first("before-send.iot.CreatePolicyVersion", refuse)
    yield
    events.unregister("before-send.iot.CreatePolicyVersion", refuse)


async def test_a_policy_has_five_versions_at_most_and_the_newest_counts(stage: Stage, one: Process) -> None:
    with five_versions_at_most(stage):
        for action in ("Connect", "Publish", "Receive", "Subscribe", "RetainPublish", "Connect", "Publish"):
            kept = await stage.put(one, "extra", action)
            now = stage.iot.client.get_policy(policyName="kb-extra")["policyDocument"]
            assert now == kept.document.text
    versions = stage.iot.client.list_policy_versions(policyName="kb-extra")["policyVersions"]
    assert sorted(version["versionId"] for version in versions) == ["3", "4", "5", "6", "7"]
    await one.registry.remove_policy(PolicyName("extra"), stage.event())


async def test_putting_the_same_text_again_mends_what_was_changed_by_hand(stage: Stage, one: Process) -> None:
    kept = await stage.put(one, "extra", "Connect")
    stage.iot.client.delete_policy(policyName="kb-extra")
    again = await stage.put(one, "extra", "Connect")
    assert again.version == kept.version
    assert stage.iot.client.get_policy(policyName="kb-extra")["policyDocument"] == kept.document.text


async def test_nothing_is_left_to_settle_after_a_good_enrollment(stage: Stage, one: Process) -> None:
    given = await one.enroll(stage.csr)
    settled = await stage.settle(timedelta(hours=1))
    assert (settled.dropped, settled.told, settled.strays, settled.troubles) == (0, 0, 0, [])
    assert settled.records > 0
    stage.assert_enrolled(given.certificate.id)


@pytest.mark.parametrize(
    "moment", ["before-send.iot.CreateCertificateFromCsr", "after-call.iot.AttachPolicy"]
)
async def test_whoever_comes_back_after_its_lease_gets_the_certificate_of_who_took_over(
    stage: Stage, moment: str
) -> None:
    async with stage.process() as slow, stage.process() as other:
        with stage.held(moment) as (came, go):
            enrolling = asyncio.create_task(slow.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            settled = await stage.settle(LEASE + timedelta(seconds=1))
            assert (settled.rescued, settled.troubles) in ((0, []), (1, []))
            given = await other.enroll(stage.csr)
            go.set()
            late = await enrolling
    assert late.certificate.id == given.certificate.id
    assert stage.active() == [given.certificate.id]
    await stage.settle(timedelta(hours=1))
    assert stage.certificates() == {given.certificate.id: "ACTIVE"}
    stage.assert_enrolled(given.certificate.id)


async def test_a_policy_that_is_given_while_an_enrollment_is_slow_is_given(stage: Stage) -> None:
    async with stage.process() as slow, stage.process() as operator:
        await stage.put(operator, "extra", "Connect")
        with stage.held("after-call.iot.CreateCertificateFromCsr") as (came, go):
            enrolling = asyncio.create_task(slow.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            await operator.registry.attach_policy(LAMP, PolicyName("extra"), stage.event())
            await operator.registry.detach_policy(LAMP, DEFAULT_POLICY, stage.event())
            go.set()
            given = await enrolling
    await stage.settle()
    assert stage.policies(given.certificate.id) == ["kb-extra"]


async def test_a_replaced_key_s_certificate_is_cleared_away(stage: Stage, one: Process) -> None:
    await one.enroll(stage.csr)
    await one.registry.set_status(LAMP, ThingStatus.REVOKED, stage.event("order"))
    swap = await stage.token(one, "swap", pattern=LAMP, replaces=True)
    second = await one.enroll(make_csr(LAMP)[1], secret=swap)
    await stage.settle(timedelta(hours=1))
    assert stage.certificates() == {second.certificate.id: "ACTIVE"}
    stage.assert_enrolled(second.certificate.id)


async def test_a_successor_s_predecessor_goes_when_the_successor_has_connected(
    stage: Stage, one: Process
) -> None:
    await one.enroll(stage.csr)
    swap = await stage.token(one, "swap", pattern=LAMP, replaces=True)
    second = await one.enroll(make_csr(LAMP)[1], secret=swap)
    assert len(stage.active()) == 2
    await one.registry.connected(second.certificate.id, stage.clock.now())
    await stage.settle()
    assert stage.certificates() == {second.certificate.id: "ACTIVE"}
    stage.assert_enrolled(second.certificate.id)


async def test_a_service_has_a_certificate_and_a_policy_but_no_thing(stage: Stage, one: Process) -> None:
    await stage.put(one, "watch", "Connect")
    secret = await stage.token(one, "service", pattern=LAMP, kind=ThingKind.SERVICE, policies=["watch"])
    given = await one.enroll(stage.csr, secret=secret)
    assert stage.active() == [given.certificate.id]
    assert stage.policies(given.certificate.id) == ["kb-watch"]
    assert stage.thing_names() == []


async def test_a_thing_of_another_type_is_never_deleted(stage: Stage, one: Process) -> None:
    stage.iot.client.create_thing(thingName=LAMP)
    stage.iot.plan(Plan(Fault.BROKEN, times=ENDLESS, operations={"CreateCertificateFromCsr"}))
    with pytest.raises(Unavailable):
        await one.enroll(stage.csr)
    stage.iot.plan()
    for _ in range(2):
        assert (await stage.settle(timedelta(hours=1))).troubles == []
    assert stage.thing_names() == [LAMP]


async def test_a_stray_that_somebody_bound_to_another_thing_is_left_alone(stage: Stage, one: Process) -> None:
    stage.iot.plan(Plan(Fault.UNHEARD, operations={"CreateCertificateFromCsr"}, times=ENDLESS))
    with pytest.raises(Unavailable):
        await one.enroll(stage.csr)
    stage.iot.plan()
    stray = next(iter(stage.certificates()))
    stage.iot.client.create_thing(thingName="theirs")
    arn = f"{ACCOUNT.prefix}:cert/{stray}"
    stage.iot.client.attach_thing_principal(thingName="theirs", principal=arn)
    for _ in range(2):
        await stage.settle(timedelta(hours=1))
    assert stage.certificates() == {stray: "INACTIVE"}


@contextmanager
def unheard(stage: Stage, *operations: str) -> Iterator[None]:
    """Answers to these calls get lost."""
    with stage.iot.planned(Plan(Fault.UNHEARD, operations=operations, times=ENDLESS)):
        yield


async def test_nobody_s_certificate_is_taken_for_a_stray_while_its_process_is_at_work(stage: Stage) -> None:
    with unheard(stage, "CreateCertificateFromCsr"):
        async with stage.process(patience=IMPATIENT) as unlucky:
            with pytest.raises(Unavailable):
                await unlucky.enroll(stage.csr)
    async with stage.process() as slow:
        with stage.held("after-call.iot.CreateCertificateFromCsr") as (came, go):
            enrolling = asyncio.create_task(slow.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            settled = await stage.settle(LEASE / 2)
            assert (settled.strays, settled.rescued) == (0, 0)
            go.set()
            given = await enrolling
    stage.assert_enrolled(given.certificate.id)
    assert (await stage.settle(timedelta(hours=1))).strays == 1
    assert stage.certificates() == {given.certificate.id: "ACTIVE"}


async def test_whoever_sleeps_past_its_lease_can_neither_store_nor_activate(stage: Stage) -> None:
    async with stage.process() as slow:
        with stage.held("after-call.iot.CreateCertificateFromCsr") as (came, go):
            enrolling = asyncio.create_task(slow.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            settled = await stage.settle(LEASE)
            assert (settled.strays, settled.rescued) == (1, 1)
            go.set()
            with pytest.raises(EnrollmentInterrupted):
                await enrolling
        assert stage.certificates() == {}
        given = await slow.enroll(stage.csr)
    stage.assert_enrolled(given.certificate.id)


async def test_a_run_of_the_sweeper_that_meets_faults_does_the_rest_and_the_next_run_all(
    stage: Stage, one: Process
) -> None:
    given = await one.enroll(stage.csr)
    await DynamoRegistry.set_status(one.registry, LAMP, ThingStatus.REVOKED, stage.event("order"))
    stage.iot.plan(Plan(Fault.UNREACHED, times=ENDLESS))
    async with stage.process(patience=IMPATIENT) as hasty:
        sweep = Sweeper(leftovers=hasty.registry, clock=stage.clock).sweep
        settlement = Settlement(registry=hasty.registry, iot=hasty.iot, clock=stage.clock, sweep=sweep)
        settled = await settlement.settle()
    stage.iot.plan()
    assert (settled.told, settled.troubles) == (0, ["aws_outage (iot:UpdateCertificate)"])
    assert settled.records > 0, "the chain grows all the same"
    assert (await stage.settle()).told == 1
    assert stage.certificates() == {given.certificate.id: "REVOKED"}


@contextmanager
def refused_for(stage: Stage, certificate: str) -> Iterator[None]:
    """AWS IoT refuses to switch this one certificate."""
    events = stage.iot.client.meta.events

    def refuse(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if certificate not in request.url:
            return None
        return AWSResponse(request.url, 401, {"x-amzn-errortype": "UnauthorizedException"}, NoBody())

    events.register_first("before-send.iot.UpdateCertificate", refuse)
    yield
    events.unregister("before-send.iot.UpdateCertificate", refuse)


async def test_one_certificate_that_aws_iot_does_not_revoke_keeps_no_other_from_it(
    stage: Stage, one: Process
) -> None:
    first = (await one.enroll(stage.csr)).certificate.id
    swap = await stage.token(one, "swap", pattern=LAMP, replaces=True)
    second = (await one.enroll(make_csr(LAMP)[1], secret=swap)).certificate.id
    with refused_for(stage, first), pytest.raises(Unavailable):
        await one.registry.set_status(LAMP, ThingStatus.REVOKED, stage.event("order"))
    assert stage.certificates() == {first: "ACTIVE", second: "REVOKED"}
    await one.registry.set_status(LAMP, ThingStatus.REVOKED, stage.event("order"))
    assert stage.certificates() == {first: "REVOKED", second: "REVOKED"}


async def test_where_the_table_refuses_the_last_word_nothing_is_left_active(
    stage: Stage, one: Process
) -> None:
    """Permission was taken away in the middle: AWS proves that nothing was written."""
    events, seen = stage.dynamodb.client.meta.events, count()

    def refuse(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if next(seen) < 2:
            return None
        return AWSResponse(request.url, 400, {"x-amzn-errortype": "AccessDeniedException"}, NoBody())

    events.register_first("before-send.dynamodb.TransactWriteItems", refuse)
    try:
        with pytest.raises(AwsRefused, match="TransactWriteItems"):
            await one.enroll(stage.csr)
    finally:
        events.unregister("before-send.dynamodb.TransactWriteItems", refuse)
    assert list(stage.certificates().values()) == ["INACTIVE"]
    stage.clock.ahead += LEASE + timedelta(seconds=1)
    given = await one.enroll(stage.csr)
    assert stage.certificates() == {given.certificate.id: "ACTIVE"}, "the same one, not another"


async def test_ending_a_session_that_is_not_open_is_success(stage: Stage) -> None:
    client = stage.stack.client("iot-data")

    def nobody(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 404, {"x-amzn-errortype": "ResourceNotFoundException"}, NoBody())

    client.meta.events.register("before-send.iot-data.DeleteConnection", nobody)
    assert await Revoker(client).evict(LAMP, "for a test") == 0
    await Revoker(client).review({LAMP})
    assert await Revoker(stage.data).evict(LAMP, "for a test") == 1


async def test_a_connection_that_aws_iot_does_not_end_is_an_error(stage: Stage) -> None:
    with pytest.raises(AwsRefused, match="iot:DeleteConnection"):
        await Revoker(stage.stack.client("iot-data")).evict(LAMP, "the stand-in cannot do it")


async def test_the_authority_shows_no_issuer_and_signs_only_what_is_approved(
    stage: Stage, one: Process
) -> None:
    authority = IotAuthority(one.iot, one.registry, roots_pem="roots")
    assert (authority.chain_pem(), authority.roots_pem()) == ("", "roots")
    with pytest.raises(TypeError):
        await authority.issue(stage.csr)  # type: ignore[arg-type] # what must not be signed
    assert stage.certificates() == {}


@pytest.mark.parametrize(
    ("order", "becomes"), [(ThingStatus.REVOKED, "REVOKED"), (ThingStatus.SUSPENDED, "INACTIVE")]
)
async def test_an_order_is_repeated_when_whoever_was_at_work_cannot_undo_it_any_more(
    stage: Stage, order: ThingStatus, becomes: str
) -> None:
    """A request to activate may be carried out by AWS after its sender has died and the order was obeyed."""
    stage.iot.plan(Plan(Fault.KILLED, times=ENDLESS, operations={"UpdateCertificate"}))
    async with stage.process() as dying:
        with pytest.raises(Killed):
            await dying.enroll(stage.csr)
    stage.iot.plan()
    async with stage.process() as operator:
        await operator.registry.set_status(LAMP, order, stage.event("order"))
    certificate = next(iter(stage.certificates()))
    assert stage.certificates() == {certificate: becomes}
    stage.iot.client.update_certificate(certificateId=certificate, newStatus="ACTIVE")
    await stage.settle(LEASE)
    assert stage.certificates() == {certificate: becomes}


async def test_what_was_suspended_half_way_is_completed_when_it_is_activated_again(stage: Stage) -> None:
    stage.iot.plan(Plan(Fault.KILLED, times=ENDLESS, operations={"UpdateCertificate"}))
    async with stage.process() as dying:
        with pytest.raises(Killed):
            await dying.enroll(stage.csr)
    stage.iot.plan()
    async with stage.process() as operator:
        await operator.registry.set_status(LAMP, ThingStatus.SUSPENDED, stage.event("order"))
        await operator.registry.set_status(LAMP, ThingStatus.ACTIVE, stage.event("order"))
    stage.clock.ahead += LEASE + timedelta(seconds=1)
    async with stage.process() as process:
        given = await process.enroll(stage.csr)
    await stage.settle()
    assert stage.certificates() == {given.certificate.id: "ACTIVE"}
    stage.assert_enrolled(given.certificate.id)
