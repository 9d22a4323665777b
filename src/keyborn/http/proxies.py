"""What a proxy in front says of the caller, believed from configured proxies alone.

Its address comes from X-Forwarded-For, read from the right: each entry was written by whoever is to the right
of it, so the first one that is no trusted proxy is the caller, and what stands to the left of that is the
caller's own word. ``Forwarded`` (RFC 7239) is not read: proxies that pass a caller's through unchanged are
common, and one way is enough.

Its certificate comes from ``Client-Cert`` (RFC 9440): one byte sequence of RFC 8941, in its canonical form.
The proxy is believed that the caller had the key, and nothing more: whose the certificate is, and whether it
holds, is verified here, as TLS does on the service's own listener. ``Client-Cert-Chain`` is not read: the
intermediates are ours.

Nobody else's word counts. A request of anybody else that brings one of these headers counts as one without a
client certificate, even where TLS has seen one: it was passed on by somebody unknown, or pretends to be.
"""

import logging
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from keyborn.domain.errors import ClientCertificateRefused, KeybornError, ProxyUntrusted
from keyborn.http import problems
from keyborn.http.guards import PROXIED
from keyborn.http.protocol import UNIX

MAX_CERTIFICATE = 8 * 1024
"""Bytes of a ``Client-Cert`` header; a device's certificate takes about 800."""
MAX_HOPS = 32
"""Entries of X-Forwarded-For that are read."""
_CERTIFICATE, _CHAIN, _FORWARDED_FOR = b"client-cert", b"client-cert-chain", b"x-forwarded-for"
_FOR_ANYBODY = frozenset({"/healthz", "/readyz"})
"""What a load balancer asks before it is trusted; they say nothing of anybody."""
_COLONS = 2
_log = logging.getLogger("keyborn.http")

Network = IPv4Network | IPv6Network
Verify = Callable[[bytes], None]
"""Returns if a certificate, DER, is one that TLS would take; else raises ClientCertificateRefused."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Who is a proxy of this service."""

    networks: tuple[Network, ...] = ()
    socket: bool = False
    """Whether there is a Unix socket for one: whoever can open that is it."""

    @staticmethod
    def of(networks: Iterable[str], *, socket: bool = False) -> "Proxies":
        """From addresses and networks as text; raises ValueError."""
        return Proxies(tuple(ip_network(each) for each in networks), socket)

    def trusts(self, peer: str | None) -> bool:
        """Whether ``peer`` is the address of one; None, for an address that nobody knows, is not."""
        return bool(self.networks) and peer is not None and self._holds(_address(peer))

    def caller(self, forwarded: Iterable[bytes]) -> str:
        """Whose request a trusted proxy passed on, by its X-Forwarded-For headers in their order.

        Empty where they do not say: then it is nobody's address, and lies in no network.
        """
        entries = b",".join(forwarded).decode("latin-1").split(",")
        found = None
        for entry in reversed(entries[-MAX_HOPS:]):
            found = _address(_without_port(entry.strip()))
            if found is None or not self._holds(found):
                return str(found or "")
        return str(found or "") if len(entries) <= MAX_HOPS else ""

    def _holds(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)


class BehindProxies:
    """An ASGI application, told what trusted proxies say of its callers, and nothing of what others say."""

    def __init__(self, app: ASGIApp, proxies: Proxies, verify: Verify) -> None:
        self._app = app
        self._proxies = proxies
        self._verify = verify
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Settle who calls, then pass on; a refusal is a problem document."""
        if scope["type"] == "http":
            try:
                self.settle(scope)
            except KeybornError as refusal:
                await problems.answer_problem(refusal)(scope, receive, send)
                return
            except Exception as fault:  # noqa: BLE001 - who calls is not known, so nobody is let in
                await (await problems.on_fault(Request(scope), fault))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def settle(self, scope: Scope) -> None:
        """Write the caller's address and certificate into ``scope``, where its peer is a trusted proxy.

        The address goes to ``client`` (None: unknown), the certificate to the ``tls`` extension, where TLS of
        our own puts it. Raises ProxyUntrusted or ClientCertificateRefused.
        """
        peer, extensions = scope.get("client"), scope.get("extensions", {})
        through_socket = self._proxies.socket and UNIX in extensions
        if through_socket or self._proxies.trusts(peer[0] if peer else None):
            self._believe(scope)
        elif "tls" not in extensions:
            if scope["path"] not in _FOR_ANYBODY:
                raise ProxyUntrusted
        elif any(name in (_CERTIFICATE, _CHAIN) for name, _ in scope["headers"]):
            _show(scope, None)

    def _believe(self, scope: Scope) -> None:
        address = self._proxies.caller(_values(scope, _FORWARDED_FOR))
        if not address and scope["path"] not in _FOR_ANYBODY and not self._warned:
            self._warned = True
            _log.warning("a proxy does not say who calls: have it set X-Forwarded-For. Said once")
        scope[PROXIED] = True
        scope["client"] = (address, 0) if address else None
        _show(scope, None)
        shown = _values(scope, _CERTIFICATE)
        if shown:
            der = read_client_cert(shown)
            self._verify(der)
            _show(scope, der)


def read_client_cert(values: list[bytes]) -> bytes:
    """The DER in the ``Client-Cert`` headers of a request (RFC 9440, 2.2): exactly one, canonical.

    Raises ClientCertificateRefused. Nothing is said of the bytes inside but that they are there.
    """
    value = values[0]
    if len(values) > 1 or len(value) > MAX_CERTIFICATE:
        raise ClientCertificateRefused(detail="the proxy's Client-Cert header is given twice, or too long")
    try:
        der = b64decode(value[1:-1], validate=True)
    except ValueError:
        der = b""
    if not der or value != b":" + b64encode(der) + b":":
        raise ClientCertificateRefused(detail="the proxy's Client-Cert header is no byte sequence (RFC 9440)")
    return der


def _show(scope: Scope, der: bytes | None) -> None:
    chain = [ssl.DER_cert_to_PEM_cert(der)] if der is not None else []
    scope["extensions"] = {**scope.get("extensions", {}), "tls": {"client_cert_chain": chain}}


def _values(scope: Scope, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _without_port(entry: str) -> str:
    """``ADDRESS``, ``[IPv6]``, ``[IPv6]:PORT`` or ``IPv4:PORT``: the address."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry if entry.count(":") >= _COLONS else entry.partition(":")[0]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address without a zone, IPv4 where a socket shows it as IPv6; None for what is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
