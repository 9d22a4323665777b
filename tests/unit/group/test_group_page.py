"""docs/how-to/enrolment-groups.md says what the code does: every key, every code of lint."""

import re
from pathlib import Path

from keyborn.domain.group_file import KEYS
from keyborn.domain.group_lint import RULES
from keyborn.domain.group_tables import (
    ASK_KEYS,
    FACTORY_FIELDS,
    FACTORY_KEYS,
    FILES,
    GIVE_KEYS,
    OIDC_KEYS,
    WEBHOOK_KEYS,
)
from keyborn.domain.method import Method
from support.group_stage import HERE
from support.group_traps import TRAPS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "enrolment-groups.md").read_text()
TABLES = {
    "give": GIVE_KEYS, "factory": FACTORY_KEYS, "oidc": OIDC_KEYS, "webhook": WEBHOOK_KEYS, "ask": ASK_KEYS,
}  # fmt: skip


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose heading row begins so."""
    lines = PAGE[PAGE.index(f"| {heading} ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_key_is_in_the_table_and_no_other() -> None:
    told = [key for row in rows("key") for key in re.findall(r"`([\w.-]+)`", row[0])]
    plain = [key for key in KEYS if key not in TABLES]
    assert sorted(told) == sorted(
        plain + [f"{table}.{key}" for table, keys in TABLES.items() for key in keys]
    )


def test_every_method_and_field_is_told() -> None:
    for word in (*(each.value for each in Method if each is not Method.OPEN), *FACTORY_FIELDS):
        assert re.search(rf"`\{{?{re.escape(word)}\}}?`", PAGE), word
    for keys in FILES.values():
        for key in keys:
            assert f"`{key}-file`" in PAGE


def test_every_code_of_lint_is_in_the_table_with_its_severity() -> None:
    told = {row[0].strip("`"): row[1] for row in rows("code")}
    assert list(told) == [rule.__name__ for rule in RULES]
    for code, severities in told.items():
        found = {trap.severity.value for trap in TRAPS if trap.code == code}
        assert found == set(re.findall(r"error|warning", severities)), code
    assert HERE.now is not None
