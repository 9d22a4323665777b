"""The operator's routes for groups: strict bodies, pages, hostile names, and nothing half done."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.cli.console import call_office
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName
from keyborn.http.admin import build_admin
from keyborn.service.sealing import RandomSecrets
from keyborn.wiring.use_cases import Grouping, Offices
from support.group_stage import WEBHOOK, text
from support.office import TurnedClock
from support.registry_cases import Desk

HOOKED = text(methods=["token + webhook"], webhook=WEBHOOK)


class Admin:
    """An office in memory, asked as the control socket asks it."""

    def __init__(self, *, grouped: bool = True) -> None:
        self.memory, self.clock, entropy = MemoryRegistry(), TurnedClock(), SystemEntropy()
        grouping = Grouping(self.memory, entropy) if grouped else None
        offices = Offices(self.memory, self.clock, RandomSecrets(entropy), grouping=grouping)
        self.app = build_admin(
            offices.office(
                None,
                trust=lambda: ("https://localhost", b""),
                authorities=tuple,
                about=dict,
                actor=lambda: "somebody",
            )
        )

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        status, answer = await call_office(self.app, method, path, raw)
        return status, json.loads(answer) if answer.startswith((b"{", b"[")) else answer

    async def put(self, source: str, name: str = "line-7") -> tuple[int, Any]:
        return await self.ask("PUT", f"/v1/groups/{name}", {"document": source})

    async def thing(self) -> None:
        desk = Desk(self.memory, now=self.clock.now())
        await desk.enroll(await desk.token("sensor-1"), "sensor-1", "k1")


@pytest.fixture
def admin() -> Admin:
    return Admin()


async def test_a_group_is_put_listed_shown_and_removed(admin: Admin) -> None:
    status, kept = await admin.put(text(limit=5, rate="1/h", closes=None))
    assert (status, kept["groupName"], kept["version"], kept["findings"]) == (200, "line-7", 1, [])
    assert kept["webhookSecret"] is None
    assert (await admin.ask("GET", "/v1/groups"))[1] == [
        {
            "groupName": "line-7",
            "version": 1,
            "updated": "2026-11-01T12:00:00Z",
            "usable": True,
            "things": "sensor-*",
            "methods": ["token"],
            "taken": "refuse",
            "enrolled": 0,
            "limit": 5,
            "opens": None,
            "closes": None,
            "webhookSigned": False,
        }
    ]
    status, shown = await admin.ask("GET", "/v1/groups/line-7")
    assert (status, shown["document"]) == (200, text(limit=5, rate="1/h"))
    assert await admin.ask("DELETE", "/v1/groups/line-7") == (200, {"groupName": "line-7"})
    assert (await admin.ask("GET", "/v1/groups/line-7"))[0] == 404
    assert [each.event.actor for each in await admin.memory.records()] == ["somebody"] * 2


async def test_pages_go_on_after_a_name(admin: Admin) -> None:
    for name in ("a", "b", "c"):
        await admin.put(text(name=name, things=f"{name}-*"), name)
    status, page = await admin.ask("GET", "/v1/groups?after=a&limit=1")
    assert (status, [row["groupName"] for row in page]) == (200, ["b"])


async def test_only_the_answer_that_makes_a_secret_shows_it(admin: Admin) -> None:
    _, first = await admin.put(HOOKED)
    assert first["webhookSecret"].startswith("whsec_")
    for method, path in (("GET", "/v1/groups/line-7"), ("GET", "/v1/groups")):
        assert first["webhookSecret"] not in json.dumps((await admin.ask(method, path))[1])
    assert (await admin.put(HOOKED))[1]["webhookSecret"] is None


async def test_lint_keeps_nothing(admin: Admin) -> None:
    status, found = await admin.ask("POST", "/v1/groups/line-7/lint", {"document": text(things="*")})
    assert (status, [each["code"] for each in found["findings"]]) == (200, ["any_name"])
    status, problem = await admin.ask("POST", "/v1/groups/line-8/lint", {"document": text()})
    assert (status, problem["code"]) == (400, "invalid_group")
    assert await admin.memory.records() == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_request"),
        (b"[]", 400, "malformed_request"),
        ({}, 400, "malformed_request"),
        ({"document": 7}, 400, "malformed_request"),
        ({"document": text(), "more": 1}, 400, "malformed_request"),
        ({"document": ""}, 400, "invalid_group"),
        ({"document": "x" * 70_000}, 400, "invalid_group"),
        ({"document": "x" * 300_000}, 413, "too_large"),
        (b'{"document": "\\ud800"}', 400, "malformed_request"),
        (b"\xff", 400, "malformed_request"),
    ],
    ids=range(10),
)
async def test_what_is_no_group_is_refused_and_nothing_is_kept(
    admin: Admin, body: object, status: int, code: str
) -> None:
    for method, path in (("PUT", "/v1/groups/line-7"), ("POST", "/v1/groups/line-7/lint")):
        got, problem = await admin.ask(method, path, body)
        assert (got, problem["code"]) == (status, code)
    assert await admin.memory.records() == []


@pytest.mark.parametrize("name", ["", "Line", "a b", "../x", "a/b", "x" * 65, "\u202e", "g:a", "%00"])
async def test_names_that_no_group_has_find_and_keep_nothing(admin: Admin, name: str) -> None:
    path = f"/v1/groups/{quote(name, safe='')}"
    assert (await admin.ask("GET", path))[0] == 404
    assert (await admin.ask("DELETE", path))[0] == 404
    assert (await admin.ask("PUT", path, {"document": text()}))[0] == 400
    assert await admin.memory.records() == []


async def test_a_group_of_another_keyborn_is_listed_as_not_usable(admin: Admin) -> None:
    event = AuditEvent(admin.clock.now(), "group.put", "done", "line-7", "operator")
    newer = GroupDocument(GroupName("line-7"), text(methods=["telepathy"]), admin.clock.now())
    await admin.memory.put_group(newer, event)
    (row,) = (await admin.ask("GET", "/v1/groups"))[1]
    assert (row["usable"], row["methods"], row["things"]) == (False, [], None)
    assert (await admin.ask("GET", "/v1/groups/line-7"))[0] == 200


# ── things ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_thing_is_released_moved_and_described(admin: Admin) -> None:
    await admin.thing()
    await admin.put(text())
    status, row = await admin.ask("POST", "/v1/things/sensor-1/release", {})
    assert (status, row["releaseUntil"]) == (200, "2026-11-01T13:00:00Z"), "an hour, where nothing is said"
    _, row = await admin.ask("POST", "/v1/things/sensor-1/release", {"seconds": None})
    assert row["releaseUntil"] is None
    _, row = await admin.ask("POST", "/v1/things/sensor-1/group", {"group": "line-7"})
    assert row["group"] == "line-7"
    _, row = await admin.ask("POST", "/v1/things/sensor-1/attributes", {"attributes": {"a": "1"}})
    assert row["attributes"] == {"a": "1"}
    _, row = await admin.ask("POST", "/v1/things/sensor-1/attributes", {"unset": ["a"]})
    assert row["attributes"] == {}
    assert (await admin.ask("GET", "/v1/things/sensor-1"))[1]["group"] == "line-7"


@pytest.mark.parametrize(
    ("route", "body", "code"),
    [
        ("release", {"seconds": 0}, "invalid_setting"),
        ("release", {"seconds": 10**30}, "invalid_setting"),
        ("release", {"seconds": 10**15}, "invalid_setting"),
        ("release", {"seconds": "1"}, "malformed_request"),
        ("group", {}, "malformed_request"),
        ("group", {"group": "Line"}, "invalid_group_name"),
        ("group", {"group": "line-9"}, "not_found"),
        ("attributes", {"attributes": {"a": 1}}, "malformed_request"),
        ("attributes", {"attributes": {"a b": "1"}}, "invalid_setting"),
        ("attributes", {"unset": ["a"]}, "invalid_setting"),
        ("attributes", {"attribute": {}}, "malformed_request"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(
    admin: Admin, route: str, body: object, code: str
) -> None:
    await admin.thing()
    before = await admin.memory.records()
    status, problem = await admin.ask("POST", f"/v1/things/sensor-1/{route}", body)
    assert (problem["code"], status in (400, 404)) == (code, True)
    assert await admin.memory.records() == before


async def test_without_groups_there_is_no_route() -> None:
    admin = Admin(grouped=False)
    await admin.thing()
    assert (await admin.ask("GET", "/v1/groups"))[0] == 404
    assert (await admin.ask("POST", "/v1/things/sensor-1/release", {}))[0] in (404, 405)
