"""``keyborn prune``: forget what has been of no use for long."""

import click

from keyborn.cli.desk import Desk, no_stack, service_options
from keyborn.cli.output import json_option, show
from keyborn.domain.errors import NothingToPrune

_KINDS = ("certificates", "redemptions", "approvals")


@click.command()
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(1),
    metavar="DAYS",
    help="What ended more than so many days ago.  [default: retention_days of server.toml]",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing: say how much it would be.")
@no_stack(NothingToPrune)
@service_options
@json_option
def prune(*, days: int | None, dry_run: bool, desk: Desk, as_json: bool) -> None:
    """Forget expired certificates that no thing holds, redemptions of expired tokens, expired requests.

    Keys and names that were taken away stay so for ever, and the audit trail stays whole. The service does
    the same by itself every day where server.toml sets retention_days.

    Example: keyborn prune --older-than 365 --dry-run

    Example: keyborn prune --older-than 365
    """
    total = dict.fromkeys(_KINDS, 0)
    after = None
    while True:
        done = desk.ask("POST", "/v1/prune", {"days": days, "dryRun": dry_run, "after": after})
        total = {kind: count + done[kind] for kind, count in total.items()}
        after = done["after"]
        if after is None:
            break
    if as_json:
        show({**total, "dryRun": dry_run}, as_json=True)
        return
    told = ", ".join(f"{count} {kind}" for kind, count in total.items())
    click.echo(f"{'It would forget' if dry_run else 'Forgotten'}: {told}.")
