"""``keyborn group key``: one secret for a factory line, and the codes of its devices."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show
from keyborn.cli.token import Duration

if TYPE_CHECKING:
    from keyborn.domain.group_key import GroupKey
    from keyborn.domain.names import ThingName

_MAX_KEY = 4096
_MAX_NAMES = 256 * 1024 * 1024
"""Bytes of a file of names: some millions."""
_STEP = 10_000
"""Names between two words of progress."""


@click.group(cls=Group)
def key() -> None:
    """Group keys: each device of a factory line gets a key of its own, derived from one.

    Example: keyborn group key create line-7
    """


@key.command()
@click.argument("name", metavar="GROUP")
@click.option(
    "--uses",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many devices; 0: as many as the group permits.",
)
@click.option("--ttl", type=Duration(), default="365d", show_default=True, help="How long it is valid.")
@click.option("--match", default="*", metavar="PATTERN", help="Only for thing names like this.")
@desk_options
@json_option
def create(*, name: str, uses: int, ttl: int, match: str, desk: Desk, as_json: bool) -> None:
    """Make a key of GROUP; prints it once, on the last line.

    It belongs on the machine that prepares devices, and nowhere else: whoever has it can enrol any name that
    the group gives. `keyborn token list` shows it, `keyborn token withdraw` ends it.

    Example: (umask 077; keyborn group key create line-7 --uses 5000 > line-7.key)
    """
    made = desk.ask("POST", f"/v1/groups/{place(name)}/keys", {"uses": uses, "ttl": ttl, "match": match})
    if as_json:
        show(made, as_json=True)
        return
    show({each: made[each] for each in ("id", "group", "things", "uses", "expires", "url")}, as_json=False)
    click.echo("On the factory line, keep it in a file of mode 0600, and use: keyborn group key derive\n")
    click.echo(made["groupKey"])


@key.command(short_help="Make the enrolment codes of devices, offline.")
@click.argument("file", metavar="[FILE]", default="-")
@click.option("--thing", metavar="NAME", help="The thing name of one device.")
@click.option(
    "--names",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file with a thing name on each line.",
)
@json_option
def derive(*, file: str, thing: str | None, names: Path | None, as_json: bool) -> None:
    """Make the enrolment code of each device from the group key in FILE (- is standard input).

    Needs no service, no network, and nothing but the key. With --names it prints a line for each device: its
    name, a space, its code. Each code is a secret of the one device whose name it is for.

    Example: keyborn group key derive line-7.key --thing sensor-1

    Example: (umask 077; keyborn group key derive line-7.key --names names.txt > codes.txt)
    """
    if (thing is None) == (names is None):
        raise click.UsageError("Give either --thing NAME or --names FILE.")
    if file.startswith("kbg1."):
        raise click.UsageError(
            "Give the group key in a file or on standard input: everybody can see arguments."
        )
    held = _read_key(file)
    if thing is not None:
        from keyborn.domain.names import parse_thing_name

        name = parse_thing_name(thing)
        click.echo(_line(held, name) if as_json else held.code_for(name).encode())
    elif names is not None:
        _derive_all(held, names, _line if as_json else _pair)


def _read_key(file: str) -> "GroupKey":
    """Read the key, perhaps within the saved output of ``create``; raises InvalidGroupKey, FileNotPrivate."""
    from keyborn.device import files
    from keyborn.domain.errors import InvalidGroupKey
    from keyborn.domain.group_key import GroupKey

    try:
        raw = sys.stdin.buffer.read(_MAX_KEY) if file == "-" else files.read_private(Path(file), _MAX_KEY)
    except OSError as wrong:
        raise InvalidGroupKey(detail=f"{file}: {wrong.strerror}") from None
    words = [word for word in raw.decode("ascii", "replace").split() if word.startswith("kbg1.")]
    if len(set(words)) != 1:
        raise InvalidGroupKey(detail="no word, or several, of what was read start with `kbg1.`")
    return GroupKey.decode(words[0])


def _derive_all(held: "GroupKey", names: Path, line: "Callable[[GroupKey, ThingName], str]") -> None:
    """All of them or, where a name is wrong, none."""
    found = list(_read_names(names))
    for start in range(0, len(found), _STEP):
        part = found[start : start + _STEP]
        sys.stdout.write("".join(f"{line(held, name)}\n" for name in part))
        if len(found) > _STEP:
            click.echo(f"{start + len(part)} of {len(found)} codes", err=True)
    sys.stdout.flush()


def _read_names(file: Path) -> "Iterator[ThingName]":
    """Each name once; raises InvalidNames, which says in which line."""
    from keyborn.domain.errors import InvalidThingName
    from keyborn.domain.names import parse_thing_name

    with file.open("rb") as source:
        text = source.read(_MAX_NAMES + 1)
    if len(text) > _MAX_NAMES:
        raise click.UsageError(f"{file} is larger than {_MAX_NAMES} bytes: split it.")
    known: dict[str, int] = {}
    for number, raw in enumerate(text.decode("utf-8", "replace").split("\n"), 1):
        word = raw.strip()
        if not word:
            continue
        try:
            name = parse_thing_name(word)
        except InvalidThingName as wrong:
            raise click.UsageError(f"{file}, line {number}: {wrong}") from None
        first = known.setdefault(name.lower(), number)
        if first != number:
            raise click.UsageError(f"{file}, line {number}: the name stands in line {first} already.")
        yield name


def _pair(held: "GroupKey", name: "ThingName") -> str:
    return f"{name} {held.code_for(name).encode()}"


def _line(held: "GroupKey", name: "ThingName") -> str:
    """Everything that a client which is not Keyborn's needs, as ``token create --json`` gives it."""
    from keyborn.domain.moment import shown
    from keyborn.domain.token import encode_secret

    code = held.code_for(name)
    told = {
        "thing": name,
        "code": code.encode(),
        "id": held.id,
        "group": held.group,
        "secret": encode_secret(code.secret),
        "url": held.url,
        "fingerprint": held.fingerprint.hex(),
        "expires": shown(held.expires_at),
    }
    return json.dumps(told)
