"""The functions as Lambda calls them, in process, on the stand-in: recorded events in, answers out."""

import io
import json
from collections.abc import Iterator

import pytest
from cryptography import x509

from keyborn.adapters.aws.iot import Account
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.aws.settle import Settled
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.quota import Pacing
from keyborn.http.bodies import AWS_FALLBACK, MqttFallback
from keyborn.http.lambda_handler import LambdaHandler
from keyborn.wiring.aws import StackSettings, SweepHandler, build_enrollment, metrics, read_stack
from support import ministack
from support.aws_function import ARN, secret_for, stack_of_parts
from support.csr_make import make_csr
from support.lambda_events import Context, enroll_event, event

ENVIRONMENT = {
    "KEYBORN_STACK": "kb",
    "KEYBORN_TABLE": "kb-table",
    "KEYBORN_IOT_ARN": ARN,
    "KEYBORN_THING_TYPE": "kb_device",
    "KEYBORN_POLICY_PREFIX": "kb_",
    "KEYBORN_MQTT_ENDPOINT": "a1-ats.iot.eu-central-1.amazonaws.com",
    "KEYBORN_TOPIC_PREFIX": "plant",
    "KEYBORN_URL": "https://door.example",
}


@pytest.fixture(scope="module")
def stack() -> StackSettings:
    return stack_of_parts()


@pytest.fixture
def handler(stack: StackSettings) -> Iterator[LambdaHandler]:
    handler = build_enrollment(stack, ministack.shared().client, roots=amazon_roots())
    yield handler
    handler.close()


@pytest.mark.parametrize("encoded", [False, True], ids=["text", "base64"])
def test_a_device_enrolls_and_a_repeat_gives_the_same_certificate(
    stack: StackSettings, handler: LambdaHandler, *, encoded: bool
) -> None:
    name = f"dev-{encoded:d}"
    secret, (_, csr) = secret_for(stack, name), make_csr(name)
    first = handler(enroll_event(name, csr, secret, encoded=encoded), Context())
    again = handler(enroll_event(name, csr, secret, encoded=encoded), Context())
    assert (first["statusCode"], again["statusCode"]) == (201, 200), first
    assert first["body"] == again["body"]
    answer = json.loads(first["body"])
    assert answer["chainPem"] == ""
    assert answer["mqtt"]["endpoint"] == "broker.example"
    assert answer["mqtt"]["topic"] == f"plant/{name}"
    assert len(x509.load_pem_x509_certificates(answer["mqtt"]["rootsPem"].encode())) == 4
    kept = ministack.shared().client("iot").describe_certificate(certificateId=answer["certificateId"])
    assert kept["certificateDescription"]["status"] == "ACTIVE"


def test_a_stranger_is_refused(handler: LambdaHandler) -> None:
    _, csr = make_csr("dev-9")
    answer = handler(enroll_event("dev-9", csr, "A" * 43), Context())
    assert answer["statusCode"] == 401
    assert json.loads(answer["body"])["code"] == "credential_refused"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_it_says_that_it_is_well(handler: LambdaHandler, path: str) -> None:
    assert handler(event("GET", path), Context())["statusCode"] == 200


def test_without_its_table_it_says_that_it_is_not_ready() -> None:
    stack = StackSettings("kb", "kb-nowhere", Account(ARN), "eu-central-1", "broker.example")
    handler = build_enrollment(stack, ministack.shared().client, roots="")
    answer = handler(event("GET", "/readyz"), Context())
    handler.close()
    assert answer["statusCode"] == 503
    assert "retry-after" in answer["headers"]
    assert "kb-nowhere" not in answer["body"]


def test_the_sweeper_settles_and_tells_what_is_left(stack: StackSettings) -> None:
    out = io.StringIO()
    sweeper = SweepHandler(stack, ministack.shared().client, out=out)
    answer = sweeper({}, Context(50_000))
    sweeper.close()
    assert answer["troubles"] == []
    line = json.loads(out.getvalue())
    assert line["Stack"] == "kb"
    assert line["Owed"] == line["PossibleStrays"] == 0


def test_a_sweep_that_fails_counts_as_failed_and_tells_no_secret(
    stack: StackSettings, caplog: pytest.LogCaptureFixture
) -> None:
    sweeper = SweepHandler(stack, ministack.shared().client, out=Broken())
    with pytest.raises(RuntimeError, match="the sweep failed") as caught:
        sweeper({}, Context(50_000))
    sweeper.close()
    assert "hunter2" not in f"{caplog.text}{caught.value}"
    assert caught.value.__context__ is None
    assert "ZeroDivisionError" in caplog.text


class Broken(io.StringIO):
    """A place where nothing can be written."""

    def write(self, _text: str) -> int:
        raise ZeroDivisionError("hunter2")


def test_metrics_have_the_form_that_cloudwatch_reads() -> None:
    line = metrics("kb", 1.5, Settled(dropped=2), {"Owed": 3.0})
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert line["_aws"]["Timestamp"] == 1500
    assert directive["Dimensions"] == [["Stack"]]
    assert all(one["Name"] in line for one in directive["Metrics"])
    assert (line["Swept"], line["Owed"]) == (2, 3.0)


def test_the_template_s_variables_are_read() -> None:
    stack = read_stack(ENVIRONMENT)
    assert (stack.region, stack.port, stack.topic_prefix) == ("eu-central-1", 8883, "plant")
    assert stack.account == Account(ARN, "kb_device", "kb_")
    assert stack.url == "https://door.example"
    own = read_stack(ENVIRONMENT | {"KEYBORN_MQTT_ENDPOINT": "mq.example:443"})
    assert (own.endpoint, own.port) == ("mq.example", 443)


@pytest.mark.parametrize(
    ("endpoint", "fallback"),
    [
        ("a1b2c3-ats.iot.eu-central-1.amazonaws.com", AWS_FALLBACK),
        ("A1B2C3-ats.iot.cn-north-1.amazonaws.com.cn:8883", AWS_FALLBACK),
        ("a1b2c3-ats.iot.eu-central-1.amazonaws.com:443", None),
        ("mqtt.example.com", None),
        ("mqtt.example.com:8883", None),
        ("a1b2c3-ats.iot.eu-central-1.amazonaws.com.example.com", None),
        ("iot.eu-central-1.amazonaws.com", None),
    ],
)
def test_port_443_is_offered_where_the_name_is_aws_iots_own(
    endpoint: str, fallback: MqttFallback | None
) -> None:
    assert read_stack(ENVIRONMENT | {"KEYBORN_MQTT_ENDPOINT": endpoint}).fallback == fallback


def test_the_rate_is_the_template_s_or_what_a_fresh_account_allows() -> None:
    assert read_stack(ENVIRONMENT).pacing.rate == pytest.approx(9.8)
    own = read_stack(ENVIRONMENT | {"KEYBORN_ENROLLMENTS_PER_SECOND": "49.5"})
    assert own.pacing == Pacing(49.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYBORN_TABLE", ""),
        ("KEYBORN_STACK", ""),
        ("KEYBORN_POLICY_PREFIX", ""),
        ("KEYBORN_IOT_ARN", "arn:aws:s3:::bucket"),
        ("KEYBORN_MQTT_ENDPOINT", "https://broker.example"),
        *(("KEYBORN_ENROLLMENTS_PER_SECOND", text) for text in ("0", "-1", "nan", "inf", "ten", "1/s")),
    ],
)
def test_variables_that_make_no_sense_are_named(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        read_stack(ENVIRONMENT | {name: value})
