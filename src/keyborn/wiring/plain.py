"""The listener without TLS, for a proxy in front: who may use it, and where it is."""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from keyborn.adapters.ca import ShownCertificates
from keyborn.domain.errors import AddressUnavailable, InvalidSetting
from keyborn.http.doorway import BACKLOG, bound
from keyborn.http.proxies import BehindProxies, Proxies
from keyborn.http.server import Around, HttpServer
from keyborn.ports import Clock
from keyborn.settings import Address, ServerSettings, shown_place

_GROUP_ONLY = 0o117
"""A socket of mode 0660: the folder's group, where that is set-gid, is the proxy."""
_log = logging.getLogger("keyborn.serve")


class Front:
    """What stands between the listeners of devices and the application."""

    def __init__(self, settings: ServerSettings) -> None:
        """Raises InvalidSetting."""
        self._place = settings.plain_http
        self._proxies = proxies_of(settings)

    def around(self, client_ca_pem: Callable[[], str], clock: Clock) -> Around:
        """What lets trusted proxies' word on the caller count for an application, and nobody else's."""
        verify = ShownCertificates(client_ca_pem, clock).verify
        return lambda app: BehindProxies(app, self._proxies, verify)

    async def listen(self, stack: AsyncExitStack, server: HttpServer) -> str:
        """Listen without TLS until ``stack`` ends, if that is wanted; where, as settings write it."""
        if self._place is None:
            return ""
        where, forget = await listen_plain(server, self._place)
        stack.callback(forget)
        return where

    async def bind(self, stack: AsyncExitStack) -> "BoundPlace | None":
        """Listen for workers until ``stack`` ends, if that is wanted. Raises AddressUnavailable."""
        place = self._place
        if place is None:
            return None
        try:
            if isinstance(place, Path):
                sockets, shown = [_bind(place)], shown_place(place)
                stack.callback(_remove, place)
                sockets[0].listen(BACKLOG)
            else:
                sockets = await bound(place.host, place.port)
                shown = str(Address(*sockets[0].getsockname()[:2]))
        except OSError as error:
            detail = error.strerror or str(error)
            raise AddressUnavailable(address=shown_place(place), detail=detail) from None
        for each in sockets:
            stack.callback(each.close)
        return BoundPlace(sockets, shown)


@dataclass(frozen=True, slots=True)
class BoundPlace:
    """Listening sockets without TLS, and where they are, as settings write it."""

    sockets: Sequence[socket.socket]
    shown: str


def proxies_of(settings: ServerSettings) -> Proxies:
    """Whom the settings trust. Raises InvalidSetting for a listener that would answer nobody."""
    if isinstance(settings.plain_http, Address):
        if not settings.trusted_proxies:
            detail = "it answers the addresses in trusted_proxies alone, and there are none"
            raise InvalidSetting(setting="plain_http", detail=detail)
        if not settings.plain_http.is_loopback:
            _log.warning("what a proxy passes to %s crosses a network in the clear", settings.plain_http)
    return Proxies.of(settings.trusted_proxies, socket=isinstance(settings.plain_http, Path))


async def listen_plain(server: HttpServer, place: Address | Path) -> tuple[str, Callable[[], None]]:
    """Listen; where, as settings write it, and what is to be done when the service ends.

    Raises AddressUnavailable.
    """
    try:
        if isinstance(place, Address):
            return str(Address(*await server.listen_plain(place.host, place.port))), lambda: None
        await server.listen_unix(_bind(place))
    except OSError as error:
        raise AddressUnavailable(address=shown_place(place), detail=error.strerror or str(error)) from None
    return shown_place(place), lambda: _remove(place)


def _bind(path: Path) -> socket.socket:
    """A socket at ``path``, in the place of one that nobody serves any more. Raises OSError."""
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(_GROUP_ONLY)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _clear(path: Path) -> None:
    """Remove a socket that a killed service left. Raises OSError for one in use, and for another file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(0, "there is a file of another kind")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise FileExistsError(0, "another service listens there")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
