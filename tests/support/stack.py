"""The template applied to the stand-in, as a deployer would: change set, look, execute; and taken away."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.ministack import Ministack

TEMPLATE = Path(__file__).resolve().parents[2] / "src/keyborn/adapters/aws/stack/template.yaml"
SECONDS = 60.0
NOTHING = ("didn't contain changes", "No updates are to be performed")


@dataclass(slots=True)
class Stack:
    """One stack of the template on one stand-in."""

    aws: Ministack
    name: str = "kb"
    bucket: str = "kb-code"
    plans: int = 0

    def upload(self, key: str, code: bytes) -> None:
        """Put code where the template is told it is."""
        s3 = self.aws.client("s3", s3={"addressing_style": "path"})
        known = {one["Name"] for one in s3.list_buckets()["Buckets"]}
        if self.bucket not in known:
            s3.create_bucket(
                Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
            )
        s3.put_object(Bucket=self.bucket, Key=key, Body=code)

    def plan(self, kind: str, **parameters: str) -> dict[str, Any]:
        """Make a change set and return what it says."""
        cloud = self.aws.client("cloudformation")
        self.plans += 1
        name = f"plan-{self.plans}"
        given = {"CodeBucket": self.bucket, **parameters}
        cloud.create_change_set(
            StackName=self.name,
            ChangeSetName=name,
            ChangeSetType=kind,
            TemplateBody=TEMPLATE.read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        return self._wait(
            lambda: cloud.describe_change_set(StackName=self.name, ChangeSetName=name), "Status"
        )

    def apply(self) -> dict[str, Any]:
        """Execute the last change set; returns the stack."""
        cloud = self.aws.client("cloudformation")
        cloud.execute_change_set(StackName=self.name, ChangeSetName=f"plan-{self.plans}")
        return self._wait(lambda: cloud.describe_stacks(StackName=self.name)["Stacks"][0], "StackStatus")

    def create(self, **parameters: str) -> dict[str, str]:
        """Both at once; returns the outputs."""
        plan = self.plan("CREATE", **parameters)
        assert plan["Status"] == "CREATE_COMPLETE", plan
        made = self.apply()
        assert made["StackStatus"] == "CREATE_COMPLETE", made
        return {one["OutputKey"]: one["OutputValue"] for one in made["Outputs"]}

    def delete(self) -> None:
        """Take it away, and wait until it is gone."""
        cloud = self.aws.client("cloudformation")
        identity = cloud.describe_stacks(StackName=self.name)["Stacks"][0]["StackId"]
        cloud.delete_stack(StackName=self.name)
        gone = self._wait(lambda: cloud.describe_stacks(StackName=identity)["Stacks"][0], "StackStatus")
        assert gone["StackStatus"] == "DELETE_COMPLETE", gone

    def ask(
        self, api: str, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request through the API's stage."""
        url = f"{self.aws.url}/_aws/execute-api/{api}/$default{path}"
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def _wait(self, look: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - a call of a client
        until = time.monotonic() + SECONDS
        while True:
            found: dict[str, Any] = look()
            if not found[name].endswith(("_IN_PROGRESS", "_PENDING")):
                return found
            assert time.monotonic() < until, found
            time.sleep(0.02)


def everything(aws: Ministack) -> dict[str, list[str]]:
    """What there is, by kind, listed by each service itself."""
    logs, iam, iot = aws.root("logs"), aws.root("iam"), aws.root("iot")
    watch, functions = aws.root("cloudwatch"), aws.root("lambda")
    return {
        "tables": aws.root("dynamodb").list_tables()["TableNames"],
        "functions": [one["FunctionName"] for one in functions.list_functions()["Functions"]],
        "roles": [one["RoleName"] for one in iam.list_roles()["Roles"]],
        "logs": [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]],
        "filters": [one["filterName"] for one in logs.describe_metric_filters()["metricFilters"]],
        "apis": [one["Name"] for one in aws.root("apigatewayv2").get_apis()["Items"]],
        "policies": [one["policyName"] for one in iot.list_policies()["policies"]],
        "types": [one["thingTypeName"] for one in iot.list_thing_types()["thingTypes"]],
        "rules": [one["Name"] for one in aws.root("events").list_rules()["Rules"]],
        "topic rules": [one["ruleName"] for one in iot.list_topic_rules()["rules"]],
        "topics": [one["TopicArn"] for one in aws.root("sns").list_topics()["Topics"]],
        "alarms": [one["AlarmName"] for one in watch.describe_alarms()["MetricAlarms"]],
        "dashboards": [one["DashboardName"] for one in watch.list_dashboards()["DashboardEntries"]],
    }


def policies_of(aws: Ministack, role: str) -> dict[str, Any]:
    """The inline policies of a role, by name."""
    iam = aws.root("iam")
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names
    }
    return {name: json.loads(one) if isinstance(one, str) else one for name, one in documents.items()}
