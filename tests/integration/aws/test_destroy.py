"""``keyborn aws destroy`` on the stand-in: devices first, then the stack, and nothing is left."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.bucket import CodeBucket
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.adapters.aws.stack.removal import Removal
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.errors import StackFailed, ThingNotCleared
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.policies import device_policy
from support.aws_deployer import BUCKET, STACK, Deployer
from support.csr_make import make_csr
from support.ministack import REGION
from support.registry_cases import document, event
from support.stack import everything


def foreign(deployer: Deployer) -> str:
    """A certificate and a thing of somebody else's."""
    iot = deployer.aws.root("iot")
    made = iot.create_certificate_from_csr(certificateSigningRequest=make_csr("alien")[1])
    iot.create_thing(thingName="alien")
    iot.attach_thing_principal(thingName="alien", principal=made["certificateArn"])
    return str(made["certificateId"])


async def fleet(deployer: Deployer, stack: str = STACK) -> None:
    """A device in each state, a service, a policy of the operator's own."""
    for name in ("active-1", "suspended-1", "revoked-1", "renamed-1"):
        await deployer.enroll(name, stack=stack)
    await deployer.enroll("backend-1", stack=stack, kind=ThingKind.SERVICE)
    now = datetime.now(UTC)
    async with deployer.registry(stack) as registry:
        own = AccessPolicy(PolicyName("narrow"), document("Connect"), now)
        await registry.put_policy(own, event("policy.put", "narrow", now))
        name = ThingName("active-1")
        await registry.attach_policy(name, PolicyName("narrow"), event("policy.attach", name, now))
        for name, status in (
            (ThingName("suspended-1"), ThingStatus.SUSPENDED),
            (ThingName("revoked-1"), ThingStatus.REVOKED),
        ):
            await registry.set_status(name, status, event("thing.status", name, now))


def things(deployer: Deployer) -> list[str]:
    """Every thing of the account."""
    return [one["thingName"] for one in deployer.aws.root("iot").list_things()["things"]]


def test_after_it_nothing_is_left_but_what_was_there_before(deployer: Deployer) -> None:
    alien = foreign(deployer)
    before = everything(deployer.aws)
    deployer.deploy()
    asyncio.run(fleet(deployer))
    assert len(deployer.certificates()) == 6
    told = json.loads(deployer.destroy("--json").stdout)
    assert everything(deployer.aws) == before
    assert deployer.buckets() == []
    assert deployer.certificates() == {alien: "INACTIVE"}
    assert things(deployer) == ["alien"]
    assert (told["things"], told["certificates"], told["policies"]) == (5, 5, ["narrow"])


def test_it_says_what_it_leaves_and_the_registry_goes_last(deployer: Deployer) -> None:
    deployer.deploy()
    asyncio.run(deployer.enroll("lamp-1"))
    said = deployer.destroy()
    assert said.stdout.startswith(
        f"The stack {STACK} is removed. What is left:\n- DynamoDB's own last backup"
    )
    assert f"The bucket {BUCKET} is removed." in said.stderr
    assert "Sessions that were open" in said.stdout
    lines = said.stderr.splitlines()
    gone = [line.split()[-1] for line in lines if line.startswith("DELETE_COMPLETE")]
    assert gone.index("Table") > max(gone.index("ThingType"), gone.index("DefaultPolicy"))
    assert gone.index("Table") > max(gone.index("EnrollFunction"), gone.index("SweepFunction"))


@pytest.mark.whole
def test_versions_of_the_default_policy_do_not_keep_the_stack(deployer: Deployer) -> None:
    deployer.deploy()
    for prefix in ("two", "three"):
        deployer.deploy("--topic-prefix", prefix)
    name = f"{STACK}_keyborn-default"
    assert len(deployer.aws.root("iot").list_policy_versions(policyName=name)["policyVersions"]) > 2
    deployer.destroy()
    assert everything(deployer.aws)["policies"] == []


@pytest.mark.whole
def test_an_enrolment_that_was_broken_off_a_moment_ago_leaves_nothing(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.deploy()
    with monkeypatch.context() as patched:
        patched.setattr("keyborn.adapters.aws.iot.Iot.attach_thing", _die)
        patched.setattr("keyborn.adapters.aws.iot.Iot.set_status", _die)
        with pytest.raises(RuntimeError):
            asyncio.run(deployer.enroll("lamp-1"))
    assert len(deployer.certificates()) == 1
    deployer.destroy()
    assert deployer.certificates() == {}
    assert things(deployer) == []


def _die(*_: object) -> None:
    raise RuntimeError("the process ends here")


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_types_another_name_removes_nothing(deployer: Deployer) -> None:
    deployer.deploy()
    asyncio.run(deployer.enroll("lamp-1"))
    before = everything(deployer.aws)
    for answer in ("yes\n", "KB\n", "\n"):
        said = deployer.keyborn("destroy", "--stack", STACK, typed=answer, expect=1)
        assert "This removes 1 devices and services for good" in said.stderr
        assert "That is not its name. Nothing was removed." in said.stderr
    assert everything(deployer.aws) == before
    assert set(deployer.certificates().values()) == {"ACTIVE"}


def test_the_stacks_name_at_the_terminal_removes_it(deployer: Deployer) -> None:
    deployer.deploy()
    deployer.keyborn("destroy", "--stack", STACK, typed=f"{STACK}\n")
    assert everything(deployer.aws)["tables"] == []


def test_where_nobody_can_be_asked_yes_has_to_be_said(deployer: Deployer) -> None:
    assert "say --yes to remove the stack" in deployer.keyborn("destroy", expect=2).stderr


def test_where_there_is_nothing_to_remove_that_is_said_with_the_place_and_it_is_no_failure(
    deployer: Deployer,
) -> None:
    said = deployer.destroy()
    assert said.stdout.startswith(
        f"There is nothing to remove: no stack is called {STACK} in {REGION}, account 000000000000."
    )
    assert "is removed" not in said.output
    assert "--region" in said.stdout, "a wrong region is what it may be"


def test_whoever_repeats_it_is_told_that_nothing_is_there_any_more(deployer: Deployer) -> None:
    deployer.deploy()
    first = json.loads(deployer.destroy("--json").stdout)
    again = json.loads(deployer.destroy("--json").stdout)
    assert (first["removed"], again["removed"]) == (True, False)
    for told in (first, again):
        assert (told["stack"], told["region"], told["account"]) == (STACK, REGION, "000000000000")
    assert first.keys() == again.keys(), "who reads one can read the other"
    assert (again["things"], again["certificates"], again["policies"], again["left"]) == (0, 0, [], [])


def test_where_there_is_nothing_to_remove_nobody_is_asked(deployer: Deployer) -> None:
    said = deployer.keyborn("destroy", "--stack", STACK, typed="")
    assert "Type the stack's name" not in said.output
    assert "There is nothing to remove" in said.stdout


# ── two stacks ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.whole
def test_another_stack_keeps_its_devices_and_the_code(deployer: Deployer) -> None:
    deployer.deploy()
    deployer.deploy(stack="kb2")
    asyncio.run(fleet(deployer))
    lamp = asyncio.run(deployer.enroll("lamp-2", stack="kb2"))
    said = deployer.destroy()
    assert f"The bucket {BUCKET}: kb2 has its code there." in said.stdout
    assert deployer.buckets() == [BUCKET]
    assert deployer.certificates() == {lamp: "ACTIVE"}
    assert things(deployer) == ["lamp-2"]
    deployer.destroy(stack="kb2")
    assert deployer.buckets() == []
    assert everything(deployer.aws)["tables"] == []


# ── broken off ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.whole
def test_broken_off_before_the_stack_goes_it_can_be_repeated(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.deploy()
    asyncio.run(fleet(deployer))
    with monkeypatch.context() as patched:
        patched.setattr(Removal, "delete", _interrupt)
        said = deployer.keyborn("destroy", "--stack", STACK, "--yes", expect=1)
    assert "Interrupted. Nothing is lost that is needed to go on: repeat the command." in said.stderr
    assert deployer.certificates() == {}
    deployer.destroy()
    assert everything(deployer.aws)["tables"] == []


def test_broken_off_before_the_bucket_goes_a_repeat_removes_that(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.deploy()
    with monkeypatch.context() as patched:
        patched.setattr(CodeBucket, "remove", _interrupt)
        deployer.keyborn("destroy", "--stack", STACK, "--yes", expect=1)
    assert deployer.buckets() == [BUCKET]
    deployer.destroy()
    assert deployer.buckets() == []


def test_while_devices_are_taken_away_none_comes_in_and_a_deploy_opens_again(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.deploy()
    with monkeypatch.context() as patched:
        patched.setattr("keyborn.wiring.aws_stack.clear_devices", _interrupt)
        deployer.keyborn("destroy", "--stack", STACK, "--yes", expect=1)
    functions, iot = deployer.aws.root("lambda"), deployer.aws.root("iot")
    kind = iot.describe_thing_type(thingTypeName=f"{STACK}_device")["thingTypeMetadata"]
    assert kind["deprecated"] is True
    kept = functions.get_function_concurrency(FunctionName=f"{STACK}-enroll")
    assert kept["ReservedConcurrentExecutions"] == 0
    deployer.deploy()
    kind = iot.describe_thing_type(thingTypeName=f"{STACK}_device")["thingTypeMetadata"]
    assert kind["deprecated"] is False
    for one in ("enroll", "sweep"):
        kept = functions.get_function_concurrency(FunctionName=f"{STACK}-{one}")
        assert "ReservedConcurrentExecutions" not in kept


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.whole
def test_a_thing_of_ours_with_somebody_elses_certificate_stops_it_before_the_stack(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyborn.adapters.aws.stack.clearing.ROUNDS", 2)
    monkeypatch.setattr("keyborn.adapters.aws.stack.clearing.PAUSE", 0.01)
    deployer.deploy()
    asyncio.run(deployer.enroll("lamp-1"))
    iot = deployer.aws.root("iot")
    alien = iot.create_certificate_from_csr(certificateSigningRequest=make_csr("alien")[1])
    iot.attach_thing_principal(thingName="lamp-1", principal=alien["certificateArn"])
    error = deployer.refusal("destroy", "--stack", STACK, "--yes")
    assert isinstance(error, ThingNotCleared)
    assert "lamp-1" in str(error)
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"
    iot.detach_thing_principal(thingName="lamp-1", principal=alien["certificateArn"])
    deployer.destroy()
    assert deployer.certificates() == {alien["certificateId"]: "INACTIVE"}


# ── the thing type's five minutes ─────────────────────────────────────────────────────────────────────


def blocked(deployer: Deployer) -> Removal:
    """A removal whose thing type AWS IoT does not let go of."""
    deployer.deploy()
    deployer.aws.root("iot").create_thing(thingName="late", thingTypeName=f"{STACK}_device")
    orders = Orders(AwsSession())
    removal = Removal(orders, orders.place(), STACK, lambda _line: None)
    removal.look()
    removal.close()
    return removal


@pytest.mark.whole
def test_five_minutes_after_the_thing_type_was_deprecated_the_stack_goes(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    removal, waited = blocked(deployer), list[float]()

    def wait(_removal: Removal, seconds: float) -> None:
        waited.append(seconds)
        deployer.aws.root("iot").delete_thing(thingName="late")

    monkeypatch.setattr(Removal, "_pause", wait)
    removal.delete()
    (span,) = waited
    assert 280 < span <= 310
    assert everything(deployer.aws)["types"] == []


def test_what_fails_for_another_reason_is_not_waited_for(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.deploy()
    asyncio.run(deployer.enroll("lamp-1"))

    def no_clearing(*_: object) -> None:
        """Devices stay: the policy cannot be deleted either."""

    monkeypatch.setattr(Removal, "table", None)
    monkeypatch.setattr(Removal, "things", lambda _removal: [])
    monkeypatch.setattr(Removal, "_pause", no_clearing)
    error = deployer.refusal("destroy", "--stack", STACK, "--yes")
    assert isinstance(error, StackFailed)
    assert error.facts["state"] == "DELETE_FAILED"
    monkeypatch.undo()


# ── the registry is gone, the stack is not ────────────────────────────────────────────────────────────


@pytest.mark.whole
def test_without_its_registry_a_stack_goes_with_the_things_of_its_type_and_no_others(
    deployer: Deployer,
) -> None:
    alien = foreign(deployer)
    deployer.deploy()
    deployer.deploy(stack="kb2")
    for name, stack in (("lamp-1", STACK), ("lamp-2", STACK), ("pump-1", "kb2")):
        asyncio.run(deployer.enroll(name, stack=stack))
    deployer.aws.root("iot").create_thing(thingName="bare", thingTypeName=f"{STACK}_device")
    deployer.aws.root("dynamodb").delete_table(TableName=deployer.outputs().table)
    said = deployer.destroy()
    assert f"The registry is gone already; AWS IoT lists 3 things of type {STACK}_device." in said.stderr
    assert "3 devices and services are taken away; now the stack." in said.stderr
    assert "Sessions that were open" in said.stdout
    assert sorted(things(deployer)) == ["alien", "pump-1"]
    assert sorted(deployer.certificates().values()) == ["ACTIVE", "INACTIVE"]
    assert alien in deployer.certificates()
    assert everything(deployer.aws)["types"] == ["kb2_device"]


@pytest.mark.parametrize("use", ["another thing", "another policy"])
def test_without_its_registry_a_certificate_that_somebody_else_uses_stops_it(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    monkeypatch.setattr("keyborn.adapters.aws.stack.clearing.ROUNDS", 1)
    deployer.deploy()
    certificate = asyncio.run(deployer.enroll("lamp-1"))
    iot = deployer.aws.root("iot")
    principal = f"{deployer.outputs().iot_arn}:cert/{certificate}"
    if use == "another thing":
        iot.create_thing(thingName="alien")
        iot.attach_thing_principal(thingName="alien", principal=principal)
    else:
        iot.create_policy(policyName="theirs", policyDocument=device_policy())
        iot.attach_policy(policyName="theirs", target=principal)
    deployer.aws.root("dynamodb").delete_table(TableName=deployer.outputs().table)
    error = deployer.refusal("destroy", "--stack", STACK, "--yes")
    assert isinstance(error, ThingNotCleared)
    assert "lamp-1 (a certificate that may be somebody else's is attached)" in str(error)
    assert deployer.certificates() == {certificate: "ACTIVE"}
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"


def test_whoever_is_asked_is_told_how_many_things_there_are_without_a_registry(deployer: Deployer) -> None:
    deployer.deploy()
    asyncio.run(deployer.enroll("lamp-1"))
    deployer.aws.root("dynamodb").delete_table(TableName=deployer.outputs().table)
    said = deployer.keyborn("destroy", "--stack", STACK, typed="no\n", expect=1)
    assert "This removes 1 devices and services for good" in said.stderr
