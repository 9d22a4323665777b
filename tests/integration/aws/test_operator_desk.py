"""What only a stack has: the operator's own rights, sessions that are closed one by one, troubles of AWS."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.revoker import OrderedRevoker, Revoker
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.settle import Settlement
from keyborn.adapters.system import SystemClock
from keyborn.domain.group_key import GroupKey
from keyborn.domain.jws_enroll import Place
from keyborn.domain.names import ThingName
from keyborn.service.sweep import Sweeper
from support import ministack
from support.aws_sessions import Closing, SessionPlane, session_plane
from support.csr_make import make_csr
from support.desks import OnStack, Said, on_stack, read_descriptions_once, told, typed
from support.lambda_events import event
from support.ministack import Ministack
from support.signed_enrolling import by_key, payload, toml

LAMP = "lamp-1"
EVERYTHING = ["cloudformation:DescribeStacks", "dynamodb:*", "iot:*"]


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    """A stand-in of this module's own."""
    started = ministack.start()
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def descriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    read_descriptions_once(monkeypatch)


@pytest.fixture
def plane() -> Iterator[SessionPlane]:
    with session_plane() as one:
        yield one


@pytest.fixture
def desk(aws: Ministack, plane: SessionPlane, tmp_path: Path) -> Iterator[OnStack]:
    aws.reset()
    with on_stack(aws, plane, tmp_path) as made:
        yield made


def enrolled(desk: OnStack, name: str = LAMP) -> str:
    """A device that has its identity; its certificate's id."""
    secret = told(desk, "token", "create", "--thing", name)["secret"]
    assert desk.enroll(name, make_csr(name)[1], secret) == 201
    certificate: str = told(desk, "thing", "show", name)["certificates"][0]["certificateId"]
    return certificate


def test_a_stack_whose_first_word_is_a_group_takes_signed_enrolments(desk: OnStack, tmp_path: Path) -> None:
    """Nonces come from the key of the seals; whoever has no token yet has to have that key all the same."""
    file = tmp_path / "line-7.toml"
    file.write_text(toml("line-7", "group-key"))
    assert typed(desk, "group", "put", file).code == 0
    held = GroupKey.decode(told(desk, "group", "key", "create", "line-7")["groupKey"])
    nonce = desk.answer(event("GET", "/v1/nonce"))["headers"]["replay-nonce"]
    place = Place("https://enroll.example.com/v1/enroll", nonce)
    wish = payload("sensor-1", make_csr("sensor-1")[1], "line-7")
    body = by_key(held.key, "sensor-1", place, wish)
    headers = {"content-type": "application/jose+json"}
    answer = desk.answer(event("POST", "/v1/enroll", body, headers=headers))
    assert answer["statusCode"] == 201, answer["body"]
    (row,) = told(desk, "token", "list")
    assert (row["id"], row["method"], row["usesTaken"]) == (held.id, "group-key", 1)


def in_iot(desk: OnStack, certificate: str) -> str:
    """What AWS IoT says of a certificate."""
    found = desk.aws.client("iot").describe_certificate(certificateId=certificate)
    status: str = found["certificateDescription"]["status"]
    return status


def policies_in_iot(desk: OnStack, certificate: str) -> set[str]:
    target = f"{desk.outputs['IotArn']}:cert/{certificate}"
    return {
        one["policyName"] for one in desk.aws.client("iot").list_attached_policies(target=target)["policies"]
    }


@contextmanager
def as_somebody_with(desk: OnStack, *actions: str) -> Iterator[OnStack]:
    """The same desk for a user who may do only this."""
    iam = desk.aws.client("iam")
    iam.create_user(UserName="op")
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="op", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="op")["AccessKey"]
    mine = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    yield OnStack(desk.aws, desk.stack, desk.outputs, {**desk.environment, **mine})


def problem(said: Said) -> dict[str, Any]:
    """What a command that was refused told a program."""
    assert said.code == 1, said
    told_so: dict[str, Any] = json.loads(said.err)
    return told_so


# ── orders reach AWS IoT ──


def test_orders_switch_the_certificate_in_aws_iot(desk: OnStack) -> None:
    certificate = enrolled(desk)
    for order, status in (("suspend", "INACTIVE"), ("activate", "ACTIVE"), ("revoke", "REVOKED")):
        assert typed(desk, "thing", order, LAMP).code == 0
        assert in_iot(desk, certificate) == status


def test_grace_is_granted_and_ended(desk: OnStack) -> None:
    certificate = enrolled(desk)
    assert told(desk, "thing", "grace", LAMP, "--for", "7d")["graceUntil"] is not None
    assert told(desk, "thing", "show", LAMP)["graceUntil"] is not None
    assert told(desk, "thing", "grace", LAMP, "--end")["graceUntil"] is None
    assert "no grace any more" in typed(desk, "thing", "grace", LAMP, "--end").out
    assert in_iot(desk, certificate) == "ACTIVE"
    actions = [row["action"] for row in told(desk, "audit", "show")]
    assert actions.count("thing.grace") == 2, "a repeat changes and records nothing"


def test_who_only_looks_is_not_asked_who_it_is(desk: OnStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS tells the caller's ARN for the audit trail: where nothing is changed, nothing is written there."""
    asked: list[str] = []

    def identity(_session: AwsSession) -> dict[str, str]:
        asked.append("sts")
        return {"Account": "000000000000", "Arn": "arn:aws:iam::000000000000:user/op"}

    monkeypatch.setattr(AwsSession, "identity", property(identity))
    for noun in ("thing", "token", "policy", "service"):
        assert typed(desk, noun, "list").code == 0
    assert typed(desk, "audit", "verify").code == 0
    assert asked == []
    made = told(desk, "token", "create")
    assert asked == ["sts"]
    assert (
        told(desk, "audit", "show")[-1] | {"actor": "arn:aws:iam::000000000000:user/op"}
        == (told(desk, "audit", "show")[-1])
    )
    assert made["id"] in json.dumps(told(desk, "audit", "show")[-1])
    assert asked == ["sts"]


def test_what_to_do_next_names_the_stack(desk: OnStack, tmp_path: Path) -> None:
    place = " ".join(desk.options)
    assert typed(desk, "thing", "list").out.endswith(f"keyborn token create --thing NAME {place}\n")
    assert typed(desk, "token", "list").out.endswith(f"keyborn token create {place}\n")
    assert typed(desk, "service", "list").out.endswith(f"service add NAME --policy FILE {place}\n")
    allow = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/extra"}
    file = tmp_path / "extra.json"
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    assert f"policy attach extra --thing NAME {place}\n" in typed(desk, "policy", "put", "extra", file).out
    typed(desk, "policy", "remove", "extra")


def test_an_order_may_name_the_certificate(desk: OnStack) -> None:
    certificate = enrolled(desk)
    assert told(desk, "thing", "suspend", certificate)["thingName"] == LAMP
    assert in_iot(desk, certificate) == "INACTIVE"


def test_policies_are_in_aws_iot_under_the_stacks_prefix(desk: OnStack, tmp_path: Path) -> None:
    certificate = enrolled(desk)
    document = {"Version": "2012-10-17", "Statement": []}
    allow = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/extra"}
    file = tmp_path / "extra.json"
    file.write_text(json.dumps({**document, "Statement": [allow]}))
    told(desk, "policy", "put", "extra", file)
    told(desk, "policy", "attach", "extra", "--thing", LAMP)
    assert policies_in_iot(desk, certificate) == {"kb_keyborn-default", "kb_extra"}
    told(desk, "policy", "detach", "extra", "--thing", LAMP)
    told(desk, "policy", "remove", "extra")
    assert policies_in_iot(desk, certificate) == {"kb_keyborn-default"}
    names = [one["policyName"] for one in desk.aws.client("iot").list_policies()["policies"]]
    assert "kb_extra" not in names


def test_a_policy_s_name_is_counted_with_the_stacks_prefix(desk: OnStack, tmp_path: Path) -> None:
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/extra"}
    file = tmp_path / "extra.json"
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    refused = problem(typed(desk, "policy", "put", "p" * 126, file, "--json"))
    assert refused["code"] == "policy_name_too_long"
    assert "Use at most 125" in refused["detail"]
    assert [row["policyName"] for row in told(desk, "policy", "list")] == ["keyborn-default"]
    told(desk, "policy", "put", "p" * 125, file)
    names = [one["policyName"] for one in desk.aws.client("iot").list_policies()["policies"]]
    assert f"kb_{'p' * 125}" in names
    told(desk, "policy", "remove", "p" * 125)


def test_two_stacks_of_one_account_are_two_fleets(desk: OnStack, tmp_path: Path) -> None:
    enrolled(desk)
    with on_stack(desk.aws, None, tmp_path, "other") as other:
        enrolled(other, "pump-1")
        assert [row["thingName"] for row in told(other, "thing", "list")] == ["pump-1"]
        assert problem(typed(other, "thing", "revoke", LAMP, "--json"))["code"] == "not_found"
    assert [row["thingName"] for row in told(desk, "thing", "list")] == [LAMP]


# ── who did it ──


def actors(desk: OnStack) -> list[str]:
    """Whom the audit trail names, the oldest first."""
    return [row["actor"] for row in told(desk, "audit", "show") if row["action"] != "enroll"]


def test_the_audit_trail_names_who_gave_the_order(desk: OnStack, tmp_path: Path) -> None:
    root = "arn:aws:iam::000000000000:root"
    enrolled(desk)
    assert actors(desk) == ["keyborn", root]
    file = policy_file(tmp_path)
    with as_somebody_with(desk, *EVERYTHING) as somebody:
        told(somebody, "token", "withdraw", told(somebody, "token", "create")["id"])
        told(somebody, "policy", "put", "extra", file)
        told(somebody, "policy", "attach", "extra", "--thing", LAMP)
        told(somebody, "policy", "detach", "extra", "--thing", LAMP)
        told(somebody, "policy", "remove", "extra")
        told(somebody, "thing", "suspend", LAMP)
        assert typed(somebody, "service", "add", "board", "--policy", file, "--code").code == 0
    somebodys = actors(desk)[2:]
    assert len(somebodys) == 9  # a service is a policy and a token
    assert set(somebodys) == {"arn:aws:iam::000000000000:user/op"}


def policy_file(folder: Path) -> Path:
    """A document that permits one topic."""
    allow = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/extra"}
    file = folder / "extra.json"
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    return file


# ── open sessions ──


def test_a_revoked_things_session_is_closed_without_its_will(desk: OnStack, plane: SessionPlane) -> None:
    enrolled(desk)
    plane.open.add(LAMP)
    assert told(desk, "thing", "revoke", LAMP)["sessionsClosed"] == 1
    assert plane.calls == [Closing(LAMP, clean_session=True, prevent_will=True, signed_for="iotdata")]
    assert told(desk, "thing", "revoke", LAMP)["sessionsClosed"] == 0


def test_a_session_that_stays_open_is_said_and_the_thing_is_barred(
    desk: OnStack, plane: SessionPlane
) -> None:
    certificate = enrolled(desk)
    plane.open.add(LAMP)
    plane.refusal = "ForbiddenException"
    done = told(desk, "thing", "revoke", LAMP)
    said = done["warning"]
    assert (done["status"], done["sessionsClosed"], said["code"]) == ("revoked", 0, "session_left_open")
    assert "iot:DeleteConnection" in said["detail"]
    assert "lamp-1 cannot connect again" in said["detail"]
    assert in_iot(desk, certificate) == "REVOKED"
    assert told(desk, "thing", "show", LAMP)["status"] == "revoked"


def test_repeating_the_order_closes_the_session(desk: OnStack, plane: SessionPlane) -> None:
    enrolled(desk)
    plane.open.add(LAMP)
    plane.refusal = "ForbiddenException"
    assert "[session_left_open]" in typed(desk, "thing", "suspend", LAMP).err
    plane.refusal = None
    again = told(desk, "thing", "suspend", LAMP)
    assert (again["sessionsClosed"], again["warning"]) == (1, None)


async def sweep(desk: OnStack, plane: SessionPlane) -> None:
    """What the sweeper does within the minute, in this process."""
    clock, client = SystemClock(), desk.aws.client
    account = Account(desk.outputs["IotArn"], desk.outputs["ThingType"], desk.outputs["PolicyPrefix"])
    async with AwsRegistry(
        client("dynamodb"), desk.outputs["Table"], Iot(client("iot"), account)
    ) as registry:
        settlement = Settlement(
            registry=registry,
            iot=Iot(client("iot"), account),
            clock=clock,
            sweep=Sweeper(leftovers=registry, clock=clock).sweep,
            sessions=Revoker(data_plane(desk, plane)),
        )
        await settlement.settle()


def data_plane(desk: OnStack, plane: SessionPlane) -> Any:  # noqa: ANN401 - botocore's clients have no types
    """A client of AWS IoT's data plane for the one call that the stand-in lacks."""
    import botocore.session
    from botocore.config import Config

    return botocore.session.Session().create_client(
        "iot-data",
        region_name=ministack.REGION,
        endpoint_url=plane.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


def test_what_an_order_left_open_the_sweeper_closes(desk: OnStack, plane: SessionPlane) -> None:
    import asyncio

    enrolled(desk)
    plane.open.add(LAMP)
    plane.refusal = "ForbiddenException"
    assert told(desk, "thing", "revoke", LAMP)["warning"] is not None
    plane.refusal = None
    asyncio.run(sweep(desk, plane))
    assert plane.open == set()


async def test_a_session_of_who_has_no_certificate_here_is_another_stacks_and_left_alone(
    desk: OnStack, plane: SessionPlane
) -> None:
    plane.refusal = "ForbiddenException"
    account = Account(desk.outputs["IotArn"])
    client, table = desk.aws.client("dynamodb"), desk.outputs["Table"]
    async with AwsRegistry(client, table, Iot(desk.aws.client("iot"), account)) as registry:
        revoker = OrderedRevoker(data_plane(desk, plane), registry, SystemClock())
        assert await revoker.evict(ThingName("nobody"), "for a test") == 0
        assert plane.calls == []
        assert await registry.owed(before=SystemClock().now()) == []


# ── troubles ──


def test_the_operator_needs_no_right_that_the_command_does_not_use(desk: OnStack) -> None:
    enrolled(desk)
    with as_somebody_with(
        desk, "cloudformation:DescribeStacks", "dynamodb:Query", "dynamodb:GetItem"
    ) as reader:
        assert [row["thingName"] for row in told(reader, "thing", "list")] == [LAMP]
        assert told(reader, "thing", "show", LAMP)["status"] == "active"
        assert len(told(reader, "token", "list")) == 1


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("cloudformation:DescribeStacks", "thing list"),
        ("dynamodb:Query", "thing list"),
        ("dynamodb:PutItem", "token create --thing x"),
        ("iot:UpdateCertificate", "thing revoke lamp-1"),
        ("iot:CreatePolicy", "policy put extra {file}"),
    ],
)
def test_a_missing_right_is_named(desk: OnStack, tmp_path: Path, missing: str, words: str) -> None:
    enrolled(desk)
    file = tmp_path / "extra.json"
    allow = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/extra"}
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    rights = [
        "cloudformation:DescribeStacks",
        *(f"dynamodb:{one}" for one in ("GetItem", "Query", "PutItem", "UpdateItem", "ConditionCheckItem")),
        *(f"iot:{one}" for one in ("UpdateCertificate", "CreatePolicy", "GetPolicy")),
    ]
    with as_somebody_with(desk, *(one for one in rights if one != missing)) as somebody:
        said = problem(typed(somebody, *words.format(file=file).split(), "--json"))
    assert said["code"] == "aws_denied"
    assert missing in said["detail"]


def test_credentials_that_aws_does_not_know_are_said(desk: OnStack) -> None:
    stranger = OnStack(
        desk.aws, desk.stack, desk.outputs, {**desk.environment, "AWS_ACCESS_KEY_ID": "AKIANOBODY"}
    )
    said = problem(typed(stranger, "thing", "list", "--json"))
    assert said["code"] == "aws_credentials_refused"
    assert "sign in again" in said["detail"]


def test_a_stack_that_is_not_there_is_said(desk: OnStack) -> None:
    desk.stack.name = "nowhere"
    said = problem(typed(desk, "audit", "verify", "--json"))
    assert said["code"] == "stack_missing"
    assert "keyborn aws deploy --stack nowhere" in said["detail"]


def test_a_stack_that_goes_is_not_worked_on(desk: OnStack) -> None:
    desk.stack.delete()
    assert problem(typed(desk, "thing", "list", "--json"))["code"] == "stack_missing"


def test_a_profile_and_a_region_may_be_named(desk: OnStack, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile plant]\naws_access_key_id = test\naws_secret_access_key = test\n")
    bare = {key: value for key, value in desk.environment.items() if "ACCESS_KEY" not in key}
    named = OnStack(desk.aws, desk.stack, desk.outputs, bare | {"AWS_CONFIG_FILE": str(config)})
    assert told(named, "thing", "list", "--profile", "plant") == []
    elsewhere = problem(typed(named, "thing", "list", "--profile", "none", "--json"))
    assert elsewhere["code"] == "aws_profile_missing"
