"""An enrolment in one command: decided, signed, kept, active and audited in one transaction.

A new name with a new key, which is what enrolments are, takes one question and an insert for each row. All
else (a key that comes again after its certificate has expired, a replacement, a freed name, an intent that an
earlier crash left open) takes the saga's own steps, one after the other, in the same transaction.
"""

from keyborn.adapters.sql import accounts, enrolling, rows
from keyborn.adapters.sql.session import Session
from keyborn.domain.certificate import Certificate
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.enrollment import Attempt, Granted, Issue, Outcome, Standing, claimed, decide, owed
from keyborn.domain.granting import GrantListener, GrantStep, Sign, enrolled, in_force, signed
from keyborn.domain.intent import Intent
from keyborn.domain.thing import ThingStatus


class Granting:
    """The command, with who signs."""

    def __init__(self, sign: Sign, on_step: GrantListener) -> None:
        """``sign`` runs in the writer's thread, within its transaction."""
        self._sign = sign
        self._on_step = on_step

    def claim(self, session: Session, attempt: Attempt) -> Outcome:
        """See ``Enrollments.claim``. Whatever it raises, it has signed at most, and written nothing."""
        if attempt.request is None:
            return enrolling.claim(session, attempt)
        standing = enrolling.gather(session, attempt)
        verdict = decide(standing, attempt)
        if not isinstance(verdict, Issue):
            return Granted(verdict.certificate, repeated=True)
        return self._grant(session, standing, attempt, verdict, attempt.request)

    def _grant(
        self,
        session: Session,
        standing: Standing,
        attempt: Attempt,
        verdict: Issue,
        request: CertificateRequest,
    ) -> Granted:
        certificate = signed(verdict, request, self._sign, self._on_step)
        if standing.thing is None:
            kept = _write_new(session, standing, attempt, verdict.intent, certificate)
        else:
            kept = _write_over(session, standing, attempt, verdict, certificate)
        self._on_step(GrantStep.WRITTEN)
        return Granted(kept, verdict.resumed or kept.id != certificate.id)


def _write_new(
    session: Session, standing: Standing, attempt: Attempt, intent: Intent, certificate: Certificate
) -> Certificate:
    """A name that nobody had: nothing of it is there, and each row is written once, as it is to stay."""
    kept = in_force(certificate)
    session.run(rows.ADD_THING, *rows.thing_row(claimed(attempt), ThingStatus.ACTIVE))
    session.run(rows.ADD_KEY, intent.key_hash, intent.thing, intent.id)
    session.run(rows.ADD_CERTIFICATE, *rows.certificate_row(intent, kept))
    session.run(rows.ATTACH, kept.thing, kept.slot.value, kept.id)
    accounts.charge(session, owed(standing, attempt), standing, attempt, intent.id, settled=True)
    session.chain(enrolled(intent, kept, attempt.now, attempt.source, attempt.proof))
    return kept


def _write_over(
    session: Session, standing: Standing, attempt: Attempt, verdict: Issue, certificate: Certificate
) -> Certificate:
    """The saga's steps; what an earlier attempt had kept for a resumed intent is what counts."""
    enrolling.write(session, standing, attempt, verdict)
    kept = enrolling.store(session, verdict.intent, certificate)
    told = enrolled(verdict.intent, kept, attempt.now, attempt.source, attempt.proof)
    return enrolling.activate(session, verdict.intent.id, told)
