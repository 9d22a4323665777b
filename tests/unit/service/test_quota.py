"""One instance's gate: who is let in, who is held, who is sent away and for how long."""

import asyncio
from dataclasses import dataclass, field

import pytest

from keyborn.adapters.memory.line import MemoryLine
from keyborn.domain.errors import (
    AwsConflict,
    AwsOutage,
    AwsRefused,
    AwsThrottled,
    CredentialRefused,
    Queued,
    RegistryUnavailable,
    Unavailable,
)
from keyborn.domain.quota import Pacing, Place, Slice
from keyborn.service.quota import NoQuota, QuotaGate, Turn

NOON = 1_795_000_000.0
PACING = Pacing(rate=10.0, burst=0.4, patience=2.0)


@dataclass
class Watched:
    """A line that counts what it is asked, and fails on demand."""

    line: MemoryLine = field(default_factory=lambda: MemoryLine(PACING))
    asked: list[str] = field(default_factory=list)
    trouble: Unavailable | None = None

    async def take(self, now: float, latest: float) -> Slice:
        self._note("take")
        return await self.line.take(now, latest)

    async def find(self, who: str, now: float) -> float | None:
        self._note("find")
        return await self.line.find(who, now)

    async def join(self, who: str, now: float) -> Place:
        self._note("join")
        return await self.line.join(who, now)

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.trouble is not None:
            raise self.trouble


async def nobody_asks() -> None:
    """The caller is known."""


@dataclass
class Stage:
    """Instances of one service on one clock, which sleeping moves."""

    now: float = NOON
    fraction: float = 0.5
    shared: Watched = field(default_factory=Watched)
    slept: list[float] = field(default_factory=list)
    confirmed: int = 0

    def gate(self) -> QuotaGate:
        return QuotaGate(
            self.shared, PACING, seconds=lambda: self.now, fraction=lambda: self.fraction, sleep=self._sleep
        )

    async def confirm(self) -> None:
        """Count who was asked about."""
        self.confirmed += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def pause(self, gate: QuotaGate, who: str) -> float | None:
        """The Retry-After of who was sent away; None for who may have a certificate signed."""
        try:
            await self.turn(gate, who)
        except Queued as queued:
            return queued.retry_after
        return None

    async def turn(self, gate: QuotaGate, who: str) -> Turn:
        """What a caller goes through, with a claim that takes no time."""
        turn = await gate.admit(who, self.confirm)
        await turn.meanwhile()
        await turn.demand()
        return turn

    async def warm(self, gate: QuotaGate) -> None:
        """The gate has met the line, and every kept slot is gone."""
        await self.turn(gate, "early")
        await self.exhaust()
        self.shared.asked.clear()

    async def crowd(self, gate: QuotaGate, count: int) -> list[float | None]:
        """So many devices, a hundredth of a second apart, when no slot is spare."""
        pauses = []
        for number in range(count):
            self.now += 0.01
            await self.exhaust()
            pauses.append(await self.pause(gate, f"device-{number}"))
        return pauses

    async def exhaust(self) -> None:
        while (await self.shared.line.take(self.now, self.now + PACING.patience)).begins is not None:
            pass


async def test_without_a_storm_everybody_is_let_in_at_once_with_one_call() -> None:
    stage = Stage()
    gate = stage.gate()
    for number in range(20):
        assert await stage.pause(gate, f"device-{number}") is None
        stage.now += 0.5
    assert stage.shared.asked == ["take"] * 20
    assert stage.slept == []


async def test_an_instance_whose_clock_is_an_hour_ahead_stops_nobody_else() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    stage.now += 3600
    assert await stage.pause(stage.gate(), "fast") is None
    stage.now -= 3590
    admitted = [await stage.pause(gate, f"device-{number}") for number in range(8)]
    assert admitted[:5] == [None] * 5
    assert admitted[5] is not None
    assert admitted[5] < 10


async def test_an_instance_whose_own_clock_was_set_right_goes_on_at_once() -> None:
    stage = Stage(now=NOON + 3600)
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 20)
    stage.now = NOON
    assert await stage.pause(gate, "right") is None


async def test_who_finds_no_spare_slot_gets_a_place_and_the_time_until_its_turn() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    pauses = await stage.crowd(gate, 60)
    due = stage.shared.line.due("device-59")
    assert due is not None
    assert due - stage.now == pytest.approx(5.4, abs=0.2)
    assert pauses[-1] == 6
    assert pauses == sorted(pauses, key=lambda pause: pause or 0)


async def test_who_returns_early_keeps_its_place_and_is_told_the_rest() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 80)
    due = stage.shared.line.due("device-79")
    assert due is not None
    stage.now += 3
    await stage.exhaust()
    assert await stage.pause(stage.gate(), "device-79") == pytest.approx(due - stage.now, abs=1)
    assert stage.shared.line.due("device-79") == due


async def test_who_returns_in_turn_is_let_in_and_held_until_its_slot_begins() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 30)
    due = stage.shared.line.due("device-29")
    assert due is not None
    stage.now = due
    while (await stage.shared.line.take(stage.now, stage.now + 0.5)).begins is not None:
        pass
    assert await stage.pause(gate, "device-29") is None
    assert stage.slept == [pytest.approx(0.5, abs=0.11)]


async def test_a_turn_is_honoured_by_an_instance_that_has_just_begun() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 30)
    due = stage.shared.line.due("device-29")
    assert due is not None
    stage.now = due
    assert await stage.pause(stage.gate(), "device-29") is None


async def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 100)
    stage.now += 1
    while (await stage.shared.line.take(stage.now, stage.now)).begins is not None:
        pass
    pause = await stage.pause(gate, "newcomer")
    assert pause is not None
    assert pause >= 7


async def test_a_slot_that_nobody_claims_is_for_whoever_asks() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 100)
    stage.now += 3
    assert await stage.pause(gate, "device-99") is None


async def test_who_met_too_many_others_in_turn_comes_again_soon_and_keeps_its_turn() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.pause(gate, "device-0")
    due = stage.shared.line.due("device-0")
    await stage.exhaust()
    pause = await stage.pause(gate, "device-0")
    assert pause is not None
    assert 1 <= pause <= 4
    assert stage.shared.line.due("device-0") == due


async def test_who_is_late_passes_those_whose_turn_has_only_just_come() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 30)
    due = stage.shared.line.due("device-29")
    assert due is not None
    stage.now = due + 20
    await stage.exhaust()
    fresh = (await stage.shared.line.join("fresh", stage.now)).due
    assert fresh == stage.now
    assert await stage.pause(gate, "fresh") is not None
    assert await stage.pause(gate, "device-29") is None


async def test_a_cold_instance_in_a_stampede_asks_the_line_one_thing() -> None:
    stage = Stage()
    await stage.exhaust()
    gate = stage.gate()
    pauses = [await stage.pause(gate, f"device-{number}") for number in range(50)]
    writes = [what for what in stage.shared.asked if what != "find"]
    assert writes == ["take"]
    assert all(pause is not None and 1 <= pause <= 3 for pause in pauses)


async def test_instances_that_together_give_places_too_fast_hold_back() -> None:
    stage = Stage()
    gates = [stage.gate() for _ in range(100)]
    await stage.exhaust()
    for tick in range(200):
        stage.now = NOON + tick * 0.1
        for number, gate in enumerate(gates):
            await stage.pause(gate, f"device-{tick}-{number}")
    writes = [what for what in stage.shared.asked if what != "find"]
    assert len(writes) <= 20 * 500, "writes of twenty seconds"
    assert writes.count("join") >= 20 * 10, "places enough for every slot"


async def test_who_got_no_place_is_told_less_than_the_line_is_long() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.exhaust()
    await stage.pause(gate, "a")
    for number in range(4000):
        await stage.shared.line.join(f"other-{number}", stage.now)
    stage.now += 1.01
    await stage.exhaust()
    await stage.pause(gate, "b")
    pause = await stage.pause(gate, "c")
    assert await stage.shared.find("c", stage.now) is None
    assert pause is not None
    assert 50 <= pause <= 100


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("trouble", [AwsThrottled, AwsConflict, AwsOutage, RegistryUnavailable])
async def test_a_line_that_does_not_answer_sends_everybody_away_for_some_seconds(
    trouble: type[Unavailable], fraction: float
) -> None:
    stage = Stage(fraction=fraction)
    stage.shared.trouble = trouble(seconds=1, action="dynamodb:UpdateItem")
    pause = await stage.pause(stage.gate(), "a")
    assert pause is not None
    assert 2 <= pause <= 10


async def test_what_an_operator_must_mend_is_not_taken_for_a_queue() -> None:
    class Denied(Watched):
        async def take(self, now: float, latest: float) -> Slice:
            raise AwsRefused(action="dynamodb:UpdateItem", reason="AccessDeniedException")

    stage = Stage(shared=Denied())
    with pytest.raises(AwsRefused):
        await stage.turn(stage.gate(), "a")


async def test_what_an_instance_keeps_does_not_grow() -> None:
    stage = Stage()
    gate = stage.gate()
    before = set(vars(gate))
    for number in range(1000):
        await stage.pause(gate, f"device-{number}")
    assert set(vars(gate)) == before
    assert all(not isinstance(value, list | dict | set) for value in vars(gate).values())


async def test_many_at_once_on_one_instance_get_no_more_than_the_rate() -> None:
    stage = Stage()
    gate = stage.gate()
    pauses = await asyncio.gather(*(stage.pause(gate, f"device-{number}") for number in range(200)))
    assert pauses.count(None) <= 1 + (PACING.burst + PACING.patience) * PACING.rate


# ── on credit ─────────────────────────────────────────────────────────────────────────────────────────


async def test_who_claims_on_credit_asks_the_line_beside_its_claim_and_not_before() -> None:
    stage = Stage()
    turn = await stage.gate().admit("a", nobody_asks)
    assert stage.shared.asked == []
    await turn.meanwhile()
    await turn.demand()
    assert stage.shared.asked == ["take"]


async def test_who_claimed_on_credit_where_no_slot_is_spare_waits_as_everybody_does() -> None:
    stage = Stage()
    await stage.exhaust()
    turn = await stage.gate().admit("a", nobody_asks)
    await turn.meanwhile()
    with pytest.raises(Queued):
        await turn.demand()


async def test_who_claimed_on_credit_at_its_turn_is_held_until_its_slot_begins() -> None:
    stage = Stage()
    due = (await stage.shared.line.join("a", stage.now)).due
    stage.now = due
    while (await stage.shared.line.take(stage.now, stage.now + 0.5)).begins is not None:
        pass
    turn = await stage.gate().admit("a", nobody_asks)
    await turn.meanwhile()
    await turn.demand()
    assert stage.slept == [pytest.approx(0.5, abs=0.11)]


async def test_once_the_line_has_told_of_others_nobody_claims_on_credit() -> None:
    stage = Stage()
    await stage.exhaust()
    gate = stage.gate()
    assert await stage.pause(gate, "a") is not None
    for second in range(1, 30):
        stage.now = NOON + second
        await stage.exhaust()
        with pytest.raises(Queued):
            await gate.admit(f"device-{second}", nobody_asks)


async def test_a_crowd_on_one_instance_claims_on_credit_once() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.exhaust()
    early = 0
    for number in range(300):
        stage.now += 0.01
        await stage.exhaust()
        try:
            turn = await gate.admit(f"device-{number}", nobody_asks)
        except Queued:
            continue
        early += 1
        await turn.meanwhile()
        with pytest.raises(Queued):
            await turn.demand()
    assert early == 1


async def test_who_waits_for_a_slot_or_stands_in_line_is_asked_about_first() -> None:
    """Not who claims on credit: its claim asks."""
    stage = Stage()
    gate = stage.gate()
    await stage.turn(gate, "a")
    assert stage.confirmed == 0
    await stage.crowd(gate, 30)
    stage.shared.asked.clear()
    stage.confirmed = 0

    async def refuses() -> None:
        raise CredentialRefused

    with pytest.raises(CredentialRefused):
        await gate.admit("b", refuses)
    assert stage.shared.asked == []
    await stage.pause(gate, "b")
    assert stage.confirmed == 1


async def test_while_the_line_cannot_be_had_there_is_credit_once_a_second() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.turn(gate, "early")
    stage.shared.trouble = RegistryUnavailable(seconds=1)
    early = 0
    for number in range(50):
        stage.now += 0.1
        try:
            turn = await gate.admit(f"device-{number}", nobody_asks)
        except Queued:
            continue
        early += 1
        await turn.meanwhile()
        with pytest.raises(Queued):
            await turn.demand()
    assert 4 <= early <= 5


async def test_who_claimed_long_ago_does_not_wait_for_its_slot_but_comes_again() -> None:
    """The function has an end: whoever waits up to it leaves a claim that nobody can go on with."""
    stage = Stage()
    due = (await stage.shared.line.join("a", stage.now)).due
    stage.now = due
    await stage.exhaust()
    turn = await stage.gate().admit("a", nobody_asks)
    await turn.meanwhile()
    stage.now += 4.5
    with pytest.raises(Queued):
        await turn.demand()
    assert stage.slept == []


async def test_when_the_line_has_run_dry_there_is_credit_again() -> None:
    stage = Stage()
    gate = stage.gate()
    await stage.warm(gate)
    await stage.crowd(gate, 30)
    stage.now += 60
    stage.shared.asked.clear()
    await gate.admit("a", nobody_asks)
    assert stage.shared.asked == []


async def test_a_line_that_does_not_answer_gives_no_credit_for_a_signature() -> None:
    stage = Stage()
    turn = await stage.gate().admit("a", nobody_asks)
    stage.shared.trouble = RegistryUnavailable(seconds=1)
    await turn.meanwhile()
    with pytest.raises(Queued):
        await turn.demand()


async def test_what_an_operator_must_mend_is_told_at_the_demand_and_not_beside_the_claim() -> None:
    class Denied(Watched):
        async def take(self, now: float, latest: float) -> Slice:
            raise AwsRefused(action="dynamodb:UpdateItem", reason="AccessDeniedException")

    turn = await Stage(shared=Denied()).gate().admit("a", nobody_asks)
    await turn.meanwhile()
    with pytest.raises(AwsRefused):
        await turn.demand()


# ── given back ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_turn_that_was_not_needed_is_the_next_caller_s() -> None:
    stage = Stage()
    gate = stage.gate()
    turn = await stage.turn(gate, "a")
    turn.give_back()
    await stage.exhaust()
    assert await stage.pause(gate, "b") is None
    assert stage.shared.asked == ["take"]
    assert await stage.pause(gate, "c") is not None, "and nobody else's"


async def test_a_turn_that_was_not_needed_ends_soon() -> None:
    stage = Stage()
    gate = stage.gate()
    turn = await stage.turn(gate, "a")
    turn.give_back()
    stage.now += 6
    await stage.turn(gate, "b")
    assert stage.shared.asked == ["take", "take"]


async def test_a_slot_that_is_given_back_again_and_again_is_not_kept_for_longer() -> None:
    """Else whoever repeats an answer every few seconds keeps slots beside those of the moment."""
    stage = Stage()
    gate = stage.gate()
    for _ in range(4):
        turn = await stage.turn(gate, "a")
        stage.now += 1.5
        turn.give_back()
    await stage.exhaust()
    assert stage.shared.asked == ["take"]
    assert await stage.pause(gate, "b") is not None


async def test_a_slot_of_a_clock_that_went_back_is_not_kept() -> None:
    stage = Stage()
    gate = stage.gate()
    (await stage.turn(gate, "a")).give_back()
    stage.now -= 3600
    await stage.exhaust()
    stage.shared.asked.clear()
    assert await stage.pause(gate, "b") is not None


async def test_a_turn_that_was_never_paid_gives_nothing_back() -> None:
    """A request that was refused before the slot was taken must not make one out of nothing."""
    stage = Stage()
    gate = stage.gate()
    turn = await gate.admit("a", nobody_asks)
    turn.give_back()
    await stage.exhaust()
    assert await stage.pause(gate, "b") is not None


async def test_where_no_quota_binds_everybody_s_turn_is_now() -> None:
    turn = await NoQuota().admit("a", nobody_asks)
    await turn.meanwhile()
    await turn.demand()
    turn.give_back()
