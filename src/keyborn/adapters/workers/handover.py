"""The core's end of a line: each call of a worker is made on the real part.

A worker decides nothing that the core's own transaction does not decide again, but for what it alone has
seen: who proved what, and that a CSR is in order. It has no key. What it asks to have signed must be an
intent that the registry has recorded at a renewal of this same line. Claims have one of their own.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keyborn.adapters.workers.calls import Orders, Stranger
from keyborn.adapters.workers.forms import REFUSALS
from keyborn.adapters.workers.line import Serve
from keyborn.domain.audit import AuditEvent
from keyborn.domain.enrollment import Issue, Verdict
from keyborn.domain.errors import EnrollmentInterrupted
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import ThingName
from keyborn.domain.renewal import RenewalAttempt
from keyborn.ports import Approvals, AuditTrail, Enrollments, Nonces, Renewals, StrangerBook, TrustReports
from keyborn.ports.forwarding import ForwardedCall, ForwardedStep, ForwardingDesk

_RECORDED = 4096
"""Intents of one line, the last ones: several attempts may be at one, so being done forgets none.

Whoever comes back finds a forgotten one again."""


class Sides(Enrollments, Renewals, AuditTrail, Approvals, TrustReports, Protocol):
    """The registry's sides that are handed over."""


@dataclass(frozen=True, slots=True)
class Core:
    """The real parts."""

    registry: Sides
    prove_writable: Callable[[datetime], Awaitable[None]]
    sign: Callable[[Intent, bytes, str], Awaitable[bytes]]
    """Signs a recorded intent for a key (DER) that a CSR (PEM) has proved."""
    nonces: Nonces
    review: Callable[[Collection[ThingName]], Awaitable[None]]
    strangers: Mapping[str, StrangerBook]
    """By door."""
    orders: Callable[[], Orders]
    """What a worker is told now."""


class Handover:
    """Serves one line. Methods are the calls of ``OF_CORE``, by their names."""

    def __init__(
        self, core: Core, desk: ForwardingDesk, greeted: Callable[[], None], ready: Callable[[], None]
    ) -> None:
        """``desk`` answers what is not for devices.

        ``greeted`` and ``ready`` hear that the worker has asked for its orders, and that it serves.
        """
        self._core = core
        self._greeted = greeted
        self._ready = ready
        self._desk = desk
        self._recorded: OrderedDict[IntentId, Intent] = OrderedDict()

    def serve(self, name: str) -> Serve:
        """What answers the call of this name."""
        direct: dict[str, Serve] = {
            "store": self._core.registry.store,
            "activate": self._core.registry.activate,
            "confirm": self._core.registry.confirm,
            "note_roots": self._core.registry.note_roots,
            "append": self._core.registry.append,
            "ask": self._core.registry.ask,
            "issue_nonce": self._core.nonces.issue,
            "spend_nonce": self._core.nonces.spend,
            "prove_writable": self._core.prove_writable,
            "review": self._core.review,
        }
        found: Serve = direct[name] if name in direct else getattr(self, f"_{name}_")
        return found

    async def _hello_(self) -> Orders:
        self._greeted()
        return self._core.orders()

    async def _ready_(self) -> None:
        self._ready()

    async def _renew_(self, attempt: RenewalAttempt) -> Verdict:
        return self._record(await self._core.registry.renew(attempt))

    def _record(self, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Issue):
            self._recorded[verdict.intent.id] = verdict.intent
            self._recorded.move_to_end(verdict.intent.id)
            if len(self._recorded) > _RECORDED:
                self._recorded.popitem(last=False)
        return verdict

    async def _issue_(self, intent: IntentId, public_key_der: bytes, csr_pem: str) -> bytes:
        known = self._recorded.get(intent)
        if known is None:
            raise EnrollmentInterrupted
        return await self._core.sign(known, public_key_der, csr_pem)

    async def _stranger_refused_(self, stranger: Stranger) -> None:
        books, kind = self._core.strangers[stranger.door], REFUSALS[stranger.refusal]
        refusal = kind.__new__(kind)  # its code is what is recorded; its sentence nobody reads here
        await books.refused(stranger.action, stranger.source, refusal, stranger.subject, stranger.why)

    async def _stranger_failed_(self, door: str, source: str) -> None:
        await self._core.strangers[door].failed(source)

    async def _stranger_troubled_(self, door: str, event: AuditEvent) -> None:
        await self._core.strangers[door].troubled(event)

    async def _forward_open_(self, call: ForwardedCall) -> ForwardedStep:
        return await self._desk.open(call)

    async def _forward_on_(self, stream: int, body: bytes, more: bool) -> ForwardedStep:  # noqa: FBT001 - a fact
        return await self._desk.go_on(stream, body, more=more)

    async def _forward_close_(self, stream: int) -> None:
        await self._desk.close(stream)
