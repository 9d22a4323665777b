"""What ``keyborn aws deploy`` tells a person to do next, and which options go together."""

import os

import pytest

from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.adapters.aws.stack.stacks import Stack
from keyborn.domain.errors import StackFailed
from support.aws_deployer import STACK, Deployer
from support.ministack import REGION
from support.pki import new_pki, pem


def test_who_comes_second_at_one_stack_is_told_so_and_what_to_do(deployer: Deployer) -> None:
    stack = Stack(Orders(AwsSession(region=REGION)), STACK, print)
    deployer.deploy()
    plan = stack.plan(stack.standing(), {"LogRetentionDays": "90"}, {})
    assert plan is not None
    stack.discard(plan)  # as CloudFormation does once another one's changes are executed
    with pytest.raises(StackFailed, match=r"somebody else changed the stack .* repeat the command"):
        stack.apply(plan)
    assert deployer.parameters()["LogRetentionDays"] == "30"


def test_the_next_command_names_the_profile_that_deployed(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = deployer.folder / "profiles"
    config.write_text(
        f'[profile "iot admin"]\nregion = {REGION}\n'
        f"aws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    said = deployer.deploy("--profile", "iot admin").stdout
    assert f"--aws {STACK} --region {REGION} --profile 'iot admin' --thing gateway-1" in said


def test_who_goes_back_to_the_accounts_endpoint_goes_back_to_amazons_roots(deployer: Deployer) -> None:
    roots = deployer.folder / "roots.pem"
    roots.write_text(pem(new_pki().root.certificate))
    deployer.deploy("--mqtt-endpoint", "mqtt.example", "--mqtt-roots", str(roots))
    deployer.deploy("--mqtt-endpoint", "mqtt.two.example")
    assert deployer.parameters()["MqttRoots"] != "", "another domain of one's own keeps them"
    deployer.deploy("--mqtt-endpoint", "")
    assert deployer.parameters()["MqttRoots"] == "", "with the old ones no device could connect"
