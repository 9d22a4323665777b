"""What a person approved is one key under one name, on each backend: nothing that was swapped for it."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

import pytest

from keyborn.domain.approval import ApprovalState
from keyborn.domain.token import decode_secret, token_id
from support.takeover import Device, Yard, key_of
from support.takeover_ground import Ground, aws_ground, local_ground

NAME, GROUP = "sensor-1", "line-person"


def opened(kind: str, folder: Path) -> AbstractContextManager[Ground]:
    return aws_ground(folder) if kind == "aws" else local_ground(folder, kind)


@pytest.fixture(params=["sqlite", pytest.param("aws", marks=pytest.mark.slow)])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    with opened(request.param, tmp_path) as ground:
        yield Yard(ground, Random(1))


def test_a_request_that_is_swapped_before_or_after_gets_nothing_of_the_approval(yard: Yard) -> None:
    device, before, after = (Device(NAME) for _ in range(3))
    swapped = yard.bear(None, NAME, before.csr, GROUP)
    shown = yard.bear(None, NAME, device.csr, GROUP)
    assert (swapped.status, shown.status) == (202, 202)
    assert {shown.json[part] for part in ("approval", "words")}.isdisjoint(
        {swapped.json[part] for part in ("approval", "words")}
    )
    assert yard.bear(None, NAME, after.csr, GROUP).status == 202
    yard.approve(shown)
    assert [yard.bear(None, NAME, one.csr, GROUP).status for one in (before, after)] == [202, 202]
    assert yard.holders(NAME) == set(), "an approval reserves nothing"
    given = yard.bear(None, NAME, device.csr, GROUP)
    assert (given.status, key_of(given)) == (201, device.hash)
    assert [yard.bear(None, NAME, one.csr, GROUP).status for one in (before, after)] == [202, 202]
    assert yard.holders(NAME) == {device.hash}


def test_who_is_approved_for_a_free_name_replaces_nobody_who_took_it_since(yard: Yard) -> None:
    device, other = Device(NAME), Device(NAME)
    yard.approve(yard.bear(None, NAME, device.csr, GROUP))
    assert yard.bear(yard.token(NAME), NAME, other.csr).status == 201
    assert yard.bear(None, NAME, device.csr, GROUP).status == 202, "that is another question"
    assert yard.holders(NAME) == {other.hash}


@pytest.mark.parametrize("condition", ["ask", "webhook", "registered"])
def test_nobody_is_bothered_for_a_token_that_was_withdrawn(yard: Yard, condition: str) -> None:
    """On AWS a token is looked up by the claim, and conditions are asked before it."""
    yard.ground.put("line-both", "person", [f"token + {condition}"])
    bearer, device = yard.token("*", "line-both", uses=None), Device(NAME)
    yard.ground.run(yard.ground.office.tokens.withdraw(token_id(decode_secret(bearer))))
    assert yard.bear(bearer, NAME, device.csr).why == "credential_refused"
    assert yard.ground.run(yard.ground.registry.approvals(ApprovalState.PENDING)) == []
    assert yard.ground.issuer.server.asked("/may") == []


def test_a_withdrawn_token_does_not_hear_which_attributes_a_group_takes(yard: Yard) -> None:
    bearer, device = yard.token("*", GROUP, uses=None), Device(NAME)
    yard.ground.run(yard.ground.office.tokens.withdraw(token_id(decode_secret(bearer))))
    body = json.loads(yard.wish(NAME, device.csr, None)) | {"attributes": {"line": "7"}}
    said = yard.ground.post("/v1/enroll", json.dumps(body).encode(), bearer=bearer)
    assert said.why == "credential_refused"
