"""``keyborn api-key``: who may operate this service from elsewhere."""

from pathlib import Path
from typing import Any

import click

from keyborn.cli.console import ask, place
from keyborn.cli.desk import Desk, folder_option, pages, service_options
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table
from keyborn.cli.token import Duration

ROLES = ("viewer", "approver", "admin")


@click.group("api-key", cls=Group)
def api_key() -> None:
    """API keys: who may operate this service from elsewhere, as what, and until when.

    Example: keyborn api-key create --name alice --role viewer --out alice.key
    """


@api_key.command(short_help="Make a key; prints it once, on the last line.")
@click.option("--name", required=True, metavar="WHO", help="Whom it is for, as the audit trail will say.")
@click.option(
    "--role",
    required=True,
    type=click.Choice(ROLES),
    help="viewer looks, approver decides who may enrol, admin does everything.",
)
@click.option("--ttl", type=Duration(), default="90d", show_default=True, help="How long it is valid.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a new file, mode 0600."
)
@folder_option("api-key create")
@json_option
def create(*, name: str, role: str, ttl: int, out: Path | None, data: Path, as_json: bool) -> None:
    """Make an API key; prints it once, on the last line, or writes it to a file.

    The key says where the service is and whom to believe there: it is all that an operator elsewhere needs.
    Only the machine of the service makes keys, whatever role a key has.

    Example: keyborn api-key create --name alice --role viewer --out alice.key

    Example: keyborn api-key create --name night-shift --role approver --ttl 12h
    """
    if out is not None and out.exists():
        raise click.UsageError(f"{out} is there already, and is not overwritten.")
    made = ask(data, "POST", "/v1/api-keys", {"name": name, "role": role, "ttl": ttl})
    if out is not None:
        _write(data, out, made)
    if ask(data, "GET", "/v1/about").get("remoteAdmin") is False:
        click.echo("warning: this service answers nobody elsewhere (remote_admin in server.toml).", err=True)
    if as_json:
        show(made, as_json=True)
        return
    shown = ("id", "name", "role", "expires", "url")
    show({each: made[each] for each in shown}, as_json=False)
    if out is not None:
        click.echo(f"Wrote {out}. Elsewhere: keyborn thing list --api-key-file {out.name}")
        return
    click.echo("Elsewhere, put it into a file of mode 0600: keyborn thing list --api-key-file FILE\n")
    click.echo(made["apiKey"])


def _write(data: Path, out: Path, made: dict[str, Any]) -> None:
    """Move the word of a key from what is shown to a file; a key that nobody got is withdrawn."""
    from keyborn.device.files import write_new

    try:
        write_new(out, f"{made.pop('apiKey')}\n".encode())
    except BaseException:
        ask(data, "DELETE", f"/v1/api-keys/{made['id']}")
        raise
    made["file"] = str(out)


@api_key.command("list")
@service_options
@json_option
def list_keys(*, desk: Desk, as_json: bool) -> None:
    """Show the keys; never a secret.

    Example: keyborn api-key list
    """
    rows = list(pages(desk, "/v1/api-keys", "id"))
    columns = ["id", "state", "name", "role", "created", "expires"]
    empty = "There are no API keys. Make one with: keyborn api-key create --name WHO --role viewer"
    table(rows, columns, as_json=as_json, empty=empty)


@api_key.command()
@click.argument("key_id", metavar="ID")
@service_options
@json_option
def withdraw(*, key_id: str, desk: Desk, as_json: bool) -> None:
    """End a key now: its next call is refused.

    Example: keyborn api-key withdraw a0123456789abcdef
    """
    show(desk.ask("DELETE", f"/v1/api-keys/{place(key_id)}"), as_json=as_json)
