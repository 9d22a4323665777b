"""``keyborn aws destroy``: every device and the stack itself, and what is left is said."""

import json
from typing import TYPE_CHECKING

import click

from keyborn.cli.aws_place import (
    check_name,
    has_terminal,
    interruptible,
    place_options,
    reach,
    stack_option,
    tell,
)
from keyborn.cli.output import json_option

if TYPE_CHECKING:
    from keyborn.adapters.aws.stack.clearing import Cleared
    from keyborn.adapters.aws.stack.orders import Place
    from keyborn.adapters.aws.stack.removal import Removal

_INTERRUPTED = "Nothing is lost that is needed to go on: repeat the command."


@click.command()
@stack_option
@place_options
@click.option("--yes", is_flag=True, help="Remove without asking.")
@json_option
def destroy(
    *, stack: str, region: str | None, profile: str | None, account: str | None, yes: bool, as_json: bool
) -> None:
    """Remove every device of the stack from AWS IoT, then the stack, then the bucket with its code.

    The registry goes too, and the audit trail with it: export that first with keyborn audit export FILE.
    Repeating is harmless: a removal that was interrupted goes on where it was, and where there is
    nothing to remove, that is said.

    Example: keyborn aws destroy --stack keyborn
    """
    if not (yes or has_terminal()):
        raise click.UsageError("Nobody can be asked here: say --yes to remove the stack.")
    from keyborn.adapters.aws.stack.removal import Removal
    from keyborn.domain.errors import StackMissing

    name = check_name(stack)
    orders, place = reach(region, profile, account)
    tell(f"Stack {name} in account {place.account}, region {place.region}, as {place.who}.")
    removal = Removal(orders, place, name, tell)
    with interruptible(_INTERRUPTED):
        try:
            standing = removal.look()
        except StackMissing:
            _nothing(name, place, as_json=as_json)
            return
        if not yes:
            _ask(removal)
        cleared = None if standing is None else _remove(removal)
        users = removal.remove_bucket()
    _report(removal, place, cleared, users, as_json=as_json)


def _nothing(name: str, place: "Place", *, as_json: bool) -> None:
    """Say that the work is done already, and where that was looked for: it may be the wrong place."""
    if as_json:
        click.echo(json.dumps(_facts(name, place, None, [], removed=False)))
        return
    click.echo(
        f"There is nothing to remove: no stack is called {name} in {place.region}, account {place.account}. "
        "If it is elsewhere, name the place with --region, --profile and --stack."
    )


def _ask(removal: "Removal") -> None:
    """Raise Abort unless the stack's name is typed."""
    from keyborn.wiring.aws_stack import count_devices

    table = removal.table
    count = len(removal.things()) if table is None else count_devices(removal, table)
    tell(f"This removes {count:,} devices and services for good, with the registry and its audit trail.")
    if (
        click.prompt("Type the stack's name to go on", default="", show_default=False, err=True)
        != removal.name
    ):
        tell("That is not its name. Nothing was removed.")
        raise click.exceptions.Exit(1)


def _remove(removal: "Removal") -> "Cleared":
    from keyborn.wiring.aws_stack import clear_devices, clear_unlisted

    removal.close()
    table = removal.table
    cleared = clear_unlisted(removal, tell) if table is None else clear_devices(removal, table, tell)
    tell(f"{len(cleared.things):,} devices and services are taken away; now the stack.")
    removal.delete()
    return cleared


def _report(
    removal: "Removal", place: "Place", cleared: "Cleared | None", users: list[str], *, as_json: bool
) -> None:
    left = _left(removal, cleared, users)
    if as_json:
        click.echo(json.dumps(_facts(removal.name, place, cleared, left, removed=True)))
        return
    click.echo(f"The stack {removal.name} is removed. What is left:")
    for line in left:
        click.echo(f"- {line}")


def _facts(
    name: str, place: "Place", cleared: "Cleared | None", left: list[str], *, removed: bool
) -> dict[str, object]:
    """What became of the stack, for programs; ``removed`` is false where there was nothing to remove."""
    return {
        "stack": name,
        "region": place.region,
        "account": place.account,
        "removed": removed,
        "things": 0 if cleared is None else len(cleared.things),
        "certificates": 0 if cleared is None else len(cleared.certificates),
        "policies": [] if cleared is None else sorted(cleared.policies),
        "left": left,
    }


def _left(removal: "Removal", cleared: "Cleared | None", users: list[str]) -> list[str]:
    left = [
        "DynamoDB's own last backup of the registry, for 35 days, without charge; nobody can shorten that.",
        "Figures in CloudWatch (namespace Keyborn), which go by themselves with time.",
    ]
    if users:
        left.append(f"The bucket {removal.bucket.name}: {', '.join(users)} has its code there.")
    if cleared is not None and cleared.open_sessions:
        left.append("Sessions that were open and could not be ended: they last until their devices end them.")
    return left
