"""``keyborn thing``: the fleet."""

from pathlib import Path
from urllib.parse import quote

import click

from keyborn.cli.console import ask, data_option, pages
from keyborn.cli.output import json_option, show, table


@click.group()
def thing() -> None:
    """The things in the registry.

    Example: keyborn thing list
    """


@thing.command("list")
@data_option
@json_option
def list_things(*, data: Path, as_json: bool) -> None:
    """List the fleet, by name.

    Example: keyborn thing list --json
    """
    rows = list(pages(data, "/v1/things", "thingName"))
    columns = ["thingName", "status", "created", "keyHash"]
    table(rows, columns, as_json=as_json, empty="There are no things yet. Enrol one with: keyborn enroll -")


@thing.command("show")
@click.argument("name")
@data_option
@json_option
def show_thing(*, name: str, data: Path, as_json: bool) -> None:
    """Show one thing and every certificate it ever had.

    Example: keyborn thing show sensor-1
    """
    report = ask(data, "GET", f"/v1/things/{quote(name, safe='')}")
    if as_json:
        show(report, as_json=True)
        return
    certificates = report.pop("certificates")
    report["attributes"] = ", ".join(f"{k}={v}" for k, v in report["attributes"].items()) or None
    show(report, as_json=False)
    click.echo()
    columns = ["certificateId", "status", "slot", "notBefore", "notAfter", "firstConnected"]
    table(certificates, columns, as_json=False, empty="It has no certificate.")
