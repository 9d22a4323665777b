"""Items keep what they were given, keys sort, and a draft's transaction says just what it relies on."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.adapters.aws.table import items, keys
from keyborn.adapters.aws.table.draft import Beliefs, Draft, Unknown
from keyborn.adapters.aws.table.items import Dossier, Waiting
from keyborn.adapters.aws.table.memo import Memo
from keyborn.adapters.aws.table.table import Stamps
from keyborn.adapters.aws.table.values import from_wire, to_wire
from keyborn.domain.certificate import CertificateStatus, Slot
from keyborn.domain.errors import AuditBroken
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, GroupName, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import TokenId
from support.registry_cases import LIFETIME, START, certificate_for, key, make_token, policy_names

VALUES = st.recursive(
    st.text(max_size=8) | st.integers(-(10**37), 10**37) | st.binary(max_size=8) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - bounds
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)

# ── values ────────────────────────────────────────────────────────────────────────────────────────────


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=4))
def test_values_come_back_as_they_went(item: dict[str, Any]) -> None:
    assert from_wire(to_wire(item)) == item


def test_what_is_none_is_not_there() -> None:
    assert to_wire({"a": None, "b": {"c": None, "d": 1}}) == {"b": {"M": {"d": {"N": "1"}}}}


def test_truth_is_no_number() -> None:
    assert to_wire({"a": True, "b": 1}) == {"a": {"BOOL": True}, "b": {"N": "1"}}


def test_what_no_item_holds_is_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        to_wire({"a": 0.5})


@given(MOMENTS, MOMENTS)
def test_moments_sort_as_they_come(first: datetime, second: datetime) -> None:
    assert (keys.sortable(first) < keys.sortable(second)) == (first < second)
    assert keys.from_ms(keys.to_ms(first)) == first


def test_stamps_never_repeat_and_never_go_back() -> None:
    stamps = Stamps()
    made = [stamps.next() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert Stamps().next().split("-")[1] != made[0].split("-")[1]


# ── items ─────────────────────────────────────────────────────────────────────────────────────────────


def an_intent(number: int = 1, slot: Slot = Slot.CURRENT) -> Intent:
    return Intent(
        IntentId(f"intent-{number}"),
        ThingName("lamp-1"),
        key("k1"),
        TokenId("t0123456789abcdef"),
        START,
        (1 << 159) - number,
        START,
        START + LIFETIME,
        slot,
    )


def dossiers() -> Iterator[Dossier]:
    """One of each shape."""
    thing = Thing(ThingName("lamp-1"), ThingStatus.CLAIMED, key("k1"), START, {"room": "4", "": "ü"})
    current = replace(certificate_for(an_intent()), der=b"", status=CertificateStatus.ACTIVE)
    successor = replace(current, slot=Slot.SUCCESSOR, connected_at=START, id=CertificateId("f" * 64))
    staged = replace(certificate_for(an_intent(2, Slot.SUCCESSOR)), der=b"")
    waiting = Waiting(an_intent(2, Slot.SUCCESSOR), brought_key=True, paid=(TokenId("t1"), TokenId("t2")))
    service = replace(thing, kind=ThingKind.SERVICE, policies=())
    grave = replace(service, status=ThingStatus.REVOKED, key_hash=key("k0"), policies=policy_names("a", "b"))
    yield Dossier(thing)
    yield Dossier(
        replace(thing, status=ThingStatus.ACTIVE, policies=policy_names("x")), 3, current, successor
    )
    yield Dossier(thing, waiting=waiting)
    yield Dossier(thing, waiting=replace(waiting, staged=staged, leased_until=START + timedelta(seconds=9)))
    yield Dossier(service, 1, waiting=replace(waiting, brought_key=False, paid=()), grave=grave)
    member = replace(thing, group=GroupName("line-7"), thing_type="lamp", release_until=START)
    counted = replace(waiting, charged=(TokenId("f1"), TokenId("g:line-7")), rated=((TokenId("g:a:1:2"), 7),))
    yield Dossier(member, waiting=counted)


@pytest.mark.parametrize("dossier", list(dossiers()))
def test_a_thing_comes_back_with_all_that_belongs_to_it(dossier: Dossier) -> None:
    item = from_wire(to_wire(items.dossier_item(dossier)))
    assert items.dossier(item) == dossier
    assert items.thing_of(item) == dossier.thing


@pytest.mark.parametrize("dossier", list(dossiers()))
def test_a_thing_is_read_alike_from_what_was_written_and_from_what_is_remembered(dossier: Dossier) -> None:
    assert items.dossier(items.dossier_item(dossier)) == dossier


@pytest.mark.parametrize("slot", Slot)
def test_a_certificate_comes_back_with_its_bytes(slot: Slot) -> None:
    one = replace(certificate_for(an_intent(1, slot)), connected_at=START)
    item = from_wire(to_wire(items.certificate_item(one, ThingKind.DEVICE, IntentId("i"))))
    assert items.certificate(item) == one


def test_the_largest_serial_comes_back() -> None:
    one = replace(an_intent(), serial=(1 << 159) - 1)
    assert items.intent(from_wire(to_wire(items.intent_item(one)))) == one


@pytest.mark.parametrize("policies", [None, [], ["a", "b"]])
@pytest.mark.parametrize("uses", [None, 1])
def test_a_token_comes_back(policies: list[str] | None, uses: int | None) -> None:
    token = make_token("secret", "lamp-*", uses, replaces=True, policies=policies)
    item = {**from_wire(to_wire(items.token_item(token))), "sk": token.id, "taken": 7}
    assert (items.token_use(item).token, items.token_use(item).uses_taken) == (token, 7)


def test_a_token_of_a_group_comes_back_and_a_group_key_without_the_key() -> None:
    token = replace(make_token("secret", group="line-7"), key=b"\0key")
    item = {**from_wire(to_wire(items.token_item(token))), "sk": token.id}
    assert items.token_use(item).token == token.listed()


def test_a_document_that_does_not_parse_any_more_shows_its_text_and_decides_nothing() -> None:
    item = {"sk": "p", "document": '{"Version":"2099"}', "updatedAt": 0, "version": 4, "shipped": False}
    assert items.policy_in_force(item) is None
    shown = items.policy(item)
    assert (shown.document.text, shown.document.statements, shown.version) == ('{"Version":"2099"}', (), 4)


def test_a_record_that_is_not_ours_is_not_read() -> None:
    with pytest.raises(AuditBroken, match="record 7"):
        items.audit_record({"sk": "000000000007", "event": "{}", "previous": "", "hash": ""})


# ── drafts ────────────────────────────────────────────────────────────────────────────────────────────

A, B = ("pk-a", "sk"), ("pk-b", "sk")


def draft(known: dict[tuple[str, str], Any], *, guess: bool = False) -> Draft:
    """A draft whose revision is "r1"."""
    beliefs = Beliefs.guess(known if guess else {})
    beliefs.learn({} if guess else known)
    numbers = count(1)
    return Draft(beliefs, lambda: f"r{next(numbers)}")


def test_what_is_not_known_is_asked_for_together() -> None:
    with pytest.raises(Unknown) as unknown:
        draft({}).need(A, B, A)
    assert unknown.value.keys == (A, B)


def test_a_husk_counts_as_absent() -> None:
    assert draft({A: {"void": True, "rev": "r0"}}).get(A) is None


def test_what_was_read_must_be_the_same_at_the_end() -> None:
    one = draft({A: {"rev": "r0"}, B: None})
    one.get(A)
    one.get(B)
    one.write(("pk-c", "sk"), {"x": 1})

    names, found = one.request("t")

    assert names == [("pk-c", "sk"), A, B]
    put, same, absent = (next(iter(item.values())) for item in found)
    assert "ConditionExpression" not in put
    assert same["ConditionExpression"] == "#rev = :rev"
    assert same["ExpressionAttributeValues"] == {":rev": {"S": "r0"}}
    assert absent["ConditionExpression"] == "attribute_not_exists(#pk) OR attribute_exists(#void)"
    assert all(one["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" for one in (same, absent))


def test_what_was_only_peeked_at_is_no_condition() -> None:
    one = draft({A: {"rev": "r0"}})
    one.peek(A)
    one.write(B, {})
    assert len(one.request("t")[1]) == 1
    assert one.used == {A}


def test_an_item_is_written_over_just_the_one_that_was_read() -> None:
    one = draft({A: {"rev": "r0", "old": 1}})
    one.peek(A)
    one.put(A, {"new": 2})

    ((put,),) = [list(item.values()) for item in one.request("t")[1]]

    assert put["Item"] == {"pk": {"S": "pk-a"}, "sk": {"S": "sk"}, "new": {"N": "2"}, "rev": {"S": "r1"}}
    assert put["ConditionExpression"] == "#rev = :rev"
    assert one.left() == {A: {"pk": "pk-a", "sk": "sk", "new": 2, "rev": "r1"}}


def test_nothing_is_ever_deleted() -> None:
    one = draft({A: {"rev": "r0"}})
    one.void(A, START, relies=True)

    ((put,),) = [list(item.values()) for item in one.request("t")[1]]

    assert put["Item"]["void"] == {"BOOL": True}
    assert int(put["Item"]["ttl"]["N"]) > START.timestamp()
    assert one.left() == {A: None}


def test_amendments_of_one_item_are_one_write() -> None:
    one = draft({})
    one.amend(A, {"status": "x", "gone": None})
    one.amend(A, {"slot": "y"}, "attribute_exists(#pk)")

    ((update,),) = [list(item.values()) for item in one.request("t")[1]]

    assert update["UpdateExpression"] == "SET #status = :status, #slot = :slot, #rev = :rev REMOVE #gone"
    assert update["ConditionExpression"] == "(attribute_exists(#pk))"
    assert set(update["ExpressionAttributeValues"]) == {":status", ":slot", ":rev"}
    assert update["ExpressionAttributeNames"].keys() == {"#status", "#slot", "#rev", "#gone", "#pk"}


def test_counting_adds_up_and_leaves_the_revision() -> None:
    one = draft({})
    one.count(A, "taken", 1, "#taken < #uses")
    one.count(A, "taken", 1, "#taken < #uses")

    ((update,),) = [list(item.values()) for item in one.request("t")[1]]

    assert update["UpdateExpression"] == "ADD #taken :taken"
    assert update["ExpressionAttributeValues"] == {":taken": {"N": "2"}}
    assert update["ConditionExpression"] == "(#taken < #uses)"


def test_a_count_may_be_held_against_a_bound_that_the_item_does_not_know() -> None:
    one = draft({})
    one.amend(A, {"ttl": 5})
    one.count(A, "taken", 1, "attribute_not_exists(#taken) OR #taken < :most", most=3)

    ((update,),) = [list(item.values()) for item in one.request("t")[1]]

    assert update["UpdateExpression"] == "SET #ttl = :ttl, #rev = :rev ADD #taken :taken"
    assert update["ExpressionAttributeValues"][":most"] == {"N": "3"}


def test_a_count_without_a_condition_makes_what_it_counts_in() -> None:
    one = draft({})
    one.count(A, "taken", 1, None)

    ((update,),) = [list(item.values()) for item in one.request("t")[1]]

    assert "ConditionExpression" not in update


def test_a_bound_stands_where_up_and_down_is_no_change() -> None:
    one = draft({})
    one.count(A, "taken", -1, "attribute_exists(#pk)")
    one.count(A, "taken", 1, "#taken < :most", most=3)

    (item,) = one.request("t")[1]

    assert item["ConditionCheck"]["ExpressionAttributeValues"] == {":most": {"N": "3"}}


def test_counting_up_and_down_again_is_a_condition_alone() -> None:
    one = draft({})
    one.count(A, "taken", -1, "attribute_exists(#pk)")
    one.count(A, "taken", 1, "#taken < #uses")

    (item,) = one.request("t")[1]

    assert not one.changes
    assert item["ConditionCheck"]["ConditionExpression"] == "(attribute_exists(#pk)) AND (#taken < #uses)"


def test_a_result_holds_if_all_it_rests_on_was_read_at_one_moment() -> None:
    beliefs = Beliefs.guess({A: None})
    one = Draft(beliefs, lambda: "r1")
    held = [one.holds]
    one.peek(A)
    held.append(one.holds)
    beliefs.learn({A: None})
    held.append(one.holds)
    beliefs.learn({B: {"rev": "r0"}})
    one.get(B)
    held.append(one.holds)
    beliefs.learn({A: None, B: None})
    held.append(one.holds)

    assert held == [True, False, True, False, True], "nothing, a guess, one reading, two readings, one again"


def test_what_never_changes_may_be_of_any_moment() -> None:
    beliefs = Beliefs.guess({A: {"der": b"x"}, B: None})
    beliefs.learn({B: None})
    one = Draft(beliefs, lambda: "r1")
    one.get(B)
    assert one.fixed(A) == {"der": b"x"}
    assert one.holds


def test_an_item_cannot_be_written_whole_and_counted_in() -> None:
    one = draft({})
    one.write(A, {})
    with pytest.raises(AssertionError):
        one.count(A, "taken", 1, "attribute_exists(#pk)")
    with pytest.raises(AssertionError):
        one.amend(A, {}, "attribute_exists(#pk)")


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_newest_enrollments_are_remembered() -> None:
    memo = Memo(most=2)
    for name in "abc":
        memo.keep(IntentId(name), {A: {"name": name}})
    assert memo.of(IntentId("a")) == {}
    assert memo.of(IntentId("c")) == {A: {"name": "c"}}


def test_what_is_learned_later_comes_beside_what_was_known() -> None:
    memo = Memo()
    memo.keep(IntentId("a"), {A: {"x": 1}})
    memo.keep(IntentId("a"), {B: None})
    assert memo.of(IntentId("a")) == {A: {"x": 1}, B: None}
    for _ in range(2):
        memo.forget(IntentId("a"))
    assert memo.of(IntentId("a")) == {}
