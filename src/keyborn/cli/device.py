"""What the device's commands share: the home, and the machine around it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from keyborn.device.home import Home
    from keyborn.device.surroundings import Surroundings

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="The device's folder.  [default: $KEYBORN_HOME, /var/lib/keyborn for root, else XDG state]",
)


def find_home(chosen: Path | None) -> "Home":
    """The home that a command works in."""
    from keyborn.device.home import locate_home

    return locate_home(chosen, os.environ, root=os.geteuid() == 0)


def surroundings() -> "Surroundings":
    """This machine, with progress on standard error."""
    import socket

    from keyborn.adapters.system import SystemClock
    from keyborn.device.surroundings import Surroundings

    return Surroundings(SystemClock(), socket.gethostname(), say)


def say(text: str) -> None:
    """Tell the person what is happening, apart from what the command prints."""
    click.echo(printable(text), err=True)


def printable(text: str) -> str:
    """``text`` with control characters shown, so that nobody else draws on the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
