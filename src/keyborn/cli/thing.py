"""``keyborn thing``: the fleet."""

from itertools import islice

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.groups import Group
from keyborn.cli.orders import carry_out, reason_option
from keyborn.cli.output import json_option, show, stream, table
from keyborn.cli.regroup import move_thing, release_key, set_attributes
from keyborn.cli.token import Duration

_STATUSES = ("claimed", "active", "suspended", "revoked", "retired")
_PAGE = 1000


@click.group(cls=Group)
def thing() -> None:
    """The things in the registry: look, suspend, activate, let renew, move, revoke, retire.

    Example: keyborn thing list
    """


thing.add_command(release_key)
thing.add_command(move_thing)
thing.add_command(set_attributes)


@thing.command("list")
@click.option("--prefix", metavar="TEXT", help="Only those whose names begin so.")
@click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only those with this attribute; repeatable.",
)
@click.option("--group", metavar="GROUP", help="Only those of this enrolment group.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only those that stand so.")
@click.option("--limit", type=click.IntRange(1), metavar="COUNT", help="At most so many.")
@desk_options
@json_option
def list_things(  # one parameter per option
    *,
    prefix: str | None,
    where: tuple[str, ...],
    group: str | None,
    status: str | None,
    limit: int | None,
    desk: Desk,
    as_json: bool,
) -> None:
    """List the fleet, by name; services have a list of their own.

    Example: keyborn thing list --json

    Example: keyborn thing list --group line-7 --status suspended

    Example: keyborn thing list --prefix pump- --where site=north --limit 20

    Example: keyborn thing list --aws keyborn
    """
    asked = {"prefix": prefix or None, "where": list(where) or None, "group": group, "status": status}
    size = min(limit or _PAGE, _PAGE)
    found = islice(pages(desk, "/v1/things", "thingName", size, **asked), limit)
    if as_json:
        stream(found)
        return
    rows = [row | {"policies": ", ".join(row["policies"]) or None} for row in found]
    grouped = ["group"] if any(row["group"] for row in rows) else []
    columns = ["thingName", "status", *grouped, "policies", "created"]
    empty = f"There are no things yet. Permit one with: keyborn token create --thing NAME{desk.words}"
    if any(asked.values()):
        empty = "No thing is like that."
    if [word for word in asked.values() if word] == [group]:
        empty = f"No thing is in the group {group}."
    table(rows, columns, as_json=False, empty=empty)


@thing.command("show")
@click.argument("name")
@desk_options
@json_option
def show_thing(*, name: str, desk: Desk, as_json: bool) -> None:
    """Show one thing and every certificate of it that is kept.

    Example: keyborn thing show sensor-1
    """
    report = desk.ask("GET", f"/v1/things/{place(name)}")
    if as_json:
        show(report, as_json=True)
        return
    certificates = report.pop("certificates")
    report["policies"] = ", ".join(report["policies"]) or None
    report["attributes"] = ", ".join(f"{k}={v}" for k, v in report["attributes"].items()) or None
    show(report, as_json=False)
    click.echo()
    columns = ["certificateId", "status", "slot", "notBefore", "notAfter", "firstConnected"]
    table(certificates, columns, as_json=False, empty="It has no certificate.")


@thing.command("suspend")
@click.argument("name")
@reason_option
@desk_options
@json_option
def suspend_thing(*, name: str, reason: str, desk: Desk, as_json: bool) -> None:
    """Take a thing off the broker until it is activated again.

    Its open session is closed at once and its will is not sent; what it left on the broker is purged. Key
    and certificate stay on the device, of no use meanwhile. NAME may also be a certificate id.

    Example: keyborn thing suspend sensor-1
    """
    carry_out(desk, name, "suspended", reason=reason, as_json=as_json)


@thing.command("activate")
@click.argument("name")
@reason_option
@desk_options
@json_option
def activate_thing(*, name: str, reason: str, desk: Desk, as_json: bool) -> None:
    """Give a suspended thing its place back.

    It connects with the key and certificate it has. NAME may also be a certificate id.

    Example: keyborn thing activate sensor-1
    """
    carry_out(desk, name, "active", reason=reason, as_json=as_json)


@thing.command("grace")
@click.argument("name")
@click.option("--for", "span", type=Duration(), metavar="DURATION", help="From now on; at most 30d.")
@click.option("--end", is_flag=True, help="End it now.")
@desk_options
@json_option
def grace_thing(*, name: str, span: int | None, end: bool, desk: Desk, as_json: bool) -> None:
    """Let a thing renew although its certificate has expired.

    For a device that was switched off for too long: it renews by itself, with the key it has, as soon as it
    is back. Without grace it needs an enrolment token. A suspended or revoked thing does not renew all the
    same.

    Example: keyborn thing grace sensor-1 --for 7d
    """
    if end is (span is not None):
        raise click.UsageError("Say either --for DURATION or --end.")
    row = desk.ask("POST", f"/v1/things/{place(name)}/grace", {"seconds": None if end else span})
    if as_json:
        show(row, as_json=True)
        return
    until = row["graceUntil"]
    ends = f"may renew with an expired certificate until {until}" if until else "has no grace any more"
    click.echo(f"{row['thingName']} {ends}.")


@thing.command("revoke")
@click.argument("name")
@reason_option
@desk_options
@json_option
def revoke_thing(*, name: str, reason: str, desk: Desk, as_json: bool) -> None:
    """Take a thing's certificates and keys away for good.

    Its open session is closed at once and its will is not sent; what it left on the broker is purged. The key
    never returns; the name only by a token made with --replace. NAME may also be a certificate id.

    Example: keyborn thing revoke sensor-1

    Example: keyborn thing revoke sensor-1 --aws keyborn
    """
    carry_out(desk, name, "revoked", reason=reason, as_json=as_json)


@thing.command("retire")
@click.argument("name")
@reason_option
@desk_options
@json_option
def retire_thing(*, name: str, reason: str, desk: Desk, as_json: bool) -> None:
    """End a thing that is out of use.

    As revoke, with the other word in the books: nothing went wrong, the device is gone. NAME may also be a
    certificate id.

    Example: keyborn thing retire sensor-1
    """
    carry_out(desk, name, "retired", reason=reason, as_json=as_json)
