"""The operator's routes for enrolment groups, and for what changes of a thing's record."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.domain.webhook import shown_secret
from keyborn.http import guards
from keyborn.http.admin_rows import finding_row, group_row, thing_row
from keyborn.http.answers import answer_json, page_after, page_limit, span_of
from keyborn.http.roles import ask, change, look
from keyborn.service.groups import GroupOffice, KeptGroup
from keyborn.service.regroup import RegroupOffice

MAX_BODY = 256 * 1024
"""Bytes: a file of 64 KiB with every line end and quotation mark escaped, and the rest."""
_DEFAULT_RELEASE = 3600


class GroupBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A file to keep: the TOML text, as its author wrote it."""

    document: str


class ReleaseBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """For how long another key may be brought, in seconds from now; None ends it."""

    seconds: int | None = _DEFAULT_RELEASE


class MoveBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The group to move to; None is none."""

    group: str | None


class AttributesBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Attributes to set, and names of those to take away."""

    attributes: dict[str, str] = {}
    unset: list[str] = []


_group_body = msgspec.json.Decoder(GroupBody)
_release_body = msgspec.json.Decoder(ReleaseBody)
_move_body = msgspec.json.Decoder(MoveBody)
_attributes_body = msgspec.json.Decoder(AttributesBody)


def group_routes(office: GroupOffice, actor: Callable[[], str]) -> list[Route]:
    """Routes over one office; ``actor``: whom the audit trail names, asked before each change."""
    routes = _GroupRoutes(office, actor)
    return [
        look("/v1/groups", routes.page),
        ask("/v1/groups/{group:path}/lint", routes.lint, GroupBody),
        look("/v1/groups/{group:path}", routes.show),
        change("PUT", "/v1/groups/{group:path}", routes.put, GroupBody),
        change("DELETE", "/v1/groups/{group:path}", routes.remove),
    ]


def regroup_routes(office: RegroupOffice, actor: Callable[[], str]) -> list[Route]:
    """Routes over one office; ``actor`` as in ``group_routes``."""
    routes = _RegroupRoutes(office, actor)
    return [
        change("POST", "/v1/things/{name:path}/release", routes.release, ReleaseBody),
        change("POST", "/v1/things/{name:path}/group", routes.move, MoveBody),
        change("POST", "/v1/things/{name:path}/attributes", routes.set_attributes, AttributesBody),
    ]


class _GroupRoutes:
    def __init__(self, office: GroupOffice, actor: Callable[[], str]) -> None:
        self._office = office
        self._actor = actor

    async def page(self, request: Request) -> Response:
        """A page of groups, by name, without their files."""
        page = await self._office.page(after=page_after(request), limit=page_limit(request))
        return answer_json([group_row(use.document, use.taken) for use in page])

    async def show(self, request: Request) -> Response:
        """One group: its file, how many enrolled, and what lint says."""
        kept = await self._office.show(request.path_params["group"])
        return answer_json(_kept_row(kept) | {"document": kept.document.text})

    async def put(self, request: Request) -> Response:
        """Keep a file; the one answer that shows the webhook's secret, if it has just been made."""
        body = guards.parse_json(await guards.read_body(request, MAX_BODY), _group_body)
        kept = await self._office.put(request.path_params["group"], body.document, actor=self._actor())
        secret = kept.webhook_secret
        return answer_json(
            _kept_row(kept) | {"webhookSecret": None if secret is None else shown_secret(secret)}
        )

    async def lint(self, request: Request) -> Response:
        """What lint says of a file here, beside the groups and policies that there are."""
        body = guards.parse_json(await guards.read_body(request, MAX_BODY), _group_body)
        group, findings = await self._office.check(request.path_params["group"], body.document)
        return answer_json({"groupName": group.name, "findings": [finding_row(each) for each in findings]})

    async def remove(self, request: Request) -> Response:
        """Forget a group."""
        await self._office.remove(request.path_params["group"], actor=self._actor())
        return answer_json({"groupName": request.path_params["group"]})


class _RegroupRoutes:
    def __init__(self, office: RegroupOffice, actor: Callable[[], str]) -> None:
        self._office = office
        self._actor = actor

    async def release(self, request: Request) -> Response:
        """Let another key be brought, once, for a time."""
        body = guards.parse_json(await guards.read_body(request), _release_body)
        span = None if body.seconds is None else span_of(body.seconds)
        name = request.path_params["name"]
        return answer_json(thing_row(await self._office.release(name, span, actor=self._actor())))

    async def move(self, request: Request) -> Response:
        """Put a thing under another group's rule."""
        body = guards.parse_json(await guards.read_body(request), _move_body)
        name = request.path_params["name"]
        return answer_json(thing_row(await self._office.move(name, body.group, actor=self._actor())))

    async def set_attributes(self, request: Request) -> Response:
        """Set attributes, and take others away."""
        body = guards.parse_json(await guards.read_body(request), _attributes_body)
        name = request.path_params["name"]
        thing = await self._office.set_attributes(name, body.attributes, body.unset, actor=self._actor())
        return answer_json(thing_row(thing))


def _kept_row(kept: KeptGroup) -> dict[str, object]:
    findings = [finding_row(finding) for finding in kept.findings]
    return group_row(kept.document, kept.enrolled) | {"findings": findings}
