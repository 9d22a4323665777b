"""Checks of DynamoDB, on a table of the run's own."""

import secrets
from collections import Counter
from typing import Any

from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, NotDecided, Verdict, check, holds_if
from keyborn.adapters.aws.smoke.lab import Lab, Refused

_CONFLICT = "TransactionConflict"
_AT_ONCE, _ROUNDS = 8, 5
_MOST_BYTES, _MOST_ITEMS = 400 * 1024, 100


def _key(name: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": name}, "sk": {"S": "-"}}


def _put(table: str, name: str, value: str, *, new: bool = True) -> dict[str, Any]:
    """A part of a transaction."""
    put: dict[str, Any] = {"TableName": table, "Item": {**_key(name), "value": {"S": value}}}
    if new:
        put |= {
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    return {"Put": put}


def _there(table: str, name: str) -> dict[str, Any]:
    condition = {"TableName": table, "Key": _key(name), "ConditionExpression": "attribute_exists(pk)"}
    return {"ConditionCheck": condition}


def _reasons(lab: Lab, parts: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401 - botocore's
    """Write at once: None, or why the transaction was cancelled."""
    client = lab.session.client("dynamodb")
    try:
        client.transact_write_items(TransactItems=parts, **more)
    except client.exceptions.TransactionCanceledException as error:
        reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])
        return reasons
    return None


@check(
    "cancelled-hands-back",
    "A cancelled transaction hands back every item whose condition failed (ALL_OLD).",
    relied="adapters.aws.table.table (learns from it what stands in the way, without another read)",
    means="Enrolments of names that are taken run round after round, and end with 503.",
)
def _cancelled_hands_back(lab: Lab) -> Verdict:
    table = lab.table()
    for name in ("a", "b"):
        lab.ask("dynamodb", "PutItem", TableName=table, Item={**_key(name), "value": {"S": name}})
    reasons = _reasons(lab, [_put(table, "a", "x"), _put(table, "new", "x"), _put(table, "b", "x")])
    if reasons is None:
        return Differs("it was not cancelled")
    found = [one.get("Item", {}).get("value", {}).get("S", one["Code"]) for one in reasons]
    return holds_if(found == ["a", "None", "b"], f"handed back: {', '.join(found)}")


@check(
    "request-token",
    "A transaction repeated with its ClientRequestToken succeeds and does nothing; another one is refused.",
    relied="adapters.aws.table.table.transact (repeats after a lost answer)",
    means="An enrolment whose answer from DynamoDB was lost is refused as if the name were taken.",
)
def _request_token(lab: Lab) -> Verdict:
    table, token = lab.table(), secrets.token_hex(16)
    for _ in range(2):
        if _reasons(lab, [_put(table, "token", "1")], ClientRequestToken=token) is not None:
            return Differs("the repeat was cancelled")
    other = lab.refusal(
        "dynamodb",
        "TransactWriteItems",
        TransactItems=[_put(table, "token", "2")],
        ClientRequestToken=token,
    )
    right = other is not None and other.code == "IdempotentParameterMismatchException"
    return holds_if(right, f"the repeat succeeds; another one: {other.short if other else 'accepted'}")


def _collide(lab: Lab, part: str, first: dict[str, Any]) -> Counter[str]:
    """Transactions at once that have one part in common; how each of them ended."""
    table, ends = lab.table(), Counter[str]()

    def _one(number: int) -> str:
        try:
            reasons = _reasons(lab, [first, _put(table, f"{part}-{secrets.token_hex(8)}", str(number))])
        except lab.session.client("dynamodb").exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "written" if reasons is None else next(one["Code"] for one in reasons if one["Code"] != "None")

    for _ in range(_ROUNDS):
        ends.update(lab.together(_AT_ONCE, _one))
    return ends


@check(
    "write-conflicts",
    "Transactions that write one item at once are cancelled, if at all, with TransactionConflict.",
    relied="adapters.aws.errors.CONFLICTS (what is repeated), adapters.aws.table.table",
    means="Enrolments that meet are refused, though repeating them would do.",
)
def _write_conflicts(lab: Lab) -> Verdict:
    ends = _collide(lab, "write", _put(lab.table(), "hot", "x", new=False))
    if set(ends) == {"written"}:
        return NotDecided(f"none of {ends.total()} met another one")
    return holds_if(set(ends) <= {"written", _CONFLICT}, _told(ends))


@check(
    "check-conflicts",
    "Transactions that only check one item at once leave each other alone, most of the time.",
    relied="adapters.aws.table.enrolling (devices of one unlimited token check the same item)",
    means="Devices that enrol at once with one unlimited token are slower than one after another.",
    remedy="Give a large fleet several tokens.",
)
def _check_conflicts(lab: Lab) -> Verdict:
    table = lab.table()
    lab.ask("dynamodb", "PutItem", TableName=table, Item=_key("checked"))
    ends = _collide(lab, "check", _there(table, "checked"))
    return holds_if(set(ends) <= {"written", _CONFLICT} and ends["written"] * 2 >= ends.total(), _told(ends))


def _told(ends: Counter[str]) -> str:
    return f"{_AT_ONCE} at once: " + ", ".join(f"{count} {word}" for word, count in sorted(ends.items()))


@check(
    "item-limit",
    "An item of more than 400 KB is refused with ValidationException.",
    relied="adapters.aws.table.draft (items are kept small)",
    means="Nothing breaks: no item of Keyborn's comes near it.",
)
def _item_limit(lab: Lab) -> Verdict:
    item = {**_key("large"), "value": {"S": "x" * _MOST_BYTES}}
    refused = lab.refusal("dynamodb", "PutItem", TableName=lab.table(), Item=item)
    return holds_if(refused and refused.code == "ValidationException", _seen(refused))


@check(
    "transaction-limit",
    "A transaction takes a hundred items, and no more.",
    relied="adapters.aws.table.draft.MOST_ITEMS",
    means="Orders about things with many keys and certificates fail.",
)
def _transaction_limit(lab: Lab) -> Verdict:
    table = lab.table()

    def _try(many: int) -> Refused | None:
        parts = [_put(table, f"{many}-{number}", "x") for number in range(many)]
        return lab.refusal("dynamodb", "TransactWriteItems", TransactItems=parts)

    most, more = _try(_MOST_ITEMS), _try(_MOST_ITEMS + 1)
    return holds_if(most is None and more, f"{_MOST_ITEMS}: {_seen(most)}; {_MOST_ITEMS + 1}: {_seen(more)}")


@check(
    "consistent-read",
    "A consistent read of an item that was just written finds it.",
    relied="adapters.aws.table.table.get",
    means="Everything: the registry rests on it.",
)
def _consistent(lab: Lab) -> Verdict:
    table = lab.table()
    for number in range(_ROUNDS):
        key = _key(f"read-{number}")
        lab.ask("dynamodb", "PutItem", TableName=table, Item=key)
        if "Item" not in lab.ask("dynamodb", "GetItem", TableName=table, Key=key, ConsistentRead=True):
            return Differs(f"not found at the {number + 1}. time")
    return Holds(f"found {_ROUNDS} times")


def _seen(refused: Refused | None) -> str:
    return refused.short if refused else "accepted"


CHECKS: tuple[Check, ...] = (
    _cancelled_hands_back,
    _request_token,
    _write_conflicts,
    _check_conflicts,
    _item_limit,
    _transaction_limit,
    _consistent,
)
