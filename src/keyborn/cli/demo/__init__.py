"""``keyborn demo``: a stage of real processes, and a walk over it that proves each step."""

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep the files in this folder."
)
def demo(*, keep: Path | None) -> None:
    """Watch a device make its key, enroll, connect and publish, in a temporary folder, on free ports.

    Example: keyborn demo
    """
    import keyborn.http.server  # noqa: F401 - a device's install lacks it, and says so in one sentence
    from keyborn.cli.demo.walk import run_demo

    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.BadParameter("the folder is not empty", param_hint="--keep")

    untrue = run_demo(keep, click.echo)
    if untrue:
        click.echo(f"\nNot true: {untrue}", err=True)
        sys.exit(1)
