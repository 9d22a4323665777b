"""The way through an HTTP proxy: CONNECT (RFC 9110 9.3.6), then TLS to the other end as if there were none.

Which proxy, the usual variables of the environment say; lower case counts before upper case. The proxy is
given the name of the other end, so that a network without DNS will do. It sees names, ports and times: TLS is
between this device and the other end, and nothing that the proxy says is believed beyond "connected".
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import ECONNREFUSED

from keyborn import __version__

HTTPS: tuple[str, ...] = ("https_proxy", "all_proxy")
MQTT: tuple[str, ...] = ("mqtt_proxy", *HTTPS)
"""``mqtt_proxy`` is what paho looks for; set to nothing it means that MQTT needs no proxy."""
MAX_ANSWER = 16384
"""Bytes of a proxy's answer, of which only the first line says anything."""
_NO_PROXY = "no_proxy"
_PORT = 80
_LOGIN_WANTED = 407


class Barred(OSError):
    """The proxy does not let us through, or cannot; ``strerror`` says why, and names no credential."""

    def __init__(self, detail: str) -> None:
        super().__init__(ECONNREFUSED, detail)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    variable: str
    """Which variable names it."""
    login: str | None = field(default=None, repr=False)
    """The value of Proxy-Authorization."""

    @property
    def name(self) -> str:
        """For people: without user and password."""
        return f"the proxy {_bracketed(self.host)}:{self.port} ({self.variable})"


def proxy_for(
    variables: tuple[str, ...], host: str, port: int, environment: Mapping[str, str] = os.environ
) -> Proxy | None:
    """The proxy on the way to ``host``, or None for the direct way; raises Barred for one that is none.

    The first of ``variables`` that is set decides. This machine itself is never asked for through a proxy.
    """
    for name in variables:
        variable = name if name in environment else name.upper()
        value = environment.get(variable)
        if value is not None:
            if not value.strip() or _is_direct(host, port, environment):
                return None
            return _parse(value.strip(), variable)
    return None


def unreachable(proxy: Proxy, wrong: OSError) -> Barred:
    """What it means that there is no connection to the proxy itself."""
    if isinstance(wrong, socket.gaierror):
        return Barred(f"the name of {proxy.name} has no address ({wrong.strerror})")
    if isinstance(wrong, TimeoutError):
        return Barred(f"{proxy.name} did not answer in time")
    return Barred(f"{proxy.name} cannot be reached: {wrong.strerror}")


def tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int, until: float) -> None:
    """Have ``sock``, which is connected to the proxy, lead to ``host``, by ``until`` on the monotonic clock.

    Raises Barred.
    """
    try:
        _set_time(sock, until)
        sock.sendall(_request(proxy, host, port))
        answer = _answer(sock, until)
    except TimeoutError:
        raise Barred(f"{proxy.name} did not answer in time") from None
    except (OSError, UnicodeError) as wrong:
        why = getattr(wrong, "strerror", None) or "the connection broke"
        raise Barred(f"{proxy.name} ended it: {why}") from None
    status = _status(answer)
    if status is None:
        raise Barred(f"what {proxy.name} answers is not an HTTP proxy's answer")
    if status // 100 != 2:  # noqa: PLR2004 - every 2xx is a yes
        raise Barred(f"{proxy.name} {_refusal(status, proxy)}")


def _request(proxy: Proxy, host: str, port: int) -> bytes:
    name = host if host.isascii() else host.encode("idna").decode()
    if not name.isprintable() or " " in name:
        raise Barred("its name is none")
    to = f"{_bracketed(name)}:{port}"
    lines = [f"CONNECT {to} HTTP/1.1", f"Host: {to}", f"User-Agent: keyborn/{__version__}"]
    if proxy.login is not None:
        lines.append(f"Proxy-Authorization: {proxy.login}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _answer(sock: socket.socket, until: float) -> bytes:
    """All that comes with the empty line, at the latest; the other end says nothing before it hears TLS."""
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < MAX_ANSWER:
        _set_time(sock, until)
        piece = sock.recv(MAX_ANSWER - len(answer))
        if not piece:
            break
        answer += piece
    return answer


def _status(answer: bytes) -> int | None:
    """The status, where this is the whole head of an answer, and where nothing follows a good one."""
    head, end, rest = answer.partition(b"\r\n\r\n")
    version, _, words = head.partition(b"\r\n")[0].partition(b" ")
    number = words[:3]
    if not (end and version in (b"HTTP/1.0", b"HTTP/1.1") and len(number) == 3 and number.isdigit()):  # noqa: PLR2004 - digits
        return None
    return None if number.startswith(b"2") and rest else int(number)


def _refusal(status: int, proxy: Proxy) -> str:
    from http import HTTPStatus

    if status == _LOGIN_WANTED:
        if proxy.login is None:
            return (
                f"wants a user and a password (407). Put them into {proxy.variable}: http://USER:PASSWORD@…"
            )
        return f"does not take the user and password of {proxy.variable} (407)"
    try:
        words = f" {HTTPStatus(status).phrase}"
    except ValueError:
        words = ""
    return f"does not connect to it ({status}{words})"


def _parse(value: str, variable: str) -> Proxy:
    """``http://[USER:PASSWORD@]HOST[:PORT]``, or without the scheme; raises Barred, which never quotes it."""
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        parts, host, port = urlsplit("http:"), None, 0
    if parts.scheme != "http":
        raise Barred(
            f"{variable} names a kind of proxy that is not supported: it must begin with http://, which says "
            "how to talk to the proxy. What passes through it is encrypted all the same"
        )
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise Barred(f"{variable} does not name a proxy: it should be like http://proxy.example:3128")
    login = None
    if parts.username is not None:
        login = _basic(f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    return Proxy(host, port, variable, login)


def _basic(pair: str) -> str:
    from base64 import b64encode

    return f"Basic {b64encode(pair.encode()).decode()}"


# ── who is reached without one ──


def _is_direct(host: str, port: int, environment: Mapping[str, str]) -> bool:
    from ipaddress import ip_address

    name = host.lower().rstrip(".")
    try:
        address = ip_address(name)
    except ValueError:
        address = None
    if name == "localhost" or (address is not None and address.is_loopback):
        return True
    listed = environment.get(_NO_PROXY, environment.get(_NO_PROXY.upper(), ""))
    return any(_covers(each, name, port) for each in listed.lower().replace(",", " ").split())


def _covers(entry: str, name: str, port: int) -> bool:
    """Whether an entry of ``no_proxy`` means this: ``*``, a name and all below, an address or a network.

    With ``:PORT`` it means that port alone.
    """
    from ipaddress import ip_address, ip_network

    if entry == "*":
        return True
    with_port, _, number = entry.rpartition(":")
    if with_port and number.isdecimal() and (with_port.count(":") == 0 or with_port.endswith("]")):
        if int(number) != port:
            return False
        entry = with_port
    entry = entry.strip("[]")
    try:
        return ip_address(name) in ip_network(entry, strict=False)
    except ValueError:
        suffix = entry.lstrip("*").strip(".")
        return bool(suffix) and (name == suffix or name.endswith(f".{suffix}"))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _set_time(sock: socket.socket, until: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
