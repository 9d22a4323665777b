"""Emptying the outbox, case by case: windows, rates, refusals, suspects, networks that fail."""

import pytest

from keyborn.device.drain import (
    LOOK_AHEAD,
    NEVER,
    OTHERS,
    OVERHEAD,
    STRIKES,
    WINDOW,
    WINDOW_SIZE,
    Drain,
    Ending,
    Ping,
    Terms,
    Wait,
)
from keyborn.device.messages import Fate, Message, Outcome
from support.drain_world import World

OLD = Terms(explains=False)
"""A broker that speaks 3.1.1."""


@pytest.fixture
def world() -> World:
    return World()


def keep(world: World, *topics: str, qos: int = 1) -> list[int]:
    return [world.shelf.append(topic, qos=qos) for topic in topics]


def on_the_wire(world: World) -> list[int]:
    return [each.id for each in world.wire if isinstance(each, Message)]


def strikes(world: World) -> dict[int, int]:
    return {each.id: each.strikes or 0 for each in world.shelf.suspects()}


# ── windows and rates ──


def test_messages_go_together_up_to_what_the_broker_takes(world: World) -> None:
    kept = keep(world, *"a" * 9)
    world.connect(Terms(in_flight=4))
    assert world.push() == float("inf")
    assert on_the_wire(world) == kept[:4]
    world.serve(2)
    world.push()
    assert on_the_wire(world) == kept[2:6]


def test_never_more_than_our_own_window_whatever_the_broker_takes(world: World) -> None:
    keep(world, *"a" * (WINDOW + 9))
    world.connect(Terms(in_flight=65535))
    world.push()
    assert len(on_the_wire(world)) == WINDOW <= 100


def test_bytes_on_the_way_are_bounded_and_a_large_message_goes_alone(world: World) -> None:
    half = WINDOW_SIZE // 2 - 100
    for size in (half, half, half, WINDOW_SIZE * 2, 1):
        world.shelf.append("a", size=size)
    world.connect()
    world.push()
    assert on_the_wire(world) == [1, 2]
    world.serve()
    world.push()
    assert on_the_wire(world) == [3]
    world.serve()
    world.push()
    assert on_the_wire(world) == [4]


def test_few_messages_are_held_in_memory_however_many_wait(world: World) -> None:
    keep(world, *"a" * 1000)
    world.connect()
    world.push()
    assert len(world.drain._queue) <= 2 * LOOK_AHEAD


@pytest.mark.parametrize(("rate", "gap"), [(2.0, 0.5), (100.0, 0.01)])
def test_the_first_goes_at_once_and_the_others_at_the_rate(world: World, rate: float, gap: float) -> None:
    keep(world, *"abc")
    world.connect(Terms(messages=rate))
    assert world.push() == pytest.approx(gap)
    assert on_the_wire(world) == [1]
    world.now += gap / 2
    assert world.push() == pytest.approx(gap / 2)
    world.now += gap / 2 + 1e-9
    world.push()
    assert on_the_wire(world) == [1, 2]


def test_time_that_nobody_used_is_not_saved_up(world: World) -> None:
    world.connect(Terms(messages=2))
    world.push()
    world.now += 60
    keep(world, *"abc")
    world.drain.look_again()
    assert world.push() == 0.5
    assert on_the_wire(world) == [1]


def test_bytes_have_a_rate_too(world: World) -> None:
    """AWS: 512 KiB a second over one connection."""
    for _ in range(3):
        world.shelf.append("a", size=131_072 - OVERHEAD - 1)
    world.connect(Terms(messages=100, bytes=512 * 1024))
    assert world.push() == pytest.approx(0.25)


def test_without_limits_nothing_waits(world: World) -> None:
    keep(world, *"a" * 40)
    world.connect()
    world.push()
    assert len(on_the_wire(world)) == 40


# ── plain answers ──


def test_an_acknowledged_message_is_delivered(world: World) -> None:
    keep(world, *"ab")
    assert world.settle() == 1
    assert [world.outcome(1), world.outcome(2)] == [Outcome.DELIVERED] * 2


def test_no_matching_subscribers_is_delivered_too(world: World) -> None:
    keep(world, "a")
    world.connect()
    world.push()
    (ended,) = world.drain.answered(1, 0x10, "No matching subscribers").ends
    assert ended[1].outcome is Outcome.DELIVERED


@pytest.mark.parametrize("code", sorted(NEVER))
def test_a_refusal_for_good_quarantines_at_once_and_the_others_flow(world: World, code: int) -> None:
    keep(world, *"aaa")
    world.connect()
    world.push()
    (ended,) = world.drain.answered(2, code, "because").ends
    assert (ended[0].id, ended[1]) == (2, Fate(Outcome.QUARANTINED, "because"))
    assert world.drain.answered(3, 0, "Success").ends[0][1].outcome is Outcome.DELIVERED
    assert world.drain.leave is None


def test_an_answer_to_nothing_is_nothing(world: World) -> None:
    world.connect()
    assert world.drain.answered(7, 0x87, "Not authorized").ends == []


def test_qos_0_is_done_when_it_was_sent_and_proves_nothing(world: World) -> None:
    keep(world, *"ab", qos=0)
    world.connect()
    world.push()
    assert [fate.outcome for _, fate in world.open] == [Outcome.DELIVERED] * 2
    assert not world.drain._proven


# ── what is not sent at all ──


def test_what_has_expired_is_not_sent(world: World) -> None:
    world.shelf.append("a", expires_at=world.wall - 1)
    world.shelf.append("a", expires_at=world.wall + 1)
    world.settle()
    assert [world.outcome(1), world.outcome(2)] == [Outcome.EXPIRED, Outcome.DELIVERED]
    assert world.sent == [2]


def test_a_suspect_can_expire_too(world: World) -> None:
    number = world.shelf.append("a", expires_at=world.wall - 1)
    world.shelf.suspect({number: 1})
    world.settle()
    assert world.outcome(number) is Outcome.EXPIRED


def test_what_is_larger_than_the_broker_takes_is_quarantined_unsent(world: World) -> None:
    world.shelf.append("a", size=1000)
    world.shelf.append("a")
    world.settle(Terms(packet=1000))
    assert world.sent == [2]
    assert world.shelf.fates[1] == Fate(Outcome.QUARANTINED, "Packet too large: the broker takes 1000 bytes")


# ── refusals for now ──


@pytest.mark.parametrize(("code", "condemned"), [(0x97, False), (0x80, True), (0x83, True)])
def test_a_refusal_for_now_ends_the_connection_and_the_message_goes_again_alone(
    world: World, code: int, *, condemned: bool
) -> None:
    """Quota exceeded accuses nobody; a refusal without a reason does, after three of them."""
    (number,) = keep(world, "a")
    for _ in range(STRIKES):
        assert world.outcome(number) is Outcome.WAITING
        world.connect()
        world.push()
        world.serve(0)
        if isinstance(world.wire[0], Ping):
            world.drain.ponged()
            world.push()
        world.note(world.drain.answered(number, code, "no"))
        assert world.drain.leave == "no"
        assert world.drain.step(world.now, world.wall) == Wait()
        world.lose(Ending.NETWORK)
    assert world.outcome(number) is (Outcome.QUARANTINED if condemned else Outcome.WAITING)


# ── a broker that hangs up without a word ──


def test_on_3_1_1_a_sign_of_life_comes_before_the_first_message(world: World) -> None:
    keep(world, "a")
    world.connect(OLD)
    world.push()
    assert list(world.wire) == [Ping()]
    world.serve()
    world.push()
    assert on_the_wire(world) == [1]


def test_mqtt_5_costs_no_such_round_trip(world: World) -> None:
    keep(world, "a")
    world.connect()
    world.push()
    assert on_the_wire(world) == [1]


def test_one_alone_is_quarantined_after_three_identical_closes(world: World) -> None:
    (number,) = keep(world, "a")
    world.broker.poisoned = {number}
    assert world.settle(OLD) == STRIKES
    assert world.shelf.fates[number] == Fate(Outcome.QUARANTINED, "unexplained")
    assert world.hang_ups == STRIKES


def test_one_among_many_is_found_and_the_others_arrive_in_order(world: World) -> None:
    kept = keep(world, *"abcabcabc")
    guilty = kept[3]
    world.broker.poisoned = {guilty}
    world.settle(OLD)
    outcomes = {number: world.outcome(number) for number in kept}
    assert {number for number, outcome in outcomes.items() if outcome is Outcome.QUARANTINED} == {guilty}
    assert world.broker.first_taken("a") == [kept[0], kept[6]]
    assert world.hang_ups == STRIKES + 1


def test_suspects_go_one_at_a_time_each_after_a_sign_of_life(world: World) -> None:
    keep(world, *"abc")
    world.connect(OLD)
    world.push()
    world.serve()
    world.push()
    world.lose(Ending.UNEXPLAINED)
    assert strikes(world) == {1: 0, 2: 0, 3: 0}
    world.connect()
    world.push()
    assert list(world.wire) == [Ping()]
    world.serve()
    for number in (1, 2, 3):
        world.push()
        assert on_the_wire(world) == [number]
        world.serve()
    assert world.settle() == 1


def test_a_topic_waits_for_its_suspect_and_the_others_do_not(world: World) -> None:
    kept = keep(world, *"ab")
    world.shelf.suspect({kept[0]: 1})
    world.drain._others = OTHERS
    more = keep(world, *"ab")
    world.connect()
    world.push()
    assert on_the_wire(world) == [kept[1], more[1]]
    assert world.settle() == 1
    assert world.broker.first_taken("a") == [kept[0], more[0]]


def test_what_waited_for_a_suspect_goes_on_even_when_there_is_always_more(world: World) -> None:
    """The machine reads on and on; when the suspect has left it looks back."""
    first, behind = keep(world, *"aa")
    world.shelf.suspect({first: 0})
    world.connect()
    world.push()
    world.serve()
    keep(world, *"b" * 500)
    world.drain.look_again()
    for _ in range(5):
        world.push()
        world.serve(WINDOW)
        world.record()
        keep(world, *"b" * WINDOW)
    assert world.outcome(behind) is Outcome.DELIVERED


def test_a_suspect_gets_its_turn_even_when_there_is_always_something_else(world: World) -> None:
    (suspect,) = keep(world, "a")
    world.shelf.suspect({suspect: 1})
    world.drain._others = OTHERS
    world.connect()
    for _ in range(10):
        keep(world, *"b" * 10)
        world.push()
        world.serve()
        world.record()
    assert world.outcome(suspect) is Outcome.DELIVERED


def test_a_suspect_waits_until_nothing_else_is_on_the_way(world: World) -> None:
    (suspect,) = keep(world, "a")
    world.shelf.suspect({suspect: 1})
    world.drain._others = 1
    keep(world, *"bb")
    world.connect()
    world.push()
    world.serve(1)
    assert world.push() == float("inf")
    assert on_the_wire(world) == [3]
    world.serve()
    world.push()
    assert on_the_wire(world) == [suspect]


def test_a_close_with_nothing_on_the_way_accuses_nobody(world: World) -> None:
    keep(world, "a")
    world.connect(OLD)
    world.push()
    world.lose(Ending.UNEXPLAINED)
    assert strikes(world) == {}


def test_a_close_before_any_sign_of_life_is_no_strike(world: World) -> None:
    (number,) = keep(world, "a")
    for _ in range(STRIKES + 2):
        world.connect()
        world.drain._suspects.clear()
        world.drain.feed(list(world.shelf.waiting_ones.values()))
        world.drain.step(world.now, world.wall)
        world.lose(Ending.UNEXPLAINED)
    assert strikes(world) == {number: 0}


@pytest.mark.parametrize("ending", [Ending.NETWORK, Ending.EXPLAINED])
def test_a_network_cut_or_an_explained_goodbye_never_quarantines(world: World, ending: Ending) -> None:
    kept = keep(world, *"ab")
    for _ in range(20):
        world.connect(OLD)
        world.push()
        world.serve(1)
        world.push()
        world.lose(ending)
    assert {world.outcome(number) for number in kept} == {Outcome.WAITING}
    assert set(strikes(world).values()) <= {0}
    assert world.settle() == 1


def test_strikes_survive_a_crash_in_between(world: World) -> None:
    (number,) = keep(world, "a")
    world.broker.poisoned = {number}
    while world.outcome(number) is Outcome.WAITING:
        world.crash()
        world.connect(OLD)
        world.push()
        world.serve()
        world.push()
        world.serve()
    assert world.hang_ups == STRIKES


# ── goodbyes and silence ──


def test_a_goodbye_for_good_condemns_the_only_one_on_the_way(world: World) -> None:
    (number,) = keep(world, "a")
    world.connect()
    world.push()
    world.lose(Ending.REFUSED)
    assert world.outcome(number) is Outcome.QUARANTINED


def test_among_many_it_makes_suspects(world: World) -> None:
    keep(world, *"ab")
    world.connect()
    world.push()
    world.lose(Ending.REFUSED)
    assert strikes(world) == {1: 0, 2: 0}


def test_a_message_that_is_never_acknowledged_does_not_hold_up_the_others(world: World) -> None:
    """The broker answers everything else, so it is not the network."""
    ignored, *others = keep(world, *"abcb")
    world.broker.ignored = {ignored}
    for _ in range(STRIKES + 2):
        world.connect()
        for _ in range(6):
            world.push()
            world.serve()
            world.record()
        if world.unacknowledged:
            world.lose(Ending.IGNORED)
            others += keep(world, "b")
    assert world.shelf.fates[ignored] == Fate(Outcome.QUARANTINED, "ignored")
    world.settle()
    assert {world.outcome(number) for number in others} == {Outcome.DELIVERED}


def test_where_nothing_else_is_acknowledged_either_that_is_no_strike(world: World) -> None:
    (number,) = keep(world, "a")
    for _ in range(STRIKES + 2):
        world.connect()
        world.push()
        world.drain.ponged()
        world.push()
        world.lose(Ending.IGNORED)
    assert strikes(world) == {number: 0}


def test_a_message_that_the_network_does_not_carry_does_not_hold_up_the_others(world: World) -> None:
    """A link that loses every large packet: time-outs, and the message is innocent."""
    (large,) = keep(world, "a")
    small = keep(world, *"bc")
    for _ in range(STRIKES + 3):
        if not world.connected:
            world.connect()
        for _ in range(4):
            world.push()
            if world.wire and world.wire[0] != Ping() and on_the_wire(world)[0] == large:
                world.lose(Ending.NETWORK)
                break
            world.serve(1)
            world.record()
    assert {world.outcome(number) for number in small} == {Outcome.DELIVERED}
    assert world.outcome(large) is Outcome.WAITING


def test_nothing_is_done_while_a_sign_of_life_is_awaited(world: World) -> None:
    keep(world, "a")
    world.connect(OLD)
    world.push()
    assert world.drain.busy
    assert world.drain.step(world.now, world.wall) == Wait()


def test_a_machine_that_was_fed_nothing_waits() -> None:
    drain = Drain()
    drain.begin(Terms(), [])
    before = drain.hungry
    drain.feed([])
    assert (before, drain.hungry, drain.busy) == (True, False, False)
    assert drain.step(0, 0) == Wait()


def test_an_end_that_is_not_on_disk_yet_is_not_sent_again(world: World) -> None:
    keep(world, *"ab")
    world.connect()
    world.push()
    world.serve()
    world.drain.look_again()
    world.push()
    assert world.sent == [1, 2]


def test_what_waited_behind_a_suspect_is_not_overtaken_by_the_end_of_its_topic(world: World) -> None:
    """Its acknowledgement frees the topic once it is on disk, perhaps much later: then from the first on."""
    suspect, *_ = keep(world, "a", "a", *"b" * (2 * LOOK_AHEAD), "a")
    world.shelf.suspect({suspect: 0})
    world.connect()
    world.push()
    world.serve()
    world.push()
    world.serve()
    assert suspect in {message.id for message, _ in world.open}
    for _ in range(5):
        world.push()
        world.record()
        world.serve()
    world.settle()
    order = world.broker.first_taken("a")
    assert order == sorted(order)
