"""Asking over HTTPS: asyncio for the connection, h11 for HTTP, limits on time and bytes for all of it.

Certificates and names are verified; nothing is followed, repeated, unpacked or sent through a proxy, whatever
the environment says. Each question has a connection of its own.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from keyborn import __version__
from keyborn.domain.names import is_host
from keyborn.ports.outbound import NotAnswered, OutboundAnswer, OutboundRequest

MOST_HEADERS = 16 * 1024
"""Bytes of the answer's status line and headers together."""
MOST_AROUND = 64 * 1024
"""Bytes that an answer may have beside its body: headers, chunks, interim answers."""
MOST_CONTEXTS = 64
"""Sets of roots that are kept read."""
FIRST_PATIENCE = 1.0
"""Seconds for an address that has another one behind it: then that one is tried."""

_TARGET = re.compile(r"[!-~]{1,2048}")
_READ = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int
    target: str
    """Path and query."""
    authority: str
    """As the Host header has it."""


class Asker:
    """What ``HttpsOutbound`` does."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[str | None, ssl.SSLContext] = OrderedDict()

    async def fetch(self, request: OutboundRequest) -> OutboundAnswer:
        """Ask once; raises NotAnswered."""
        place = _place(request.url)
        try:
            async with asyncio.timeout(request.seconds):
                return await self._ask(place, request)
        except TimeoutError:
            raise NotAnswered("it took too long") from None
        except ssl.SSLCertVerificationError as wrong:
            raise NotAnswered(f"its certificate is not believed ({wrong.verify_message})") from None
        except ssl.SSLError as wrong:
            raise NotAnswered(f"TLS ({wrong.reason})") from None
        except socket.gaierror:
            raise NotAnswered(f"the name {place.host} has no address") from None
        except OSError as wrong:
            raise NotAnswered(f"the connection failed ({type(wrong).__name__})") from None
        except h11.RemoteProtocolError:
            raise NotAnswered("its answer is not HTTP, or was cut short") from None

    async def _ask(self, place: _Place, request: OutboundRequest) -> OutboundAnswer:
        context = self._context(request.roots_pem)
        sock = await _dial(place, public_only=request.public_only)
        try:
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=place.host, limit=_READ
            )
        except BaseException:
            sock.close()
            raise
        try:
            return await _exchange(reader, writer, place, request)
        finally:
            writer.transport.abort()

    def _context(self, roots_pem: str | None) -> ssl.SSLContext:
        context = self._contexts.get(roots_pem)
        if context is None:
            context = _new_context(roots_pem)
            self._contexts[roots_pem] = context
            while len(self._contexts) > MOST_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(roots_pem)
        return context


def _new_context(roots_pem: str | None) -> ssl.SSLContext:
    """With ``cadata`` nothing else is believed: the machine's own roots are left out."""
    try:
        context = ssl.create_default_context(cadata=roots_pem)
    except (ssl.SSLError, ValueError):
        raise NotAnswered("the roots configured for it are not PEM certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _place(url: str) -> _Place:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:
        raise NotAnswered("its address is no URL") from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    plain = parts.scheme == "https" and "@" not in parts.netloc and not parts.fragment
    if not plain or not is_host(host) or not _TARGET.fullmatch(target):
        raise NotAnswered("its address is not https://host[:port]/path")
    return _Place(host, port, target, parts.netloc)


async def _dial(place: _Place, *, public_only: bool) -> socket.socket:
    """Connect to the first address that answers."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    places = [(family, address) for family, _, _, _, address in found]
    if public_only and not all(_is_public(str(address[0])) for _, address in places):
        raise NotAnswered(f"the name {place.host} leads into a private network")
    *first, last = places
    for family, address in first:
        try:
            async with asyncio.timeout(FIRST_PATIENCE):
                return await _connect(family, address)
        except OSError:  # TimeoutError is one, too
            continue
    return await _connect(*last)


async def _connect(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_public(address: str) -> bool:
    """Whether the whole Internet has this address; of one that wraps another, both have to be."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    wrapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (wrapped or parsed).is_global and not parsed.is_multicast


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: _Place, request: OutboundRequest
) -> OutboundAnswer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEADERS)
    writer.write(_written(connection, place, request))
    await writer.drain()
    head: h11.Response | None = None
    body = bytearray()
    left = request.most + MOST_AROUND
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_READ)
            left -= len(data)
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _answer(head, bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise NotAnswered("its answer is not HTTP, or was cut short")
        if left < 0 or len(body) > request.most:
            raise NotAnswered(f"its answer has more than {request.most} bytes")


def _written(connection: h11.Connection, place: _Place, request: OutboundRequest) -> bytes:
    headers = {
        "Host": place.authority,
        "User-Agent": f"keyborn/{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **request.headers,
    }
    if request.body:
        headers["Content-Length"] = str(len(request.body))
    head = connection.send(
        h11.Request(method=request.method, target=place.target, headers=list(headers.items()))
    )
    body = connection.send(h11.Data(data=request.body)) if request.body else b""
    end = connection.send(h11.EndOfMessage())
    return (head or b"") + (body or b"") + (end or b"")


def _answer(head: h11.Response, body: bytes) -> OutboundAnswer:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return OutboundAnswer(head.status_code, body, headers)
