"""Emptying the outbox, whatever happens: nothing lost, order kept, the guilty found, the innocent spared."""

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyborn.device.drain import STRIKES, WINDOW, Ending, Terms
from keyborn.device.messages import Outcome
from support.drain_world import World

TOPICS = st.sampled_from("abc")
POISONED = st.sampled_from([False, False, False, True])
DISASTERS = st.sampled_from([Ending.NETWORK, Ending.EXPLAINED, Ending.UNEXPLAINED, None])
"""The network fails, the broker shuts down or dies, the power fails."""
DEATHS = STRIKES - 1
"""Brokers that die in the middle, as often as a message may be hung up on without being condemned."""


class DrainMachine(RuleBasedStateMachine):
    """Messages come, connections come and go, the power fails; at the end everything has its right end."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.deaths = 0

    @initialize(explains=st.booleans(), in_flight=st.sampled_from([1, 2, 5, WINDOW]))
    def begin(self, *, explains: bool, in_flight: int) -> None:
        self.world.terms = Terms(explains=explains, in_flight=in_flight)

    @rule(drafts=st.lists(st.tuples(TOPICS, POISONED), min_size=1, max_size=8))
    def append(self, drafts: list[tuple[str, bool]]) -> None:
        for topic, poisoned in drafts:
            number = self.world.shelf.append(topic)
            if poisoned:
                self.world.broker.poisoned.add(number)
        self.world.drain.look_again()

    @precondition(lambda self: not self.world.connected)
    @rule()
    def connect(self) -> None:
        self.world.connect()

    @precondition(lambda self: self.world.connected)
    @rule(packets=st.integers(0, 9))
    def work(self, packets: int) -> None:
        self.world.push()
        self.world.serve(packets)

    @rule()
    def record(self) -> None:
        self.world.record()

    @precondition(lambda self: self.world.connected)
    @rule(disaster=DISASTERS, handled=st.integers(0, 3))
    def something_fails(self, disaster: Ending | None, handled: int) -> None:
        if disaster is None:
            self.world.crash()
        elif disaster is not Ending.UNEXPLAINED or self.deaths < DEATHS:
            self.deaths += disaster is Ending.UNEXPLAINED
            self.world.lose(disaster, handled=handled)

    # ── what must hold ──

    @invariant()
    def topics_are_in_order(self) -> None:
        for topic in "abc":
            taken = self.world.broker.first_taken(topic)
            assert taken == sorted(taken), f"{topic}: {taken}"

    @invariant()
    def the_innocent_are_spared(self) -> None:
        for number, fate in self.world.shelf.fates.items():
            if fate.outcome is Outcome.QUARANTINED:
                assert number in self.world.broker.poisoned, f"{number} did nothing"

    @invariant()
    def what_is_called_delivered_arrived(self) -> None:
        taken = {each.id for each in self.world.broker.taken}
        for number, fate in self.world.shelf.fates.items():
            assert fate.outcome is not Outcome.DELIVERED or number in taken

    def teardown(self) -> None:
        """With a good network everything comes to its end, within few connections."""
        world = self.world
        if world.connected:
            world.lose(Ending.NETWORK)
        guilty = {number for number in world.broker.poisoned if world.outcome(number) is Outcome.WAITING}
        before, sent_before = world.hang_ups, len(world.sent)
        waiting = len(world.shelf.waiting_ones)
        connections = world.settle()
        self.topics_are_in_order()
        self.the_innocent_are_spared()
        assert all(world.outcome(number) is Outcome.QUARANTINED for number in world.broker.poisoned)
        assert len(world.shelf.fates) == world.shelf.count, "nothing is lost"
        hang_ups = world.hang_ups - before
        assert hang_ups <= (STRIKES + 1) * len(guilty), "one for each strike and each group"
        assert connections <= hang_ups + 1, "no other reason to connect again"
        assert len(world.sent) - sent_before <= waiting + hang_ups * min(WINDOW, world.terms.in_flight)


DrainMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDrainMachine = DrainMachine.TestCase
