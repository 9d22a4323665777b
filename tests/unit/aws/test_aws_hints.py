"""What the commands say to somebody who stands before a stack for the first time."""

import pytest
from click.testing import CliRunner

from keyborn.cli.main import cli
from keyborn.domain.errors import AwsDenied, DataFolderMissing, StackForeign
from support.aws_deployer import STACK


@pytest.mark.parametrize("command", ["deploy", "outputs", "destroy", "smoke", "permissions"])
def test_the_variable_that_names_a_stack_stands_in_the_help(command: str) -> None:
    shown = CliRunner().invoke(cli, ["aws", command, "--help"]).output
    assert "KEYBORN_AWS_STACK" in shown, "destroy takes the stack from it, too"


@pytest.mark.parametrize("address", ["me", "a b@example.com", "@example.com", "me@"])
def test_an_address_that_is_none_is_refused_before_aws_is_asked(address: str) -> None:
    said = CliRunner().invoke(cli, ["aws", "deploy", "--dry-run", "--alarm-email", address])
    assert said.exit_code == 2
    assert "--alarm-email takes NAME@DOMAIN" in said.output


def test_who_forgets_aws_is_told_of_it() -> None:
    assert "--aws STACK" in str(DataFolderMissing(path="keyborn-data"))


def test_who_lacks_a_permission_is_told_what_prints_them_all() -> None:
    assert "keyborn aws permissions" in str(AwsDenied(action="s3:GetObject"))


def test_a_stack_of_others_is_not_simply_to_be_deployed_over() -> None:
    said = str(StackForeign(stack=STACK, output="CodeKey"))
    assert "Check the name; one that an older Keyborn made" in said
