"""What enrolments are counted against: a token by its row, everything else by a row of ``accounts``.

A pair that has paid is a row of ``redemptions``; the counts go up and down with these, in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyborn.adapters.sql.session import Session
from keyborn.domain.enrollment import Account, Attempt, Standing
from keyborn.domain.group import Terms
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import GroupName, KeyHash, ThingName, fold_name
from keyborn.domain.token import TokenId

_KNOWN = (
    "SELECT t.uses_taken, t.withdrawn_at, t.digest,"
    " (SELECT intent FROM redemptions WHERE thing = ? AND key_hash = ? AND token = t.id),"
    " (SELECT thing FROM keys WHERE key_hash = ?),"
    " (SELECT at FROM key_tombstones WHERE key_hash = ?),"
    " (SELECT name FROM things WHERE folded = ?) "
    "FROM tokens t WHERE t.id = ?"
)
_PROVED = (
    "SELECT coalesce((SELECT taken FROM accounts WHERE id = ?), 0), NULL, NULL,"
    " (SELECT intent FROM redemptions WHERE thing = ? AND key_hash = ? AND token = ?),"
    " (SELECT thing FROM keys WHERE key_hash = ?),"
    " (SELECT at FROM key_tombstones WHERE key_hash = ?),"
    " (SELECT name FROM things WHERE folded = ?)"
)
_OF_GROUP = (
    "SELECT (SELECT name FROM groups WHERE name = ?),"
    " (SELECT intent FROM redemptions WHERE thing = ? AND key_hash = ? AND token = ?),"
    " (SELECT taken FROM accounts WHERE id = ?),"
    " (SELECT taken FROM accounts WHERE id = ?)"
)
_REDEEM = "INSERT INTO redemptions (thing, key_hash, token, intent) VALUES (?, ?, ?, ?)"
_USE = "UPDATE tokens SET uses_taken = uses_taken + 1 WHERE id = ?"
_COUNT = "INSERT INTO accounts (id, taken) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET taken = taken + 1"
_OTHER_PERIODS = "DELETE FROM accounts WHERE id > ? AND id < ? AND id <> ?"


@dataclass(frozen=True, slots=True)
class Permission:
    """What is kept of an attempt's credential, key and name: one question answers it all."""

    uses_taken: int
    withdrawn: bool
    redeemed: bool
    key_owner: ThingName | None
    key_revoked: bool
    namesake: ThingName | None
    """The thing that has this name, or one that differs by case alone."""


def permission(session: Session, attempt: Attempt) -> Permission | None:
    """What is known of the credential, and the key; None for one that has to be known and is not."""
    who, thing, key = attempt.applicant, attempt.thing, attempt.key
    folded = fold_name(thing)
    if who.is_known:
        row = session.one(_KNOWN, thing, key, key, key, folded, who.token)
    else:
        row = session.one(_PROVED, who.token, thing, key, who.token, key, key, folded)
    if row is None:
        return None
    taken, withdrawn_at, digest, redeemed_for, owner, revoked_at, namesake = row
    refused = withdrawn_at is not None or (who.is_known and not who.showed(digest))
    return Permission(taken, refused, redeemed_for is not None, owner, revoked_at is not None, namesake)


@dataclass(frozen=True, slots=True)
class Membership:
    """What is kept of an attempt's group; of an attempt without one, nothing."""

    removed: bool = False
    redeemed: bool = False
    taken: int = 0
    lately: int = 0
    """In this period of its rate."""


def membership(session: Session, attempt: Attempt) -> Membership:
    """What is known of the group; no question is asked where the attempt has none."""
    terms = attempt.applicant.terms
    if terms is None:
        return Membership()
    rate = None if terms.rate is None else terms.rate.account
    pair = (attempt.thing, attempt.key, terms.account)
    row = session.one(_OF_GROUP, terms.group, *pair, terms.account, rate)
    assert row is not None, "a question without a table always has an answer"
    name, redeemed_for, taken, lately = row
    return Membership(name is None, redeemed_for is not None, taken or 0, lately or 0)


def charge(
    session: Session,
    owed: Sequence[Account],
    standing: Standing,
    attempt: Attempt,
    intent: IntentId,
    *,
    settled: bool = False,
) -> None:
    """Let every account that is owed pay for the attempt's pair, on behalf of ``intent``.

    ``settled``: it is active at once, and what ``settle`` would take away again is not written.
    """
    terms = attempt.applicant.terms
    period = terms.rate.account if settled and terms is not None and terms.rate is not None else None
    for account in owed:
        if account.id != period:
            session.run(_REDEEM, attempt.thing, attempt.key, account.id, intent)
        if attempt.applicant.is_known and account.id == attempt.applicant.token:
            session.run(_USE, account.id)
        else:
            session.run(_COUNT, account.id)
    if terms is not None and not standing.rate_taken and not standing.group_redeemed:
        _forget_periods(session, terms)


def _forget_periods(session: Session, terms: Terms) -> None:
    """The first one of a period ends the count of those before it."""
    if terms.rate is not None:
        session.run(_OTHER_PERIODS, *_periods(terms.group), terms.rate.account)


def _periods(group: GroupName) -> tuple[str, str]:
    """Between these are the accounts of a group's periods, and no others: no group's name has a colon."""
    return f"g:{group}:", f"g:{group};"


def settle(session: Session, thing: ThingName, key: KeyHash) -> None:
    """What is active is given back no more: that it counted in a period is not needed beyond."""
    session.run("DELETE FROM redemptions WHERE thing = ? AND key_hash = ? AND token GLOB 'g:*:*'", thing, key)


def give_back(session: Session, intent: Intent) -> None:
    """Take back what was paid for an intent, from every account."""
    paid_for = (intent.thing, intent.key_hash, intent.id)
    found = session.all(
        "SELECT token FROM redemptions WHERE thing = ? AND key_hash = ? AND intent = ?", *paid_for
    )
    for (account,) in found:
        _take_one(session, TokenId(account))
    session.run("DELETE FROM redemptions WHERE thing = ? AND key_hash = ? AND intent = ?", *paid_for)


def _take_one(session: Session, account: TokenId) -> None:
    """Count one less. The account of a period that is over may be gone."""
    if not session.run("UPDATE tokens SET uses_taken = uses_taken - 1 WHERE id = ?", account):
        session.run("UPDATE accounts SET taken = taken - 1 WHERE id = ?", account)


def hand_over(session: Session, old: Intent, new: Intent) -> None:
    """What was paid for ``old`` counts for ``new``."""
    session.run(
        "UPDATE redemptions SET intent = ? WHERE thing = ? AND key_hash = ? AND intent = ?",
        new.id,
        old.thing,
        old.key_hash,
        old.id,
    )
