"""What enrolments are counted against: tokens, credentials that prove themselves, groups, their periods.

A token's item is an operator's, and a claim counts in it. Every other account has an item that its first
charge makes; nothing but the count is in it, so whoever enrols may write it. Of a period nothing more is
kept: a pair is charged to it together with the group, whose account remembers the pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from keyborn.adapters.aws.table import keys
from keyborn.adapters.aws.table.draft import HUSK_DAYS, Draft, Key
from keyborn.adapters.aws.table.items import Waiting
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.applicant import Applicant
from keyborn.domain.enrollment import Account, Attempt, Standing
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.group import RateWindow, Terms
from keyborn.domain.token import TokenId

MOST_PAID = 30
"""Accounts that may pay for one open intent; more would not fit into the transaction that undoes it."""
GOOD = "attribute_exists(#pk) AND attribute_not_exists(#withdrawnAt)"
ROOM = "attribute_not_exists(#uses) OR #taken < #uses"
BELOW = "attribute_not_exists(#taken) OR #taken < :most"
STANDS = "attribute_exists(#pk) AND attribute_not_exists(#void)"
"""Of a group's rule; what was removed leaves a husk."""
_THERE = "attribute_exists(#pk)"

# ── what is asked ─────────────────────────────────────────────────────────────────────────────────────


def guess(attempt: Attempt) -> Mapping[Key, Item | None]:
    """The guess of a first attempt: nothing is paid yet, every account has room, and the group stands.

    Its keys are all that the accounts of an attempt are about.
    """
    applicant, terms = attempt.applicant, attempt.applicant.terms
    found: dict[Key, Item | None] = {_paid(attempt, applicant.token): None, _counter(applicant): {"taken": 0}}
    found |= {key: {} for key in shown(applicant)}
    if terms is None:
        return found
    found |= {keys.rule(terms.group): {}, _paid(attempt, terms.account): None}
    rates = [] if terms.rate is None else [terms.rate.account]
    return found | {keys.account(one): None for one in (terms.account, *rates)}


def shown(applicant: Applicant) -> list[Key]:
    """Where it stands that an operator made the secret that was shown, if that is still to be asked.

    It has an item of its own: the token's is updated, and who may name its digest in an update may write it
    (DynamoDB Developer Guide, ``dynamodb:Attributes``).
    """
    return [] if applicant.digest is None else [keys.secret(applicant.token, applicant.digest)]


def standing(draft: Draft, attempt: Attempt) -> Standing:
    """What the accounts say; all else of a ``Standing`` is left as it is where nothing is known."""
    applicant, terms = attempt.applicant, attempt.applicant.terms
    known = Standing(
        redeemed=draft.get(_paid(attempt, applicant.token)) is not None,
        uses_taken=_taken(draft, _counter(applicant)),
        token_withdrawn=not _stands(draft, applicant),
    )
    return known if terms is None else _under(draft, attempt, terms, known)


def _under(draft: Draft, attempt: Attempt, terms: Terms, known: Standing) -> Standing:
    """The same with what is known of the group."""
    rule, rate = keys.rule(terms.group), terms.rate
    draft.demand(rule, STANDS)
    return replace(
        known,
        group_removed=draft.peek(rule) is None,
        group_redeemed=draft.get(_paid(attempt, terms.account)) is not None,
        group_taken=_taken(draft, keys.account(terms.account)),
        rate_taken=0 if rate is None else _taken(draft, keys.account(rate.account)),
    )


def _stands(draft: Draft, applicant: Applicant) -> bool:
    """Whether the credential counts: by itself, or as its item has it."""
    if not applicant.is_known:
        return True
    for key in shown(applicant):
        draft.demand(key, _THERE)
    made = None not in [draft.peek(key) for key in shown(applicant)]
    token = draft.peek(keys.token(applicant.token))
    return made and token is not None and token.get("withdrawnAt") is None


def _taken(draft: Draft, counter: Key) -> int:
    item = draft.peek(counter)
    return 0 if item is None else int(item.get("taken", 0))


def _counter(applicant: Applicant) -> Key:
    """Where a credential's uses are counted."""
    return keys.token(applicant.token) if applicant.is_known else keys.account(applicant.token)


def _paid(attempt: Attempt, account: TokenId) -> Key:
    return keys.redemption(account, attempt.thing, attempt.key)


# ── what is paid ──────────────────────────────────────────────────────────────────────────────────────


def pay(draft: Draft, attempt: Attempt, waiting: Waiting, bill: Sequence[Account]) -> Waiting:
    """Charge every account; a token that has paid before must still not have been withdrawn."""
    applicant = attempt.applicant
    if applicant.is_known and all(one.id != applicant.token for one in bill):
        draft.demand(keys.token(applicant.token), GOOD)
    entries = len(waiting.paid) + len(waiting.charged) + len(waiting.rated)
    if bill and entries + len(bill) > MOST_PAID:
        raise RegistryUnavailable
    for one in bill:
        waiting = _charge(draft, attempt, waiting, one)
    return waiting


def _charge(draft: Draft, attempt: Attempt, waiting: Waiting, one: Account) -> Waiting:
    applicant, terms = attempt.applicant, attempt.applicant.terms
    if terms is not None and terms.rate is not None and one.id == terms.rate.account:
        return _charge_period(draft, waiting, terms.rate)
    draft.put(_paid(attempt, one.id), {"intent": waiting.intent.id})
    if applicant.is_known and one.id == applicant.token:
        draft.count(keys.token(one.id), "taken", 1, f"{GOOD} AND ({ROOM})")
        return replace(waiting, paid=(*waiting.paid, one.id))
    _count(draft, one.id, one.limit)
    return replace(waiting, charged=(*waiting.charged, one.id))


def _charge_period(draft: Draft, waiting: Waiting, rate: RateWindow) -> Waiting:
    """It goes by itself when nothing that is open can have been charged to it."""
    until = int((rate.ends_at + timedelta(days=HUSK_DAYS)).timestamp())
    draft.amend(keys.account(rate.account), {"ttl": until})
    _count(draft, rate.account, rate.limit)
    return replace(waiting, rated=(*waiting.rated, (rate.account, until)))


def _count(draft: Draft, account: TokenId, most: int | None) -> None:
    if most is None:
        draft.count(keys.account(account), "taken", 1, None)
    else:
        draft.count(keys.account(account), "taken", 1, BELOW, most=most)


def give_back(draft: Draft, waiting: Waiting, at: datetime) -> None:
    """Take back all that was charged to an intent."""
    one = waiting.intent
    for token in waiting.paid:
        draft.void(keys.redemption(token, one.thing, one.key_hash), at)
        draft.count(keys.token(token), "taken", -1, _THERE)
    for account in waiting.charged:
        draft.void(keys.redemption(account, one.thing, one.key_hash), at)
        draft.count(keys.account(account), "taken", -1, _THERE)
    for account, until in waiting.rated:  # DynamoDB may have removed it: then it is made again, and removed
        draft.amend(keys.account(account), {"ttl": until})
        draft.count(keys.account(account), "taken", -1, None)
