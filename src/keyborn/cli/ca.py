"""``keyborn ca``: roots and intermediates."""

from pathlib import Path

import click

from keyborn.cli.console import ask, data_option
from keyborn.cli.desk import LocalDesk, pages
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table


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


@ca.command("roots")
@click.option("--lacking", is_flag=True, help="List the things that lack the newest set.")
@data_option
@json_option
def count_roots(*, lacking: bool, data: Path, as_json: bool) -> None:
    """Count things by the set of roots that they believe, as they say.

    Who does not have the newest set would be locked out if an older root went now.

    Example: keyborn ca roots

    Example: keyborn ca roots --lacking
    """
    if lacking:
        rows = list(pages(LocalDesk(data), "/v1/roots/lacking", "thingName"))
        table(rows, ["thingName", "roots", "since"], as_json=as_json, empty="Every thing has the newest set.")
        return
    report = ask(data, "GET", "/v1/roots")
    if as_json:
        show(report, as_json=True)
        return
    sets = [row | {"roots": row["roots"] or "(never said)"} for row in report["sets"]]
    table(sets, ["roots", "things", "newest"], as_json=False, empty="There are no things.")
    click.echo(f"{report['lacking']} of them lack the newest set, {report['newest']}.")


@ca.command("renew-root")
@data_option
@click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First line: the passphrase of the authority's keys (or $KEYBORN_CA_PASSPHRASE).",
)
@json_option
def renew_root(*, data: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Introduce a next root, with its intermediates, beside the present one.

    From the next start of the server on, devices come to believe both; nothing is issued from the next one.
    The server must be stopped for a moment. A next root that is there already stays.

    Example: keyborn ca renew-root
    """
    import os

    from keyborn.adapters.ca import describe_authority, introduce_root, read_passphrase
    from keyborn.adapters.data_folder import DataFolder
    from keyborn.adapters.system import SystemClock, SystemEntropy

    folder = DataFolder(data)
    folder.require()
    with folder.lock():
        passphrase = read_passphrase(os.environ, passphrase_file)
        introduce_root(
            folder.authority, now=SystemClock().now(), entropy=SystemEntropy(), passphrase=passphrase
        )
    [made] = [one for one in describe_authority(folder.authority) if one.role == "next-root"]
    if as_json:
        show({"name": made.name, "fingerprint": made.fingerprint}, as_json=True)
        return
    click.echo(f"{made.name} is introduced. Start the server; see who believes it with: keyborn ca roots")
