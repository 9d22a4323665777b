"""The core's end: what a worker asks for, the real parts do; what it must not have, it does not get."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

import pytest
from starlette.applications import Starlette

from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.adapters.workers.calls import OF_CORE, Stranger
from keyborn.adapters.workers.handover import Core, Handover, Sides
from keyborn.domain.enrollment import Issue, Verdict
from keyborn.domain.errors import CredentialRefused, EnrollmentInterrupted, KeybornError, ThingNameTaken
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import KeyHash, ThingName
from keyborn.domain.renewal import RenewalAttempt
from keyborn.domain.token import TokenId
from keyborn.http.forwarding import AnsweringDesk
from keyborn.service.nonces import MemoryNonces

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def attempt(number: int) -> RenewalAttempt:
    thing, key = ThingName(f"lamp-{number}"), KeyHash(f"{number:064x}")
    intent = Intent(IntentId(f"{number:024x}"), thing, key, TokenId("t"), NOW, 7, NOW, NOW)
    return RenewalAttempt(intent, NOW)


class Real:
    """The real parts, as far as these tests go."""

    def __init__(self) -> None:
        self.signed: list[Intent] = []
        self.refused_calls: list[tuple[str, str, str, str]] = []

    async def renew(self, asked: RenewalAttempt) -> Verdict:
        return Issue(asked.proposal)

    async def sign(self, intent: Intent, public_key_der: bytes, csr_pem: str) -> bytes:
        self.signed.append(intent)
        return public_key_der + csr_pem.encode()

    async def refused(
        self,
        action: str,
        source: str,
        refusal: KeybornError,
        subject: str = "",
        why: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.refused_calls.append((action, source, refusal.code, subject + str(dict(why))))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the registry has
        async def called(*words: object) -> tuple[str, tuple[object, ...]]:
            return name, words

        if name.startswith("_"):
            raise AttributeError(name)
        return called


def handover(real: Real) -> Handover:
    core = Core(
        registry=cast("Sides", real),
        prove_writable=real.prove_writable,
        sign=real.sign,
        nonces=MemoryNonces(SystemClock(), SystemEntropy()),
        review=real.review,
        strangers={"enroll": real, "renew": real},
        orders=real.orders,
    )
    return Handover(core, AnsweringDesk(Starlette()), lambda: None, lambda: None)


def test_every_call_of_the_list_is_served_and_no_other() -> None:
    served = handover(Real())
    for call in OF_CORE:
        assert callable(served.serve(call.name))
    for name in ("withdraw", "find", "set_status", "sign", "orders", "_record", ""):
        with pytest.raises(AttributeError):
            served.serve(name)


async def test_what_this_line_has_asked_to_renew_is_signed_as_it_was_recorded_and_nothing_else() -> None:
    real = Real()
    one, other = handover(real), handover(real)
    verdict = await one.serve("renew")(attempt(1))
    assert isinstance(verdict, Issue)
    assert await one.serve("issue")(verdict.intent.id, b"key", "csr") == b"keycsr"
    with pytest.raises(EnrollmentInterrupted):
        await one.serve("issue")(attempt(2).proposal.id, b"key", "csr")
    with pytest.raises(EnrollmentInterrupted):  # another worker's
        await other.serve("issue")(verdict.intent.id, b"key", "csr")
    assert real.signed == [attempt(1).proposal]


async def test_two_attempts_at_one_intent_may_both_be_signed() -> None:
    served = handover(Real())
    for _ in range(2):
        await served.serve("renew")(attempt(1))
    for _ in range(2):
        assert await served.serve("issue")(attempt(1).proposal.id, b"k", "c") == b"kc"
        await served.serve("activate")(attempt(1).proposal.id, None)


async def test_intents_are_remembered_up_to_a_bound() -> None:
    served = handover(Real())
    for number in range(4100):
        await served.serve("renew")(attempt(number))
    with pytest.raises(EnrollmentInterrupted):
        await served.serve("issue")(attempt(0).proposal.id, b"k", "c")
    assert await served.serve("issue")(attempt(4099).proposal.id, b"k", "c") == b"kc"


@pytest.mark.parametrize("refusal", [CredentialRefused, ThingNameTaken])
async def test_a_stranger_is_counted_in_the_core_under_the_code_of_its_refusal(
    refusal: type[KeybornError],
) -> None:
    real = Real()
    stranger = Stranger("enroll", "enroll", "10.0.0.1", refusal.__name__, "lamp", {"group": "line"})
    await handover(real).serve("stranger_refused")(stranger)
    assert real.refused_calls == [("enroll", "10.0.0.1", refusal.code, "lamp{'group': 'line'}")]
