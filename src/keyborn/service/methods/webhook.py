"""Webhook: another service, which an operator configured, says yes or no, and may add to a yes.

It fails closed: no answer, a slow one, or one that gives more than the group permits, and nobody enrols.
"""

import json
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import WebhookRefused, WebhookUnavailable
from keyborn.domain.group import EnrollmentGroup, WebhookRule
from keyborn.domain.webhook import MAX_ANSWER, Allowed, Denied, NoAnswer, message_id, read_answer, sign
from keyborn.ports import (
    Clock,
    Groups,
    NotAnswered,
    Outbound,
    OutboundAnswer,
    OutboundRequest,
    Request,
)
from keyborn.service.circuit import Blown, Circuit, Failed

RETRY = 5
"""Seconds after which a device comes again."""


class _NoWord(Failed):
    """Nothing came that counts; ``str()`` is for the audit trail and the log."""


class WebhookMethod:
    """Implements ``ConditionMethod``."""

    def __init__(
        self,
        outbound: Outbound,
        groups: Groups,
        clock: Clock,
        *,
        circuit: Circuit | None = None,
    ) -> None:
        """``groups``: where the secrets are that questions are signed with."""
        self._outbound = outbound
        self._groups = groups
        self._clock = clock
        self._circuit = circuit or Circuit(clock)

    async def met(self, applicant: Applicant, request: Request, group: EnrollmentGroup) -> Applicant:
        """Return the applicant with what a yes adds.

        Raises WebhookRefused, and WebhookUnavailable with a ``detail`` for the audit trail, not for callers.
        """
        rule = group.webhook
        document = await self._groups.group(group.name)
        if rule is None or document is None or document.webhook_secret is None:
            raise WebhookUnavailable(seconds=RETRY, detail="the group has no webhook, or no secret for it")
        question = _question(applicant, request, group, document.webhook_secret, self._clock.now())
        try:
            async with self._circuit.through(group.name):
                word = await self._ask(question, rule)
        except Blown as blown:
            raise WebhookUnavailable(seconds=blown.seconds, detail="it is not asked for now") from None
        except _NoWord as wrong:
            raise WebhookUnavailable(seconds=RETRY, detail=str(wrong)) from None
        if isinstance(word, Denied):
            raise WebhookRefused(reason=word.reason)
        return _enriched(applicant, word)

    async def _ask(self, question: OutboundRequest, rule: WebhookRule) -> Allowed | Denied:
        try:
            answer = await self._outbound.fetch(question)
            return _read(answer, rule)
        except (NotAnswered, NoAnswer) as wrong:
            raise _NoWord(str(wrong)) from None


def _read(answer: OutboundAnswer, rule: WebhookRule) -> Allowed | Denied:
    if answer.status != HTTPStatus.OK:
        raise NoAnswer(f"it answered {answer.status}")
    return read_answer(answer.body, rule)


def _question(
    applicant: Applicant, request: Request, group: EnrollmentGroup, secret: bytes, now: datetime
) -> OutboundRequest:
    assert group.webhook is not None
    message = message_id(group.name, request.thing, request.key_hash)
    body = json.dumps(
        {
            "id": message,
            "group": group.name,
            "thingName": request.thing,
            "keyHash": request.key_hash,
            "source": request.source,
            "method": applicant.method.value,
            "details": dict(applicant.details),
            "attributes": dict(request.attributes),
        }
    ).encode()
    seconds = int(now.timestamp())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(seconds),
        "webhook-signature": sign(secret, message, seconds, body),
    }
    rule = group.webhook
    return OutboundRequest(
        "POST", rule.url, rule.timeout.total_seconds(), MAX_ANSWER, body, headers, rule.roots_pem
    )


def _enriched(applicant: Applicant, word: Allowed) -> Applicant:
    terms = applicant.terms
    if terms is not None and word.attributes:
        terms = replace(terms, attributes={**terms.attributes, **word.attributes})
    policies = applicant.policies if word.policies is None else word.policies
    return replace(applicant, terms=terms, policies=policies)
