"""Random lives of a broker on a file, with crashes, against a model of what was promised.

The model knows what memory holds, and what the file held at the latest commit. After every start nothing that
was committed is lost, the order holds, and nothing that was over and committed, or purged, comes back.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keyborn.adapters.broker.packets import Subscription
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from support.durable import Shop, waiting_payloads

NAMES = st.sampled_from(["a", "b"])
TOPICS = st.sampled_from(["t", "u"])
THINGS = st.sampled_from(["p", "q"])


class Model:
    """What one session holds."""

    def __init__(self) -> None:
        self.subscribed: set[str] = set()
        self.queue: list[bytes] = []
        """In order."""


class Lives(RuleBasedStateMachine):
    """One broker after the other on the same file."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="keyborn-"))
        self.shop = Shop(self.folder / "broker.db")
        self.now: dict[str, Model] = {}
        self.kept: dict[str, Model] = {}
        """As of the last commit."""
        self.over: set[bytes] = set()
        """Acknowledged, purged or dropped (session and payload), and not yet committed."""
        self.gone: set[bytes] = set()
        """The same, committed."""
        self.retained: dict[str, bytes] = {}
        self.retained_kept: dict[str, bytes] = {}
        self.number = 0
        self.author: dict[bytes, str] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.run(self.shop.open())

    def teardown(self) -> None:
        self.run(self.shop.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    # ── what clients do ───────────────────────────────────────────────────────────────────────────────

    @rule(name=NAMES, clean=st.booleans())
    def connect(self, name: str, *, clean: bool) -> None:
        _, ear = self.shop.join(name, clean=clean)
        assert ear.present is (not clean and name in self.now)
        if not ear.present:
            self._ended(name)
            self.now[name] = Model()

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        session = self.shop.hub.sessions.find(name)
        if session is not None and session.outlet is not None:
            self.shop.hub.detach(session, None)

    @rule(name=NAMES)
    def end(self, name: str) -> None:
        if name in self.now:
            self.shop.hub.end(self.shop.session(name))
            self._ended(name)

    @rule(name=NAMES, topic=TOPICS, on=st.booleans())
    def subscribe(self, name: str, topic: str, *, on: bool) -> None:
        if name not in self.now:
            return
        session = self.shop.session(name)
        if on:
            self.shop.hub.subscribe(session, Subscription(topic, 1))
            self.now[name].subscribed.add(topic)
        else:
            self.shop.hub.unsubscribe(session, topic)
            self.now[name].subscribed.discard(topic)

    @rule(topic=TOPICS, thing=THINGS, retain=st.booleans(), empty=st.booleans())
    def publish(self, topic: str, thing: str, *, retain: bool, empty: bool) -> None:
        if retain and empty:
            self.shop.say(topic, b"", retain=True, thing=thing, qos=0)
            self.retained.pop(topic, None)
            return
        self.number += 1
        payload = f"{self.number:04}".encode()
        self.author[payload] = thing
        assert self.shop.say(topic, payload, retain=retain, thing=thing)
        for model in self.now.values():
            if topic in model.subscribed:
                model.queue.append(payload)
        if retain:
            self.retained[topic] = payload

    @rule(name=NAMES, count=st.integers(1, 3))
    def send(self, name: str, count: int) -> None:
        if name in self.now:
            for _ in range(count):
                self.shop.session(name).take()

    @rule(name=NAMES, which=st.integers(0, 3))
    def acknowledge(self, name: str, which: int) -> None:
        if name not in self.now:
            return
        session = self.shop.session(name)
        under_way = session.unacknowledged()
        if which >= len(under_way):
            return
        delivery = session.sent(under_way[which])
        assert delivery is not None
        session.acknowledge(under_way[which])
        self.now[name].queue.remove(delivery.message.payload)
        self._over(name, delivery.message.payload)

    def _over(self, name: str, payload: bytes) -> None:
        self.over.add(name.encode() + payload)

    def _ended(self, name: str) -> None:
        for payload in self.now.pop(name, Model()).queue:
            self._over(name, payload)

    # ── what the operator does ────────────────────────────────────────────────────────────────────────

    @rule(thing=THINGS)
    def purge(self, thing: str) -> None:
        """Evict; durable when it returns."""
        self.shop.hub.remove(ThingName(thing), "revoked")
        self._purged(thing)
        self.commit()

    def _purged(self, thing: str) -> None:
        for model in self.now.values():
            model.queue = [each for each in model.queue if self.author[each] != thing]
        self.retained = {topic: each for topic, each in self.retained.items() if self.author[each] != thing}
        self.over |= {
            name + each for each, author in self.author.items() if author == thing for name in (b"a", b"b")
        }

    # ── commits and crashes ───────────────────────────────────────────────────────────────────────────

    @rule()
    def commit(self) -> None:
        self.run(self.shop.journal.durable())
        self._committed()

    def _committed(self) -> None:
        self.kept = {}
        for name, model in self.now.items():
            self.kept[name] = copy = Model()
            copy.subscribed, copy.queue = set(model.subscribed), list(model.queue)
        self.retained_kept = dict(self.retained)
        self.gone |= self.over
        self.over.clear()

    @rule()
    def close(self) -> None:
        """A proper end keeps everything."""
        self.run(self.shop.again(crashed=False))
        self._committed()
        self._compare()

    @rule(on_its_way=st.booleans())
    def crash(self, *, on_its_way: bool) -> None:
        """The file holds the latest commit, which may have begun if somebody waits for it."""
        journal = self.shop.journal
        if on_its_way and journal._soon:
            self._committed()
        else:
            journal._cancel()
        self.run(self.shop.again())
        self.now = self.kept
        self.retained = self.retained_kept
        self.over.clear()
        self._compare()
        self._committed()

    @rule(thing=THINGS)
    def revoke_while_down(self, thing: str) -> None:
        self.shop.set_status(thing, ThingStatus.REVOKED)
        self.run(self.shop.again(crashed=False))
        self._purged(thing)
        self._committed()
        self._compare()
        self.shop.set_status(thing, ThingStatus.ACTIVE)

    def _compare(self) -> None:
        found = {each.client_id: each for each in self.shop.hub.sessions}
        assert set(found) == set(self.now)
        for name, model in self.now.items():
            assert waiting_payloads(found[name]) == model.queue
            assert set(found[name].subscriptions) == model.subscribed
        kept = {each.topic: each.payload for each in self.shop.hub.retained.select("#", 0)}
        assert kept == self.retained

    # ── always ────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def memory_is_what_the_model_says(self) -> None:
        if not hasattr(self.shop, "hub"):
            return
        for name, model in self.now.items():
            assert waiting_payloads(self.shop.session(name)) == model.queue
            assert not {name.encode() + each for each in model.queue} & self.gone

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self.shop, "hub"):
            return
        held = [each for session in self.shop.hub.sessions for each in session._held()]
        messages = {each.message for each in held} | set(self.shop.hub.retained.select("#", 0))
        assert self.shop.hub.budget.used == sum(each.message.cost for each in held)
        for message in messages:
            kept = message in self.shop.hub.retained.select(message.topic, 0)
            assert message.holders == kept + sum(each.message is message for each in held)
            assert message.row > 0

    @invariant()
    def no_row_is_left_behind(self) -> None:
        """Right after a commit the file holds what memory holds, and nothing else."""
        if not hasattr(self.shop, "hub") or self.shop.journal.changes:
            return
        books = self.shop.books()
        assert books["sessions"] == len(self.now)
        assert books["subscriptions"] == sum(len(model.subscribed) for model in self.now.values())
        assert books["deliveries"] == sum(len(model.queue) for model in self.now.values())
        assert books["retained"] == len(self.retained)
        used = {each for model in self.now.values() for each in model.queue} | set(self.retained.values())
        assert books["messages"] == len(used)


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
