"""Orders that move a thing or a service from one status to another, and what the operator is told."""

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk
from keyborn.cli.output import show

reason_option = click.option(
    "--reason", default="", metavar="TEXT", help="Why, for the audit trail; one line, no secrets."
)


def carry_out(
    desk: Desk, name: str, status: str, *, reason: str, as_json: bool, kind: str = "device"
) -> None:
    """Send one order and say what it did; raises Refused.

    A warning, in JSON too, says what the order could not end at once; the order itself stands.
    """
    body = {"status": status, "kind": kind, "reason": reason}
    done = desk.ask("POST", f"/v1/things/{place(name)}/status", body)
    if as_json:
        show(done, as_json=True)
        return
    closed = done["sessionsClosed"]
    sessions = f" Open sessions closed: {closed}." if closed else ""
    click.echo(f"{done['thingName']} is {done['status']}.{sessions}")
    if done["warning"]:
        click.echo(f"warning: {done['warning']['detail']} [{done['warning']['code']}]", err=True)
