"""Two people at one stack: what one of them calls off must not take away what the other one made."""

from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.adapters.aws.stack.stacks import Stack
from support.aws_deployer import BUCKET, STACK, Deployer
from support.ministack import REGION

PARAMETERS = {"CodeBucket": BUCKET, "CodeKey": "none", "MqttEndpoint": "mqtt.example"}


def test_who_calls_off_a_first_deploy_leaves_the_stack_that_another_one_made_meanwhile(
    deployer: Deployer,
) -> None:
    stack = Stack(Orders(AwsSession(region=REGION)), STACK, print)
    plan = stack.plan(None, PARAMETERS, {})
    assert plan is not None
    deployer.deploy()
    stack.discard(plan)
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"


def test_of_a_first_deploy_that_is_called_off_nothing_is_left(deployer: Deployer) -> None:
    stack = Stack(Orders(AwsSession(region=REGION)), STACK, print)
    plan = stack.plan(None, PARAMETERS, {})
    assert plan is not None
    stack.discard(plan)
    standing = stack.standing()
    assert standing is None or standing.state == "DELETE_COMPLETE"
