"""The enrolment client: first trust, then one idempotent request, repeated until answered or out of time."""

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from keyborn.device import https, tls
from keyborn.device.answer import Enrolled, Malformed, parse_enrolled, parse_problem
from keyborn.device.pace import Deadline
from keyborn.device.strangers import is_passing, status_words, stranger_words
from keyborn.device.surroundings import Say
from keyborn.device.trust import Trust, check_clock, clock_trouble, fetch_root
from keyborn.device.waiting import USUAL, Waiting
from keyborn.domain.errors import (
    ApprovalPending,
    DeviceError,
    EnrollmentRefused,
    ServiceUnreachable,
    UntrustedService,
    WrongAnswer,
)
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.token import EnrollmentCode, encode_secret

if TYPE_CHECKING:
    from keyborn.device.proof import Proof
    from keyborn.ports import Clock

Send = Callable[[ssl.SSLContext], https.Answer]
"""Asks once; raises what ``https.exchange`` raises."""

ENROLL_PATH = "/v1/enroll"


@dataclass(frozen=True, slots=True)
class _Again:
    """Not this time: what to say, what to raise if there is no more time, and what the service asked for."""

    why: str
    failure: DeviceError
    retry_after: float | None = None
    person: bool = False
    """Whether it is a person who takes the time."""


@dataclass(frozen=True, slots=True)
class EnrollmentClient:
    """Talks to the service that one enrolment code names."""

    code: EnrollmentCode
    deadline: Deadline
    say: Say
    once: bool = False
    """Nothing is tried a second time: the caller knows when."""
    waiting: Waiting | None = None
    """Of a request about which a person may have to decide."""
    proof: "Proof | None" = None
    """What signs the request, where something does."""
    bearer: Callable[[], str] | None = None
    """Gives an identity token in the place of the code's secret, for each try; or IdentityTokenUnusable."""

    def establish_trust(self, clock: "Clock") -> Trust:
        """Decide whom to believe: the pinned root, fetched and compared, or the public authorities.

        Raises ClockUnusable, UntrustedService, ServiceUnreachable, WrongAnswer.
        """
        wall = clock.now()
        window = check_clock(self.code, wall)
        if not self.code.fingerprint:
            return Trust(None, window)
        # its own connection: nothing is verified on it, so nothing that matters may travel on it
        root = fetch_root(
            self.code,
            lambda request: self._persist(self._plain(request), tls.blind_context, self._judge_bundle),
        )
        trust = Trust(root, window)
        if trust.skip_dates:
            self.say(f"{clock_trouble(self.code, wall)}: going by the code's dates, not by the clock.")
        return trust

    def enroll(
        self, trust: Trust, thing: ThingName, csr_pem: str, *, group: GroupName | None = None
    ) -> Enrolled:
        """Ask for the certificate; the same request each time. Raises leaves of DeviceError."""
        asked = {"thingName": thing, "csr": csr_pem} | ({} if group is None else {"group": group})
        body = json.dumps(asked).encode()
        send = self._afresh(body) if self.proof is None else self._signed(body, self.proof)
        answer = self._persist(send, trust.context, self._judge)
        try:
            return parse_enrolled(answer.body)
        except Malformed as wrong:
            raise WrongAnswer(url=self.code.url, detail=str(wrong)) from None

    def _plain(self, request: https.Request) -> Send:
        service = https.Service(self.code.url)
        return lambda context: https.exchange(service, context, request, seconds=self._limit().left())

    def _afresh(self, body: bytes) -> Send:
        def _send(context: ssl.SSLContext) -> https.Answer:
            return self._plain(self._request(body))(context)

        return _send

    def _request(self, body: bytes) -> https.Request:
        """The body never changes; what is shown with it may, from one try to the next."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.bearer is not None:
            headers["Authorization"] = f"Bearer {self.bearer()}"
        elif self.code.method is Method.TOKEN:
            headers["Authorization"] = f"Bearer {encode_secret(self.code.secret)}"
        return https.Request("POST", ENROLL_PATH, body, headers)

    def _signed(self, body: bytes, proof: "Proof") -> Send:
        """The same request around a signature, with a nonce that is asked for first."""
        from keyborn.device.nonces import NONCE_PATH, is_bad_nonce, send_with
        from keyborn.domain.jws import MEDIA_TYPE
        from keyborn.domain.jws_enroll import Place

        url = self.code.url.rstrip("/") + ENROLL_PATH

        def _send(context: ssl.SSLContext) -> https.Answer:
            told = self._plain(https.Request("GET", NONCE_PATH))(context)
            if told.status != HTTPStatus.OK or told.nonce is None:
                return told

            def _once(nonce: str) -> https.Answer:
                request = self._request(body)
                headers = {**request.headers, "Content-Type": MEDIA_TYPE}
                signed = proof.signed(Place(url, nonce), body)
                return self._plain(https.Request(request.method, request.path, signed, headers))(context)

            answer = send_with(told.nonce, _once)
            if is_bad_nonce(answer):
                raise https.Unanswered("it refuses its own nonces")
            return answer

        return _send

    def _persist(
        self,
        send: Send,
        context: Callable[[], ssl.SSLContext],
        judge: Callable[[https.Answer], https.Answer | _Again],
    ) -> https.Answer:
        attempt = 0
        while True:
            outcome = self._try(send, context(), judge)
            if isinstance(outcome, https.Answer):
                return outcome
            self._wait(outcome, attempt)
            attempt = 0 if outcome.person else attempt + 1

    def _try(
        self,
        send: Send,
        context: ssl.SSLContext,
        judge: Callable[[https.Answer], https.Answer | _Again],
    ) -> https.Answer | _Again:
        try:
            return judge(send(context))
        except https.Unanswered as wrong:
            return _Again(str(wrong), ServiceUnreachable(url=self.code.url, detail=str(wrong)))
        except https.Distrusted as wrong:
            raise UntrustedService(url=self.code.url, detail=str(wrong)) from None
        except https.Oversized:
            detail = f"more than {https.MAX_ANSWER} bytes"
            raise WrongAnswer(url=self.code.url, detail=detail) from None

    def _wait(self, again: _Again, attempt: int) -> None:
        pace = self.deadline.pace
        pause = pace.pause(attempt, again.retry_after)
        if self.once or not self._limit().allows(pause):
            again.failure.retry_after = again.retry_after
            raise again.failure
        if again.person and self.waiting is not None:
            self.waiting.tell(pace)
        else:
            self.say(f"{self.code.url}: {again.why}; trying again in {max(pause, 0.1):.1f} s.")
        pace.sleep(pause)

    def _limit(self) -> Deadline:
        return self.deadline if self.waiting is None else self.waiting.extended(self.deadline)

    def _judge(self, answer: https.Answer) -> https.Answer | _Again:
        """Done, again, or a refusal that is raised."""
        if answer.status in (HTTPStatus.OK, HTTPStatus.CREATED):
            return answer
        if answer.status == HTTPStatus.ACCEPTED:
            return self._pending(answer)
        if is_passing(answer.status):
            return _Again(f"the service answered {answer.status}", self._refusal(answer), answer.retry_after)
        raise self._refusal(answer)

    def _pending(self, answer: https.Answer) -> _Again:
        why = "a person must approve this device"
        if self.waiting is None:
            pause = answer.retry_after or USUAL
            return _Again(why, ApprovalPending(seconds=pause), pause)
        pending = self.waiting.pending(answer, once=self.once, pace=self.deadline.pace)
        return _Again(why, pending, pending.retry_after, person=True)

    def _judge_bundle(self, answer: https.Answer) -> https.Answer | _Again:
        """On the connection that trusts nobody only an overload is worth a second try."""
        if is_passing(answer.status):
            why = f"the service answered {answer.status}"
            return _Again(why, ServiceUnreachable(url=self.code.url, detail=why), answer.retry_after)
        return answer

    def _refusal(self, answer: https.Answer) -> DeviceError:
        code, detail = parse_problem(answer.body, encode_secret(self.code.secret))
        if code is None and is_passing(answer.status):
            only = f"for the whole time it said only {status_words(answer.status)}"
            return ServiceUnreachable(url=self.code.url, detail=only)
        if code is None:
            return WrongAnswer(url=self.code.url, detail=stranger_words(answer.status))
        refusal = EnrollmentRefused(
            status=answer.status, detail=detail or f"status {answer.status}", code=code
        )
        refusal.retry_after = answer.retry_after
        return refusal
