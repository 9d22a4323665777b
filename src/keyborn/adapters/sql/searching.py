"""Searches: which index leads to what is looked for.

Each question walks one index in the order of names and stops with its page. By attribute, that index holds
who has it; what else is asked is looked at thing by thing. By group, there is a walk for each status, merged.
"""

from keyborn.adapters.sql import rows
from keyborn.domain.names import ThingName
from keyborn.domain.search import Search
from keyborn.domain.thing import ThingKind, ThingStatus

Question = tuple[str, tuple[object, ...]]

_OF_ATTRIBUTE = (
    rows.THINGS.replace("SELECT ", "SELECT t.").replace(", ", ", t.").replace("FROM things ", "")
    + "FROM thing_attributes a CROSS JOIN things t ON t.name = a.thing "
    "WHERE a.key = ? AND a.value = ? AND a.thing > ? AND a.thing < ? "
)
"""CROSS JOIN, so that SQLite does not begin with the things, of whose number it knows nothing."""
_HAS_TOO = (
    "AND EXISTS (SELECT 1 FROM thing_attributes b WHERE b.key = ? AND b.value = ? AND b.thing = a.thing) "
)


def question(search: Search, kind: ThingKind, after: ThingName | None, limit: int) -> Question:
    """The statement for a page, and its values."""
    between = (search.begin(after), search.end)
    if search.where:
        return _by_attribute(search, kind, between, limit)
    if search.group is not None:
        return _by_group(search, kind, between, limit)
    those = rows.THINGS_OF[kind] + _standing(search.status)
    return those + "AND name > ? AND name < ? ORDER BY name LIMIT ?", (*between, limit)


def _by_attribute(search: Search, kind: ThingKind, between: tuple[str, str], limit: int) -> Question:
    (first, *others) = search.where.items()
    sql, values = _OF_ATTRIBUTE, [*first, *between]
    for other in others:
        sql += _HAS_TOO
        values += other
    sql += f"AND t.kind = '{kind.value}' "
    if search.status is not None:
        sql += f"AND t.status = '{search.status.value}' "
    if search.group is not None:
        sql += "AND t.grp = ? "
        values.append(search.group)
    return sql + "ORDER BY a.thing LIMIT ?", (*values, limit)


def _by_group(search: Search, kind: ThingKind, between: tuple[str, str], limit: int) -> Question:
    statuses = list(ThingStatus) if search.status is None else [search.status]
    walks = [
        rows.THINGS_OF[kind] + f"AND grp = ? AND status = '{status.value}' AND name > ? AND name < ? "
        for status in statuses
    ]
    values = (search.group, *between) * len(walks)
    return "UNION ALL ".join(walks) + "ORDER BY name LIMIT ?", (*values, limit)


def _standing(status: ThingStatus | None) -> str:
    """The index of those that are not active is used where the question says so in its very words."""
    if status is None:
        return ""
    return f"AND status = '{status.value}' " + (
        "" if status is ThingStatus.ACTIVE else "AND status <> 'active' "
    )
