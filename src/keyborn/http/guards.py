"""What every request passes before a use case sees it: size, JSON, credential."""

from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from keyborn.domain.errors import CredentialRefused, MalformedRequest, TooLarge
from keyborn.ports import Asked, Credential

MAX_BODY = 16 * 1024
"""Bytes; a larger body is refused without being buffered."""

_FORWARDING = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "cf-connecting-ip",
        "true-client-ip",
        "x-envoy-external-address",
        "client-cert",
        "client-cert-chain",
        "origin",  # a page in a browser here, written by somebody elsewhere
        "sec-fetch-site",
    }
)
_FORWARDED = "x-forwarded"
PROXIED = "keyborn.proxied"
"""In the scope of a request that a trusted proxy passed on, whatever its headers."""
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

Body = TypeVar("Body")


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """Read at most ``limit`` bytes; raises TooLarge as soon as it is known, or MalformedRequest."""
    declared = request.headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit():
        raise MalformedRequest(detail="its Content-Length is not a number")
    if int(declared[:20]) > limit:
        raise TooLarge(limit=limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(limit=limit)
    except ClientDisconnect:  # nobody will read this; it is everyday, and no fault of ours
        raise MalformedRequest(detail="the connection ended before it did") from None
    return bytes(body)


def parse_json(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Decode strictly into the decoder's type; raises MalformedRequest with what is wrong, and where."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedRequest(detail=_plain(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedRequest(detail="it is not JSON in UTF-8") from None


def credential(request: Request, asked: Asked | None = None) -> Credential:
    """What the caller showed, for what; raises CredentialRefused for any other scheme than Bearer."""
    values = request.headers.getlist("authorization")
    bearer = None
    if values:
        scheme, _, bearer = values[0].partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer":
            raise CredentialRefused
    source = request.client.host if request.client else ""
    return Credential(bearer=bearer, source=source, proxied=_proxied(request), asked=asked)


def _proxied(request: Request) -> bool:
    if PROXIED in request.scope:
        return True
    names = request.headers.keys()
    if not _FORWARDING.isdisjoint(names) or any(name.startswith(_FORWARDED) for name in names):
        return True
    hosts = request.headers.getlist("host")
    if len(hosts) != 1:
        return True
    host = hosts[0].lower()
    return (host if host.endswith("]") else host.rpartition(":")[0] or host) not in _LOCAL_HOSTS


def _plain(text: str) -> str:
    """An error message without control characters, cut."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200].rstrip(".")
