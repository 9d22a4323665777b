"""The operator's routes of approvals and registered keys, and what a device that waits is answered."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from keyborn.cli.console import Refused, call_office
from keyborn.domain.errors import AwaitsApproval
from keyborn.http.openapi import document
from keyborn.http.problems import answer_problem
from support.csr_make import make_csr
from support.registry_cases import key
from support.waiting_stage import ASKING, LINE, REGISTERING, WaitingWorld, WorldDesk, later


@pytest.fixture
def world(tmp_path: Path) -> WaitingWorld:
    return WaitingWorld(tmp_path)


def asked(world: WaitingWorld, *names: str) -> WorldDesk:
    """A desk before which devices of these names wait."""
    asyncio.run(world.put(ASKING))
    for name in names:
        asyncio.run(world.waits(name, make_csr(name)[1]))
    return WorldDesk(world)


def refusal(
    desk: WorldDesk,
    method: str,
    path: str,
    body: Any = None,  # noqa: ANN401 - JSON
    **query: object,
) -> str:
    with pytest.raises(Refused) as refused:
        desk.ask(method, path, body, **query)
    return refused.value.code


def test_requests_are_listed_by_state_and_page(world: WaitingWorld) -> None:
    desk = asked(world, "sensor-1", "sensor-2", "sensor-3")
    rows = desk.ask("GET", "/v1/approvals", limit=2)
    rows += desk.ask("GET", "/v1/approvals", limit=2, after=rows[-1]["id"])
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert {row["thingName"] for row in rows} == {"sensor-1", "sensor-2", "sensor-3"}
    assert desk.ask("GET", "/v1/approvals", state="approved") == []
    assert refusal(desk, "GET", "/v1/approvals", state="lost") == "invalid_setting"


def test_a_row_says_all_that_is_compared_and_that_it_has_expired(world: WaitingWorld) -> None:
    desk = asked(world, "sensor-1")
    [row] = desk.ask("GET", "/v1/approvals")
    assert set(row) == {
        *("id", "code", "words", "state", "group", "thingName", "keyHash", "source", "replaces", "asked"),
        *("expires", "decidedBy", "decidedAt"),
    }
    later(world, days=2)
    assert desk.ask("GET", f"/v1/approvals/{row['code']}")["state"] == "expired"
    assert refusal(desk, "POST", f"/v1/approvals/{row['code']}", {"state": "approved"}) == "not_found"


def test_a_decision_is_one_of_two(world: WaitingWorld) -> None:
    desk = asked(world, "sensor-1")
    [row] = desk.ask("GET", "/v1/approvals")
    path = f"/v1/approvals/{row['id']}"
    for body in ({}, {"state": "pending"}, {"state": "approved", "x": 1}, {"state": "approved", "words": 7}):
        assert refusal(desk, "POST", path, body) == "malformed_request"
    wrong = {"state": "approved", "words": "lusab-babad-gutih-tugad"}
    assert refusal(desk, "POST", path, wrong) == "key_words_differ"
    done = desk.ask("POST", path, {"state": "approved", "words": row["words"].upper()})
    assert (done["state"], done["decidedBy"]) == ("approved", "operator")
    assert desk.ask("POST", path, {"state": "refused", "reason": "no"})["state"] == "refused"


def test_a_batch_of_keys_has_at_most_a_thousand(world: WaitingWorld) -> None:
    asyncio.run(world.put(REGISTERING))
    desk = WorldDesk(world)
    rows = [[f"s-{number}", key(str(number))] for number in range(1001)]
    assert refusal(desk, "POST", "/v1/registered", {"group": LINE, "keys": rows}) == "malformed_request"
    done = desk.ask("POST", "/v1/registered", {"group": LINE, "keys": rows[:1000]})
    assert done == {"added": 1000, "known": 0, "refused": []}
    for keys in ([["s-1"]], [["s-1", 7]], "s-1", [["s-1", key("1"), "x"]]):
        assert refusal(desk, "POST", "/v1/registered", {"group": LINE, "keys": keys}) == "malformed_request"


def test_the_longest_batch_fits(world: WaitingWorld) -> None:
    asyncio.run(world.put(REGISTERING))
    rows = [[f"{number:064d}", key(str(number))] for number in range(1000)]
    assert WorldDesk(world).ask("POST", "/v1/registered", {"group": LINE, "keys": rows})["added"] == 1000


def test_keys_are_listed_for_a_group_that_is_named(world: WaitingWorld) -> None:
    asyncio.run(world.put(REGISTERING))
    desk = WorldDesk(world)
    desk.ask("POST", "/v1/registered", {"group": LINE, "keys": [["s-1", key("1")], ["s-1", key("2")]]})
    assert refusal(desk, "GET", "/v1/registered") == "invalid_setting"
    assert len(desk.ask("GET", "/v1/registered", group=LINE)) == 2
    assert len(desk.ask("GET", "/v1/registered", group=LINE, name="s-1")) == 2
    assert refusal(desk, "GET", "/v1/registered", group=LINE, name="s-2") == "not_registered"
    assert refusal(desk, "GET", "/v1/registered/xyz") == "invalid_key_hash"
    assert desk.ask("DELETE", f"/v1/registered/{key('1')}")["thingName"] == "s-1"
    assert refusal(desk, "DELETE", f"/v1/registered/{key('1')}") == "not_registered"


def test_a_device_that_waits_is_answered_202_with_what_is_compared() -> None:
    answer = answer_problem(AwaitsApproval(seconds=7, approval="7K3M-9QXZ", words="a-b-c-d"))
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "7")
    body = json.loads(bytes(answer.body))
    assert (body["status"], body["approval"], body["words"]) == ("pending", "7K3M-9QXZ", "a-b-c-d")
    described = json.loads(document(renewal=True))
    schema = described["components"]["schemas"]["PendingAnswer"]
    assert set(schema["properties"]) == set(body)
    assert "202" in described["paths"]["/v1/enroll"]["post"]["responses"]


def test_the_door_answers_so(world: WaitingWorld) -> None:
    asyncio.run(world.put(ASKING))
    body = json.dumps({"thingName": "sensor-1", "csr": make_csr("sensor-1")[1], "group": LINE}).encode()
    status, answer = asyncio.run(call_office(world.door(), "POST", "/v1/enroll", body))
    assert (status, json.loads(answer)["status"]) == (202, "pending")
