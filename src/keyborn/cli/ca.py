"""``keyborn ca``: roots and intermediates."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from keyborn.cli.console import ask, ask_with_keys
from keyborn.cli.desk import Desk, folder_option, pages, service_options
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table

_passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First line: the passphrase of the authority's keys (or $KEYBORN_CA_PASSPHRASE); a server has it.",
)


def _keys_options(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For what opens the authority's keys: only where they are."""
    return lambda command: folder_option(name)(_passphrase_option(command))


@click.group(cls=Group)
def ca() -> None:
    """The certificate authorities of this service.

    Example: keyborn ca show
    """


@ca.command("show")
@service_options
@json_option
def show_authorities(*, desk: Desk, as_json: bool) -> None:
    """Show roots, intermediates and their SHA-256 fingerprints.

    Example: keyborn ca show
    """
    rows = desk.ask("GET", "/v1/authorities")
    table(rows, ["role", "name", "notAfter", "fingerprint"], as_json=as_json, empty="There is no authority.")


@ca.command()
@click.option(
    "--role",
    type=click.Choice(["root", "devices", "servers", "next-root", "old-root"]),
    default="root",
    show_default=True,
    help="Which certificate.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@service_options
def export(*, role: str, out: Path | None, desk: Desk) -> None:
    """Print a certificate as PEM; never a key.

    Example: keyborn ca export --out root.pem
    """
    pem = "".join(row["pem"] for row in desk.ask("GET", "/v1/authorities") if row["role"] == role)
    if out is None:
        click.echo(pem, nl=False)
        return
    out.write_text(pem)
    click.echo(f"Wrote {out}", err=True)


@ca.command("roots")
@click.option("--lacking", is_flag=True, help="List the things that lack the newest set.")
@click.option("--under-old", is_flag=True, help="List the things with a certificate from the old root.")
@service_options
@json_option
def count_roots(*, lacking: bool, under_old: bool, desk: Desk, as_json: bool) -> None:
    """Count things by the set of roots that they believe.

    Things say so themselves, and what may be done next is told. Who does not have the newest set would be
    locked out by a switch to the next root, and whose certificate comes from the old root, if that went.

    Example: keyborn ca roots

    Example: keyborn ca roots --lacking
    """
    if lacking and under_old:
        raise click.UsageError("--lacking and --under-old are two lists: ask for one of them.")
    if lacking:
        rows = list(pages(desk, "/v1/roots/lacking", "thingName"))
        table(rows, ["thingName", "roots", "since"], as_json=as_json, empty="Every thing has the newest set.")
        return
    if under_old:
        rows = list(pages(desk, "/v1/roots/under-old", "thingName"))
        table(rows, ["thingName"], as_json=as_json, empty="No thing has a certificate from an old root.")
        return
    report = desk.ask("GET", "/v1/roots")
    if as_json:
        show(report, as_json=True)
        return
    sets = [row | {"roots": row["roots"] or "(never said)"} for row in report["sets"]]
    table(sets, ["roots", "things", "newest"], as_json=False, empty="There are no things.")
    click.echo(f"{report['lacking']} of them lack the newest set, {report['newest']}.")
    click.echo(_next_step(report))


@ca.command("renew-root")
@_keys_options("ca renew-root")
@json_option
def renew_root(*, data: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Introduce a next root beside the present one.

    It has intermediates of its own. Devices come to believe both roots; nothing is issued from the next one
    before `keyborn ca switch-root`. A next root that is there already stays. A server that runs takes it over
    at once.

    Example: keyborn ca renew-root
    """
    told = _order(data, passphrase_file, "POST", "/v1/roots/next", {})
    rows = ask(data, "GET", "/v1/authorities")
    [made] = [row for row in rows if row["role"] == "next-root"]
    if as_json:
        show({"name": made["name"], "fingerprint": _plain(made["fingerprint"])}, as_json=True)
        return
    click.echo(f"{made['name']} is introduced. Agents take it over within a week, or at: keyborn look")
    click.echo(_next_step(told))


@ca.command("switch-root")
@_keys_options("ca switch-root")
@click.option("--back", is_flag=True, help="Issue from the root before again, as long as it is there.")
@click.option("--force", is_flag=True, help="Leave things behind that lack the newest roots.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def switch_root(
    *, data: Path, passphrase_file: Path | None, back: bool, force: bool, yes: bool, as_json: bool
) -> None:
    """Issue from the next root, or from the one before.

    It issues certificates of devices, and the one that the service itself shows. It is refused while things
    do not have that root yet. A server that runs goes over at once and keeps its connections; what came from
    the root before is accepted until that is retired. Enrolment codes name the root that issues: those made
    before the switch end with it.

    Example: keyborn ca switch-root

    Example: keyborn ca switch-root --back
    """
    if not yes:
        _confirm(_about_to_switch(ask(data, "GET", "/v1/roots"), back=back))
    told = _order(data, passphrase_file, "POST", "/v1/roots/switch", {"force": force, "back": back})
    if as_json:
        show(told, as_json=True)
        return
    click.echo(f"Certificates come from {told['root']} now.")
    click.echo(_next_step(told))


@ca.command("retire-root")
@_keys_options("ca retire-root")
@click.option("--force", is_flag=True, help="Leave things behind that still need the old root.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def retire_root(*, data: Path, passphrase_file: Path | None, force: bool, yes: bool, as_json: bool) -> None:
    """Have the old root believed no more, after a switch.

    Its keys are destroyed. It is refused while things do not have the newest roots, or have a certificate
    from the old one. With --force the broker turns the certificates from the old root away at the next
    connection.

    Example: keyborn ca retire-root
    """
    if not yes:
        old = ask(data, "GET", "/v1/roots")["oldRoot"]
        _confirm(f"Retire {old}, for ever?" if old else "Retire the old root?")
    told = _order(data, passphrase_file, "DELETE", "/v1/roots/old", {"force": force})
    if as_json:
        show(told, as_json=True)
        return
    click.echo(
        f"{told['root']} is the only root now. Agents drop the old one within a week, or at: keyborn look"
    )


def _order(
    data: Path, passphrase_file: Path | None, method: str, path: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Have a server change its roots, or do it here where none runs."""
    import os

    from keyborn.adapters.ca import read_passphrase

    passphrase = read_passphrase(os.environ, passphrase_file)
    told: dict[str, Any] = ask_with_keys(data, passphrase, method, path, body)
    return told


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to ask. Say --yes to change the roots without a question.")
    click.confirm(question, abort=True, err=True)


def _about_to_switch(report: Mapping[str, Any], *, back: bool) -> str:
    following = report["oldRoot" if back else "nextRoot"]
    return f"Issue from {following} in the place of {report['root']}?" if following else "Switch the root?"


def _next_step(report: Mapping[str, Any]) -> str:
    """What may be done, or what it waits for."""
    lacking, old = report["lacking"], report["oldRoot"]
    if report["nextRoot"] is not None:
        if report["maySwitch"]:
            return f"{report['nextRoot']} may issue: keyborn ca switch-root"
        return f"{report['nextRoot']} may not issue yet: {lacking} would be locked out (ca roots --lacking)."
    if old is None:
        return f"{report['root']} is the only root."
    if report["oldRootMayGo"]:
        return f"{old} may go: keyborn ca retire-root"
    under = report["underOldRoot"]
    reasons = [f"{lacking} lack the newest set (ca roots --lacking)"] if lacking else []
    reasons += [f"{under} have a certificate from it (ca roots --under-old)"] if under else []
    return f"{old} may not go yet: {', '.join(reasons)}."


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()
