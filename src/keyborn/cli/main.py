"""The ``keyborn`` command: a table of nouns, loaded when they are called (GOALS P6: help within 80 ms)."""

import importlib
import sys

import click

from keyborn import __version__

COMMANDS = {
    "enroll": ("keyborn.cli.enroll:enroll", "Give this device its identity (key, certificate, broker)."),
    "publish": ("keyborn.cli.messages:publish", "Send a message through the durable outbox."),
    "subscribe": ("keyborn.cli.messages:subscribe", "Print the messages that arrive for a filter."),
    "messages": ("keyborn.cli.messages:messages", "Messages that were set aside: list, retry, drop."),
    "status": ("keyborn.cli.status:status", "Show this device's identity and outbox."),
    "demo": ("keyborn.cli.demo:demo", "Run the whole flow in a temporary folder, with evidence."),
    "serve": ("keyborn.cli.serve:serve", "Run the authority, registry and MQTT broker on this machine."),
    "token": ("keyborn.cli.token:token", "Enrolment tokens: create, list, withdraw."),
    "thing": ("keyborn.cli.thing:thing", "The fleet: list, show, suspend, activate, revoke, retire."),
    "policy": ("keyborn.cli.policy:policy", "Access policies: put, attach, lint, simulate."),
    "service": ("keyborn.cli.service:service", "Broker identities for programs."),
    "watch": ("keyborn.cli.watch:watch", "Print the messages that match a filter, with thing and time."),
    "aws": ("keyborn.cli.aws:aws", "The serverless stack on AWS: deploy, outputs, destroy."),
    "ca": ("keyborn.cli.ca:ca", "Roots, intermediates and their fingerprints."),
    "audit": ("keyborn.cli.audit:audit", "The audit trail: show and verify."),
}

# What the server extra brings and a bare install does not have.
SERVER_PACKAGES = frozenset({"httptools", "msgspec", "starlette", "uvicorn"})
# What the aws extra brings beside two of those.
AWS_PACKAGES = frozenset({"boto3", "botocore"})


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of the table: the device's first, then the operator's."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import the command, or nothing if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none of that name, the error shows the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], COMMANDS, n=1):
                raise click.UsageError(
                    f"No such command {args[0]!r}. Did you mean {near[0]!r}?", ctx
                ) from None
            raise

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; raises ServerPartsMissing or AwsPartsMissing where a package is not installed."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in AWS_PACKAGES:
                from keyborn.domain.errors import AwsPartsMissing

                raise AwsPartsMissing(package=package) from None
            if package not in SERVER_PACKAGES:
                raise
            from keyborn.domain.errors import ServerPartsMissing

            raise ServerPartsMissing(package=package) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the table's summaries without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: keyborn demo",
)
@click.version_option(__version__, prog_name="keyborn")
def cli() -> None:
    """Give IoT devices their identity: the key is born on the device and never leaves it."""


def main() -> None:
    """Run the command; every error ends in one sentence and an exit code (0 done, 1 refused, 2 usage)."""
    from keyborn.cli.failures import run

    sys.exit(run(cli))
