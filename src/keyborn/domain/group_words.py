"""How a group's file is read: values of one table, each of the type and within the bounds that it says."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from cryptography import x509

from keyborn.domain.access_policy.hints import instead, shown
from keyborn.domain.errors import InvalidGroup, KeybornError
from keyborn.domain.names import is_host

T = TypeVar("T")

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_CERTIFICATES = 32
"""Of one bundle in a group's file."""
_SPAN = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_YEARS = range(1971, 9998)
"""A moment there can be shifted to UTC."""
_PLAIN = re.compile(r"[A-Za-z0-9_.@/:#-]{1,128}")
_WORD = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_PATH = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*")
_KINDS = {
    bool: "true or false",
    str: "a string",
    int: "a whole number",
    float: "a number with a point",
    list: "a list",
    dict: "a table",
    datetime: "a moment",
    date: "a date",
    time: "a time of day",
}


def refuse(where: str, detail: str) -> NoReturn:
    """Raise InvalidGroup."""
    raise InvalidGroup(where=where, detail=detail)


@contextmanager
def at(where: str) -> Iterator[None]:
    """Say where a refusal of another room belongs: ValueError, or a leaf of the error tree."""
    try:
        yield
    except InvalidGroup:
        raise
    except KeybornError as wrong:
        refuse(where, str(wrong.facts.get("detail") or wrong).rstrip("."))
    except ValueError as wrong:
        refuse(where, str(wrong).rstrip("."))


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file; ``path`` is empty for the whole of it. Every method raises InvalidGroup."""

    members: Mapping[str, object]
    path: str = ""

    def place(self, key: str) -> str:
        """``oidc.issuer``; a hostile key is quoted."""
        named = key if _PLAIN.fullmatch(key) else shown(key)
        return f"{self.path}.{named}" if self.path else named

    def only(self, known: Collection[str]) -> None:
        """Refuse keys that are not known."""
        for key in self.members:
            if key in known:
                continue
            if key.removesuffix("-file") in known:
                _refuse_file(self.place(key), key.removesuffix("-file"))
            refuse(self.place(key), f"there is no such key{instead(key, known)}")

    def take(self, key: str, kind: type[T]) -> T | None:
        """The value, of exactly this type; None where there is none."""
        given = self.members.get(key)
        if given is None or type(given) is kind:
            return given
        refuse(self.place(key), f"it is {_KINDS.get(type(given), 'something else')}, not {_KINDS[kind]}")

    def text(self, key: str, most: int = 256) -> str | None:
        """A string without control characters."""
        text = self.take(key, str)
        if text is not None:
            with at(self.place(key)):
                check_word(text, most)
        return text

    def must(self, key: str, value: T | None) -> T:
        """The value; refuses a missing one."""
        if value is None:
            refuse(self.path or "the file", f"it has no {key}")
        return value

    def texts(self, key: str, most: int, read: Callable[[str], T]) -> tuple[T, ...] | None:
        """A list of strings, none of them twice; ``read`` raises ValueError or a leaf of the error tree."""
        listed = self.take(key, list)
        if listed is None:
            return None
        if len(listed) > most:
            refuse(self.place(key), f"it has {len(listed)} entries, more than {most}")
        values = list[T]()
        for number, each in enumerate(listed, 1):
            where = f"{self.place(key)}, entry {number}"
            if not isinstance(each, str):
                refuse(where, f"it is {_KINDS.get(type(each), 'something else')}, not a string")
            with at(where):
                values.append(read(each))
            if values[-1] in values[:-1]:
                refuse(where, "it stands there already; take one away")
        return tuple(values)

    def number(self, key: str, least: int, most: int) -> int | None:
        """A whole number within its bounds."""
        number = self.take(key, int)
        if number is not None and not least <= number <= most:
            refuse(self.place(key), f"it takes {least} to {most}")
        return number

    def span(self, key: str, least: timedelta, most: timedelta) -> timedelta | None:
        """``90s``, ``30m``, ``1h``, ``7d``, within its bounds."""
        text = self.take(key, str)
        if text is None:
            return None
        match = _SPAN.fullmatch(text)
        if match is None:
            refuse(self.place(key), 'it takes a number and s, m, h or d, such as "1h" or "7d"')
        seconds = int(match[1]) * UNITS[match[2]]
        if not least.total_seconds() <= seconds <= most.total_seconds():
            refuse(self.place(key), f"it takes {write_span(least)} to {write_span(most)}")
        return timedelta(seconds=seconds)

    def moment(self, key: str) -> datetime | None:
        """A date and time with its zone, in UTC."""
        moment = self.take(key, datetime)
        if moment is None:
            return None
        if moment.tzinfo is None:
            refuse(self.place(key), "it has no zone; end it with Z for UTC, as in 2026-11-01T00:00:00Z")
        if moment.year not in _YEARS:
            refuse(self.place(key), "no calendar of ours goes that far")
        return moment.astimezone(UTC)

    def table(self, key: str) -> "Table | None":
        """A table in it."""
        members = self.take(key, dict)
        return None if members is None else Table(members, self.place(key))

    def words(self, key: str, most: int, names: int, values: int) -> dict[str, str]:
        """A table of strings, at most ``most``, with names and values of so many characters; maybe none."""
        table = self.table(key)
        if table is None:
            return {}
        if len(table.members) > most:
            refuse(table.path, f"it has {len(table.members)} entries, more than {most}")
        for name in table.members:
            with at(table.path):
                check_word(name, names)
        return {name: table.must(name, table.text(name, values)) for name in table.members}

    def certificates(self, key: str) -> str | None:
        """Certificates as PEM, and nothing else."""
        pem = self.take(key, str)
        if pem is not None:
            with at(self.place(key)):
                check_certificates(pem)
        return pem

    def url(self, key: str, *, query: bool = False) -> str | None:
        """``https://host[:port]/path``; ``http:`` is read, for lint to say what it thinks of it."""
        url = self.text(key, 512)
        if url is not None and not _is_url(url, query=query):
            refuse(self.place(key), "it takes https://host/path, without user, password and fragment")
        return url


def _refuse_file(where: str, key: str) -> NoReturn:
    refuse(where, f"a file is read where keyborn group put runs; here the contents stand in {key}")


def check_word(text: str, most: int) -> str:
    """Return ``text``; raises ValueError for an empty one, one that is too long or has control characters."""
    if not text:
        raise ValueError("it is empty")
    if len(text) > most:
        raise ValueError(f"it has {len(text)} characters, more than {most}")
    if not _WORD.fullmatch(text):
        raise ValueError("it has a control character")
    return text


def check_certificates(pem: str) -> None:
    """Raise ValueError for what is not one to 32 certificates."""
    if "PRIVATE KEY" in pem:
        raise ValueError("it holds a private key; leave that where it was, and count it as known to others")
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError("it holds no certificate in PEM that can be read") from None
    if len(found) > MAX_CERTIFICATES:
        raise ValueError(f"it holds {len(found)} certificates, more than {MAX_CERTIFICATES}")


def _is_url(url: str, *, query: bool) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    plain = f"[{host}]" if ":" in host else host
    place = plain if port is None else f"{plain}:{port}"
    exact = parts.netloc.lower() == place and port != 0 and is_host(host)
    rest = url.partition("://")[2][len(parts.netloc) :]
    return (
        parts.scheme in ("https", "http")
        and exact
        and _PATH.fullmatch(rest) is not None
        and (query or "?" not in rest)
    )


def write_span(span: timedelta) -> str:
    """``24h`` comes out as ``1d``: the largest unit that leaves nothing over."""
    seconds = int(span.total_seconds())
    unit = next((each for each in "dhm" if seconds % UNITS[each] == 0), "s")
    return f"{seconds // UNITS[unit]}{unit}"
