"""``keyborn forget``: the factory reset."""

import sys
from pathlib import Path

import click

from keyborn.cli.device import find_home, home_option
from keyborn.cli.output import json_option, show


@click.command()
@home_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def forget(*, home: Path | None, yes: bool, as_json: bool) -> None:
    """Remove this device's key, certificate and outbox, for ever; messages that wait are lost.

    It is refused while an agent runs. The service is not asked: a thing that is gone should also be revoked
    there, with `keyborn thing revoke NAME`.

    Example: keyborn forget --yes
    """
    from keyborn.device.forget import forget as forget_device, holdings

    place = find_home(home)
    if not place.missing():
        place.check()
    there = [] if place.missing() else holdings(place)
    if there and not yes:
        _ask(place.path, [path.name for path in there])
    gone = forget_device(place) if there else []
    if as_json:
        show({"home": str(place.path), "removed": [path.name for path in gone]}, as_json=True)
    elif gone:
        click.echo(f"Removed from {place.path}: {', '.join(path.name for path in gone)}.")
    else:
        click.echo(f"There is nothing to forget in {place.path}.")


def _ask(folder: Path, names: list[str]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to ask. Say --yes to remove the identity without a question.")
    click.confirm(f"Remove {', '.join(names)} from {folder}, for ever?", abort=True, err=True)
