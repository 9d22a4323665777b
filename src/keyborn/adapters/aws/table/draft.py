"""A draft: what one operation has read and what it would write, to be committed whole or not at all.

An operation is a plain function over a draft. What it reads may be known, guessed or unknown; it never waits.
Whatever it read and relies on becomes a condition of the transaction, so a guess costs nothing but another
round. Nothing is deleted: an item that goes becomes a husk (attribute ``void``), which counts as absent and
which DynamoDB removes by ``ttl``. So nobody who enrolls needs the permission to delete.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from keyborn.adapters.aws.table.values import Item, to_wire

Key = tuple[str, str]
"""Partition key and sort key."""

MOST_ITEMS = 100
"""Items of one transaction (DynamoDB Developer Guide, "Quotas")."""
HUSK_DAYS = 2
_ABSENT = "attribute_not_exists(#pk) OR attribute_exists(#void)"
_SAME = "#rev = :rev"
_WORD = re.compile(r"#(\w+)")
_TELL = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
"""A failed condition brings the item that failed it."""


class Unknown(Exception):
    """The operation needs these items first; it is begun again when they have been read."""

    def __init__(self, keys: Iterable[Key]) -> None:
        super().__init__()
        self.keys = tuple(dict.fromkeys(keys))


@dataclass(slots=True)
class Beliefs:
    """What is known or guessed of the table. None is an item that is not there."""

    items: dict[Key, Item | None] = field(default_factory=dict)
    _moments: dict[Key, int] = field(default_factory=dict)
    """When an item was read, by the number of the reading; what is guessed has none."""
    _readings: int = 0

    @staticmethod
    def guess(items: Mapping[Key, Item | None]) -> "Beliefs":
        """Beliefs that nobody has checked."""
        return Beliefs(dict(items))

    def learn(self, found: Mapping[Key, Item | None]) -> None:
        """Know what was read at one moment."""
        self._readings += 1
        for key, item in found.items():
            self.items[key] = None if item is None or item.get("void") else item
            self._moments[key] = self._readings

    def are_facts(self, keys: Iterable[Key]) -> bool:
        """Whether these were all read, and at one moment: then they were true together."""
        moments = {self._moments.get(key) for key in keys}
        return not moments or (None not in moments and len(moments) == 1)


class Draft:
    """One round of one operation."""

    def __init__(self, beliefs: Beliefs, stamp: Callable[[], str]) -> None:
        """``stamp`` makes words that sort by time; the first becomes the revision of whatever is written."""
        self._beliefs = beliefs
        self._rev = stamp()
        self.stamp = stamp
        self._writes: dict[Key, _Write] = {}
        self._relied: set[Key] = set()
        self.used: set[Key] = set()
        """Every item that the result may depend on."""

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────

    def fixed(self, key: Key) -> Item | None:
        """An item of which only what never changes is of interest."""
        self.need(key)
        return self._beliefs.items[key]

    def peek(self, key: Key) -> Item | None:
        """An item that something else of this draft vouches for."""
        self.used.add(key)
        return self.fixed(key)

    def get(self, key: Key) -> Item | None:
        """An item that must still be the same when the draft is committed."""
        item = self.peek(key)
        self._relied.add(key)
        return item

    def need(self, *keys: Key) -> None:
        """Have several items read at once, in one snapshot, if they are not known."""
        missing = [key for key in keys if key not in self._beliefs.items]
        if missing:
            raise Unknown(missing)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────

    def put(self, key: Key, item: Item) -> None:
        """Write an item over just the one that was read, or where none was."""
        self._relied.add(key)
        self._writes[key] = _Put(item, relies=True)

    def write(self, key: Key, item: Item) -> None:
        """Write an item whatever is there."""
        self._writes[key] = _Put(item, relies=False)

    def void(self, key: Key, at: datetime, *, relies: bool = False) -> None:
        """Let an item go; ``relies``: just the one that was read."""
        husk = {"void": True, "ttl": int((at + timedelta(days=HUSK_DAYS)).timestamp())}
        self._writes[key] = _Put(husk, relies=relies)

    def amend(self, key: Key, values: Item, condition: str | None = None) -> None:
        """Set some attributes of an item that is there; None takes one away."""
        known = self._writes.setdefault(key, _Update())
        known.amend(values, condition)

    def count(self, key: Key, name: str, amount: int, condition: str | None, **bounds: int) -> None:
        """Add to a number; the condition stands with the others of that item, and may name ``bounds``.

        Without a condition an item that is not there is made.
        """
        known = self._writes.setdefault(key, _Update())
        known.count(name, amount, condition, bounds)

    def demand(self, key: Key, condition: str) -> None:
        """Commit only if this holds for an item that is not written."""
        self._writes.setdefault(key, _Update()).amend({}, condition)

    # ── committing ────────────────────────────────────────────────────────────────────────────────────

    @property
    def changes(self) -> bool:
        """Whether there is anything to commit."""
        return any(write.changes for write in self._writes.values())

    @property
    def holds(self) -> bool:
        """Whether the result rests on facts that were true together."""
        return self._beliefs.are_facts(self.used)

    def request(self, table: str) -> tuple[list[Key], list[dict[str, Any]]]:
        """The transaction's items and, in the same order, their keys."""
        keys = [*self._writes, *sorted(self._relied - self._writes.keys())]
        items = []
        for key in keys:
            write = self._writes.get(key)
            items.append(self._check(table, key) if write is None else self._item(table, key, write))
        return keys, items

    def left(self) -> dict[Key, Item | None]:
        """What the table holds of the whole items that were written, after a commit."""
        written = {key: write for key, write in self._writes.items() if isinstance(write, _Put)}
        return {
            key: None if write.item.get("void") else {**write.item, **_keyed(key), "rev": self._rev}
            for key, write in written.items()
        }

    def _check(self, table: str, key: Key) -> dict[str, Any]:
        text, values = self._belief(key)
        return {"ConditionCheck": {**_where(table, key), **_expression(text, values)}}

    def _item(self, table: str, key: Key, write: "_Write") -> dict[str, Any]:
        if isinstance(write, _Put):
            whole = {**write.item, **_keyed(key), "rev": self._rev}
            put = {"TableName": table, "Item": to_wire(whole)}
            if write.relies:
                text, values = self._belief(key)
                put |= _expression(text, values)
            return {"Put": put}
        return write.request(table, key, self._rev)

    def _belief(self, key: Key) -> tuple[str, Item]:
        item = self._beliefs.items.get(key)
        return (_ABSENT, {}) if item is None else (_SAME, {":rev": item["rev"]})


@dataclass(slots=True)
class _Put:
    item: Item
    relies: bool
    changes: bool = True

    def amend(self, values: Item, condition: str | None) -> None:
        """Into the item that is written anyway."""
        if condition is not None:
            raise AssertionError("an item is either written whole or amended")
        self.item = {**self.item, **values}

    def count(self, _name: str, _amount: int, _condition: str | None, _bounds: Mapping[str, int]) -> None:
        """Never: nobody knows what would be counted on."""
        raise AssertionError("an item is either written whole or counted")


@dataclass(slots=True)
class _Update:
    values: dict[str, Any] = field(default_factory=dict)
    amounts: dict[str, int] = field(default_factory=dict)
    bounds: dict[str, int] = field(default_factory=dict)
    """Values that the conditions name."""
    conditions: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether it sets or adds anything."""
        return bool(self.values or any(self.amounts.values()))

    def amend(self, values: Item, condition: str | None) -> None:
        """Set some more."""
        self.values |= values
        self._join(condition)

    def count(self, name: str, amount: int, condition: str | None, bounds: Mapping[str, int]) -> None:
        """Add some more."""
        self.amounts[name] = self.amounts.get(name, 0) + amount
        self.bounds |= bounds
        self._join(condition)

    def _join(self, condition: str | None) -> None:
        if condition is not None and condition not in self.conditions:
            self.conditions.append(condition)

    def request(self, table: str, key: Key, rev: str) -> dict[str, Any]:
        """As the API takes it: an update, or a check where nothing changes."""
        condition = " AND ".join(f"({one})" for one in self.conditions)
        if not self.changes:
            check = {**_where(table, key), **_expression(condition, _colons(self.bounds))}
            return {"ConditionCheck": check}
        update = self._clauses(rev)
        values = {**self.values, **self.amounts, **self.bounds} | ({"rev": rev} if self.values else {})
        expression: dict[str, Any] = {
            "UpdateExpression": update,
            "ExpressionAttributeNames": _names(update + condition),
            "ExpressionAttributeValues": to_wire(_colons(values)),
        }
        if condition:
            expression |= {"ConditionExpression": condition, **_TELL}
        return {"Update": {**_where(table, key), **expression}}

    def _clauses(self, rev: str) -> str:
        """SET, REMOVE and ADD. Counting alone leaves the revision: it collides with nothing but its bound."""
        stamped = {**self.values, "rev": rev} if self.values else {}
        kept = [f"#{name} = :{name}" for name, value in stamped.items() if value is not None]
        gone = [f"#{name}" for name, value in self.values.items() if value is None]
        added = [f"#{name} :{name}" for name in self.amounts]
        clauses = {"SET": kept, "REMOVE": gone, "ADD": added}
        return " ".join(f"{word} {', '.join(parts)}" for word, parts in clauses.items() if parts)


_Write = _Put | _Update


def _keyed(key: Key) -> Item:
    return {"pk": key[0], "sk": key[1]}


def _where(table: str, key: Key) -> dict[str, Any]:
    return {"TableName": table, "Key": to_wire(_keyed(key))}


def _expression(text: str, values: Item) -> dict[str, Any]:
    found: dict[str, Any] = {"ConditionExpression": text, "ExpressionAttributeNames": _names(text), **_TELL}
    return found | ({"ExpressionAttributeValues": to_wire(values)} if values else {})


def _colons(values: Item) -> Item:
    """Values by the placeholders that expressions have for them."""
    return {f":{name}": value for name, value in values.items()}


def _names(text: str) -> dict[str, str]:
    """Every attribute by a placeholder: many good names are DynamoDB's reserved words."""
    return {f"#{word}": word for word in _WORD.findall(text)}
