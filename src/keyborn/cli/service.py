"""``keyborn service``: broker identities for programs."""

from pathlib import Path
from typing import Any

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.groups import Group
from keyborn.cli.orders import carry_out, reason_option
from keyborn.cli.output import json_option, show, table
from keyborn.cli.policy_file import finding_line, read_policy, require_sound


@click.group(cls=Group)
def service() -> None:
    """Programs (not devices) with a key and certificate of their own for the broker.

    Example: keyborn service add dashboard --policy dashboard.json
    """


@service.command("add", short_help="Give a program its identity: key, certificate and policy.")
@click.argument("name")
@click.option(
    "--policy",
    "policy",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What it may do; - is standard input. Kept as the policy service-NAME.",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where its key and certificate go.  [default: DATA/services/NAME; elsewhere in the state folder]",
)
@click.option("--code", "only_code", is_flag=True, help="Enrol nothing here: print the enrolment code last.")
@click.option("--replace", is_flag=True, help="Let a new key take over the name, or free a revoked one.")
@desk_options
@json_option
def add_service(
    *,
    name: str,
    policy: Path,
    home: Path | None,
    only_code: bool,
    replace: bool,
    desk: Desk,
    as_json: bool,
) -> None:
    """Give a program its identity: key, certificate and policy, by the same enrolment as a device's.

    The key is made in the service's folder on this machine. For a program elsewhere use --code, and type the
    code into `keyborn enroll - --thing NAME` there.

    Example: keyborn service add dashboard --policy dashboard.json

    Example: keyborn service add dashboard --policy dashboard.json --aws keyborn
    """
    from keyborn.cli.service_home import enroll_service, require_kept

    document = read_policy(policy)
    require_sound(policy, document)
    if not only_code:
        desk.require_open()
        require_kept(desk, home, name, "repeat the command with --replace")
    wish = {"name": name, "document": document, "replace": replace}
    invited = desk.ask("POST", "/v1/services", wish)
    for finding in invited["findings"]:
        click.echo(finding_line(finding), err=True)
    if only_code:
        _show_code(invited, as_json=as_json)
        return
    enrolled = enroll_service(desk, home, invited["thingName"], invited["code"], quiet=as_json)
    report = {"name": name, "policy": invited["policyName"], **enrolled}
    if as_json:
        show(report, as_json=True)
        return
    had = "has" if enrolled["obtained"] else "had"
    already = "" if enrolled["obtained"] else " already, which stays as it was"
    click.echo(f"The service {name} {had} its identity in {enrolled['home']}{already}.")
    click.echo(f"Next: keyborn subscribe FILTER --home {enrolled['home']}")


@service.command("list")
@desk_options
@json_option
def list_services(*, desk: Desk, as_json: bool) -> None:
    """List the services, by name.

    Example: keyborn service list
    """
    rows = list(pages(desk, "/v1/services", "thingName"))
    for row in rows:
        row["name"] = row["thingName"]
    if as_json:
        table(rows, [], as_json=True, empty="")
        return
    for row in rows:
        row["policies"] = ", ".join(row["policies"]) or None
    columns = ["name", "status", "policies", "created"]
    empty = f"There are no services. Make one with: keyborn service add NAME --policy FILE{desk.words}"
    table(rows, columns, as_json=False, empty=empty)


@service.command("suspend")
@click.argument("name")
@reason_option
@desk_options
@json_option
def suspend_service(*, name: str, reason: str, desk: Desk, as_json: bool) -> None:
    """Take a service off the broker until it is activated again.

    Its open session is closed at once; its key and certificate stay, of no use meanwhile.

    Example: keyborn service suspend dashboard
    """
    _order(desk, name, "suspended", reason=reason, as_json=as_json)


@service.command("activate")
@click.argument("name")
@reason_option
@desk_options
@json_option
def activate_service(*, name: str, reason: str, desk: Desk, as_json: bool) -> None:
    """Give a suspended service its place back.

    Example: keyborn service activate dashboard
    """
    _order(desk, name, "active", reason=reason, as_json=as_json)


@service.command("revoke")
@click.argument("name")
@reason_option
@desk_options
@json_option
def revoke_service(*, name: str, reason: str, desk: Desk, as_json: bool) -> None:
    """Take a service's identity away for good, and close its session at once.

    Example: keyborn service revoke dashboard
    """
    _order(desk, name, "revoked", reason=reason, as_json=as_json)


def _order(desk: Desk, name: str, status: str, *, reason: str, as_json: bool) -> None:
    known = desk.ask("GET", f"/v1/services/{place(name)}")
    carry_out(desk, known["thingName"], status, reason=reason, as_json=as_json, kind="service")
    if status != "active" and not desk.at_once:  # it chose its client id itself, and nobody lists sessions
        click.echo("AWS IoT closes the sessions that it has open within minutes.", err=True)


def _show_code(invited: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(invited, as_json=True)
        return
    click.echo(f"Where the program runs, within the hour: keyborn enroll - --thing {invited['thingName']}")
    click.echo(invited["code"])
