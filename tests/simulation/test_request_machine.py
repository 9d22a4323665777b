"""Random walks of requests that wait for a person: asked, looked at again, approved, refused, too late.

After every step the method answers what a small model says, and what must never happen has not happened:
nobody is let in by a yes for another key, nothing is reserved, and the bound holds.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.applicant import Applicant
from keyborn.domain.approval import ApprovalState, approval_id
from keyborn.domain.errors import ApprovalRefused, ApprovalsFull, AwaitsApproval, NotFound
from keyborn.domain.group import AskRule, EnrollmentGroup
from keyborn.domain.method import Method, Way
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.token import TokenId
from keyborn.ports import Request
from keyborn.service.admission import FailureBudget
from keyborn.service.approvals import ApprovalOffice, ApprovalSweeper
from keyborn.service.methods.ask import AskMethod
from support.office import SOURCE, TurnedClock
from support.registry_cases import key
from support.waiting_stage import LINE
from support.walks import examples

T = TypeVar("T")
MOST = 3
WAIT = timedelta(hours=1)
GROUP = EnrollmentGroup(LINE, NameScope("*"), (Way(frozenset({Method.ASK})),), ask=AskRule(WAIT, MOST))
NOBODY = Applicant(Method.ASK, TokenId("n:line-7"), NameScope("*"), None, is_known=False, is_proved=False)
NAMES, KEYS = st.sampled_from(["lamp-1", "lamp-2"]), st.sampled_from(["k1", "k2", "k3"])


@dataclass
class Known:
    """What the model remembers of a request."""

    state: ApprovalState
    until: datetime


class Requests(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock, self.kept = TurnedClock(), MemoryRegistry()
        plenty = FailureBudget(burst=10**6)
        self.asking = AskMethod(self.kept, self.clock, budget=plenty)
        self.office = ApprovalOffice(approvals=self.kept, listing=self.kept, clock=self.clock)
        self.known: dict[str, Known] = {}

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    def _counts(self, request: str) -> Known | None:
        known = self.known.get(request)
        return None if known is None or self.clock.now() >= known.until else known

    def _waiting(self) -> int:
        return sum(
            known.state is ApprovalState.PENDING and self.clock.now() < known.until
            for known in self.known.values()
        )

    @rule(name=NAMES, hashed=KEYS, taken=st.booleans())
    def ask(self, name: str, hashed: str, taken: bool) -> None:  # noqa: FBT001 - Hypothesis names them
        thing, key_hash = ThingName(name), key(hashed)
        own = approval_id(LINE, thing, key_hash, replaces=taken)
        known, waiting = self._counts(own), self._waiting()
        request = Request(thing, key_hash, SOURCE, taken=taken)
        try:
            found = self._do(self.asking.met(NOBODY, request, GROUP))
        except AwaitsApproval:
            assert known is None or known.state is ApprovalState.PENDING
            if known is None:
                assert waiting < MOST
                self.known[own] = Known(ApprovalState.PENDING, self.clock.now() + WAIT)
        except ApprovalsFull:
            assert known is None
            assert waiting == MOST
        except ApprovalRefused:
            assert known is not None
            assert known.state is ApprovalState.REFUSED
        else:
            assert known is not None
            assert known.state is ApprovalState.APPROVED
            assert (str(found.token), found.uses, found.may_replace) == (own, 1, taken)
            assert found.bound_to == thing
            assert found.expires_at == known.until

    @rule(number=st.integers(0, 30), yes=st.booleans())
    def decide(self, number: int, yes: bool) -> None:  # noqa: FBT001 - as above
        if not self.known:
            return
        one = sorted(self.known)[number % len(self.known)]
        known, verb = self._counts(one), self.office.say_yes if yes else self.office.say_no
        state = ApprovalState.APPROVED if yes else ApprovalState.REFUSED
        try:
            self._do(verb(one))
        except NotFound:
            assert known is None
            return
        assert known is not None
        if known.state is not state:
            self.known[one] = Known(state, self.clock.now() + WAIT)

    @rule(minutes=st.sampled_from([1, 29, 60]))
    def wait(self, minutes: int) -> None:
        self.clock.turn(timedelta(minutes=minutes))

    @rule()
    def sweep(self) -> None:
        sweeper = ApprovalSweeper(listing=self.kept, clock=self.clock, kept=timedelta(0))
        self._do(sweeper.sweep())
        now = self.clock.now()
        self.known = {one: known for one, known in self.known.items() if known.until >= now}

    @invariant()
    def nothing_is_reserved_and_the_bound_holds(self) -> None:
        state = self.kept._state
        assert not state.things
        assert not state.keys
        assert not state.intents
        now = self.clock.now()
        assert sum(one.waits(now) for one in state.approvals.values()) == self._waiting()
        assert self._waiting() <= MOST


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
