"""Group files for tests: written in a few words, as TOML that the real reader reads."""

import copy
import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from keyborn.domain.errors import InvalidGroup
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_file import parse_group
from keyborn.domain.group_findings import Around
from keyborn.domain.group_lint import Finding, lint
from support.pki import pem, shared_pki

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HERE = Around(now=NOON)


def maker_pem() -> str:
    """A manufacturer's authority."""
    return pem(shared_pki().devices.certificate)


def members(**given: object) -> dict[str, Any]:
    """A small group's keys; ``device_attributes`` stands for ``device-attributes``."""
    whole = {"name": "line-7", "things": "sensor-*", "methods": ["token"], **given}
    return {name.replace("_", "-"): value for name, value in whole.items() if value is not None}


def text(**given: object) -> str:
    """A group's file."""
    return write_toml(members(**given))


def group(**given: object) -> EnrollmentGroup:
    """A parsed group."""
    return parse_group(text(**given))


FACTORY: dict[str, Any] = {"name": "{common_name}"}
OIDC: dict[str, Any] = {"issuer": "https://id.example.com", "audience": "keyborn", "name": "{sub}"}
WEBHOOK: dict[str, Any] = {"url": "https://mes.example.com/may-enroll"}


def factory(**given: object) -> dict[str, Any]:
    """The keys of [factory]."""
    return FACTORY | {"authorities": maker_pem()} | given


def refused(source: str) -> tuple[str, str]:
    """Where, and the detail; both are fit to be shown."""
    with pytest.raises(InvalidGroup) as caught:
        parse_group(source)
    detail = str(caught.value.facts["detail"])
    assert not detail.endswith((".", "?"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value.facts["where"]), detail


# ── TOML ──────────────────────────────────────────────────────────────────────────────────────────────


def write_toml(table: Mapping[str, object]) -> str:
    """A table as a file: values first, then the tables in it."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    yield from (f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in tables)
    for key, inner in tables.items():
        yield f"\n[{'.'.join(map(_key, (*path, key)))}]"
        yield from _lines(inner, (*path, key))


def _key(key: str) -> str:
    return key if key and set(key) <= set("abcdefghijklmnopqrstuvwxyz-") else _value(key)


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# ── lint ──────────────────────────────────────────────────────────────────────────────────────────────


def codes(source: EnrollmentGroup, around: Around = HERE) -> set[str]:
    """What lint finds."""
    return {each.code for each in lint(source, around)}


def only(source: EnrollmentGroup, code: str, around: Around = HERE) -> Finding:
    """The first finding of that code."""
    return next(each for each in lint(source, around) if each.code == code)


def mended(source: str, finding: Finding) -> str:
    """The file with what lint says to write in the place of the key that it names."""
    assert finding.corrected is not None
    whole = copy.deepcopy(tomllib.loads(source))
    *path, key = finding.where.split(".")
    place = whole
    for each in path:
        place = place[each]
    ((name, value),) = tomllib.loads(finding.corrected).items()
    assert name == key
    place[key] = value
    return write_toml(whole)
