"""``keyborn serve`` without TLS on its HTTPS address, so that plain HTTP can be compared like with like.

Everything else is the product: the same composition, the same application, the same limits. There is no such
option in the product, because an enrolment token must not travel in the clear: its ``plain_http`` answers
proxies alone. Its workers are this file, too.
"""

import asyncio
import socket
import ssl
import sys

from keyborn.cli.main import main
from keyborn.http.server import Around, HttpServer
from keyborn.wiring import crew, plain, service, worker
from keyborn.wiring.plain import Front

_BACKLOG = 4096
_AS_WORKER = "--as-worker"


class PlainServer(HttpServer):
    """Listens without the TLS context that it is given."""

    async def listen_tls(self, host: str, port: int, context: ssl.SSLContext) -> tuple[str, int]:  # noqa: ARG002
        listener = await asyncio.get_running_loop().create_server(
            self._connection, host, port, backlog=_BACKLOG
        )
        self._add(listener)
        bound = listener.sockets[0].getsockname()
        return bound[0], bound[1]

    def listen_shared(self, sock: socket.socket, context: ssl.SSLContext) -> None:  # noqa: ARG002
        self._listening = asyncio.ensure_future(self.listen_shared_plain(sock))


def _nothing_before(_front: Front, *_parts: object) -> Around:
    """Without TLS nobody but a proxy would be answered; here everybody is."""
    return lambda app: app


vars(plain)["Front"].around = _nothing_before
for module in (service, worker):
    vars(module)["HttpServer"] = PlainServer  # the one part that is exchanged, in spawned processes too

if __name__ == "__main__":
    if sys.argv[1:2] == [_AS_WORKER]:
        worker.main(sys.argv[2:])
    else:
        vars(crew)["COMMAND"] = (sys.executable, __file__, _AS_WORKER)
        main()
