"""Operators of a stack: the printed policies are enough for their commands; a viewer changes nothing."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.aws.stack.orders import Place
from keyborn.adapters.aws.stack.permissions import operator_policy
from keyborn.domain.api_key import Role
from support import ministack
from support.aws_gate import Gate, open_gate
from support.aws_party import ONLY_ON_STAR
from support.csr_make import make_csr
from support.desks import OnStack, Said, on_stack, told, typed
from support.ministack import REGION, Ministack

PLACE = Place("aws", "000000000000", REGION, "")


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    running = ministack.start(LAMBDA_ACCOUNT_CONCURRENCY="2")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def gate(aws: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with open_gate(aws, tmp_path_factory.mktemp("gate")) as opened:
        yield opened


@pytest.fixture(scope="module")
def owner(aws: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnStack]:
    """The stack ``kb`` with one device, and who may do everything there."""
    with on_stack(aws, None, tmp_path_factory.mktemp("desk")) as desk:
        made = told(desk, "token", "create", "--thing", "lamp-1")
        assert desk.enroll("lamp-1", make_csr("lamp-1")[1], made["secret"]) == 201
        told(desk, "audit", "verify")
        yield desk


def statements(role: Role) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(operator_policy(role, "kb", PLACE))["Statement"]
    return found


def allowed(role: Role) -> set[str]:
    return {action for one in statements(role) for action in _listed(one["Action"])}


def _listed(action: str | Sequence[str]) -> Sequence[str]:
    return [action] if isinstance(action, str) else action


def signed_in(owner: OnStack, gate: Gate, role: Role) -> OnStack:
    """A user with that policy, and what the stand-in knows on ``*`` alone of the same."""
    iam = owner.aws.root("iam")
    name = f"{role.value}-user"
    star = sorted(ONLY_ON_STAR & allowed(role))
    gaps = [{"Effect": "Allow", "Action": star, "Resource": "*"}] if star else []
    document = {"Version": "2012-10-17", "Statement": [*statements(role), *gaps]}
    if name not in {one["UserName"] for one in iam.list_users()["Users"]}:
        iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="printed", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    environment = {**owner.environment, **gate.settings(key["AccessKeyId"], key["SecretAccessKey"])}
    return OnStack(owner.aws, owner.stack, owner.outputs, environment)


def code(said: Said) -> str:
    assert said.code == 1, said
    return said.err.rpartition("[")[2].strip("]\n")


LOOKS = [
    ("thing", "list"),
    ("thing", "show", "lamp-1"),
    ("token", "list"),
    ("policy", "list"),
    ("policy", "show", "keyborn-default"),
    ("policy", "simulate", "--thing", "lamp-1", "--action", "connect"),
    ("service", "list"),
    ("audit", "show"),
    ("audit", "verify"),
]


@pytest.fixture(scope="module")
def viewer(owner: OnStack, gate: Gate) -> OnStack:
    return signed_in(owner, gate, Role.VIEWER)


def test_a_viewer_sees_everything(owner: OnStack, viewer: OnStack) -> None:
    told(owner, "audit", "verify")  # what waits is chained, as the sweeper does once a minute
    for words in LOOKS:
        assert told(viewer, *words) == told(owner, *words)


CHANGES = [
    ("token", "create", "--thing", "lamp-2"),
    ("thing", "suspend", "lamp-1"),
    ("thing", "revoke", "lamp-1"),
    ("policy", "attach", "keyborn-default", "--thing", "lamp-1"),
    ("policy", "remove", "keyborn-default"),
]


@pytest.mark.parametrize(
    "words",
    [CHANGES[0], *(pytest.param(one, marks=pytest.mark.whole) for one in CHANGES[1:])],
    ids=" ".join,
)
def test_a_viewer_changes_nothing(owner: OnStack, viewer: OnStack, words: tuple[str, ...]) -> None:
    before = standing(owner)
    said = typed(viewer, *words)
    assert code(said) in {"aws_denied", "policy_in_use"}
    assert before == standing(owner)


def standing(owner: OnStack) -> list[Any]:
    return [told(owner, *words) for words in (("audit", "verify"), ("thing", "list"), ("token", "list"))]


def test_a_viewer_does_not_chain_the_trail_and_is_told_what_is_missing(
    owner: OnStack, viewer: OnStack
) -> None:
    """Who could chain could write records: the sweeper does it, within a minute."""
    told(owner, "token", "create", "--thing", "lamp-3")
    said = typed(viewer, "audit", "show")
    assert code(said) == "aws_denied"
    assert "dynamodb:" in said.err


@pytest.mark.whole
def test_an_admin_does_what_operators_do(owner: OnStack, gate: Gate, tmp_path: Path) -> None:
    admin = signed_in(owner, gate, Role.ADMIN)
    document = tmp_path / "narrow.json"
    statement = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
    document.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    made = told(admin, "token", "create", "--thing", "lamp-9")
    assert owner.enroll("lamp-9", make_csr("lamp-9")[1], made["secret"]) == 201
    told(admin, "policy", "put", "narrow", str(document))
    told(admin, "policy", "attach", "narrow", "--thing", "lamp-9")
    told(admin, "policy", "detach", "narrow", "--thing", "lamp-9")
    told(admin, "policy", "remove", "narrow")
    for order in ("suspend", "activate", "revoke"):
        told(admin, "thing", order, "lamp-9")
    told(admin, "token", "withdraw", made["id"])
    assert told(admin, "audit", "verify")["chain"] == "unbroken"


def test_a_viewer_has_nothing_that_writes() -> None:
    assert allowed(Role.VIEWER) == {"cloudformation:DescribeStacks", "dynamodb:GetItem", "dynamodb:Query"}
    assert allowed(Role.VIEWER) < allowed(Role.ADMIN)


def test_nobody_but_a_deployer_touches_roles_code_or_the_table_itself() -> None:
    services = {action.partition(":")[0] for action in allowed(Role.ADMIN)}
    assert services == {"cloudformation", "dynamodb", "iot"}
    assert not {"dynamodb:DeleteTable", "iot:SetDefaultPolicyVersion"} & allowed(Role.ADMIN)


def test_iam_cannot_tell_an_approver_from_an_admin() -> None:
    with pytest.raises(ValueError, match="approver"):
        operator_policy(Role.APPROVER, "kb", PLACE)
