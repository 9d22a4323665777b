"""What every request passes before a use case sees it: size, JSON, credential."""

from typing import TypeVar

import msgspec

from keyborn.domain.errors import CredentialRefused, MalformedRequest, TooLarge
from keyborn.http.incoming import Asks, header, source_of
from keyborn.ports import Asked, Credential

MAX_BODY = 16 * 1024
"""Bytes; a larger body is refused without being buffered."""

_FORWARDING = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-forwarded-for",
        b"cf-connecting-ip",
        b"true-client-ip",
        b"x-envoy-external-address",
        b"client-cert",
        b"client-cert-chain",
        b"origin",  # a page in a browser here, written by somebody elsewhere
        b"sec-fetch-site",
    }
)
_FORWARDED = b"x-forwarded"
PROXIED = "keyborn.proxied"
"""In the scope of a request that a trusted proxy passed on, whatever its headers."""
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

Body = TypeVar("Body")


async def read_body(request: Asks, limit: int = MAX_BODY) -> bytes:
    """Read at most ``limit`` bytes; raises TooLarge as soon as it is known, or MalformedRequest."""
    declared = (header(request, b"content-length") or ["0"])[0]
    if not declared.isascii() or not declared.isdigit():
        raise MalformedRequest(detail="its Content-Length is not a number")
    if int(declared[:20]) > limit:
        raise TooLarge(limit=limit)
    message = await request.receive()
    body: bytes | bytearray = message.get("body", b"")
    if message.get("more_body", False):
        body = bytearray(body)
    while message.get("more_body", False) and len(body) <= limit:
        message = await request.receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":  # nobody will read this; it is everyday, and no fault of ours
        raise MalformedRequest(detail="the connection ended before it did")
    if len(body) > limit:
        raise TooLarge(limit=limit)
    return bytes(body)


def parse_json(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Decode strictly into the decoder's type; raises MalformedRequest with what is wrong, and where."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedRequest(detail=_plain(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedRequest(detail="it is not JSON in UTF-8") from None


def credential(request: Asks, asked: Asked | None = None) -> Credential:
    """What the caller showed, for what; raises CredentialRefused for any other scheme than Bearer."""
    values = header(request, b"authorization")
    bearer = None
    if values:
        scheme, _, bearer = values[0].partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer":
            raise CredentialRefused
    return Credential(bearer=bearer, source=source_of(request), proxied=_proxied(request), asked=asked)


def _proxied(request: Asks) -> bool:
    if PROXIED in request.scope:
        return True
    for name, _ in request.scope["headers"]:
        if name in _FORWARDING or name.startswith(_FORWARDED):
            return True
    hosts = header(request, b"host")
    if len(hosts) != 1:
        return True
    host = hosts[0].lower()
    return (host if host.endswith("]") else host.rpartition(":")[0] or host) not in _LOCAL_HOSTS


def _plain(text: str) -> str:
    """An error message without control characters, cut."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200].rstrip(".")
