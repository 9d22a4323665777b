"""What the functions log when somebody switches on everything: no request, no token."""

import json
import logging
from collections.abc import Iterator

import pytest

from keyborn.adapters.aws.iot import Account
from keyborn.http.lambda_handler import LambdaHandler
from keyborn.wiring import aws
from support import ministack
from support.csr_make import make_csr
from support.lambda_events import Context, enroll_event

ARN = f"arn:aws:iot:{ministack.REGION}:000000000000"
CHATTY = ("botocore", "urllib3")
SECRET = "S" * 43


@pytest.fixture
def levels() -> Iterator[None]:
    """Levels as they were."""
    before = {name: logging.getLogger(name).level for name in CHATTY}
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The template's variables, and the function's own credentials."""
    running, table = ministack.shared(), ministack.new_table()
    for name, value in {
        "AWS_ENDPOINT_URL": running.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    account = Account(ARN, f"{table}_device", f"{table}_")
    return {
        "KEYBORN_STACK": "kb",
        "KEYBORN_TABLE": table,
        "KEYBORN_IOT_ARN": account.prefix,
        "KEYBORN_THING_TYPE": f"{table}_device",
        "KEYBORN_POLICY_PREFIX": account.policy_prefix,
        "KEYBORN_MQTT_ENDPOINT": "a1-ats.iot.eu-central-1.amazonaws.com",
    }


def call(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> str:
    """An enrolment by a stranger, and a signing, with everything logged; returns the log."""
    with caplog.at_level(logging.DEBUG):
        handler: LambdaHandler = aws.enroll_handler(environment)
        _, csr = make_csr("lamp-1")
        answer = handler(enroll_event("lamp-1", csr, SECRET), Context())
        handler.close()
        assert json.loads(answer["body"])["code"] == "credential_refused"
        iot = aws.clients(ministack.REGION)("iot")
        iot.create_certificate_from_csr(certificateSigningRequest=csr)  # type: ignore[attr-defined] # botocore's
        logging.getLogger("keyborn.test").debug("everything is on")
    return caplog.text


def chatter(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the libraries told below INFO."""
    return [one for one in caplog.records if one.name.split(".")[0] in CHATTY and one.levelno < logging.INFO]


@pytest.mark.usefixtures("levels")
def test_with_everything_logged_no_request_and_no_token_is(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    text = call(environment, caplog)
    assert "everything is on" in text
    assert "CERTIFICATE REQUEST" not in text
    assert SECRET not in text
    assert not [
        one for one in caplog.records if one.name.split(".")[0] in CHATTY and one.levelno < logging.INFO
    ]


@pytest.mark.usefixtures("levels")
def test_who_wanted_to_hear_less_of_them_still_does(environment: dict[str, str]) -> None:
    logging.getLogger("botocore").setLevel(logging.ERROR)
    aws.enroll_handler(environment).close()
    assert logging.getLogger("botocore").level == logging.ERROR


@pytest.mark.usefixtures("levels")
def test_the_sweeper_is_as_quiet(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        sweeper = aws.sweep_handler(environment)
        sweeper({}, Context(50_000))
        sweeper.close()
    assert not [
        one for one in caplog.records if one.name.split(".")[0] in CHATTY and one.levelno < logging.INFO
    ]
