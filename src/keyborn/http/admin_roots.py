"""The operator's routes that tell which things believe which roots."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyborn.http.admin_rows import belief_row
from keyborn.http.answers import answer_json, page_after, page_limit
from keyborn.service.roots import RootsOffice


def roots_routes(office: RootsOffice) -> list[Route]:
    """For the application of operators."""

    async def _report(_request: Request) -> Response:
        told = await office.report()
        sets = [
            {"roots": roots, "things": things, "newest": roots == told.newest} for roots, things in told.sets
        ]
        return answer_json({"newest": told.newest, "lacking": told.lacking, "sets": sets})

    async def _lacking(request: Request) -> Response:
        page = await office.lacking(after=page_after(request), limit=page_limit(request))
        return answer_json([belief_row(belief) for belief in page])

    return [
        Route("/v1/roots", _report, methods=["GET"]),
        Route("/v1/roots/lacking", _lacking, methods=["GET"]),
    ]
