"""The renewal client: signed requests over a verified connection, and the answer checked before it counts.

One try each: when to try again, the journey decides. Nothing here is stored.
"""

import json
import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from keyborn.device import files, https, roots, tls
from keyborn.device.answer import Enrolled, Malformed, parse_enrolled, parse_problem
from keyborn.device.home import Home
from keyborn.device.identity import MAX_FILE, Identity, file_hash
from keyborn.device.keystore import FileKeyStore, KeyFacts
from keyborn.device.nonces import NONCE_PATH, is_bad_nonce, send_with
from keyborn.device.proving import prove_broker
from keyborn.device.signed import signed_request
from keyborn.device.strangers import is_passing, status_words, stranger_words
from keyborn.device.trust import BUNDLE_PATH, Window
from keyborn.domain.errors import (
    ApprovalPending,
    DeviceError,
    RenewalRefused,
    ServiceUnreachable,
    UntrustedService,
    WrongAnswer,
)
from keyborn.domain.jws import MEDIA_TYPE
from keyborn.domain.roots import root_set

if TYPE_CHECKING:
    from keyborn.ports import Clock

RENEW_PATH = "/v1/renew"
CONFIRM_PATH = "/v1/renew/confirm"
ROOTS_PATH = "/v1/roots"
_NO_END = datetime.max.replace(tzinfo=UTC)
_DONE = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})
_APPROVAL_POLL = 60.0


@dataclass(frozen=True, slots=True)
class Successor:
    """A certificate that has been verified, and what binds it; not stored yet."""

    certificate_pem: str
    """The leaf, then its chain."""
    identity: Identity


@dataclass(frozen=True, slots=True)
class RenewalClient:
    """Asks in the name of the identity that the home's slot holds."""

    home: Home
    clock: "Clock"
    seconds: float = https.EXCHANGE_TIMEOUT

    def service_time(self, own: Identity) -> datetime | None:
        """What time it is for the service, where it says so. Raises as ``renew``, but nothing is refused."""
        return self._nonce_answer(own).sent_at

    def new_roots(self, own: Identity, moment: datetime) -> roots.Change | None:
        """What the service's trust bundle changes in this home's roots at ``moment``; None is nothing.

        Where a root would go, service and broker are asked to prove themselves under those that stay. And the
        service under the new set as a whole: a root can hide another one of its name. Raises as
        ``service_time``, and whatever keeps the roots as they are.
        """
        present = self._roots()
        bundle = https.Request("GET", BUNDLE_PATH)
        shown = _judge(self._exchange(own, bundle), own.service_url)
        change = roots.weigh(shown.body, present, moment, url=own.service_url)
        if change is not None and change.dropped:
            self._prove(own, change.kept_pem)
        if change is not None and own.pinned:
            self._exchange(own, bundle, roots_pem=change.roots_pem)
        return change

    def _prove(self, own: Identity, kept_pem: str) -> None:
        """Raise, as ``new_roots``, unless service and broker both lead to ``kept_pem``."""
        if not kept_pem:
            detail = "its trust bundle has none of the roots that this device believes"
            raise WrongAnswer(url=own.service_url, detail=detail)
        if own.pinned:
            self._exchange(own, https.Request("GET", BUNDLE_PATH), roots_pem=kept_pem)
        context = tls.verifying_context(kept_pem, instead=own.peer_dates(self.clock.now()))
        # TLS 1.2 wants the device's certificate in the middle of the handshake
        FileKeyStore(self.home.key).authenticate(context, self.home.certificate)
        prove_broker(own, context, self.seconds)

    def tell_roots(self, own: Identity) -> None:
        """Tell the service which roots this home has. Raises as ``renew``."""
        from keyborn.device import verify

        self._signed(own, ROOTS_PATH, {"roots": root_set(verify.ders(self._roots()))})

    def renew(self, own: Identity, csr_pem: str, key: KeyFacts) -> Successor:
        """Ask for a certificate of the next key; the same request each time has the same answer.

        Raises RenewalRefused, ApprovalPending, ServiceUnreachable, UntrustedService, WrongAnswer,
        WrongCertificate; KeyUnusable, FileNotPrivate, HomeUnusable for this device's own files.
        """
        answer = self._signed(own, RENEW_PATH, {"csr": csr_pem})
        try:
            enrolled = parse_enrolled(answer.body)
        except Malformed as wrong:
            raise WrongAnswer(url=own.service_url, detail=str(wrong)) from None
        return accept(enrolled, own, key, self._roots(), self.clock.now())

    def confirm(self, own: Identity) -> None:
        """Tell the service that this identity is in use; safe to repeat. Raises as ``renew``."""
        self._signed(own, CONFIRM_PATH, {})

    def _signed(self, own: Identity, path: str, payload: dict[str, str]) -> https.Answer:
        """Sign and send; once more with the nonce that came with its refusal (RFC 8555 6.5)."""
        nonce = self._first_nonce(own)
        answer = send_with(nonce, lambda word: self._send(own, path, payload, word))
        return _judge(answer, own.service_url)

    def _first_nonce(self, own: Identity) -> str:
        answer = self._nonce_answer(own)
        if answer.nonce is None:
            raise WrongAnswer(url=own.service_url, detail="it brings no nonce to sign with")
        return answer.nonce

    def _nonce_answer(self, own: Identity) -> https.Answer:
        return _judge(self._exchange(own, https.Request("GET", NONCE_PATH)), own.service_url)

    def _send(self, own: Identity, path: str, payload: dict[str, str], nonce: str) -> https.Answer:
        body = signed_request(
            FileKeyStore(self.home.key),
            certificate_id=own.certificate_id,
            url=own.service_url.rstrip("/") + path,
            nonce=nonce,
            payload=json.dumps(payload).encode(),
        )
        headers = {"Content-Type": MEDIA_TYPE, "Accept": "application/json"}
        return self._exchange(own, https.Request("POST", path, body, headers))

    def _exchange(
        self, own: Identity, request: https.Request, *, roots_pem: str | None = None
    ) -> https.Answer:
        url = own.service_url
        try:
            return self._whenever(own, request, roots_pem)
        except https.Unanswered as wrong:
            raise ServiceUnreachable(url=url, detail=str(wrong)) from None
        except https.Distrusted as wrong:
            raise UntrustedService(url=url, detail=str(wrong)) from None
        except https.Oversized:
            raise WrongAnswer(url=url, detail=f"more than {https.MAX_ANSWER} bytes") from None

    def _whenever(self, own: Identity, request: https.Request, roots_pem: str | None) -> https.Answer:
        """One exchange, and another one without belief in a clock that turns out to be behind."""
        service = https.Service(own.service_url)
        try:
            return https.exchange(service, self._context(own, roots_pem), request, seconds=self.seconds)
        except https.Distrusted as wrong:
            if not wrong.early or not own.pinned:
                raise
        context = self._context(own, roots_pem, behind=True)
        return https.exchange(service, context, request, seconds=self.seconds)

    def _context(self, own: Identity, roots_pem: str | None, *, behind: bool = False) -> ssl.SSLContext:
        """Trust as at the enrolment: the home's roots where one is pinned, else the public authorities.

        ``roots_pem`` takes the place of the home's.
        """
        if not own.pinned:
            return tls.verifying_context(None)
        instead = own.peer_dates(self.clock.now(), behind=behind)
        return tls.verifying_context(roots_pem or self._roots(), instead=instead)

    def _roots(self) -> str:
        try:
            return files.read_private(self.home.roots, MAX_FILE).decode()
        except OSError as wrong:
            raise files.trouble(self.home.roots, wrong) from None


def accept(answer: Enrolled, own: Identity, key: KeyFacts, roots_pem: str, wall: datetime) -> Successor:
    """The successor, if the answer is this thing's, for this key, and led to by the home's roots.

    A clock that is behind does not matter: the certificate was made before it came, so its first moment has
    passed. Raises WrongCertificate.
    """
    from keyborn.device import verify

    earliest = own.proved_time if own.doubts(wall) else own.time(wall)
    leaf = verify.verify_enrolled(
        answer,
        thing=own.thing,
        public_key_der=key.public_key_der,
        anchors=verify.read_many(roots_pem),
        window=Window(earliest, _NO_END),
    )
    certificate_pem = verify.to_pem([leaf, *verify.read_many(answer.chain_pem)])
    made = replace(
        own,
        certificate_id=answer.certificate_id,
        key_type=key.key_type,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        certificate_hash=file_hash(certificate_pem.encode()),
        proved_time=max(own.proved_time, leaf.not_valid_before_utc),
        broker=answer.broker,
    )
    return Successor(certificate_pem, made)


def _judge(answer: https.Answer, url: str) -> https.Answer:
    """The answer, if it is a good one; raises what it means otherwise."""
    if answer.status in _DONE:
        return answer
    if answer.status == HTTPStatus.ACCEPTED:
        raise ApprovalPending(seconds=answer.retry_after or _APPROVAL_POLL)
    raise _refusal(answer, url)


def _refusal(answer: https.Answer, url: str) -> DeviceError:
    code, detail = parse_problem(answer.body, "")
    if is_passing(answer.status) or is_bad_nonce(answer):
        passing = ServiceUnreachable(url=url, detail=f"it said {status_words(answer.status)}")
        passing.retry_after = answer.retry_after
        return passing
    if code is None:
        return WrongAnswer(url=url, detail=stranger_words(answer.status))
    return RenewalRefused(status=answer.status, detail=detail or status_words(answer.status), code=code)
