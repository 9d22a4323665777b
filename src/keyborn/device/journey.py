"""Running the journey: each effect of ``keyborn.domain.journey`` performed, its outcome handed back.

The home's lock is held by whoever runs this. One thing happens at a time, and every effect is announced to
the checkpoint before it happens: a process may die at any of them, and the next begins with a look at the
files.
"""

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import keyborn.domain.journey.effects as e
from keyborn.device import files, identity, slots
from keyborn.device.believing import Believer, RootsService
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore, KeyFacts
from keyborn.device.outcomes import of_broker, of_confirmation, of_enrollment, of_renewal, of_service
from keyborn.device.renewal import Successor
from keyborn.device.subject import remembered
from keyborn.device.surroundings import Surroundings
from keyborn.device.told import Told
from keyborn.domain.errors import FileNotPrivate, KeybornError, KeyUnusable, SessionLost
from keyborn.domain.journey import Effect, Event, Happened, Journey, Slot, Stage, advance, begin, span_of
from keyborn.domain.profile import BACKDATE

FIRST_CHECK = 3600.0
"""Seconds after a start in which a device asks the service once what time it is, at a moment of its own."""
CHECK_EVERY = 7 * 86400.0
"""Seconds between two such questions of a process that runs on."""
_SHORTEST = 1.0
"""Seconds; for less a session is not looked at again, whatever is due in a moment."""

_AT_RENEWAL = frozenset({Stage.RENEWING, Stage.STAGED})


class Line(Protocol):
    """The way to the broker: at most one session at a time."""

    def connect(self, home: Home, own: Identity) -> None:
        """Open a session as the identity in ``home``'s slot; the one before has been closed.

        Raises SessionRefused, BrokerUnreachable, BrokerUntrusted, KeyUnusable, FileNotPrivate, HomeUnusable.
        """
        ...

    def serve(self, seconds: float) -> None:
        """Carry messages for so long, or shorter; raises SessionLost."""
        ...

    def close(self) -> None:
        """Say goodbye."""
        ...


class Service(RootsService, Protocol):
    """What a renewal needs of the service; ``RenewalClient`` is it."""

    def service_time(self, own: Identity) -> datetime | None:
        """What time it is there, where it says so."""
        ...

    def renew(self, own: Identity, csr_pem: str, key: KeyFacts) -> Successor:
        """A verified certificate of the next key."""
        ...

    def confirm(self, own: Identity) -> None:
        """Retire the certificate before this one."""
        ...


Enrollment = Callable[[], object]
"""Enrolls with the code that it knows, the home's lock being held; raises leaves of KeybornError."""


class Runner:
    """One device on its journey; ``step`` is one effect and its outcome."""

    def __init__(
        self,
        home: Home,
        around: Surroundings,
        line: Line,
        service: Service,
        *,
        enroll: Enrollment | None = None,
        has_code: Callable[[], bool] = lambda: True,
        now: bool = False,
        check: bool = False,
    ) -> None:
        """``enroll`` where there may be a code to enroll with, which ``has_code`` says each time.

        ``now`` asks for one renewal before its time; ``check`` asks the service for time and roots
        at once, not at some moment of the first hour.
        """
        self._home = home
        self._around = around
        self._line = line
        self._service = service
        self._believer = Believer(home, around, service)
        self._enroll = enroll
        self._has_code = has_code
        self._asked_for = now
        self._journey, self._effects = begin()
        self._own: Identity | None = None
        self._open: Slot | None = None
        self._successor: Successor | None = None
        self._rest_until = around.pace.monotonic()
        self._check_from = self._rest_until + (0.0 if check else FIRST_CHECK * around.pace.fraction())
        self._told: Told | None = None
        self._renewed = self._unrenewed = 0
        self._renewal_error: str | None = None
        self._performers: Mapping[type[Effect], Callable[..., Event]] = {
            e.Look: self._look,
            e.Enroll: self._enroll_now,
            e.ConnectWith: self._connect,
            e.CheckTime: self._check_time,
            e.MakeNextKey: self._make_key,
            e.AskRenewal: self._ask,
            e.StageCertificate: self._stage,
            e.Promote: self._promote,
            e.Confirm: self._confirm,
            e.RetirePrevious: self._retire,
            e.GoBack: self._go_back,
            e.DiscardNext: self._discard,
            e.Serve: self._serve,
            e.Wait: self._wait,
        }

    @property
    def journey(self) -> Journey:
        """Where the device stands."""
        return self._journey

    @property
    def next_effect(self) -> Effect:
        """What it does next."""
        return self._effects[-1]

    @property
    def own(self) -> Identity | None:
        """The current identity, as far as one could be read."""
        return self._own

    @property
    def renewed(self) -> int:
        """Renewals that were confirmed since this process started."""
        return self._renewed

    @property
    def unrenewed(self) -> int:
        """Renewals that came to nothing since then."""
        return self._unrenewed

    @property
    def renewal_error(self) -> str | None:
        """Why the last one did, in a sentence; None where it did not."""
        return self._renewal_error

    def step(self) -> Journey:
        """Perform what the journey asks for, and go on to what follows from its outcome."""
        *notes, effect = self._effects
        for note in notes:
            if isinstance(note, e.Rest):
                self._rest(note)
        self._around.checkpoint(f"journey: {type(effect).__name__}")
        event = self._perform(effect)
        before = self._journey
        self._journey, self._effects = advance(before, event)
        self._count(before)
        self._tell(before)
        return self._journey

    def run(self, until: Callable[[Journey], bool]) -> Journey:
        """Step until ``until`` says so, then close the session."""
        try:
            while not until(self.step()):
                pass
        finally:
            self.close()
        return self._journey

    def close(self) -> None:
        """End the session, if there is one."""
        if self._open is not None:
            self._open = None
            self._line.close()

    # ── effects ──

    def _perform(self, effect: Effect) -> Event:
        try:
            return self._performers[type(effect)](effect)
        except OSError as wrong:
            return self._disk(wrong)

    def _disk(self, wrong: OSError) -> Event:
        """Half a file under a temporary name would be in the way of the next try."""
        with contextlib.suppress(OSError):  # the same disk; the next look tries again
            self._home.clean()
        return Event(Happened.TROUBLE, wrong.strerror or type(wrong).__name__)

    def _look(self, _effect: e.Look) -> Event:
        for mended in slots.settle(self._home, self._around.checkpoint):
            self._around.say(f"{mended}; it is private again.")
        seen = slots.survey(self._home, self._around.clock.now())
        self._own = seen.current.identity if seen.current.whole else None
        happened = self._finding(seen)
        problems = seen.current.problems if happened is Happened.FOUND_BROKEN else ()
        return Event(happened, "; ".join(problems))

    def _finding(self, seen: slots.Survey) -> Happened:
        if seen.next_usable:
            # refused so often that the service is asked again: it may have withdrawn it
            asks = seen.current.whole and self._journey.barred and self._is_due()
            return Happened.FOUND_DUE if asks else Happened.FOUND_NEXT
        if seen.current.whole and seen.unconfirmed:
            return Happened.FOUND_PREVIOUS
        if seen.current.whole:
            return Happened.FOUND_DUE if self._is_due() else Happened.FOUND_CURRENT
        if seen.previous_usable:
            return Happened.FOUND_ONLY_PREVIOUS
        if self._enroll is not None and self._has_code():
            return Happened.FOUND_CODE
        nothing = seen.current.state in (identity.State.NONE, identity.State.KEY_ONLY)
        return Happened.FOUND_NOTHING if nothing else Happened.FOUND_BROKEN

    def _enroll_now(self, _effect: e.Enroll) -> Event:
        assert self._enroll is not None, "the code was found"
        try:
            self._enroll()
        except KeybornError as wrong:
            return of_enrollment(wrong)
        self._own = identity.read_settings(self._home)
        return Event(Happened.ISSUED)

    def _connect(self, effect: e.ConnectWith) -> Event:
        if self._open is effect.slot:
            return Event(Happened.UP)
        self.close()
        home = self._home.of(effect.slot)
        standing = identity.assess(home, self._around.clock.now())
        if not standing.whole or standing.identity is None:
            return Event(Happened.UNUSABLE, "; ".join(standing.problems))
        try:
            self._line.connect(home, standing.identity)
        except KeybornError as wrong:
            return of_broker(wrong)
        self._open = effect.slot
        return Event(Happened.UP)

    def _check_time(self, _effect: e.CheckTime) -> Event:
        """The device's clock only suggests that it is time; the service's says so, where it says anything."""
        own, wall = self._current(), self._around.clock.now()
        try:
            there = self._service.service_time(own) or own.time(wall)
        except KeybornError as wrong:
            return of_service(wrong)
        self._told = Told(there, wall, self._around.pace.monotonic())
        own = self._own = self._believer.look(own, there)
        left = (own.renews_at - there).total_seconds()
        if left <= 0 or self._asked_for:
            return Event(Happened.TIMELY)
        return Event(Happened.EARLY, retry_after=left)

    def _make_key(self, _effect: e.MakeNextKey) -> Event:
        """A key that is there is the one of a renewal that came half way: the service knows it, perhaps."""
        store = FileKeyStore(self._home.of(Slot.NEXT).key)
        try:
            if store.exists():
                store.facts()
            else:
                files.run_steps(store.creation(self._current().key_type), self._around.checkpoint)
        except (KeyUnusable, FileNotPrivate) as wrong:
            return Event(Happened.UNUSABLE, str(wrong))
        return Event(Happened.KEY_MADE)

    def _ask(self, _effect: e.AskRenewal) -> Event:
        own, store = self._current(), FileKeyStore(self._home.of(Slot.NEXT).key)
        try:
            csr, key = store.sign_request(remembered(own.subject, own.thing)), store.facts()
        except KeybornError as wrong:
            return Event(Happened.UNUSABLE, str(wrong))
        try:
            self._successor = self._service.renew(own, csr, key)
        except KeybornError as wrong:
            return of_renewal(wrong)
        return Event(Happened.ISSUED)

    def _stage(self, _effect: e.StageCertificate) -> Event:
        """Nothing is written where the same answer lies there already."""
        made = self._successor
        assert made is not None, "it was just issued"
        seen = slots.survey(self._home, self._around.clock.now())
        if not seen.next_usable or seen.next.identity != made.identity:
            steps = slots.staging(self._home, made.certificate_pem, made.identity)
            files.run_steps(steps, self._around.checkpoint)
        return Event(Happened.STORED)

    def _promote(self, _effect: e.Promote) -> Event:
        self._change(slots.promotion(self._home), Slot.NEXT)
        return Event(Happened.PROMOTED)

    def _go_back(self, _effect: e.GoBack) -> Event:
        self._change(slots.going_back(self._home), Slot.PREVIOUS)
        return Event(Happened.RETURNED)

    def _change(self, steps: list[files.Step], slot: Slot) -> None:
        """An open session goes on: its identity only changes place."""
        files.run_steps(steps, self._around.checkpoint)
        self._own = identity.read_settings(self._home)
        if self._open is slot:
            self._open = Slot.CURRENT

    def _confirm(self, _effect: e.Confirm) -> Event:
        try:
            self._service.confirm(self._current())
        except KeybornError as wrong:
            return of_confirmation(wrong)
        return Event(Happened.CONFIRMED)

    def _retire(self, _effect: e.RetirePrevious) -> Event:
        files.run_steps(slots.retirement(self._home), self._around.checkpoint)
        self._renewed += 1
        self._renewal_error = None
        self._asked_for = False
        return Event(Happened.RETIRED)

    def _discard(self, _effect: e.DiscardNext) -> Event:
        files.run_steps(slots.discarding(self._home), self._around.checkpoint)
        return Event(Happened.DISCARDED)

    def _serve(self, effect: e.Serve) -> Event:
        if self._open is None:
            return Event(Happened.LOST)
        seconds = self._draw(effect)
        if self._journey.stage is Stage.CONNECTED:
            seconds = max(min(seconds, self._until_due()), _SHORTEST)
        try:
            self._line.serve(seconds)
        except SessionLost as wrong:
            self.close()
            return Event(Happened.LOST, str(wrong.facts.get("detail", "")))
        return Event(Happened.DUE if self._is_due() else Happened.TICK)

    def _wait(self, effect: e.Wait) -> Event:
        self.close()
        self._around.pace.sleep(self._draw(effect))
        return Event(Happened.DUE if self._is_due() else Happened.TICK)

    def _rest(self, note: e.Rest) -> None:
        self._asked_for = False
        self._rest_until = self._around.pace.monotonic() + self._draw(note)

    # ── time ──

    def _draw(self, effect: e.Timed) -> float:
        span = span_of(effect)
        return span.least + (span.most - span.least) * self._around.pace.fraction()

    def _is_due(self) -> bool:
        return self._own is not None and self._until_due() <= 0

    def _until_due(self) -> float:
        """Seconds until a renewal may be due, or the service should be asked what time it is.

        It is asked where the clock is before what was proved, or where a certificate is refused that is in
        order by it. And once after each start, and then every week: a clock that is only some weeks behind
        shows by nothing else, and would let the moment pass.
        """
        own, mono = self._current(), self._around.pace.monotonic()
        wall, told = self._around.clock.now(), self._told
        rest = max(self._rest_until - mono, 0.0)
        doubtful = told is None and wall < own.proved_time - BACKDATE
        if self._asked_for or self._journey.barred or doubtful:
            return rest
        check_in = self._check_from - mono if told is None else told.at + CHECK_EVERY - mono
        believed = wall if told is None else told.now(wall, mono)
        left = (own.renews_at - believed).total_seconds()
        return max(rest, min(left, check_in))

    def _current(self) -> Identity:
        assert self._own is not None, "the journey comes here only with an identity"
        return self._own

    def _tell(self, before: Journey) -> None:
        now = self._journey
        if now.trouble is not None and (now.trouble, now.detail) != (before.trouble, before.detail):
            self._around.say(str(now.error))

    def _count(self, before: Journey) -> None:
        """The broker's next answer would hide why nothing came of a renewal."""
        ended = before.stage in _AT_RENEWAL and self._journey.stage is Stage.ENROLLED
        if ended and self._journey.trouble is not None:
            self._unrenewed += 1
            self._renewal_error = self._journey.error
