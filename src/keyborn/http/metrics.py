"""Where figures are told: to a scraper on this machine as text, to the operator's command as JSON."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from keyborn.http import problems
from keyborn.http.answers import answer_json
from keyborn.http.exposition import MEDIA_TYPE, exposition
from keyborn.http.roles import OperatorRoute, local
from keyborn.service.watching import Watching

PATH = "/v1/metrics"


def build_metrics(watching: Watching) -> Starlette:
    """The application of a scraper: ``/metrics``, and ``/healthz``."""

    async def _metrics(_request: Request) -> Response:
        return Response(exposition(await watching.families()), media_type=MEDIA_TYPE)

    async def _healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[
            Route("/metrics", _metrics, methods=["GET"]),
            Route("/healthz", _healthz, methods=["GET"]),
        ],
        exception_handlers=problems.HANDLERS,
    )


def metrics_routes(watching: Watching) -> list[OperatorRoute]:
    """For the operator's application; for the machine of the service alone."""

    async def _metrics(_request: Request) -> Response:
        """Every figure of the service."""
        return answer_json(await watching.families())

    return [local("GET", PATH, _metrics)]
