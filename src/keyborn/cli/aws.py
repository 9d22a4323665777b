"""``keyborn aws``: the serverless stack; each command is loaded when it is called."""

import importlib

import click

COMMANDS = {
    "deploy": ("keyborn.cli.aws_deploy:deploy", "Make the stack, or bring it up to date."),
    "outputs": ("keyborn.cli.aws_outputs:outputs", "Show where the stack is and what it is made of."),
    "smoke": ("keyborn.cli.aws_smoke:smoke", "Try in this account what Keyborn takes for granted."),
    "destroy": ("keyborn.cli.aws_destroy:destroy", "Remove every device and the stack itself."),
    "permissions": ("keyborn.cli.aws_permissions:permissions", "Print the IAM policy that a deployer needs."),
}


class _Lazy(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of their work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import the command, or nothing if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the summaries without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=_Lazy)
def aws() -> None:
    """The stack on AWS: API Gateway, Lambda, DynamoDB and AWS IoT Core in one CloudFormation stack.

    Example: keyborn aws deploy --region eu-central-1
    """
