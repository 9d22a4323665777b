"""What a stack says about itself: the outputs of its template, an operator's only source of such facts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyborn.adapters.aws.errors import AWS_ERRORS, code_of
from keyborn.adapters.aws.session import trouble
from keyborn.domain.errors import StackForeign, StackMissing, StackUnfinished

MQTT_PORT = 8883
_ENDPOINT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?")
_ARN = re.compile(r"arn:[a-z-]+:iot:([a-z0-9-]+):([0-9]{12})")
_ROOT = re.compile(r"(?:[0-9A-Fa-f]{64})?")
_UNFINISHED = re.compile(r"REVIEW_.*|CREATE_(?!COMPLETE).*|ROLLBACK_.*|DELETE_.*|IMPORT_(?!COMPLETE).*")
"""No outputs, or those of what is not there (any more). An update leaves the old ones good until it ends."""


@dataclass(frozen=True, slots=True)
class StackOutputs:
    """The facts about one stack, checked. Names of functions, roles and logs are their physical ids."""

    stack: str
    status: str
    """CloudFormation's word, such as ``CREATE_COMPLETE``."""
    url: str
    """Where devices enroll; enrollment codes carry it."""
    root_fingerprint: bytes
    """SHA-256 of the root that signed the certificate of ``url``; empty: a public one."""
    mqtt_host: str
    mqtt_port: int
    topic_prefix: str
    table: str
    thing_type: str
    default_policy: str
    """Its name in AWS IoT, prefix and all."""
    policy_prefix: str
    iot_arn: str
    """``arn:aws:iot:REGION:ACCOUNT``."""
    enrollments_per_second: float
    api_id: str = ""
    enroll_function: str = ""
    enroll_role: str = ""
    enroll_logs: str = ""
    sweep_function: str = ""
    sweep_role: str = ""
    sweep_logs: str = ""
    access_logs: str = ""
    alarm_topic: str = ""
    code: str = ""
    """``BUCKET/KEY`` of the code that runs."""

    @property
    def region(self) -> str:
        """Where it is, such as ``eu-central-1``."""
        return self.iot_arn.split(":")[3]

    @property
    def account(self) -> str:
        """Whose it is, twelve digits."""
        return self.iot_arn.split(":")[4]


def read_outputs(client: Any, stack: str) -> StackOutputs:  # noqa: ANN401 - botocore's clients have no types
    """Ask CloudFormation, through a botocore client, for the outputs of ``stack``.

    Raises StackMissing, StackUnfinished, StackForeign (not a stack of Keyborn's), or what ``trouble`` makes
    of an error of the call.
    """
    try:
        found = client.describe_stacks(StackName=stack)["Stacks"][0]
    except AWS_ERRORS as error:
        if code_of(error) == "ValidationError":  # CloudFormation has no code of its own for "does not exist"
            raise StackMissing(stack=stack, region=client.meta.region_name) from None
        raise trouble(error, "cloudformation:DescribeStacks") from error
    status = str(found["StackStatus"])
    if _UNFINISHED.fullmatch(status):
        raise StackUnfinished(stack=stack, status=status)
    values = {str(one["OutputKey"]): str(one["OutputValue"]) for one in found.get("Outputs", [])}
    return parse_outputs(stack, status, values)


def parse_outputs(stack: str, status: str, values: Mapping[str, str]) -> StackOutputs:
    """The outputs from their keys and values; raises StackForeign if they are not those of the template."""

    def _need(key: str, shape: str = ".+") -> re.Match[str]:
        found = re.fullmatch(shape, values.get(key, ""), re.DOTALL)
        if found is None:
            raise StackForeign(stack=stack, output=key)
        return found

    endpoint = _need("MqttEndpoint", _ENDPOINT.pattern)
    return StackOutputs(
        stack=stack,
        status=status,
        url=_need("Url", r"https?://\S+")[0],
        root_fingerprint=bytes.fromhex(_need("RootFingerprint", _ROOT.pattern)[0]),
        mqtt_host=endpoint[1],
        mqtt_port=int(endpoint[2] or MQTT_PORT),
        topic_prefix=_need("TopicPrefix")[0],
        table=_need("Table")[0],
        thing_type=_need("ThingType")[0],
        default_policy=_need("DefaultPolicy")[0],
        policy_prefix=_need("PolicyPrefix")[0],
        iot_arn=_need("IotArn", _ARN.pattern)[0],
        enrollments_per_second=float(_need("EnrollmentsPerSecond", r"[0-9]+(\.[0-9]+)?")[0]),
        **{name: values.get(key, "") for name, key in _NAMES.items()},
    )


_NAMES = {
    "api_id": "ApiId",
    "enroll_function": "EnrollFunction",
    "enroll_role": "EnrollRole",
    "enroll_logs": "EnrollLogs",
    "sweep_function": "SweepFunction",
    "sweep_role": "SweepRole",
    "sweep_logs": "SweepLogs",
    "access_logs": "AccessLogs",
    "alarm_topic": "AlarmTopic",
    "code": "Code",
}
"""Outputs that only people and `keyborn aws` ask for: an older stack may lack one."""
