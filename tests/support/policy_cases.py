"""The table of policy cases: ``cases()`` gives each with the rule it shows and the verdict it must get.

Written from the rules and from nothing else: the AWS IoT Core Developer Guide (policy actions, action
resources, policy variables, connect and publish/subscribe examples, connectAttributes), the IAM User Guide
(evaluation logic, condition operators, set operators, variables without a value) and the design's facts.
"""

from functools import cache

from support import (
    policy_cases_binding,
    policy_cases_conditions,
    policy_cases_connect,
    policy_cases_matching,
)
from support.policy_case import Case


@cache
def cases() -> tuple[Case, ...]:
    """Every case, always in the same order; names are unique."""
    return (
        *policy_cases_matching.rows(),
        *policy_cases_binding.rows(),
        *policy_cases_conditions.rows(),
        *policy_cases_connect.rows(),
    )


def wire_cases() -> tuple[Case, ...]:
    """Those that can be shown over a real MQTT connection."""
    return tuple(case for case in cases() if case.wire is not None)
