"""What a stack says about itself, read strictly: an operator's command believes nothing else."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from keyborn.adapters.aws.stack.outputs import StackOutputs, parse_outputs, read_outputs
from keyborn.domain.errors import AwsDenied, AwsUnreachable, StackForeign, StackMissing, StackUnfinished

OUTPUTS = {
    "Url": "https://a1.execute-api.eu-central-1.amazonaws.com",
    "RootFingerprint": "",
    "MqttEndpoint": "a1-ats.iot.eu-central-1.amazonaws.com",
    "TopicPrefix": "plant/one",
    "Table": "kb-Table-1ABC",
    "ThingType": "kb_device",
    "DefaultPolicy": "kb_keyborn-default",
    "PolicyPrefix": "kb_",
    "IotArn": "arn:aws:iot:eu-central-1:123456789012",
    "EnrollmentsPerSecond": "9.8",
    "ApiId": "a1",
    "Code": "bucket/key.zip",
}
NEEDED = [name for name in OUTPUTS if name not in {"ApiId", "Code", "RootFingerprint"}]


@dataclass
class Cloud:
    """CloudFormation's one answer."""

    status: str = "CREATE_COMPLETE"
    outputs: dict[str, str] = field(default_factory=lambda: dict(OUTPUTS))
    error: Exception | None = None
    meta: Any = field(default_factory=lambda: SimpleNamespace(region_name="eu-central-1"))

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - as botocore's client takes it
        if self.error is not None:
            raise self.error
        rows = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        return {"Stacks": [{"StackName": StackName, "StackStatus": self.status, "Outputs": rows}]}


def refusal(code: str, message: str = "it says no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeStacks")


def read(**changed: Any) -> StackOutputs:  # noqa: ANN401 - of Cloud
    return read_outputs(Cloud(**changed), "kb")


def test_all_facts_are_read_once_and_checked() -> None:
    facts = read()
    assert (facts.stack, facts.status) == ("kb", "CREATE_COMPLETE")
    assert (facts.mqtt_host, facts.mqtt_port) == (OUTPUTS["MqttEndpoint"], 8883)
    assert (facts.region, facts.account) == ("eu-central-1", "123456789012")
    assert (facts.table, facts.topic_prefix, facts.policy_prefix) == ("kb-Table-1ABC", "plant/one", "kb_")
    assert facts.enrollments_per_second == pytest.approx(9.8)
    assert facts.root_fingerprint == b"", "a public certificate authority"
    assert (facts.api_id, facts.code, facts.sweep_function) == ("a1", "bucket/key.zip", "")


def test_an_endpoint_may_name_its_port() -> None:
    facts = read(outputs=OUTPUTS | {"MqttEndpoint": "mqtt.example.com:443"})
    assert (facts.mqtt_host, facts.mqtt_port) == ("mqtt.example.com", 443)


def test_a_pinned_root_is_thirty_two_bytes() -> None:
    assert read(outputs=OUTPUTS | {"RootFingerprint": "aB" * 32}).root_fingerprint == b"\xab" * 32
    with pytest.raises(StackForeign, match="RootFingerprint"):
        read(outputs=OUTPUTS | {"RootFingerprint": "ab" * 31})


def test_a_stack_of_before_pinned_roots_has_a_public_one() -> None:
    older = {key: value for key, value in OUTPUTS.items() if key != "RootFingerprint"}
    assert read(outputs=older).root_fingerprint == b""


@pytest.mark.parametrize("name", NEEDED)
def test_a_stack_without_a_fact_is_not_one_of_ours(name: str) -> None:
    lacking = {key: value for key, value in OUTPUTS.items() if key != name}
    with pytest.raises(StackForeign, match=name) as refused:
        read(outputs=lacking)
    assert "keyborn aws deploy" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Url", "ftp://example.com"),
        ("Url", "https://a b"),
        ("IotArn", "arn:aws:iot:eu-central-1:12345"),
        ("IotArn", "arn:aws:iot:eu-central-1:123456789012/x"),
        ("MqttEndpoint", "-bad"),
        ("MqttEndpoint", "host:port"),
        ("EnrollmentsPerSecond", "many"),
        ("EnrollmentsPerSecond", "nan"),
    ],
)
def test_a_fact_of_another_shape_is_not_believed(name: str, value: str) -> None:
    with pytest.raises(StackForeign, match=name):
        parse_outputs("kb", "CREATE_COMPLETE", OUTPUTS | {name: value})


@pytest.mark.parametrize(
    "status",
    [
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
    ],
)
def test_a_stack_that_is_updated_still_answers_for_itself(status: str) -> None:
    assert read(status=status).status == status


@pytest.mark.parametrize(
    "status",
    ["REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_COMPLETE", "DELETE_FAILED"],
)
def test_a_stack_that_is_not_whole_is_not_worked_on(status: str) -> None:
    with pytest.raises(StackUnfinished, match=status):
        read(status=status)


def test_no_such_stack_is_said_with_the_region_that_was_asked() -> None:
    with pytest.raises(StackMissing, match="no stack called kb in eu-central-1"):
        read(error=refusal("ValidationError", "Stack with id kb does not exist"))


def test_a_missing_permission_is_named() -> None:
    with pytest.raises(AwsDenied, match="cloudformation:DescribeStacks"):
        read(error=refusal("AccessDenied"))


def test_no_network_is_no_missing_stack() -> None:
    with pytest.raises(AwsUnreachable, match="cloudformation"):
        read(error=EndpointConnectionError(endpoint_url="https://nowhere.invalid"))
