"""``keyborn thing release-key``, ``move`` and ``set``: what changes of a thing's record."""

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options
from keyborn.cli.output import json_option, show
from keyborn.cli.token import Duration


@click.command("release-key", short_help="Let a thing come back with another key.")
@click.argument("name")
@click.option(
    "--for", "span", type=Duration(), metavar="DURATION", help="From now on; at most 7d.  [default: 1h]"
)
@click.option("--end", is_flag=True, help="End it now.")
@desk_options
@json_option
def release_key(*, name: str, span: int | None, end: bool, desk: Desk, as_json: bool) -> None:
    """Let a thing come back with another key, once.

    For a device whose key is lost, as after a new storage card: whoever may enrol under its name (by a token,
    or by its group's rule) may bring a new key within that time. The old one works until the new one has
    connected.

    Example: keyborn thing release-key sensor-1 --for 1h
    """
    if end and span is not None:
        raise click.UsageError("Say either --for DURATION or --end.")
    body = {"seconds": None} if end else {} if span is None else {"seconds": span}
    row = desk.ask("POST", f"/v1/things/{place(name)}/release", body)
    if as_json:
        show(row, as_json=True)
        return
    until = row["releaseUntil"]
    says = f"may bring another key until {until}" if until else "keeps its key"
    click.echo(f"{row['thingName']} {says}.")


@click.command("move", short_help="Put a thing under another group's rule.")
@click.argument("name")
@click.option("--group", "group", metavar="GROUP", help="The group whose rule counts from now on.")
@click.option("--no-group", is_flag=True, help="Under no group's rule.")
@desk_options
@json_option
def move_thing(*, name: str, group: str | None, no_group: bool, desk: Desk, as_json: bool) -> None:
    """Put a thing under another group's rule: its next renewals have that group's lifetime.

    Key, certificate, attributes and policies stay as they are, and no group's count changes.

    Example: keyborn thing move sensor-1 --group line-8
    """
    if no_group is (group is not None):
        raise click.UsageError("Say either --group GROUP or --no-group.")
    row = desk.ask("POST", f"/v1/things/{place(name)}/group", {"group": group})
    if as_json:
        show(row, as_json=True)
        return
    where = f"in the group {row['group']}" if row["group"] else "in no group"
    click.echo(f"{row['thingName']} is {where}.")


@click.command("set", short_help="Set or take away attributes of a thing.")
@click.argument("name")
@click.argument("attributes", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--unset", multiple=True, metavar="KEY", help="An attribute to take away; repeatable.")
@desk_options
@json_option
def set_attributes(
    *, name: str, attributes: tuple[str, ...], unset: tuple[str, ...], desk: Desk, as_json: bool
) -> None:
    """Set attributes of a thing, and take others away; the rest stay.

    A thing has at most three. Policies that depend on them are in force at once, on AWS within minutes.

    Example: keyborn thing set sensor-1 line=7 hall=2 --unset trial
    """
    if not attributes and not unset:
        raise click.UsageError("Say what to set (KEY=VALUE) or what to take away (--unset KEY).")
    body = {"attributes": dict(map(_pair, attributes)), "unset": list(unset)}
    if len(body["attributes"]) < len(attributes):
        raise click.UsageError("An attribute stands there twice.")
    row = desk.ask("POST", f"/v1/things/{place(name)}/attributes", body)
    if as_json:
        show(row, as_json=True)
        return
    held = ", ".join(f"{key}={value}" for key, value in row["attributes"].items()) or "no attributes"
    click.echo(f"{row['thingName']} has {held}.")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise click.UsageError(f"{text[:80]!a} is not KEY=VALUE.")
    return key, value
