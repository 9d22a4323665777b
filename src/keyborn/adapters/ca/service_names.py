"""The names and addresses by which clients may call the service; its certificate carries them all."""

import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509

from keyborn.domain.errors import InvalidSetting

ServiceName = x509.DNSName | x509.IPAddress
LOCAL = ("127.0.0.1", "::1")
"""Always named. ``localhost`` only where it is configured: pkilint takes a single label for bad syntax."""

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_MAX_DNS = 253


def service_names(configured: Iterable[str] = ()) -> tuple[ServiceName, ...]:
    """What the service is called: ``configured`` DNS names and addresses, and the loopback addresses.

    Unspecified addresses (``0.0.0.0``, ``::``) are places to listen, not names: left out.
    Raises InvalidSetting.
    """
    names = dict.fromkeys(_service_name(text) for text in (*configured, *LOCAL))
    return tuple(name for name in names if not _is_unspecified(name))


def host_names(names: Iterable[ServiceName]) -> frozenset[str]:
    """The same names as text, in lower case: no thing may have one of them."""
    return frozenset(str(name.value).lower() for name in names)


def _service_name(text: str) -> ServiceName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return x509.DNSName(_dns_name(text))


def _dns_name(text: str) -> str:
    """A host name in lower case (RFC 1123 2.1); wildcards are nobody's name."""
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    numeric = labels[-1].isdecimal()  # 300.1.1.1 is a mistyped address
    if len(name) > _MAX_DNS or numeric or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidSetting(setting="service name", detail=f"{text!a} is no host name and no IP address")
    return name


def _is_unspecified(name: ServiceName) -> bool:
    address = name.value
    return isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address) and address.is_unspecified
