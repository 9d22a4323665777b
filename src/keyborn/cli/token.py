"""``keyborn token``: permissions to enrol."""

import re
from typing import Any

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table
from keyborn.domain.names import RESERVED_PREFIX

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[int]):
    """``90s``, ``30m``, ``1h``, ``7d``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,9})([smhd])", str(value), re.ASCII)
        if match is None:
            self.fail("takes a number and s, m, h or d, such as 1h or 7d", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


@click.group(cls=Group)
def token() -> None:
    """Enrolment tokens: a permission for a device to enrol.

    Example: keyborn token create --thing sensor-1
    """


@token.command()
@click.option("--thing", metavar="NAME", help="The one thing name it is good for.")
@click.option("--match", metavar="PATTERN", help="A pattern of thing names with * and ?, such as 'sensor-*'.")
@click.option(
    "--uses", type=click.IntRange(0), default=1, show_default=True, help="How many devices; 0: no limit."
)
@click.option("--ttl", type=Duration(), default="1h", show_default=True, help="How long it is valid.")
@click.option("--group", metavar="GROUP", help="The enrolment group under whose rule it is good.")
@click.option("--replace", is_flag=True, help="May replace the thing's key; goes with --thing.")
@desk_options
@json_option
def create(  # one parameter per option
    *,
    thing: str | None,
    match: str | None,
    uses: int,
    ttl: int,
    group: str | None,
    replace: bool,
    desk: Desk,
    as_json: bool,
) -> None:
    """Make a token; prints its enrolment code once, on the last line.

    Example: keyborn token create --thing sensor-1 --ttl 1h

    Example: keyborn token create --thing sensor-1 --aws keyborn
    """
    if thing is not None and match is not None:
        raise click.UsageError("--thing and --match exclude each other.")
    if replace and thing is None:
        raise click.UsageError("--replace goes with --thing NAME.")
    wish = {"thing": thing, "match": match, "uses": uses, "ttl": ttl, "replace": replace, "group": group}
    made = desk.ask("POST", "/v1/tokens", {name: value for name, value in wish.items() if value is not None})
    if as_json:
        show(made, as_json=True)
        return
    said = ("id", "things", *(() if group is None else ("group",)), "uses", "expires", "url")
    show({name: made[name] for name in said}, as_json=False)
    if made["things"] == "*" and group is None:
        click.echo("Good for any thing name: bind it to one with --thing NAME, or to a pattern with --match.")
    name = "NAME" if thing is None else made["things"]
    click.echo(f"On the device, paste this code into: keyborn enroll - --thing {name}\n")
    click.echo(made["code"])


@token.command("list")
@click.option("--all", "everything", is_flag=True, help="Those of Keyborn's own services too.")
@desk_options
@json_option
def list_tokens(*, everything: bool, desk: Desk, as_json: bool) -> None:
    """Show the tokens; never a secret.

    Example: keyborn token list
    """
    rows = [row for row in pages(desk, "/v1/tokens", "id") if everything or not _is_own(row)]
    columns = ["id", "state", "things", "group", "kind", "uses", "usesTaken", "replace", "expires"]
    empty = f"There are no tokens. Make one with: keyborn token create{desk.words}"
    table(rows, columns, as_json=as_json, empty=empty)


@token.command()
@click.argument("token_id", metavar="ID")
@desk_options
@json_option
def withdraw(*, token_id: str, desk: Desk, as_json: bool) -> None:
    """End a token now: nothing that depends on it works any more.

    Example: keyborn token withdraw t0123456789abcdef
    """
    show(desk.ask("DELETE", f"/v1/tokens/{place(token_id)}"), as_json=as_json)


def _is_own(row: dict[str, Any]) -> bool:
    """Whether Keyborn made it for a service of its own, as ``keyborn watch`` is."""
    return row["kind"] == "service" and str(row["things"]).startswith(RESERVED_PREFIX)
