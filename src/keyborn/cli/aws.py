"""``keyborn aws``: the serverless stack; each command is loaded when it is called."""

import click

from keyborn.cli.groups import LazyGroup

COMMANDS = {
    "deploy": ("keyborn.cli.aws_deploy:deploy", "Make the stack, or bring it up to date."),
    "outputs": ("keyborn.cli.aws_outputs:outputs", "Show where the stack is and what it is made of."),
    "smoke": ("keyborn.cli.aws_smoke:smoke", "Try in this account what Keyborn takes for granted."),
    "destroy": ("keyborn.cli.aws_destroy:destroy", "Remove every device and the stack itself."),
    "permissions": ("keyborn.cli.aws_permissions:permissions", "Print the IAM policy that a deployer needs."),
}


class _Commands(LazyGroup):
    """In the order of their work."""

    table = COMMANDS


@click.group(cls=_Commands)
def aws() -> None:
    """The stack on AWS: API Gateway, Lambda, DynamoDB and AWS IoT Core in one CloudFormation stack.

    Example: keyborn aws deploy --region eu-central-1
    """
