"""``keyborn restore``: a backup becomes a data folder again."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.desk import folder_option, no_stack
from keyborn.cli.output import json_option, show, typed
from keyborn.cli.progress import Progress
from keyborn.domain.errors import BackupElsewhere

if TYPE_CHECKING:
    from keyborn.adapters.backup.restoring import Restored

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", metavar="FILE", type=_FILE)
@folder_option("keyborn restore")
@click.option("--replace", is_flag=True, help="Move aside what is in the folder now, and keep it.")
@click.option(
    "--revocations",
    "named",
    type=_FILE,
    multiple=True,
    help="A copy of what was revoked since; repeatable.  [default: those beside the old registry]",
)
@click.option(
    "--without-revocations",
    "without",
    is_flag=True,
    help="Accept that whatever was revoked or withdrawn since the backup is good again.",
)
@click.option("--keep-tokens", is_flag=True, help="Leave enrolment tokens and group keys open.")
@no_stack(BackupElsewhere)
@json_option
def restore(
    *,
    file: Path,
    data: Path,
    replace: bool,
    named: tuple[Path, ...],
    without: bool,
    keep_tokens: bool,
    as_json: bool,
) -> None:
    """Make a data folder of FILE; what was revoked or withdrawn since the backup stays so.

    Everything is checked and made ready beside the folder, then put in place in one step: all or nothing. No
    service may run there. Enrolment tokens that were open are withdrawn: how often they were used since is
    not known. Devices that enrolled or renewed since the backup are not known either, and are refused.

    Example: keyborn restore keyborn-1.backup --data new-folder
    """
    from keyborn.adapters.backup.restoring import Restorer, RestoreWish
    from keyborn.adapters.system import SystemClock, SystemEntropy

    if named and without:
        raise click.UsageError("--revocations and --without-revocations exclude each other.")
    target = Path(os.path.realpath(data))
    wish = RestoreWish(file, replace, named, without, keep_tokens)
    progress = Progress(quiet=as_json, unit="bytes")
    restorer = Restorer(target, wish, SystemEntropy(), SystemClock().now(), progress.say)
    try:
        done = restorer.restore()
    finally:
        progress.end()
    if as_json:
        show(_row(target, done), as_json=True)
    else:
        _tell(data, done)


def _row(target: Path, done: "Restored") -> dict[str, object]:
    missed, registry = done.missed, done.manifest.registry
    return {
        "data": str(target),
        "taken": done.manifest.taken,
        "head": str(registry.head),
        "revocations": None if missed.source is None else len(missed.acts),
        "source": None if missed.source is None else str(missed.source),
        "tokensWithdrawn": done.tokens_withdrawn,
        "aside": None if done.aside is None else str(done.aside),
    }


def _tell(data: Path, done: "Restored") -> None:
    manifest, missed = done.manifest, done.missed
    click.echo(f"Restored {data} as of {manifest.taken}, audit trail up to {manifest.registry.head.sequence}")
    if missed.source is None:
        click.echo("warning: whatever was revoked or withdrawn since then is good again.", err=True)
    else:
        click.echo(f"Revoked or withdrawn since then, and still so: {len(missed.acts)} ({missed.source})")
    click.echo(f"Open tokens and group keys withdrawn: {done.tokens_withdrawn}")
    if done.aside is not None:
        click.echo(f"What was there before is in {done.aside}")
    words = "" if str(data) == "keyborn-data" else typed(data=str(data))
    click.echo(f"Next: keyborn serve{words}")
