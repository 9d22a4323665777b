"""``keyborn ca``: roots and intermediates."""

from pathlib import Path

import click

from keyborn.cli.console import ask, data_option
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, table


@click.group(cls=Group)
def ca() -> None:
    """The certificate authorities of this service.

    Example: keyborn ca show
    """


@ca.command("show")
@data_option
@json_option
def show_authorities(*, data: Path, as_json: bool) -> None:
    """Show roots, intermediates and their SHA-256 fingerprints.

    Example: keyborn ca show
    """
    rows = ask(data, "GET", "/v1/authorities")
    table(rows, ["role", "name", "notAfter", "fingerprint"], as_json=as_json, empty="There is no authority.")


@ca.command()
@click.option(
    "--role",
    type=click.Choice(["root", "devices", "servers"]),
    default="root",
    show_default=True,
    help="Which certificate.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@data_option
def export(*, role: str, out: Path | None, data: Path) -> None:
    """Print a certificate as PEM; never a key.

    Example: keyborn ca export --out root.pem
    """
    pem = "".join(row["pem"] for row in ask(data, "GET", "/v1/authorities") if row["role"] == role)
    if out is None:
        click.echo(pem, nl=False)
        return
    out.write_text(pem)
    click.echo(f"Wrote {out}", err=True)
