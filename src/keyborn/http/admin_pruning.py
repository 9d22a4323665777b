"""The operator's route for forgetting what has been of no use for long."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from keyborn.http import guards
from keyborn.http.answers import answer_json
from keyborn.http.roles import change
from keyborn.service.pruning import PruneOffice


class PruneBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What ended more than so many days ago; None: as ``server.toml`` says. ``after``: see the answer."""

    days: int | None = None
    dry_run: bool = False
    after: str | None = None


_body = msgspec.json.Decoder(PruneBody)


def prune_routes(office: PruneOffice, actor: Callable[[], str]) -> list[BaseRoute]:
    """The route of pruning."""

    async def _prune(request: Request) -> Response:
        """Forget for a while; ``after`` of the answer goes on, until it is null."""
        body = guards.parse_json(await guards.read_body(request), _body)
        who = "" if body.dry_run else actor()
        pruned = await office.stretch(body.days, after=body.after, dry=body.dry_run, actor=who)
        return answer_json({**pruned.counts, "after": pruned.after})

    return [change("POST", "/v1/prune", _prune, PruneBody)]
