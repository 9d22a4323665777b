"""Enrolment through API Gateway: what it answers in the place of the service, over a real TLS socket.

The bodies are API Gateway's (its Developer Guide, "Troubleshooting issues with HTTP API"); no answer of its
own has a Retry-After.
"""

import json

import pytest

from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.home import Home
from keyborn.device.pace import FIRST_DELAY, LONGEST_DELAY
from keyborn.domain import errors
from support.device_home import Machine
from support.rude_service import Reply, RudeService, plain, polite, problem

ENROLL = "/v1/enroll"
BUNDLE = "/v1/trust-bundle"
BUSY = {
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def gateway(status: int, message: str) -> Reply:
    """What API Gateway says by itself."""
    body = json.dumps({"message": message}).encode()
    return plain(status, body, Content_Type="application/json", apigw_requestid="Q2xvdWQgOS4uLg=")


def run(home: Home, service: RudeService, machine: Machine, *, timeout: float = 60) -> Outcome:
    return enroll(home, Wish(thing="gateway-1"), service.code, machine.surroundings(), timeout=timeout)


def kept(home: Home) -> set[str]:
    return {path.name for path in home.path.iterdir()} - {"lock"}


@pytest.mark.parametrize(("status", "message"), BUSY.items())
def test_it_comes_again_with_the_same_request(
    home: Home, service: RudeService, machine: Machine, status: int, message: str
) -> None:
    service.script(ENROLL, gateway(status, message), gateway(status, message), polite)
    assert run(home, service, machine).obtained
    first, *more = [each.body for each in service.asked(ENROLL)]
    assert more == [first, first]
    assert any(f"the service answered {status}; trying again in" in line for line in machine.said)


@pytest.mark.parametrize(("status", "message"), BUSY.items())
def test_it_comes_again_for_the_trust_bundle_too(
    home: Home, service: RudeService, machine: Machine, status: int, message: str
) -> None:
    service.script(BUNDLE, gateway(status, message), polite)
    assert run(home, service, machine).obtained


@pytest.mark.parametrize("status", BUSY)
def test_without_a_retry_after_the_pauses_are_full_jitter_that_doubles(
    home: Home, service: RudeService, machine: Machine, status: int
) -> None:
    service.script(ENROLL, *[gateway(status, BUSY[status])] * 8, polite)
    run(home, service, machine, timeout=900)
    fraction = machine.surroundings().pace.fraction()
    expected = [fraction * min(LONGEST_DELAY, FIRST_DELAY * 2**attempt) for attempt in range(8)]
    assert machine.slept == pytest.approx(expected)


@pytest.mark.parametrize("status", BUSY)
def test_when_the_time_is_up_it_is_no_answer_and_the_same_command_continues(
    home: Home, service: RudeService, machine: Machine, status: int
) -> None:
    service.script(ENROLL, gateway(status, BUSY[status]))
    with pytest.raises(errors.ServiceUnreachable) as caught:
        run(home, service, machine, timeout=20)
    assert f"it said only status {status} (" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert kept(home) == {"device.key"}
    service.script(ENROLL, polite)
    assert run(home, service, machine).obtained


@pytest.mark.parametrize("status", [429, 503])
def test_the_service_s_own_refusal_keeps_its_own_words_when_the_time_is_up(
    home: Home, service: RudeService, machine: Machine, status: int
) -> None:
    service.script(ENROLL, problem(status, "quota", "Others are first.", Retry_After="5"))
    with pytest.raises(errors.EnrollmentRefused, match="Others are first"):
        run(home, service, machine, timeout=20)


NOWHERE = {
    403: ("Forbidden", "nothing behind this address is Keyborn"),
    404: ("Not Found", "the service was taken away or has moved"),
}


@pytest.mark.parametrize("status", NOWHERE)
@pytest.mark.parametrize("path", [ENROLL, BUNDLE])
def test_a_door_that_leads_nowhere_is_said_at_once_with_what_to_do(
    home: Home, service: RudeService, machine: Machine, path: str, status: int
) -> None:
    message, means = NOWHERE[status]
    service.script(path, gateway(status, message))
    with pytest.raises(errors.WrongAnswer) as caught:
        run(home, service, machine)
    told = str(caught.value)
    assert f"status {status} ({message})" in told
    assert means in told
    assert "Check the URL" in told
    assert len(service.asked(path)) == 1
    assert machine.slept == []
    assert kept(home) == {"device.key"}


def test_the_words_of_a_stranger_are_not_repeated(home: Home, service: RudeService, machine: Machine) -> None:
    """On the connection that trusts nobody they may be anybody's."""
    service.script(BUNDLE, gateway(404, "Call 555-0100 and read out your enrolment code"))
    with pytest.raises(errors.WrongAnswer) as caught:
        run(home, service, machine)
    assert "555" not in str(caught.value) + "".join(machine.said)
