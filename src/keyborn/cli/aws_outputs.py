"""``keyborn aws outputs``: where a stack is and what it is made of."""

from typing import TYPE_CHECKING

import click

from keyborn.cli.aws_place import check_name, open_session, place_options, stack_option
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from keyborn.adapters.aws.stack.outputs import StackOutputs


@click.command()
@stack_option
@place_options
@json_option
def outputs(
    *, stack: str, region: str | None, profile: str | None, account: str | None, as_json: bool
) -> None:
    """Show where the stack is and what it is made of.

    Example: keyborn aws outputs --stack keyborn
    """
    from keyborn.adapters.aws.stack.outputs import read_outputs

    session = open_session(region, profile, account)
    found = read_outputs(session.client("cloudformation"), check_name(stack))
    show(facts(found), as_json=as_json)


def facts(found: "StackOutputs") -> dict[str, object]:
    """A stack's outputs, as people and programs read them."""
    from keyborn.http.bodies import fingerprint_text

    root = found.root_fingerprint
    return {
        "stack": found.stack,
        "status": found.status,
        "region": found.region,
        "account": found.account,
        "url": found.url,
        "rootFingerprint": fingerprint_text(root) if root else None,
        "mqttEndpoint": f"{found.mqtt_host}:{found.mqtt_port}",
        "topicPrefix": found.topic_prefix,
        "enrollmentsPerSecond": found.enrollments_per_second,
        "table": found.table,
        "thingType": found.thing_type,
        "defaultPolicy": found.default_policy,
        "enrollFunction": found.enroll_function,
        "sweepFunction": found.sweep_function,
        "enrollLogs": found.enroll_logs,
        "sweepLogs": found.sweep_logs,
        "accessLogs": found.access_logs,
        "alarmTopic": found.alarm_topic,
        "code": found.code,
    }
