"""The operator's routes as the network sees them: every one has a role, and holds it."""

import asyncio
import re

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import reference
from keyborn.domain.api_key import Role
from keyborn.domain.names import NameScope
from keyborn.domain.token import encode_secret
from keyborn.http import roles
from keyborn.http.admin import build_admin
from keyborn.http.openapi_operators import operator_calls, operator_paths
from keyborn.http.remote import caller, remote_routes
from keyborn.http.roles import OperatorRoute, role_of
from keyborn.service.tokens import TokenWish
from support.operators import HERE, OperatorWorld, call

ROUTES = [route for route in build_admin(reference.every_office()).routes if isinstance(route, Route)]
CALLS = [
    pytest.param(method, route, id=f"{method} {route.path}")
    for route in ROUTES
    for method in sorted((route.methods or set()) - {"HEAD"})
]
QUESTIONS = {"/v1/simulations", "/v1/groups/{group:path}/lint"}
"""What is posted because it is long, and changes nothing."""
LOCAL = {
    "POST /v1/api-keys",
    "POST /v1/roots/next",
    "POST /v1/roots/switch",
    "DELETE /v1/roots/old",
}
"""What nobody does from elsewhere: keys of operators, and the keys of the authority."""


@pytest.fixture
def world() -> OperatorWorld:
    return OperatorWorld()


def target(route: Route) -> str:
    return re.sub(r"\{\w+:path\}", "x", route.path)


# ── what is declared ──


def test_every_route_says_who_may_call_it() -> None:
    silent = [route.path for route in ROUTES if not isinstance(route, OperatorRoute)]
    assert silent == [], "say it with roles.look, ask, decide, change or local"


@pytest.mark.parametrize(("method", "route"), CALLS)
def test_who_only_looks_is_a_viewer_and_what_changes_is_not_for_viewers(method: str, route: Route) -> None:
    if method == "GET":
        assert role_of(route) is Role.VIEWER
    elif f"{method} {route.path}" in LOCAL:
        assert role_of(route) is None
    elif route.path in QUESTIONS:
        assert role_of(route) is Role.VIEWER
    elif route.path.startswith("/v1/approvals"):
        assert role_of(route) is Role.APPROVER
    else:
        assert role_of(route) is Role.ADMIN


def test_no_two_routes_are_the_same() -> None:
    named = [(method, route.path) for route in ROUTES for method in route.methods or ()]
    assert len(named) == len(set(named))


async def nothing(_request: Request) -> Response:
    return Response(b"{}")


def test_each_word_of_a_declaration_is_its_role() -> None:
    assert role_of(roles.look("/a", nothing)) is Role.VIEWER
    assert role_of(roles.ask("/a", nothing)) is Role.VIEWER
    assert role_of(roles.decide("POST", "/a", nothing)) is Role.APPROVER
    assert role_of(roles.change("POST", "/a", nothing)) is Role.ADMIN
    assert role_of(roles.local("POST", "/a", nothing)) is None
    assert role_of(Route("/a", nothing)) is None, "who says nothing lets nobody in"


@pytest.mark.parametrize("role", Role)
async def test_a_route_without_a_role_is_refused_whoever_asks(world: OperatorWorld, role: Role) -> None:
    forgotten = Route("/v1/forgotten", nothing, methods=["GET", "POST"])
    admin = build_admin(world.office)
    admin.router.routes.append(forgotten)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyborn.http.remote.build_admin", lambda _office: admin)
        world.app.router.routes[:] = remote_routes(world.office, world.door)
    fresh = await world.key(role)
    for method in ("GET", "POST"):
        told = await world.ask(method, "/v1/forgotten", fresh.word)
        assert (told.status, told.code) == (403, "local_only")
    assert (await call(admin, "GET", "/v1/forgotten")).status == 200, "on the control socket it answers"


# ── what holds ──


@pytest.mark.parametrize(("method", "route"), CALLS)
async def test_every_route_asks_for_a_key_first(world: OperatorWorld, method: str, route: Route) -> None:
    before = len(await world.events())
    told = await world.ask(method, target(route), body=b"\xff not even read")
    assert (told.status, told.code) == (401, "api_key_missing")
    assert told.headers["www-authenticate"].startswith("Bearer")
    assert {event.action for event in (await world.events())[before:]} == {"admin.call"}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("method", "route"), CALLS)
async def test_every_route_holds_its_role(
    world: OperatorWorld, method: str, route: Route, role: Role
) -> None:
    fresh = await world.key(role)
    before = await world.events()
    told = await world.ask(method, target(route), fresh.word, b"\xff no body of any route")
    wanted = role_of(route)
    if wanted is None:
        assert (told.status, told.code) == (403, "local_only")
    elif not role.covers(wanted):
        assert (told.status, told.code) == (403, "role_too_low")
        assert wanted.value in told.body["detail"]
    else:
        assert told.status not in (401, 403), told.body
    [record] = [one for one in (await world.events())[len(before) :] if one.action == "admin.call"]
    assert record.actor == f"{fresh.key.id} alice"
    assert record.subject == f"{method} {route.path}"
    assert record.source == HERE
    assert record.outcome == (told.code or "done")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
async def test_a_viewers_key_changes_nothing(world: OperatorWorld, role: Role) -> None:
    token = await world.office.tokens.create(TokenWish(NameScope("lamp")))
    fresh = await world.key(role)
    changes = [
        ("POST", "/v1/tokens", {"thing": "lamp"}),
        ("DELETE", f"/v1/tokens/{token.token.id}", None),
        ("PUT", "/v1/policies/p", {"document": "{}"}),
        ("POST", "/v1/services", {"name": "s", "document": "{}"}),
        ("POST", "/v1/api-keys", {"name": "me", "role": "admin"}),
        ("DELETE", f"/v1/api-keys/{fresh.key.id}", None),
    ]
    before = [event for event in await world.events() if event.action != "admin.call"]
    for method, path, body in changes:
        assert (await world.ask(method, path, fresh.word, body)).status == 403
    assert [event for event in await world.events() if event.action != "admin.call"] == before


async def test_an_admins_key_makes_no_key(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN)
    told = await world.ask("POST", "/v1/api-keys", fresh.word, {"name": "for-ever", "role": "admin"})
    assert (told.status, told.code) == (403, "local_only")
    assert len(await world.keys.page()) == 1


async def test_a_change_names_the_operator_in_the_trail(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN, name="alice")
    told = await world.ask("POST", "/v1/tokens", fresh.word, {"thing": "lamp"})
    assert told.status == 201
    [made] = await world.events("token.create")
    assert made.actor == f"{fresh.key.id} alice"
    [asked] = await world.events("admin.call")
    assert (asked.actor, asked.source, asked.outcome) == (made.actor, HERE, "done")


async def test_what_is_answered_is_kept_by_nobody_between(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN)
    for told in (
        await world.ask("GET", "/v1/things", fresh.word),
        await world.ask("POST", "/v1/tokens", fresh.word, {"thing": "lamp"}),
    ):
        assert told.headers["cache-control"] == "no-store"


async def test_a_head_is_a_look_like_any_other(world: OperatorWorld) -> None:
    fresh = await world.key(Role.VIEWER)
    assert (await world.ask("HEAD", "/v1/things")).status == 401
    assert (await world.ask("HEAD", "/v1/things", fresh.word)).status == 200
    assert [event.subject for event in await world.events("admin.call")] == ["GET /v1/things"] * 2


async def test_a_refused_change_is_in_the_trail_with_its_code(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN)
    for path, code in (("/v1/tokens/t0", "not_found"), ("/v1/policies/nothing", "not_found")):
        assert (await world.ask("DELETE", path, fresh.word)).code == code
    assert [event.outcome for event in await world.events("admin.call")] == ["not_found"] * 2


async def test_a_fault_of_ours_is_in_the_trail_too(
    world: OperatorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = await world.key(Role.VIEWER)

    async def _broken(**_: object) -> None:
        raise RuntimeError("the secret text of a fault")

    monkeypatch.setattr(world.registry, "things", _broken)
    with pytest.raises(RuntimeError):  # Starlette answers, then raises it again
        await world.ask("GET", "/v1/things", fresh.word)
    [event] = await world.events("admin.call")
    assert event.outcome == "internal"


async def test_a_call_that_is_called_off_is_in_the_trail_as_that(
    world: OperatorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, inside = await world.key(Role.VIEWER), asyncio.Event()

    async def _endless(**_: object) -> None:
        inside.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(world.registry, "things", _endless)
    asking = asyncio.create_task(world.ask("GET", "/v1/things", fresh.word))
    await inside.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    [event] = await world.events("admin.call")
    assert event.outcome == "called_off"


async def test_who_withdraws_his_own_key_is_out(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN)
    told = await world.ask("DELETE", f"/v1/api-keys/{fresh.key.id}", fresh.word)
    assert told.body["state"] == "withdrawn"
    assert (await world.ask("GET", "/v1/things", fresh.word)).code == "api_key_refused"


async def test_keys_are_listed_without_secrets(world: OperatorWorld) -> None:
    fresh = await world.key(Role.VIEWER)
    told = await world.ask("GET", "/v1/api-keys", fresh.word)
    assert set(told.body[0]) == {"id", "state", "name", "role", "created", "expires"}
    assert fresh.word.secret.hex() not in repr(told.body)
    assert encode_secret(fresh.word.secret) not in repr(told.body)


async def test_eight_calls_are_at_work_at_once(world: OperatorWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, release, inside = await world.key(Role.VIEWER), asyncio.Event(), 0

    async def _slow(**_: object) -> list[object]:
        nonlocal inside
        inside += 1
        await release.wait()
        return []

    monkeypatch.setattr(world.registry, "things", _slow)
    crowd = [asyncio.create_task(world.ask("GET", "/v1/things", fresh.word)) for _ in range(30)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert inside == 8
    assert (await world.ask("GET", "/v1/things")).status == 401, "who has no key takes no place"
    release.set()
    assert {told.status for told in await asyncio.gather(*crowd)} == {200}


# ── what is no key ──


async def test_what_is_good_for_a_device_is_nothing_here(world: OperatorWorld) -> None:
    token = await world.office.tokens.create(TokenWish(NameScope("*")))
    for word in (encode_secret(token.code.secret), token.code.encode()):
        told = await world.ask("GET", "/v1/things", f"Bearer {word}")
        assert (told.status, told.code) == (401, "api_key_refused")


@pytest.mark.parametrize("scheme", ["Basic {0}", "{0}", "Bearer", "Bearer ", "bearer {0} x"])
async def test_a_key_comes_as_a_bearer_word_and_not_otherwise(world: OperatorWorld, scheme: str) -> None:
    fresh = await world.key(Role.ADMIN)
    told = await world.ask("GET", "/v1/things", scheme.format(fresh.word.encode()))
    assert (told.status, told.code) == (401, "api_key_refused")


async def test_two_words_are_none(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN)
    twice = (b"authorization", f"Bearer {fresh.word.encode()}".encode())
    told = await world.ask("GET", "/v1/things", fresh.word, headers=(twice,))
    assert (told.status, told.code) == (401, "api_key_refused")


def test_nobody_is_the_caller_outside_of_a_call() -> None:
    with pytest.raises(LookupError):
        caller()


async def test_two_who_ask_at_once_are_each_themselves(world: OperatorWorld) -> None:
    keys = [await world.key(Role.ADMIN, name=f"op{number}") for number in range(20)]
    await asyncio.gather(
        *(world.ask("POST", "/v1/tokens", key.word, {"thing": f"lamp-{n}"}) for n, key in enumerate(keys))
    )
    made = {event.details["scope"]: event.actor for event in await world.events("token.create")}
    assert made == {f"lamp-{n}": f"{key.key.id} op{n}" for n, key in enumerate(keys)}


# ── what is written down ──


def test_the_document_names_every_route_that_somebody_may_call() -> None:
    calls = operator_calls(ROUTES)
    named = {(one.method, one.path) for one in calls}
    every = {
        (method, re.sub(r":path\}", "}", route.path))
        for route in ROUTES
        if role_of(route) is not None
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert named == every
    paths = operator_paths(calls)
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert {"401", "403", "429"} <= set(operation["responses"])
