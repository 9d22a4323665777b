"""The journey's table: no pair without an answer, no stage without a way on, nothing touched too early."""

from collections import deque
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from keyborn.domain.journey import Event, Happened, Journey, Slot, Stage, Trouble, advance, begin, span_of
from keyborn.domain.journey.effects import (
    LONGEST_REQUESTED,
    OUTCOMES,
    AskRenewal,
    CheckTime,
    Confirm,
    ConnectWith,
    DiscardNext,
    Effect,
    Enroll,
    GoBack,
    Look,
    MakeNextKey,
    Pause,
    Promote,
    Rest,
    RetirePrevious,
    Serve,
    Span,
    StageCertificate,
    Wait,
)
from keyborn.domain.journey.table import ANYWHERE, OUT_OF_PLACE, STAGES, row_of
from keyborn.domain.journey.words import LAST_REFUSAL, MEANING
from support.figures import Figure

PAIRS = list(product(Stage, Happened))
PAUSES = (Wait, Serve)
Place = tuple[Stage, Effect]


def acting(effects: tuple[Effect, ...]) -> Effect:
    """The effect that has an outcome: the last one."""
    return effects[-1]


def outcomes(effect: Effect) -> frozenset[Happened]:
    found = OUTCOMES[type(effect)]
    return found | {Happened.BARRED} if Happened.TURNED_AWAY in found else found


def reachable() -> dict[Place, set[Place]]:
    """Every stage with what is being done in it that a device can come to, and where each leads."""
    start = (Stage.UNPROVISIONED, Look())
    edges: dict[Place, set[Place]] = {}
    waiting: deque[Place] = deque([start])
    while waiting:
        place = waiting.popleft()
        if place in edges:
            continue
        rows = [(place[0], row_of(place[0], happened)) for happened in outcomes(place[1])]
        edges[place] = {(row.stage or stage, acting(row.effects)) for stage, row in rows}
        waiting.extend(edges[place])
    return edges


def ways(edges: dict[Place, set[Place]], start: Place) -> set[Place]:
    """Everything that can be reached from a place."""
    seen: set[Place] = set()
    waiting = [start]
    while waiting:
        place = waiting.pop()
        if place not in seen:
            seen.add(place)
            waiting.extend(edges[place])
    return seen


# ── the whole of it ──


@pytest.mark.parametrize("stage", Stage)
def test_every_event_has_an_answer_in_every_stage(stage: Stage) -> None:
    for happened in Happened:
        after, effects = advance(Journey(stage), Event(happened))
        assert isinstance(after.stage, Stage)
        assert effects


def test_the_last_effect_of_every_row_has_outcomes_and_no_other_has(figure: Figure) -> None:
    for stage, happened in PAIRS:
        *notes, last = row_of(stage, happened).effects
        assert all(isinstance(note, Rest) for note in notes)
        assert type(last) in OUTCOMES
    figure(f"pairs of the device's journey, each with an answer: {len(PAIRS)}")


def test_every_outcome_that_can_come_is_in_the_table() -> None:
    """What is out of place is answered too, but nothing in the journey relies on that."""
    for stage, effect in reachable():
        for happened in outcomes(effect):
            assert row_of(stage, happened) is not OUT_OF_PLACE, (stage, effect, happened)


def test_every_row_of_the_table_can_be_reached() -> None:
    met = {(stage, happened) for stage, effect in reachable() for happened in outcomes(effect)}
    written = {(stage, happened) for stage, rows in STAGES.items() for happened in rows}
    never = {(Stage.WAITING, Happened.KEY_REFUSED), (Stage.CONFIRMING, Happened.KEY_REFUSED)}
    assert written - met <= never | {
        (stage, happened) for stage, happened in written if stage is Stage.STRANDED
    }
    assert set(ANYWHERE) <= {happened for _, happened in met}


def test_every_effect_is_asked_for_somewhere() -> None:
    asked = {type(effect) for _, effect in reachable()}
    assert asked | {Rest} == set(OUTCOMES) | {Rest}


def test_every_stage_has_a_meaning() -> None:
    assert set(MEANING) == set(Stage) == set(STAGES)


def test_every_place_has_a_way_to_a_session_even_the_stranded_one() -> None:
    edges = reachable()
    for place in edges:
        assert any(stage is Stage.CONNECTED for stage, _ in ways(edges, place)), place


def test_nothing_is_tried_over_and_over_without_a_pause() -> None:
    """Without the places where time passes, no way leads in a circle."""
    edges = {place: after for place, after in reachable().items() if not isinstance(place[1], PAUSES)}
    inner = {each: {to for to in after if to in edges} for each, after in edges.items()}
    for place in edges:
        for following in inner[place]:
            assert place not in ways(inner, following), place


# ── what is never done too early ──


def leading_to(kind: type[Effect]) -> Iterator[tuple[Stage, Happened]]:
    """The pairs that ask for an effect of this kind."""
    for stage, happened in PAIRS:
        if isinstance(acting(row_of(stage, happened).effects), kind):
            yield stage, happened


def test_the_current_identity_is_replaced_only_once_the_broker_took_the_next_one() -> None:
    assert set(leading_to(Promote)) == {(Stage.STAGED, Happened.UP)} | {
        (Stage.PROVED, happened) for happened in (Happened.TICK, Happened.DUE)
    }
    entering = {
        (stage, happened)
        for stage, happened in PAIRS
        if row_of(stage, happened).stage is Stage.PROVED and stage is not Stage.PROVED
    }
    assert entering == {(Stage.STAGED, Happened.UP)}


def test_staged_means_that_the_next_identity_and_no_other_is_tried() -> None:
    for stage, effect in reachable():
        if stage is Stage.STAGED:
            assert effect in (ConnectWith(Slot.NEXT), Look()) or isinstance(effect, Wait)
        if effect == ConnectWith(Slot.NEXT):
            assert stage is Stage.STAGED


def test_a_device_goes_back_only_once_the_broker_took_the_previous_one() -> None:
    assert set(leading_to(GoBack)) == {(Stage.RETURNING, Happened.UP)}
    for stage, effect in reachable():
        if effect == ConnectWith(Slot.PREVIOUS):
            assert stage is Stage.RETURNING


def test_the_previous_identity_is_removed_only_once_the_service_has_retired_it() -> None:
    assert set(leading_to(RetirePrevious)) == {(Stage.CONFIRMING, Happened.CONFIRMED)}


def test_the_next_identity_is_removed_only_where_its_key_will_never_do() -> None:
    assert set(leading_to(DiscardNext)) == {
        (Stage.RENEWING, Happened.KEY_REFUSED),
        (Stage.RENEWING, Happened.UNUSABLE),
    }


@pytest.mark.parametrize("kind", [CheckTime, MakeNextKey, AskRenewal, StageCertificate])
def test_a_renewal_is_under_way_in_one_stage_only(kind: type[Effect]) -> None:
    assert {stage for stage, effect in reachable() if isinstance(effect, kind)} == {Stage.RENEWING}


def test_a_renewal_begins_only_where_none_is_under_way() -> None:
    """Not while a next identity is tried, nor before the last one is confirmed."""
    entering = {
        (stage, happened)
        for stage, happened in PAIRS
        if row_of(stage, happened).stage is Stage.RENEWING and stage is not Stage.RENEWING
    }
    assert entering == {
        (Stage.ENROLLED, Happened.DUE),
        (Stage.CONNECTED, Happened.DUE),
        (Stage.STRANDED, Happened.FOUND_DUE),
    }


def test_a_stage_without_a_next_or_previous_identity_is_not_reached_with_one() -> None:
    """From promotion on, only a confirmation, a return, or a look at the files leads away."""
    leaving = {
        (happened, row_of(Stage.CONFIRMING, happened).stage)
        for happened in Happened
        if happened not in ANYWHERE and row_of(Stage.CONFIRMING, happened).stage is Stage.ENROLLED
    }
    assert leaving == {(Happened.RETIRED, Stage.ENROLLED)}


def test_enrolling_is_asked_for_only_with_a_code_and_nothing_else() -> None:
    assert {happened for _, happened in leading_to(Enroll)} == {Happened.FOUND_CODE}


def test_every_stage_that_only_a_person_can_mend_says_what_to_do() -> None:
    for stage, happened in PAIRS:
        row = row_of(stage, happened)
        if row.stage is Stage.STRANDED:
            assert row.trouble is not None, (stage, happened)


# ── walks ──

WALKS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A walk draws up to 120 times: on a busy machine Hypothesis finds that slow."""


@WALKS
@given(st.data())
def test_on_any_walk_a_device_stranded_or_not_waits_for_its_next_chance(data: st.DataObject) -> None:
    """Any outcome, at any effect: counts stay bounded by what happened, lengths are sane, it never ends."""
    journey, effects = begin()
    for _ in range(40):
        possible = sorted(outcomes(acting(effects)) - {Happened.BARRED})
        happened = data.draw(st.sampled_from(possible))
        asked = data.draw(st.none() | st.floats(0, 1e9))
        before = journey
        journey, effects = advance(journey, Event(happened, "because", asked))
        assert journey.misses <= before.misses + 1
        assert journey.asked <= before.asked + 1
        for effect in effects:
            if isinstance(effect, Wait | Serve | Rest):
                span = span_of(effect)
                assert 0 <= span.least <= span.most <= LONGEST_REQUESTED * 1.1
                assert span.most > 0


@WALKS
@given(st.data())
def test_on_any_walk_keys_are_changed_in_the_right_order(data: st.DataObject) -> None:
    """Between a promotion and the next there is a confirmation or a return; a look sees what there is."""
    journey, effects = begin()
    unconfirmed = staged = False
    for _ in range(60):
        effect = acting(effects)
        if isinstance(effect, AskRenewal):
            assert not unconfirmed
        if isinstance(effect, Promote):
            assert staged
        happened = data.draw(st.sampled_from(seen_by(effect, unconfirmed=unconfirmed, staged=staged)))
        staged = (staged or happened is Happened.STORED) and happened not in (
            Happened.PROMOTED,
            Happened.DISCARDED,
        )
        unconfirmed = (unconfirmed or happened is Happened.PROMOTED) and happened not in (
            Happened.RETIRED,
            Happened.RETURNED,
        )
        journey, effects = advance(journey, Event(happened))


def seen_by(effect: Effect, *, unconfirmed: bool, staged: bool) -> list[Happened]:
    """What can come of an effect where these files are there: a look tells the truth."""
    if not isinstance(effect, Look):
        return sorted(outcomes(effect) - {Happened.BARRED})
    if staged:
        return [Happened.FOUND_NEXT]
    return [Happened.FOUND_PREVIOUS] if unconfirmed else [Happened.FOUND_CURRENT, Happened.FOUND_DUE]


# ── what is counted ──


def after(*happened: Happened, stage: Stage = Stage.ENROLLED) -> tuple[Journey, tuple[Effect, ...]]:
    """A journey after these events."""
    journey, effects = Journey(stage), (Look(),)  # type: tuple[Journey, tuple[Effect, ...]]
    for each in happened:
        journey, effects = advance(journey, Event(each))
    return journey, effects


def test_each_identity_is_refused_for_itself() -> None:
    """A broker that hangs up once on the previous identity is not the last word on it."""
    one = (Happened.TURNED_AWAY, Happened.TICK, Happened.NO_SERVICE)
    journey, _ = after(*(one * LAST_REFUSAL)[:-2], stage=Stage.CONFIRMING)
    assert journey.stage is Stage.RETURNING
    journey, _ = advance(journey, Event(Happened.TURNED_AWAY))
    assert (journey.stage, journey.refusals) == (Stage.RETURNING, 1)


def test_a_refusal_becomes_the_last_one_by_being_counted() -> None:
    one = (Happened.TURNED_AWAY, Happened.TICK)
    journey, _ = after(*one * (LAST_REFUSAL - 1))
    assert (journey.stage, journey.barred) == (Stage.ENROLLED, False)
    journey, effects = advance(journey, Event(Happened.TURNED_AWAY))
    assert (journey.stage, journey.barred) == (Stage.STRANDED, True)
    assert journey.trouble is Trouble.TURNED_AWAY
    assert isinstance(acting(effects), Wait)


def test_a_stranded_device_comes_back_by_itself_once_the_broker_takes_it_again() -> None:
    journey, _ = after(*(Happened.TURNED_AWAY, Happened.TICK) * LAST_REFUSAL)
    for each in (Happened.TICK, Happened.FOUND_CURRENT, Happened.UP):
        journey, effects = advance(journey, Event(each))
    assert (journey.stage, journey.refusals, journey.trouble) == (Stage.CONNECTED, 0, None)
    assert isinstance(acting(effects), Serve)


def test_waits_grow_with_full_jitter_up_to_two_minutes() -> None:
    spans = []
    for failures in range(1, 12):
        _, effects = after(*(Happened.NO_BROKER,) * failures)
        effect = acting(effects)
        assert isinstance(effect, Wait)
        spans.append(span_of(effect))
    assert [span.most for span in spans] == [0.5, 1, 2, 4, 8, 16, 32, 64, 120, 120, 120]
    assert {span.least for span in spans} == {0}


def test_a_session_that_is_always_lost_at_once_is_backed_off_from() -> None:
    journey, _ = after(*(Happened.UP, Happened.LOST, Happened.TICK) * 6)
    assert journey.misses == 6
    journey, effects = advance(journey, Event(Happened.UP))
    serving = acting(effects)
    assert isinstance(serving, Serve)
    assert span_of(serving).most <= 600, "not only after hours"
    journey, _ = advance(journey, Event(Happened.TICK))
    assert journey.misses == 0, "one that lasted counts"


def test_a_renewal_that_fails_rests_longer_each_time_while_the_session_goes_on() -> None:
    journey, rests = Journey(Stage.CONNECTED), []
    for _ in range(9):
        for each in (Happened.DUE, Happened.NO_SERVICE):
            journey, effects = advance(journey, Event(each))
        assert isinstance(effects[0], Rest)
        assert effects[1:] == (ConnectWith(Slot.CURRENT),)
        rests.append(span_of(effects[0]).most)
        journey, effects = advance(journey, Event(Happened.UP))
        assert journey.trouble is Trouble.SERVICE, "the session is fine, the renewal is not"
    assert rests == [60, 120, 240, 480, 960, 1920, 3840, 7680, 15360]


def test_what_the_service_asks_for_is_waited_for_but_nothing_absurd() -> None:
    for asked, least in ((100.0, 100.0), (0.0, 60.0), (1e12, LONGEST_REQUESTED)):
        _, effects = advance(Journey(Stage.RENEWING), Event(Happened.NO_SERVICE, retry_after=asked))
        assert isinstance(effects[0], Rest)
        assert span_of(effects[0]) == Span(least, least * 1.1)


def test_a_confirmed_renewal_ends_all_counting_and_trouble() -> None:
    walk = (Happened.NO_SERVICE, Happened.UP, Happened.TICK, Happened.TROUBLE, Happened.CONFIRMED)
    journey, effects = after(*walk, stage=Stage.CONFIRMING)
    assert (journey.asked, journey.trouble, journey.detail) == (0, None, "")
    assert effects == (RetirePrevious(),)


def test_while_a_confirmation_is_outstanding_the_session_goes_on() -> None:
    journey, effects = after(Happened.PROMOTED, stage=Stage.PROVED)
    assert effects == (Confirm(),)
    journey, effects = advance(journey, Event(Happened.NO_SERVICE))
    assert effects == (ConnectWith(Slot.CURRENT),)
    journey, effects = advance(journey, Event(Happened.UP))
    assert isinstance(acting(effects), Serve)
    assert advance(journey, Event(Happened.TICK))[1] == (Confirm(),)


def test_what_was_said_stays_with_the_trouble_it_was_said_of() -> None:
    journey, _ = advance(Journey(Stage.ENROLLED), Event(Happened.NO_BROKER, "no route"))
    assert (journey.trouble, journey.detail) == (Trouble.BROKER, "no route")
    journey, _ = advance(journey, Event(Happened.TICK))
    assert (journey.trouble, journey.detail) == (Trouble.BROKER, "no route")
    journey, _ = advance(journey, Event(Happened.UP))
    assert (journey.trouble, journey.detail) == (None, "")


def test_a_length_out_of_the_table_is_not_a_length_yet() -> None:
    with pytest.raises(TypeError):
        span_of(Wait(Pause(1, 2)))
