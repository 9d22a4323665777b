"""Random walks over a registry: enroll, retry, crash, expire, withdraw, suspend, revoke, replace, sweep.

After every step the real registry, in memory and on SQLite, holds exactly what the model says, and what must
never happen has not happened.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from cryptography.x509 import load_der_x509_certificate
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.audit import verify
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.enrollment import Attempt, Granted, Issue, Verdict
from keyborn.domain.errors import KeybornError
from keyborn.domain.intent import Intent
from keyborn.domain.names import KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId
from keyborn.ports import GroupingRegistry
from support.granting_cases import Pen, request_of
from support.grouping_cases import OTHER, GroupingDesk, Rule, hourly
from support.registry_cases import LIFETIME, certificate_for, event, key, make_token
from support.registry_model import Model, ModelIntent, ModelRule, ModelToken, Refused
from support.walks import examples

T = TypeVar("T")

NAMES = ["lamp-1", "LAMP-1", "lamp-2"]
KEYS = [f"k{number}" for number in range(1, 9)]
PATTERNS = ["*", "lamp-*", *NAMES]
SPANS = [timedelta(seconds=1), timedelta(minutes=20), LIFETIME / 3, LIFETIME]
TTL = LIFETIME / 2
POLICIES = ["keyborn-default", "a", "ab", "b", *(f"p{number}" for number in range(8))]
"""More than a thing may have; one name is part of another."""
GIVEN: list[tuple[str, ...] | None] = [None, None, (), ("a",), ("b", "ab"), tuple(POLICIES[-8:])]
"""What tokens give to those that enroll."""
TEXTS = ["Connect", "Publish"]
ORDERS = [one for one in ThingStatus if one is not ThingStatus.CLAIMED]
PICK = st.integers(0, 999)
"""Picks one of however many there are."""
STAGES = ["claimed", "stored", "activated"]
"""How far a saga comes before its process dies, or its answer is lost."""
GROUPS = ["line-7", "line-8"]
RULES = [
    None,
    Rule(),
    Rule(limit=1),
    Rule(limit=2, rate=hourly(1)),
    Rule(rate=hourly(1)),
    Rule(limit=2, rate=hourly(2), group=OTHER),
]
"""Under what a request is: no group, or one of them with limits as if its document changed all the time."""
ENDLESS = 1000 * LIFETIME
KEY_NAMES = {key(name): name for name in KEYS}
"""The model calls keys by their short names."""


def intent_of(certificate: Certificate) -> str:
    """The intent that a certificate was signed for (see ``certificate_for``, and ``Desk.attempt``)."""
    if certificate.der.startswith(b"der of "):
        return certificate.der.split()[2].decode()
    return intent_signed(certificate.der)


@cache
def intent_signed(der: bytes) -> str:
    """The same of one that was signed within its claim."""
    return f"intent-{load_der_x509_certificate(der).serial_number:06}"


def as_modelled(under: Rule | None) -> ModelRule | None:
    """A rule, as the model knows it."""
    if under is None:
        return None
    return ModelRule(under.group, under.limit, None if under.rate is None else under.rate.count)


class RegistryMachine(RuleBasedStateMachine):
    """One registry and its model, taken through the same steps."""

    grants = False
    """Whether the registry has a signer: then every other request is one command."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.registry = self.open()
        self.desk = GroupingDesk(self.registry)
        self.model = Model()
        self.tokens: list[EnrollmentToken] = []
        self.requests: list[tuple[EnrollmentToken, str, str, Rule | None]] = []
        self.sagas: list[Intent] = []
        """Every intent ever recorded: its saga may wake up at any time."""
        self.ever_revoked: set[str] = set()
        self.key_homes: dict[KeyHash, ThingName] = {}

    def open(self) -> GroupingRegistry:
        """The registry under test."""
        raise AssertionError("a subclass opens one")

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(task)

    def teardown(self) -> None:
        self.runner.close()

    def both(self, real: Coroutine[Any, Any, T], expected: str | None) -> T | None:
        """Run the real step; it must be refused with just this code, or not at all."""
        result = code = None
        try:
            result = self.run(real)
        except KeybornError as refusal:
            code = refusal.code
        assert code == expected
        return result

    # ── tokens ────────────────────────────────────────────────────────────────────────────────────────

    @initialize()
    def begin_with_two_tokens(self) -> None:
        """One for everything and one to replace with: walks should soon come to where it is interesting."""
        self.create_token("*", None, "enroll", None, ThingKind.DEVICE)
        self.create_token("lamp-1", None, "replace", ("b",), ThingKind.DEVICE)
        for policy in POLICIES:
            self.put_policy(policy, "Connect")
        for group in GROUPS:
            self.change_group(group, "put")

    @rule(
        pattern=st.sampled_from(PATTERNS),
        uses=st.sampled_from([1, 2, None]),
        power=st.sampled_from(["enroll", "replace"]),
        policies=st.sampled_from(GIVEN),
        kind=st.sampled_from([ThingKind.DEVICE, *ThingKind]),
    )
    def create_token(
        self, pattern: str, uses: int | None, power: str, policies: tuple[str, ...] | None, kind: ThingKind
    ) -> None:
        replaces = power == "replace"
        token = make_token(
            f"secret {len(self.tokens)}",
            pattern,
            uses,
            ttl=TTL,
            replaces=replaces,
            now=self.desk.now,
            kind=kind,
            policies=policies,
        )
        self.run(self.registry.add(token, event("token.create", token.id, self.desk.now)))
        self.tokens.append(token)
        model = ModelToken(pattern, uses, replaces, token.expires_at, kind.value, policies)
        self.model.tokens[token.id] = model
        self.model.events += 1

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK)
    def withdraw(self, pick: int) -> None:
        token = self.tokens[pick % len(self.tokens)]
        self.run(self.registry.withdraw(token.id, event(at=self.desk.now)))
        self.model.withdraw(token.id)

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────

    @rule(
        pick=PICK,
        thing=st.sampled_from(NAMES),
        key_name=st.sampled_from(KEYS),
        under=st.sampled_from(RULES),
        stage=st.sampled_from([*STAGES, "activated", "activated"]),
    )
    def enroll(self, pick: int, thing: str, key_name: str, under: Rule | None, stage: str) -> None:
        """A request that comes as far as ``stage``."""
        self._request(self.tokens[pick % len(self.tokens)], thing, key_name, under, stage)

    @rule(
        name=st.sampled_from(["f1", "f2"]),
        thing=st.sampled_from(NAMES),
        key_name=st.sampled_from(KEYS),
        under=st.sampled_from(RULES),
        stage=st.sampled_from(STAGES),
    )
    def show_a_certificate(
        self, name: str, thing: str, key_name: str, under: Rule | None, stage: str
    ) -> None:
        """A request by a credential that proves itself, for two pairs."""
        who = replace(make_token(name, "*", 2, ttl=ENDLESS), id=TokenId(name))
        known = self.model.tokens.setdefault(
            name, ModelToken("*", 2, replaces=False, expires=who.expires_at, known=False)
        )
        assert not known.known
        self._request(who, thing, key_name, under, stage)

    @precondition(lambda self: self.requests)
    @rule(pick=PICK, stage=st.sampled_from(STAGES))
    def retry(self, pick: int, stage: str) -> None:
        """The same request once more."""
        self._request(*self.requests[pick % len(self.requests)], stage)

    def _request(
        self, token: EnrollmentToken, thing: str, key_name: str, under: Rule | None, stage: str
    ) -> None:
        self.requests.append((token, thing, key_name, under))
        attempt = self.desk.attempt(token, thing, key_name)
        terms = None if under is None else under.terms(self.desk.now)
        known = self.model.tokens[token.id].known
        attempt = replace(attempt, applicant=replace(attempt.applicant, terms=terms, is_known=known))
        if self.grants and stage == "activated" and len(self.requests) % 2:
            attempt = replace(attempt, request=request_of(thing, key_name))
        ends = attempt.proposal.not_after
        fresh = ModelIntent(attempt.proposal.id, thing, key_name, "", self.desk.now, ends)
        expected = code = None
        try:
            expected = self.model.claim(token.id, fresh, as_modelled(under))
        except Refused as refusal:
            code = str(refusal)
        verdict = self.both(self.registry.claim(attempt), code)
        if verdict is None or expected is None:
            return
        if isinstance(verdict, Granted):
            self._granted(verdict.certificate, expected, attempt)
            return
        assert attempt.request is None
        assert self._told(verdict) == expected
        if isinstance(verdict, Issue):
            self.sagas.append(verdict.intent)
            for step in STAGES[1 : STAGES.index(stage) + 1]:
                self._step(verdict.intent, step)

    def _granted(self, certificate: Certificate, expected: tuple[str, str], attempt: Attempt) -> None:
        """Signed within the claim: then the model has its other steps behind it, too; a saga may wake up."""
        what, intent = expected
        assert intent_of(certificate) == intent
        assert certificate.status is CertificateStatus.ACTIVE
        if what == "issue":
            name, ends = KEY_NAMES[certificate.key_hash], certificate.not_after
            self.model.store(intent, certificate.thing, name, certificate.slot.value, ends)
            self.model.activate(intent, certificate.thing)
            if attempt.proposal.id == intent:
                self.sagas.append(replace(attempt.proposal, slot=certificate.slot))

    def _told(self, verdict: Verdict) -> tuple[str, str]:
        if isinstance(verdict, Issue):
            return "issue", verdict.intent.id
        return "repeat", intent_of(verdict.certificate)

    @precondition(lambda self: self.sagas)
    @rule(pick=PICK, step=st.sampled_from(STAGES[1:]))
    def wake_a_saga(self, pick: int, step: str) -> None:
        """A process that was slow, or dead, or asleep does its next step now, whatever happened meanwhile."""
        self._step(self.sagas[pick % len(self.sagas)], step)

    def _step(self, intent: Intent, step: str) -> None:
        code = None
        name = KEY_NAMES[intent.key_hash]
        try:
            if step == "stored":
                self.model.store(intent.id, intent.thing, name, intent.slot.value, intent.not_after)
            else:
                self.model.activate(intent.id, intent.thing)
        except Refused as refusal:
            code = str(refusal)
        if step == "stored":
            self.both(self.registry.store(intent, certificate_for(intent)), code)
        else:
            self.both(self.registry.activate(intent.id, self.desk.done(intent.thing)), code)

    # ── afterwards ────────────────────────────────────────────────────────────────────────────────────

    @rule(
        thing=st.sampled_from(NAMES),
        status=st.sampled_from(ORDERS),
    )
    def order(self, thing: str, status: ThingStatus) -> None:
        """Suspend, activate, revoke, retire."""
        code = None
        try:
            self.model.order(thing, status.value)
        except Refused as refusal:
            code = str(refusal)
        self.both(self.desk.order(thing, status), code)

    @rule(policy=st.sampled_from(POLICIES), text=st.sampled_from(TEXTS))
    def put_policy(self, policy: str, text: str) -> None:
        self.model.put(policy, text)
        kept = self.run(self.desk.put(policy, text))
        assert (kept.version, text) == self.model.policies[policy]

    @rule(policy=st.sampled_from(POLICIES))
    def remove_policy(self, policy: str) -> None:
        code = None
        try:
            self.model.remove(policy, self.desk.now)
        except Refused as refusal:
            code = str(refusal)
        self.both(self.desk.remove(policy), code)

    @rule(
        thing=st.sampled_from(NAMES),
        policy=st.sampled_from(POLICIES),
        verb=st.sampled_from(["attach", "attach", "detach"]),
    )
    def change_policies(self, thing: str, policy: str, verb: str) -> None:
        """Attach or detach."""
        code = None
        steps = {"attach": self.model.attach, "detach": self.model.detach}
        orders = {"attach": self.desk.attach, "detach": self.desk.detach}
        try:
            steps[verb](thing, policy)
        except Refused as refusal:
            code = str(refusal)
        self.both(orders[verb](thing, policy), code)

    @rule(group=st.sampled_from(GROUPS), verb=st.sampled_from(["put", "put", "remove"]))
    def change_group(self, group: str, verb: str) -> None:
        """Put or remove."""
        code = None
        steps = {"put": self.model.put_group, "remove": self.model.remove_group}
        orders: dict[str, Callable[[str], Coroutine[Any, Any, object]]] = {
            "put": self.desk.put_group,
            "remove": self.desk.remove_group,
        }
        try:
            steps[verb](group)
        except Refused as refusal:
            code = str(refusal)
        self.both(orders[verb](group), code)

    @rule(thing=st.sampled_from(NAMES), span=st.sampled_from([None, *SPANS]))
    def release(self, thing: str, span: timedelta | None) -> None:
        """Let another key be brought, or not any more."""
        code = None
        try:
            self.model.release(thing, None if span is None else self.desk.now + span)
        except Refused as refusal:
            code = str(refusal)
        self.both(self.desk.release(thing, span), code)

    @rule(thing=st.sampled_from(NAMES), group=st.sampled_from([None, *GROUPS]))
    def move(self, thing: str, group: str | None) -> None:
        code = None
        try:
            self.model.move(thing, group)
        except Refused as refusal:
            code = str(refusal)
        self.both(self.desk.move(thing, group), code)

    @precondition(lambda self: self.model.certificates)
    @rule(pick=PICK)
    def connect(self, pick: int) -> None:
        intent = sorted(self.model.certificates)[pick % len(self.model.certificates)]
        self.model.connect(intent, self.desk.now)
        saga = next(one for one in self.sagas if one.id == intent)
        held = self.run(self.registry.certificates(saga.thing))
        self.run(self.desk.connect(next(one for one in held if intent_of(one) == intent)))

    @rule()
    def sweep(self) -> None:
        """Drop what is overdue, as the sweeper does."""
        before = self.desk.now - timedelta(minutes=15)
        overdue = self.run(self.registry.leftovers(before=before))
        assert {one.id for one in overdue} == {
            one.id for one in self.model.intents.values() if one.made < before
        }
        for intent in overdue:
            self.model.drop(intent.id)
            assert self.run(self.registry.drop(intent.id, event("sweep", at=self.desk.now)))

    @rule(span=st.sampled_from(SPANS))
    def pass_time(self, span: timedelta) -> None:
        self.desk.pass_time(span)

    # ── what always holds ─────────────────────────────────────────────────────────────────────────────

    @invariant()
    def all_is_well(self) -> None:
        """One look at everything after each step."""
        devices, services = (self.run(self.registry.things(kind=kind)) for kind in ThingKind)
        things = [*devices, *services]
        certificates: list[Certificate] = []
        for name in NAMES:
            certificates += self.run(self.registry.certificates(ThingName(name)))
        self.the_registry_is_what_the_model_says(things, certificates)
        self.policies_are_what_the_model_says(things, certificates)
        self.groups_are_what_the_model_says(things)
        self.what_is_revoked_stays_revoked_and_a_key_stays_at_home(certificates)
        self.active_certificates_belong_to_active_things(things, certificates)
        trail = self.run(self.registry.records())
        assert verify(trail).sequence == self.model.events, "each effect is told once"

    def the_registry_is_what_the_model_says(
        self, things: Sequence[Thing], certificates: Sequence[Certificate]
    ) -> None:
        model = self.model
        assert {one.name: (one.status.value, KEY_NAMES[one.key_hash]) for one in things} == {
            name: (one.status, one.key) for name, one in model.things.items()
        }
        assert {
            intent_of(one): (one.status.value, one.slot.value, one.connected_at is not None)
            for one in certificates
        } == {name: (one.status, one.slot, one.connected) for name, one in model.certificates.items()}
        open_ones = self.run(self.registry.leftovers(before=self.desk.now + LIFETIME))
        assert {one.id: one.slot.value for one in open_ones} == {
            one.id: one.slot for one in model.intents.values()
        }
        taken = {use.token.id: use.uses_taken for use in self.run(self.registry.tokens())}
        assert taken == {name: len(one.spent) for name, one in model.tokens.items() if one.known}

    def groups_are_what_the_model_says(self, things: Sequence[Thing]) -> None:
        model = self.model
        assert {one.name: (one.group, one.release_until) for one in things} == {
            name: (one.group, one.release) for name, one in model.things.items()
        }
        taken = {use.document.name: use.taken for use in self.run(self.desk.grouping.groups())}
        assert taken == {name: len(one.spent) for name, one in model.groups.items() if one.there}

    def policies_are_what_the_model_says(
        self, things: Sequence[Thing], certificates: Sequence[Certificate]
    ) -> None:
        model = self.model
        assert {one.name: (one.kind.value, one.policies) for one in things} == {
            name: (one.kind, one.policies) for name, one in model.things.items()
        }
        kept = self.run(self.registry.policies())
        assert [(one.name, one.version) for one in kept] == sorted(
            (name, version) for name, (version, _) in model.policies.items()
        )
        for policy in POLICIES[:4]:
            assert self.run(self.registry.users(PolicyName(policy))) == sorted(
                name for name, one in model.things.items() if policy in (one.policies or ())
            )
        for certificate in certificates:
            badge = self.run(self.registry.badge(certificate.id))
            shown = badge and (
                badge.certificate.status.value,
                [(one.name, one.version) for one in badge.policies],
            )
            assert shown == model.badge(intent_of(certificate))

    def what_is_revoked_stays_revoked_and_a_key_stays_at_home(
        self, certificates: Sequence[Certificate]
    ) -> None:
        revoked = {one.id for one in certificates if one.status is CertificateStatus.REVOKED}
        assert self.ever_revoked <= revoked
        self.ever_revoked |= revoked
        for one in certificates:
            if one.status is CertificateStatus.ACTIVE:
                assert self.key_homes.setdefault(one.key_hash, one.thing) == one.thing

    def active_certificates_belong_to_active_things(
        self, things: Sequence[Thing], certificates: Sequence[Certificate]
    ) -> None:
        active = [one for one in certificates if one.status is CertificateStatus.ACTIVE]
        places = [(one.thing, one.slot) for one in active]
        assert len(places) == len(set(places)), "one for each slot"
        assert {one.thing for one in active} <= {
            one.name for one in things if one.status is ThingStatus.ACTIVE
        }


class MemoryMachine(RegistryMachine):
    """The walk in memory."""

    def open(self) -> GroupingRegistry:
        return MemoryRegistry()


class SqliteMachine(RegistryMachine):
    """The walk on disk, with a restart now and then; sagas and enrolments in one command take turns."""

    grants = True

    def open(self) -> GroupingRegistry:
        self.folder = Path(tempfile.mkdtemp())
        return self._start()

    def _start(self) -> SqliteRegistry:
        self.sqlite = SqliteRegistry(self.folder / "registry.db", signer=Pen())
        self.run(self.sqlite.open())
        return self.sqlite

    @rule()
    def restart(self) -> None:
        self.run(self.sqlite.close())
        self.registry = self.desk.registry = self._start()

    def teardown(self) -> None:
        self.run(self.sqlite.close())
        shutil.rmtree(self.folder)
        super().teardown()


SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.filter_too_much]

TestMemory = pytest.mark.slow(MemoryMachine.TestCase)
TestMemory.settings = settings(
    max_examples=examples(100), stateful_step_count=40, deadline=None, suppress_health_check=SLOW_IS_FINE
)
TestSqlite = pytest.mark.slow(SqliteMachine.TestCase)
TestSqlite.settings = settings(
    max_examples=examples(25), stateful_step_count=30, deadline=None, suppress_health_check=SLOW_IS_FINE
)


WEIGHTS = {
    "token": 2, "withdraw": 1, "enroll": 10, "replace": 4, "retry": 4, "wake": 4,
    "order": 2, "connect": 5, "sweep": 1, "time": 4, "put": 1, "remove": 2, "attach": 6, "join": 8, "show": 3,
    "group": 1, "release": 3, "move": 1,
}  # fmt: skip


def stride(machine: RegistryMachine, random: Random) -> None:  # noqa: C901, PLR0912 - a table, one row for each rule
    pick = random.randrange(1000)
    thing = random.choice(["lamp-1", "lamp-1", *NAMES])
    match random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]:
        case "token":
            kind = random.choice([ThingKind.DEVICE, ThingKind.DEVICE, *ThingKind])
            uses, given = random.choice([1, 2, None]), random.choice(GIVEN)
            machine.create_token(random.choice(PATTERNS), uses, "enroll", given, kind)
        case "withdraw":
            machine.withdraw(pick)
        case "enroll":
            machine.enroll(pick, thing, random.choice(KEYS), None, random.choice(STAGES))
        case "join":
            machine.enroll(pick, thing, random.choice(KEYS), random.choice(RULES), random.choice(STAGES))
        case "show":
            name, under = random.choice(["f1", "f2"]), random.choice(RULES)
            machine.show_a_certificate(name, thing, random.choice(KEYS), under, random.choice(STAGES))
        case "group":
            machine.change_group(random.choice(GROUPS), random.choice(["put", "put", "put", "remove"]))
        case "release":
            machine.release(thing, random.choice([None, *SPANS]))
        case "move":
            machine.move(thing, random.choice([None, *GROUPS]))
        case "replace":
            known = machine.model.things.get(thing)
            kind = ThingKind(known.kind) if known else ThingKind.DEVICE
            machine.create_token(thing, 1, "replace", random.choice(GIVEN), kind)
            last = len(machine.tokens) - 1
            machine.enroll(last, thing, random.choice(KEYS), random.choice(RULES), random.choice(STAGES))
        case "retry" if machine.requests:
            machine.retry(pick, random.choice(STAGES))
        case "wake" if machine.sagas:
            machine.wake_a_saga(pick, random.choice(STAGES[1:]))
        case "order":
            machine.order(thing, random.choice([ThingStatus.SUSPENDED, *[ThingStatus.ACTIVE] * 3, *ORDERS]))
        case "connect" if machine.model.certificates:
            machine.connect(pick)
        case "sweep":
            machine.sweep()
        case "put":
            machine.put_policy(random.choice(POLICIES), random.choice(TEXTS))
        case "remove":
            machine.remove_policy(random.choice(POLICIES))
        case "attach":
            verb = random.choice(["attach", "attach", "detach"])
            machine.change_policies(thing, random.choice(POLICIES), verb)
        case "time":
            machine.pass_time(random.choice(SPANS))


def wander(machine: RegistryMachine, random: Random, steps: int) -> None:
    """The same rules in even proportions: Hypothesis likes short and lopsided walks, which never grow old."""
    machine.begin_with_two_tokens()
    for _ in range(steps):
        stride(machine, random)
        machine.all_is_well()


@pytest.mark.parametrize("seed", range(50))
def test_a_long_walk_in_memory(seed: int) -> None:
    machine = MemoryMachine()
    wander(machine, Random(seed), 120)
    machine.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(examples(30) // 3))
def test_a_long_walk_on_sqlite(seed: int) -> None:
    machine = SqliteMachine()
    wander(machine, Random(seed), 120)
    machine.restart()
    machine.all_is_well()
    machine.teardown()
