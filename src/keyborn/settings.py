"""The server's settings: read once from ``server.toml``, validated whole, frozen.

Every field has a default, so an empty folder is a good configuration.
"""

import ipaddress
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from keyborn.domain.errors import InvalidCode, InvalidSetting
from keyborn.domain.profile import DEFAULT_DEVICE_LIFETIME, MAX_DEVICE_LIFETIME, CertificateProfile
from keyborn.domain.pruning import MAX_RETENTION
from keyborn.domain.token import require_service_url

LOOPBACK_NAMES = ("127.0.0.1", "::1")
"""In every service certificate; ``localhost`` is not: linters rightly refuse host names of one label."""
_MAX_PORT = 65535
_LOOPBACK_ALONE = (
    "it takes an address of this machine alone, such as 127.0.0.1:9464, for whoever asks is told. To "
    "read them from elsewhere, put a scraper, or a proxy with TLS and a password, on this machine"
)
MAX_WORKERS = 64
_MAX_FILE = 64 * 1024
_UNIX = "unix:"
_MAX_SOCKET_PATH = 107
"""Bytes, of unix(7)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 picks a free one."""

    host: str
    port: int

    @staticmethod
    def parse(text: str, setting: str) -> "Address":
        """Read ``HOST:PORT`` or ``[IPv6]:PORT``; raises InvalidSetting."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
            raise InvalidSetting(setting=setting, detail="it takes HOST:PORT, such as 127.0.0.1:8443")
        return Address(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """Whether it listens on every address of the machine."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    def __str__(self) -> str:
        """``HOST:PORT``, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What ``keyborn serve`` runs with."""

    https: Address = Address("127.0.0.1", 8443)
    mqtt: Address = Address("127.0.0.1", 8883)
    mqtt_alpn: Address | None = None
    """A second listener, for networks that let 443 out alone: ALPN x-amzn-mqtt-ca is required there."""
    names: tuple[str, ...] = LOOPBACK_NAMES
    """Host names and addresses in the service's certificate; the first that is not loopback is published."""
    url: str = ""
    """The URL in enrolment codes, if it is not simply the HTTPS address."""
    topic_prefix: str = "certtest"
    device_certificate_days: int = DEFAULT_DEVICE_LIFETIME.days
    metrics: Address | None = None
    """Where a scraper on this machine reads figures, over plain HTTP; None: nowhere."""
    remote_admin: bool = True
    """Whether operators elsewhere reach their routes on the HTTPS listener, with an API key."""
    plain_http: Address | Path | None = None
    """A listener without TLS, for a proxy in front: an address, or the path of a Unix socket."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks whose word on the caller's address and certificate counts."""

    retention_days: int = 0
    """What ended longer ago is forgotten (``domain.pruning``); 0: nothing is."""
    workers: int | None = None
    """Processes that answer HTTPS beside the core; 0: the core does; None: one less than processors."""
    revocation_mirror: str = ""
    """A second copy of what was revoked, beside ``revocations.log``: a file on another disk."""

    @property
    def profile(self) -> CertificateProfile:
        """The profile of device certificates."""
        return CertificateProfile(timedelta(days=self.device_certificate_days))

    @property
    def reserved_names(self) -> frozenset[str]:
        """Thing names nobody may take, lower case."""
        return frozenset(name.lower() for name in (*self.names, *LOOPBACK_NAMES, "localhost"))

    def public_host(self, address: Address) -> str:
        """How devices are told to reach a listener on ``address``."""
        if not address.is_wildcard:
            return address.host
        return next((name for name in self.names if name not in LOOPBACK_NAMES), "127.0.0.1")


def read_settings(path: Path) -> ServerSettings:
    """Read ``server.toml``; raises InvalidSetting for what is unknown or makes no sense."""
    try:
        with path.open("rb") as file:
            return read_settings_text(file.read(_MAX_FILE).decode(), path.name)
    except UnicodeDecodeError as error:
        raise InvalidSetting(setting=path.name, detail=f"it is not TOML ({error})") from None


def read_settings_text(text: str, name: str = "server.toml") -> ServerSettings:
    """Read what ``write_settings`` wrote, or a person did; raises InvalidSetting, which says ``name``."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSetting(setting=name, detail=f"it is not TOML ({error})") from None
    return parse_settings(table)


def parse_settings(table: Mapping[str, Any]) -> ServerSettings:
    """Validate a table of settings; raises InvalidSetting."""
    unknown = set(table) - {field.name for field in fields(ServerSettings)}
    if unknown:
        raise InvalidSetting(setting=min(unknown), detail="there is no such setting")
    given: dict[str, Any] = {name: _READERS[name](value, name) for name, value in table.items()}
    return ServerSettings(**given)


def write_settings(settings: ServerSettings) -> str:
    """The settings as TOML; ``read_settings`` gives them back."""
    lines = [f"https = {_quoted(str(settings.https))}", f"mqtt = {_quoted(str(settings.mqtt))}"]
    lines += [f"mqtt_alpn = {_quoted(str(settings.mqtt_alpn or ''))}"]
    lines += [f"names = {_quoted(list(settings.names))}", f"url = {_quoted(settings.url)}"]
    lines += [f"topic_prefix = {_quoted(settings.topic_prefix)}"]
    lines += [f"device_certificate_days = {settings.device_certificate_days}"]
    lines += [f"metrics = {_quoted(str(settings.metrics or ''))}"]
    lines += [f"remote_admin = {_quoted(settings.remote_admin)}"]
    lines += [f"plain_http = {_quoted(shown_place(settings.plain_http))}"]
    lines += [f"trusted_proxies = {_quoted(list(settings.trusted_proxies))}"]
    lines += [f"retention_days = {settings.retention_days}"]
    lines += [] if settings.workers is None else [f"workers = {settings.workers}"]
    lines += [f"revocation_mirror = {_quoted(settings.revocation_mirror)}"]
    return "\n".join(["# Settings of keyborn serve; options on the command line win.", *lines, ""])


def parse_place(text: str, setting: str) -> Address | Path:
    """Read ``HOST:PORT`` or ``unix:/PATH``; raises InvalidSetting."""
    if not text.startswith(_UNIX):
        return Address.parse(text, setting)
    path = Path(text.removeprefix(_UNIX))
    if not path.is_absolute() or len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        detail = f"it takes unix:/PATH, of {_MAX_SOCKET_PATH} bytes at most"
        raise InvalidSetting(setting=setting, detail=detail)
    return path


def shown_place(place: Address | Path | None) -> str:
    """As ``parse_place`` reads it; empty for None."""
    return f"{_UNIX}{place}" if isinstance(place, Path) else str(place or "")


def parse_proxy(text: str, setting: str) -> str:
    """Read an address or a network, and give it back; raises InvalidSetting, also for everybody."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if network is None or "%" in text or text.lower().startswith("::ffff:"):
        detail = "it takes addresses and networks, such as 127.0.0.1 and 10.1.0.0/16"
        raise InvalidSetting(setting=setting, detail=detail)
    if not network.prefixlen:
        raise InvalidSetting(setting=setting, detail="it would trust everybody")
    return text


def _quoted(value: str | bool | list[str]) -> str:  # noqa: FBT001 - a value, not a switch
    """JSON's strings, lists and truths are TOML's, as long as no surrogate pairs are written."""
    return json.dumps(value, ensure_ascii=False)


def _address(value: object, name: str) -> Address:
    return Address.parse(_text(value, name), name)


def _maybe_address(value: object, name: str) -> Address | None:
    return _address(value, name) if _text(value, name) else None


def _maybe_place(value: object, name: str) -> Address | Path | None:
    return parse_place(text, name) if (text := _text(value, name)) else None


def _proxies(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidSetting(setting=name, detail="it takes a list of addresses and networks")
    return tuple(parse_proxy(_text(each, name), name) for each in value)


def maybe_loopback(value: object, name: str) -> Address | None:
    """An address that only this machine can reach; None for an empty one. Raises InvalidSetting."""
    address = _maybe_address(value, name)
    if address is not None and not address.is_loopback:
        raise InvalidSetting(setting=name, detail=_LOOPBACK_ALONE)
    return address


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidSetting(setting=name, detail="it takes a string")
    return value


def _names(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise InvalidSetting(setting=name, detail="it takes a list of host names and addresses")
    return tuple(value)


def _prefix(value: object, name: str) -> str:
    prefix = _text(value, name)
    if not prefix or set(prefix) & set("+#$*?") or prefix.startswith("/") or prefix.endswith("/"):
        raise InvalidSetting(setting=name, detail="it takes topic levels without wildcards, such as certtest")
    return prefix


def _days(value: object, name: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_DEVICE_LIFETIME.days:
        raise InvalidSetting(setting=name, detail=f"it takes 1 to {MAX_DEVICE_LIFETIME.days} days")
    return value


def _retention(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_RETENTION.days:
        raise InvalidSetting(setting=name, detail=f"it takes 0 (for ever) to {MAX_RETENTION.days} days")
    return value


def _workers(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_WORKERS:
        raise InvalidSetting(setting=name, detail=f"it takes 0 to {MAX_WORKERS} processes")
    return value


def _truth(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidSetting(setting=name, detail="it takes true or false")
    return value


def _url(value: object, name: str) -> str:
    url = _text(value, name)
    try:
        return url and require_service_url(url)
    except InvalidCode:
        raise InvalidSetting(setting=name, detail="it takes https://host[:port]") from None


def _place(value: object, name: str) -> str:
    text = _text(value, name)
    if text and (not Path(text).is_absolute() or "\0" in text):
        raise InvalidSetting(setting=name, detail="it takes the absolute path of a file")
    return text


_READERS = {
    "https": _address,
    "mqtt": _address,
    "mqtt_alpn": _maybe_address,
    "names": _names,
    "url": _url,
    "topic_prefix": _prefix,
    "device_certificate_days": _days,
    "metrics": maybe_loopback,
    "remote_admin": _truth,
    "plain_http": _maybe_place,
    "trusted_proxies": _proxies,
    "retention_days": _retention,
    "workers": _workers,
    "revocation_mirror": _place,
}
