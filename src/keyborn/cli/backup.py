"""``keyborn backup``: the data folder in one file, from a service that runs or not."""

import os
from pathlib import Path

import click

from keyborn.cli.desk import folder_option, no_stack
from keyborn.cli.output import json_option, show
from keyborn.cli.progress import Progress
from keyborn.domain.errors import BackupElsewhere

_BEHIND = 10


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@folder_option("keyborn backup")
@no_stack(BackupElsewhere)
@json_option
def backup(*, file: Path, data: Path, as_json: bool) -> None:
    """Write the registry, the certificate authority and the settings into FILE, as of one moment.

    The service may run, and goes on. FILE must be new, and is yours alone to read (0600): keep it as you keep
    the data folder. Messages that wait in the broker and identities of services are not in it.

    Example: keyborn backup keyborn-1.backup
    """
    from keyborn.adapters.backup.taking import take
    from keyborn.adapters.data_folder import DataFolder
    from keyborn.adapters.system import SystemClock

    os.nice(_BEHIND)  # the service comes first
    progress = Progress(quiet=as_json, unit="bytes")
    try:
        manifest, size = take(DataFolder(data), file, SystemClock().now(), progress.say)
    finally:
        progress.end()
    registry = manifest.registry
    row = {"file": str(file), "bytes": size, "taken": manifest.taken, "head": str(registry.head)}
    row |= {"revocations": registry.revocations, "protected": manifest.protected}
    if as_json:
        show(row, as_json=True)
        return
    click.echo(
        f"Wrote {file}: {size:,} bytes, as of {manifest.taken}, audit trail up to {registry.head.sequence}"
    )
    if not manifest.protected:
        click.echo(
            "The authority's keys in it have no passphrase: whoever reads the file can issue certificates.",
            err=True,
        )
