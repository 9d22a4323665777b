"""What the device's commands share: the home, and the machine around it."""

import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from keyborn.device.home import Home
    from keyborn.device.surroundings import Surroundings


KEY_TYPES = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096")


class Number(click.FloatRange):
    """A number within a range; ``nan``, which is within every range for click, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's signature
        """The number; a usage error otherwise."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, readable=False, path_type=Path),  # our own checks say more
    help="The device's folder.  [default: $KEYBORN_HOME, /var/lib/keyborn for root, else XDG state]",
)

rate_option = click.option(
    "--rate",
    type=Number(0, 1000),
    show_default="2, or what outbox.toml says",
    help="Messages sent per second; 0 is as fast as the broker takes them.",
)


def find_home(chosen: Path | None) -> "Home":
    """The home that a command works in."""
    from keyborn.device.home import locate_home

    return locate_home(chosen, os.environ, root=os.geteuid() == 0)


def home_words(home: "Home") -> str:
    """What a further command needs to find ``home``: nothing, or `` --home DIR`` quoted for a shell."""
    from keyborn.domain.errors import HomeUnusable

    try:
        default = find_home(None) == home
    except HomeUnusable:
        default = False
    return "" if default else f" --home {shlex.quote(str(home.path))}"


def surroundings(*, quiet: bool = False) -> "Surroundings":
    """This machine, with progress on standard error, or (quiet) without: a program gets a failure alone."""
    import socket

    from keyborn.adapters.system import SystemClock
    from keyborn.device.surroundings import Surroundings

    _leave_no_core()
    return Surroundings(SystemClock(), socket.gethostname(), _keep_silent if quiet else say)


def read_input(limit: int) -> bytes:
    """At most ``limit`` bytes of standard input; a usage error where that is closed."""
    if sys.stdin is None:
        raise click.UsageError("Standard input is closed; `-` reads from it.")
    return sys.stdin.buffer.read(limit)


def say(text: str) -> None:
    """Tell the person what is happening, apart from what the command prints."""
    click.echo(printable(text), err=True)


def _keep_silent(_text: str) -> None:
    """Tell nobody."""


def printable(text: str) -> str:
    """``text`` with control characters shown, so that nobody else draws on the terminal.

    What standard output cannot encode is shown the same way: another script must not end a listener.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(printable(line.replace("\t", "    ")) for line in text.replace("\r\n", "\n").split("\n"))


def _leave_no_core() -> None:
    """A core file would hold the enrolment secret and whatever TLS keeps of the private key."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
