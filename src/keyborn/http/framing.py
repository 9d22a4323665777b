"""Heads that a proxy in front may read otherwise than we do: refused, so that both see one request.

The parser refuses most of them (two lengths, a length beside chunks, folded lines, bare CR or LF). What it
lets pass, and RFC 9112 does not, is here.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from httptools.parser.url_parser import URL

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")
"""RFC 9110, 7.2, and RFC 3986, 3.2: no user, and no brackets but those of an address."""
_SCHEMES = (b"http", b"https")
Headers = list[tuple[bytes, bytes]]


def sound(version: str, target: "URL", headers: Headers) -> tuple[Headers, bool]:
    """The headers, and whether the caller waits for 100 Continue; names are in lower case.

    Raises ValueError for a version that is none of HTTP/1's (RFC 9112, 2.3), a Host that is missing, given
    twice or no host (3.2), and a transfer coding that is not one ``chunked`` in HTTP/1.1 (6.1).
    """
    if version not in ("1.1", "1.0"):
        raise ValueError("another version of HTTP")
    hosts, codings, expects = [], [], False
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"expect":
            expects = expects or value.lower() == b"100-continue"
    if codings and (version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise ValueError("a transfer coding that is not known")
    if len(hosts) > 1 or not (hosts or version == "1.0") or not all(map(_HOST.fullmatch, hosts)):
        raise ValueError("not one host")
    return (_absolute(target, headers) if target.schema else headers), expects


def _absolute(target: "URL", headers: Headers) -> Headers:
    """Where the target is a whole URL, its host is the one that counts (RFC 9112, 3.2.2)."""
    if target.schema.lower() not in _SCHEMES or not target.host or target.userinfo:
        raise ValueError("a target that is no URL of HTTP")
    host = b"[%b]" % target.host if b":" in target.host else target.host
    own = host if not target.port else b"%b:%d" % (host, target.port)
    return [(b"host", own), *_without_host(headers)]


def _without_host(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [each for each in headers if each[0] != b"host"]
