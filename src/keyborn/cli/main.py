"""The ``keyborn`` command: a table of nouns, loaded when they are called (GOALS P6: help within 80 ms)."""

import gc
import sys

import click

from keyborn import __version__
from keyborn.cli.groups import LazyGroup

COMMANDS = {
    "enroll": ("keyborn.cli.enroll:enroll", "Give this device its identity (key, certificate, broker)."),
    "publish": ("keyborn.cli.messages:publish", "Send a message through the durable outbox."),
    "subscribe": ("keyborn.cli.messages:subscribe", "Print the messages that arrive for a filter."),
    "messages": ("keyborn.cli.messages:messages", "Messages that were set aside: list, retry, drop."),
    "status": ("keyborn.cli.status:status", "Show this device's identity and outbox."),
    "agent": ("keyborn.cli.agent:agent", "Stay connected, send what waits, renew in time; for ever."),
    "renew": ("keyborn.cli.renew:renew", "Renew this device's certificate, if it is due."),
    "look": ("keyborn.cli.look:look", "Look at the service's roots now."),
    "key": ("keyborn.cli.key:key", "Make this device's key ahead of time; print a key's hash."),
    "forget": ("keyborn.cli.forget:forget", "Factory reset: remove key, certificate and outbox."),
    "demo": ("keyborn.cli.demo:demo", "Run the whole flow in a temporary folder, with evidence."),
    "serve": ("keyborn.cli.serve:serve", "Run the authority, registry and MQTT broker on this machine."),
    "token": ("keyborn.cli.token:token", "Enrolment tokens: create, list, withdraw."),
    "thing": (
        "keyborn.cli.thing:thing",
        "The fleet: look, suspend, activate, let renew, move, revoke, retire.",
    ),
    "group": ("keyborn.cli.group:group", "Enrolment groups: who may enrol, as what, and how many."),
    "registered": ("keyborn.cli.registered:registered", "Keys announced before their devices come."),
    "approval": ("keyborn.cli.approval:approval", "Devices that wait for you: list, approve, refuse."),
    "policy": ("keyborn.cli.policy:policy", "Access policies: put, attach, lint, simulate."),
    "service": ("keyborn.cli.service:service", "Broker identities for programs."),
    "watch": ("keyborn.cli.watch:watch", "Print the messages that match a filter, with thing and time."),
    "backup": ("keyborn.cli.backup:backup", "Write the data folder into one file, while it serves."),
    "restore": ("keyborn.cli.restore:restore", "Put a backup back; what was revoked since stays revoked."),
    "aws": ("keyborn.cli.aws:aws", "The serverless stack on AWS: deploy, outputs, destroy."),
    "ca": ("keyborn.cli.ca:ca", "Roots and intermediates: look, and change the root."),
    "prune": ("keyborn.cli.prune:prune", "Forget what expired long ago."),
    "metrics": ("keyborn.cli.metrics:metrics", "What the running service counts, as Prometheus reads it."),
    "audit": ("keyborn.cli.audit:audit", "The audit trail: show, export, verify."),
    "api-key": ("keyborn.cli.api_key:api_key", "API keys for operators elsewhere: create, list, withdraw."),
}

_GARBAGE = 20_000
"""Objects that are made before anybody looks for garbage among them: modules, which a start makes, are none.

With Python's own 700 a start looks for it two hundred times, and takes a tenth longer."""

# What the server extra brings and a bare install does not have.
SERVER_PACKAGES = frozenset({"httptools", "msgspec", "starlette"})
# What the aws extra brings beside two of those.
AWS_PACKAGES = frozenset({"boto3", "botocore"})


class _Commands(LazyGroup):
    """The nouns: the device's first, then the operator's."""

    table = COMMANDS

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


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: keyborn demo",
)
@click.version_option(__version__, prog_name="keyborn")
def cli() -> None:
    """Give IoT devices their identity: the key is born on the device and never leaves it."""


def main() -> None:
    """Run the command; every error ends in one sentence and an exit code (0 done, 1 refused, 2 usage)."""
    gc.set_threshold(_GARBAGE)
    from keyborn.cli.failures import run

    code = run(cli)
    gc.freeze()  # nobody needs to look for garbage in what ends now
    sys.exit(code)
