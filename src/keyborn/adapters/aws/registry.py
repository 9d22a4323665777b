"""The registry on AWS: the table decides, AWS IoT follows.

The saga's order is claim, sign, store, activate (the port's), and with storing go all effects in AWS IoT at
once: policies, exclusive thing, ACTIVE. The commit of ``activate`` is the strongly consistent look after
that, and comes last: where it refuses, the certificate is switched off before anybody hears of it. A process
that dies in between leaves an intent with its lease; the sweeper switches off what is active when the lease
is over, and until then nobody goes on with what that process had not stored (ADR 16).
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta

from keyborn.adapters.aws.calls import Patience
from keyborn.adapters.aws.iot import Iot, aside
from keyborn.adapters.aws.settle import carry_out
from keyborn.adapters.aws.table import DynamoRegistry, Flight, LostLease, items, keys
from keyborn.domain.access_policy.attaching import in_force
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.enrollment import Verdict
from keyborn.domain.errors import (
    AwsQuotaReached,
    AwsRefused,
    EnrollmentInterrupted,
    KeybornError,
    NotFound,
    ThingRevoked,
    Unavailable,
)
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import Confirmation, RenewalAttempt
from keyborn.domain.thing import Thing, ThingKind, ThingStatus

LEASE = timedelta(seconds=17)
"""Longer than an attempt may take: the function's time limit (template, ``EnrollFunction``) and 2 s."""
_A_MOMENT = timedelta(milliseconds=1)
_ROUNDS = 5


class AwsRegistry(DynamoRegistry):
    """Implements ``keyborn.ports.GroupingRegistry`` on the table, with its effects in AWS IoT.

    Orders write what AWS IoT owes in their transaction and carry it out at once; if that fails they raise a
    leaf of Unavailable, and repeating them, or the sweeper, carries out the rest. ``drop``, ``connected``
    and ``withdraw_successor`` leave it to the sweeper, whose own work they are; so do ``set_group`` and
    ``set_attributes``.
    """

    def __init__(
        self,
        client: object,
        table: str,
        iot: Iot,
        *,
        lease: timedelta = LEASE,
        patience: Patience | None = None,
        threads: int = 16,
    ) -> None:
        """See ``DynamoRegistry``; all attempts at one intent must end within ``lease``."""
        super().__init__(client, table, own_dates=True, lease=lease, patience=patience, threads=threads)
        self._iot = iot

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────

    async def under_way(self, intent: Intent) -> Flight:
        """The record and what is stored for an open intent; raises EnrollmentInterrupted.

        What this process has just written is not read again, unless there is a certificate to be read.
        """
        flight = self._remembered(intent)
        if flight is None or flight.staged is not None:
            flight = await self.flight(intent.id)
        if flight is None:
            raise EnrollmentInterrupted
        return flight

    def _remembered(self, intent: Intent) -> Flight | None:
        known = self._memo.of(intent.id)
        for kind in ThingKind:
            item = known.get(keys.thing(kind, intent.thing))
            dossier = None if item is None else items.dossier(item)
            waiting = None if dossier is None else dossier.waiting
            if dossier is not None and waiting is not None and waiting.intent.id == intent.id:
                new = dossier.unheard_of
                return Flight(waiting.intent, dossier.thing, waiting.staged, unheard_of=new)
        return None

    async def give_up(self, intent: Intent) -> None:
        """The attempt failed and left nothing active: the next one need not wait. Raises nothing."""
        holder = self._holder(intent.id)
        if holder is not None:
            with suppress(Unavailable):
                await self.release(intent.id, holder)

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """See ``Enrollments.store``; the certificate's rights and its thing are given to it beside that.

        Whatever it raises, the certificate has been switched off; where AWS IoT does not answer to that, the
        lease is kept, so that the sweeper does it before anybody goes on.
        """
        known = self._remembered(intent) or await self.flight(intent.id)
        try:
            return await self._store_and_grant(intent, certificate, None if known is None else known.thing)
        except (ThingRevoked, EnrollmentInterrupted) as refusal:
            await self._take_back(certificate.id, _taken_back(refusal))
            raise
        except KeybornError:
            if await self._take_back(certificate.id, CertificateStatus.INACTIVE):
                await self.give_up(intent)
            raise

    async def _store_and_grant(
        self, intent: Intent, certificate: Certificate, thing: Thing | None
    ) -> Certificate:
        granted = [] if thing is None else self._grants(thing, certificate.id)
        kept, *_ = await _together([super().store(intent, certificate), *granted])
        if not isinstance(kept, Certificate):
            raise TypeError("the table answers with a certificate")
        if kept.id != certificate.id:
            await self._take_back(certificate.id, CertificateStatus.REVOKED)
            thing = None  # nothing has been granted to the winner, as far as is known here
        if kept.status is CertificateStatus.INACTIVE:
            await self._catch_up(intent, kept.id, thing)
        return kept

    async def _catch_up(self, intent: Intent, certificate: CertificateId, granted: Thing | None) -> None:
        """Grant what was not: all, to another's certificate; policies that changed since the claim."""
        flight = self._remembered(intent) or await self.flight(intent.id)
        if flight is None:
            return  # it was ended, and the next step says so
        if granted is None:
            await _together(self._grants(flight.thing, certificate))
        elif in_force(flight.thing) != in_force(granted):
            await self._give_policies(flight.thing, in_force(granted), certificate)

    async def _give_policies(
        self, thing: Thing, had: Sequence[PolicyName], certificate: CertificateId
    ) -> None:
        iot, now = self._iot, in_force(thing)
        for name in now:
            await aside(iot.attach_policy, certificate, name)
        for name in had:
            if name not in now:
                await aside(iot.detach_policy, certificate, iot.account.policy(name))

    def _grants(self, thing: Thing, certificate: CertificateId) -> list[Awaitable[object]]:
        iot = self._iot
        return [
            *(aside(iot.attach_policy, certificate, name) for name in in_force(thing)),
            *([aside(iot.attach_thing, certificate, thing)] if thing.kind is ThingKind.DEVICE else []),
            aside(iot.set_status, certificate, CertificateStatus.ACTIVE),
        ]

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """See ``Enrollments.activate``: the table's last word, by which an ACTIVE certificate stays so.

        Where the table does not answer at all, nobody can know whether it stands: then the certificate is
        left as it is, and the next attempt, or the sweeper when the lease is over, decides.
        """
        known = self._memo.of(intent).get(keys.intent(intent))
        signed = None if known is None else known.get("certificate")
        try:
            return await super().activate(intent, event)
        except KeybornError as refusal:
            if signed is not None:
                await self._undo(intent, signed, refusal, event)
            raise

    async def _undo(
        self, intent: IntentId, certificate: CertificateId, refusal: KeybornError, event: AuditEvent
    ) -> None:
        """Leave nothing active of what the table did not confirm."""
        if isinstance(refusal, AwsRefused | AwsQuotaReached):
            await self._take_back(certificate, CertificateStatus.INACTIVE)
        elif isinstance(refusal, Unavailable) and _undecided(refusal):
            await self._switch_off(intent, certificate, event)
        elif isinstance(refusal, ThingRevoked | EnrollmentInterrupted):
            await self._take_back(certificate, _taken_back(refusal))

    async def _switch_off(self, intent: IntentId, certificate: CertificateId, event: AuditEvent) -> None:
        """The same while the intent is open; to have its lease renewed bars a commit that is under way."""
        holder = self._holder(intent)
        with suppress(Unavailable):
            if holder and await self.seize(intent, holder, at=event.at, until=event.at):
                await aside(self._iot.set_status, certificate, CertificateStatus.INACTIVE)
                await self.release(intent, holder)

    async def _take_back(self, certificate: CertificateId, status: CertificateStatus) -> bool:
        """Switch off what must not be active; whether AWS IoT did. If not, the sweeper will."""
        try:
            await aside(self._iot.set_status, certificate, status)
            known = None if status is CertificateStatus.REVOKED else await self.certificate(certificate)
            if known is not None and known.status is CertificateStatus.ACTIVE:
                # Another process had taken over the intent, and has completed it.
                await aside(self._iot.set_status, certificate, CertificateStatus.ACTIVE)
        except Unavailable:
            return False
        return True

    # ── renewal ───────────────────────────────────────────────────────────────────────────────────────

    async def renew(self, attempt: RenewalAttempt) -> Verdict:
        """See ``Renewals.renew``. Whom it takes the place of is revoked at once, or by the sweeper."""
        done = await self._renew(attempt)
        await self._revoke_now(done.withdrawn)
        return done.verdict

    async def confirm(self, confirmation: Confirmation) -> Certificate:
        """See ``Renewals.confirm``. The predecessor is revoked at once, or by the sweeper."""
        done = await self._confirm(confirmation)
        await self._revoke_now(done.retired)
        return done.certificate

    async def _revoke_now(self, certificate: CertificateId | None) -> None:
        """Revoke what the table has: that is owed, too, so where AWS IoT does not answer the sweeper does it.

        The device need not know: its own certificate is in force, and a repeat would not come here again.
        """
        if certificate is not None:
            with suppress(Unavailable):
                await aside(self._iot.set_status, certificate, CertificateStatus.REVOKED)

    # ── the operator's orders ─────────────────────────────────────────────────────────────────────────

    async def set_status(self, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
        """See ``Lifecycle.set_status``."""
        thing = await super().set_status(name, status, event)
        await self._carry_out(name, event)
        return thing

    async def attach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.attach_policy``."""
        thing = await super().attach_policy(name, policy, event)
        await self._carry_out(name, event)
        return thing

    async def detach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.detach_policy``."""
        thing = await super().detach_policy(name, policy, event)
        await self._carry_out(name, event)
        return thing

    async def _carry_out(self, name: ThingName, event: AuditEvent) -> None:
        """Carry out what is owed to a thing's certificates; what fails does not keep the rest waiting.

        Its attributes are left to the sweeper, so that an operator needs no permission for them.
        """
        trouble: Unavailable | None = None
        owed = await self.owed(before=event.at + _A_MOMENT, of=name)
        for one in [one for one in owed if one.certificate is not None]:
            try:
                await carry_out(self, self._iot, one)
            except Unavailable as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    async def put_policy(self, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
        """See ``AccessPolicies.put_policy``. A repeat brings AWS IoT to the text once more.

        Raises PolicyNameTooLong before anything is written.
        """
        self._iot.account.require_short(policy.name)
        kept = await super().put_policy(policy, event)
        for _ in range(_ROUNDS):
            text = kept.document.text
            await aside(self._iot.put_policy, policy.name, text)
            now = await self.policy(policy.name)
            if now is None or now.document.text == text:
                break
            kept = now  # another order came between: AWS IoT must end with the table's
        return kept

    async def remove_policy(self, name: PolicyName, event: AuditEvent) -> None:
        """See ``AccessPolicies.remove_policy``. A repeat removes from AWS IoT what is left there."""
        try:
            await super().remove_policy(name, event)
        except NotFound:
            if not await aside(self._iot.remove_policy, name):
                raise
        else:
            await aside(self._iot.remove_policy, name)
        now = await self.policy(name)
        if now is not None:  # it was put again meanwhile
            await aside(self._iot.put_policy, name, now.document.text)


def _undecided(refusal: Unavailable) -> bool:
    """Whether the intent may be open still: the table did not say, or another attempt has the lease."""
    return not isinstance(refusal, EnrollmentInterrupted) or isinstance(refusal.__cause__, LostLease)


def _taken_back(refusal: KeybornError) -> CertificateStatus:
    """For good, unless the thing is only suspended: then the same certificate may be wanted again."""
    suspended = refusal.facts.get("status") == ThingStatus.SUSPENDED.value
    return CertificateStatus.INACTIVE if suspended else CertificateStatus.REVOKED


async def _together(effects: Sequence[Awaitable[object]]) -> list[object]:
    """Wait for all, whatever becomes of each; then raise what the first of them raised."""
    outcomes = await asyncio.gather(*effects, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes
