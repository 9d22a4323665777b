"""Group files on the command line: read, and what they name with ``-file`` put in their place."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

MAX_FILE = 64 * 1024
"""Bytes, of the group's file and of each file that it names."""
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\r?\n(?:[A-Za-z0-9+/=]+\r?\n)+-----END CERTIFICATE-----"
)
_SECTION = re.compile(r"\s*\[\s*([a-z-]+)\s*\]\s*(?:#.*)?")
_SUFFIX = "-file"


def read_group_text(file: Path) -> str:
    """The text in ``file``, ``-`` being standard input, with the certificates of the files that it names.

    Those are found from the folder of ``file``. What is no TOML comes back as it is: ``parse_group`` says
    what is wrong with it. Raises InvalidGroup, or OSError.
    """
    text = _decode(_read(file), str(file))
    folder = Path() if str(file) == "-" else file.parent
    for table, key, name in _named_files(text):
        text = _put_in(text, table, key, _certificates(folder / name, f"{table}.{key}"))
    return text


def _read(file: Path) -> bytes:
    if str(file) == "-":
        raw = sys.stdin.buffer.read(MAX_FILE + 1)
    else:
        with file.open("rb") as source:
            raw = source.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        _refuse(str(file), f"it is larger than {MAX_FILE} bytes")
    return raw


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        _refuse(where, "it is not UTF-8")


def _named_files(text: str) -> Iterator[tuple[str, str, str]]:
    """Table, key and file name of every known key that ends with ``-file``."""
    from keyborn.domain.group_tables import FILES

    members = _members(text)
    for table, keys in FILES.items():
        given = members.get(table)
        for key in keys:
            named = f"{key}{_SUFFIX}"
            name = given.get(named) if isinstance(given, dict) else None
            if name is None or not isinstance(given, dict):
                continue
            if not isinstance(name, str) or not name or "\0" in name:
                _refuse(f"{table}.{named}", "it takes the name of a file")
            if key in given:
                _refuse(f"{table}.{named}", f"{key} stands there, too; take one of the two out")
            yield table, named, name


def _members(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}


def _certificates(file: Path, where: str) -> str:
    """The certificates in a file and nothing else of it; raises InvalidGroup, or OSError."""
    text = _decode(_read(file), f"{where}, {file}")
    if "PRIVATE KEY" in text:
        _refuse(f"{where}, {file}", "it holds a private key, which has no business here")
    found = _CERTIFICATE.findall(text)
    if not found:
        _refuse(f"{where}, {file}", "it holds no certificate in PEM")
    return "\n".join(each.replace("\r", "") for each in found) + "\n"


def _put_in(text: str, table: str, named: str, pem: str) -> str:
    """The text with the certificates in the place of the file's name; nothing else of it changes."""
    key = named.removesuffix(_SUFFIX)
    line = re.compile(rf"(\s*){re.escape(named)}\s*=\s*(?:\"[^\"]*\"|'[^']*')\s*(?:#.*)?")
    section, lines = "", []
    for each in text.splitlines():
        if match := _SECTION.fullmatch(each):
            section = match[1]
        fits = section == table and line.fullmatch(each)
        lines.append(f'{fits[1]}{key} = """\n{pem}"""' if fits else each)
    filled = "\n".join([*lines, ""])
    if _members(filled) != _expected(text, table, named, pem):
        _refuse(f"{table}.{named}", f"write it on a line of its own under [{table}]")
    return filled


def _expected(text: str, table: str, named: str, pem: str) -> dict[str, object]:
    members = _members(text)
    given = members[table]
    assert isinstance(given, dict), "it named a file"
    rest = {key: value for key, value in given.items() if key != named}
    return members | {table: rest | {named.removesuffix(_SUFFIX): pem}}


def _refuse(where: str, detail: str) -> NoReturn:
    from keyborn.domain.errors import InvalidGroup

    raise InvalidGroup(where=where, detail=detail)
