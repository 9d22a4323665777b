"""The server's settings: read once from ``server.toml``, validated whole, frozen.

Every field has a default, so an empty folder is a good configuration.
"""

import ipaddress
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from keyborn.domain.errors import InvalidCode, InvalidSetting
from keyborn.domain.profile import DEFAULT_DEVICE_LIFETIME, MAX_DEVICE_LIFETIME, CertificateProfile
from keyborn.domain.token import require_service_url

LOOPBACK_NAMES = ("127.0.0.1", "::1")
"""In every service certificate; ``localhost`` is not: linters rightly refuse host names of one label."""
_MAX_PORT = 65535
_MAX_FILE = 64 * 1024


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
    remote_admin: bool = True
    """Whether operators elsewhere reach their routes on the HTTPS listener, with an API key."""
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
            table = tomllib.loads(file.read(_MAX_FILE).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(setting=path.name, detail=f"it is not TOML ({error})") from None
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
    lines += [f"remote_admin = {_quoted(settings.remote_admin)}"]
    lines += [f"revocation_mirror = {_quoted(settings.revocation_mirror)}"]
    return "\n".join(["# Settings of keyborn serve; options on the command line win.", *lines, ""])


def _quoted(value: str | bool | list[str]) -> str:  # noqa: FBT001 - a value, not a switch
    """JSON's strings, lists and truths are TOML's, as long as no surrogate pairs are written."""
    return json.dumps(value, ensure_ascii=False)


def _address(value: object, name: str) -> Address:
    return Address.parse(_text(value, name), name)


def _maybe_address(value: object, name: str) -> Address | None:
    return _address(value, name) if _text(value, name) else None


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
    "remote_admin": _truth,
    "revocation_mirror": _place,
}
