"""What errors mean on the journey: only a word said on purpose makes a device give anything up."""

from pathlib import Path

import pytest

from keyborn.device.outcomes import of_broker, of_confirmation, of_enrollment, of_renewal, of_service
from keyborn.domain.errors import (
    ApprovalPending,
    BrokerUnreachable,
    BrokerUntrusted,
    ClockUnusable,
    EnrollmentRefused,
    FileNotPrivate,
    HomeUnusable,
    KeybornError,
    KeyUnusable,
    OtherService,
    RenewalRefused,
    ServiceUnreachable,
    SessionRefused,
    UntrustedService,
    WrongAnswer,
    WrongCertificate,
)
from keyborn.domain.journey import Happened

URL = "https://s.example"
NO_ANSWERS: list[KeybornError] = [
    ServiceUnreachable(url=URL, detail="x"),
    UntrustedService(url=URL, detail="x"),
    WrongAnswer(url=URL, detail="x"),
]
OWN_FILES: list[KeybornError] = [
    KeyUnusable(path=Path("k"), detail="x"),
    FileNotPrivate(path=Path("k"), detail="x"),
]


def refused(code: str) -> RenewalRefused:
    return RenewalRefused(status=403, detail="because", code=code)


@pytest.mark.parametrize("wrong", NO_ANSWERS)
def test_an_answer_that_is_none_is_none_wherever_it_was_waited_for(wrong: KeybornError) -> None:
    for meaning in (of_enrollment, of_renewal, of_confirmation, of_service):
        assert meaning(wrong).kind is Happened.NO_SERVICE


@pytest.mark.parametrize("wrong", OWN_FILES)
def test_a_file_of_this_device_is_no_answer_of_the_service(wrong: KeybornError) -> None:
    for meaning in (of_renewal, of_confirmation, of_service):
        assert meaning(wrong).kind is Happened.TROUBLE
    assert of_broker(wrong).kind is Happened.UNUSABLE
    assert of_enrollment(wrong).kind is Happened.REFUSED


def test_a_home_that_cannot_be_used_is_a_trouble_wherever_it_shows() -> None:
    for meaning in (of_enrollment, of_renewal, of_confirmation, of_service, of_broker):
        assert meaning(HomeUnusable(path="p", detail="full")).kind is Happened.TROUBLE


def test_what_is_still_open_is_waited_for_as_long_as_it_says() -> None:
    for meaning in (of_enrollment, of_renewal, of_confirmation):
        event = meaning(ApprovalPending(seconds=17))
        assert (event.kind, event.retry_after) == (Happened.PENDING, 17)


@pytest.mark.parametrize("code", ["key_in_use", "key_revoked", "key_not_new", "key_roca", "csr_refused"])
def test_a_key_that_will_never_do_is_given_up(code: str) -> None:
    assert of_renewal(refused(code)).kind is Happened.KEY_REFUSED


def test_a_wrong_certificate_is_not_asked_for_again_with_the_same_key() -> None:
    assert of_renewal(WrongCertificate(detail="x")).kind is Happened.KEY_REFUSED


@pytest.mark.parametrize("code", ["renewal_pending", "replacement_pending", "renewal_unconfirmed"])
def test_a_renewal_that_is_not_this_one_s_turn_is_tried_later(code: str) -> None:
    assert of_renewal(refused(code)).kind is Happened.PENDING


@pytest.mark.parametrize("code", ["thing_revoked", "certificate_expired", "not_found", "renewal_refused"])
def test_every_other_refusal_of_a_renewal_is_one(code: str) -> None:
    event = of_renewal(refused(code))
    assert event.kind is Happened.REFUSED
    assert "because" in event.detail


@pytest.mark.parametrize(
    "code", ["certificate_not_active", "certificate_expired", "signature_refused", "thing_revoked"]
)
def test_a_certificate_that_the_service_does_not_take_any_more_is_refused(code: str) -> None:
    assert of_confirmation(refused(code)).kind is Happened.REFUSED


@pytest.mark.parametrize(
    "code", ["jws_malformed", "signed_for_elsewhere", "not_found", "internal", "renewal_unconfirmed"]
)
def test_no_other_refusal_of_a_confirmation_makes_a_device_go_back(code: str) -> None:
    assert of_confirmation(refused(code)).kind is Happened.PENDING


def test_only_the_broker_itself_refuses_a_certificate() -> None:
    assert of_broker(SessionRefused(broker="b", detail="x", thing="t")).kind is Happened.TURNED_AWAY
    assert of_broker(BrokerUnreachable(broker="b", detail="x")).kind is Happened.NO_BROKER
    assert of_broker(BrokerUntrusted(broker="b", detail="x")).kind is Happened.NO_BROKER


@pytest.mark.parametrize(
    "wrong",
    [
        EnrollmentRefused(status=403, detail="x", code="token_expired"),
        OtherService(asked="a", current="b", path="p"),
    ],
)
def test_an_enrolment_that_is_refused_needs_a_person(wrong: KeybornError) -> None:
    assert of_enrollment(wrong).kind is Happened.REFUSED


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_service_that_asks_to_come_again_refuses_no_enrolment(status: int) -> None:
    """It said so until nobody would wait any longer; a new code would not help."""
    wrong = EnrollmentRefused(status=status, detail="x", code="enrollment_interrupted")
    wrong.retry_after = 20.0
    event = of_enrollment(wrong)
    assert (event.kind, event.retry_after) == (Happened.NO_SERVICE, 20.0)


def test_an_enrolment_may_wait_for_a_clock() -> None:
    assert of_enrollment(ClockUnusable(detail="x")).kind is Happened.NO_SERVICE
