"""``keyborn approval``: devices that wait until a person has compared what they show."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.device import Number, printable
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table
from keyborn.domain.errors import NotFound

_STATES = ("pending", "approved", "refused")
_COLUMNS = ("code", "words", "thingName", "group", "state", "source", "replaces", "asked", "expires")
_APART = ("id", "keyHash", "decidedBy", "decidedAt")


@click.group(cls=Group)
def approval() -> None:
    """Requests that wait for you: compare the device's code and key words, then approve or refuse.

    Example: keyborn approval list
    """


@approval.command("list")
@click.option(
    "--state",
    type=click.Choice(_STATES),
    default="pending",
    show_default=True,
    help="Where the requests stand.",
)
@desk_options
@json_option
def list_approvals(*, state: str, desk: Desk, as_json: bool) -> None:
    """Show the requests, and which of them are for one name.

    Example: keyborn approval list

    Example: keyborn approval list --state approved --json
    """
    rows = sorted(_all(desk, state), key=lambda row: (row["asked"], row["id"]))
    table(rows, _COLUMNS, as_json=as_json, empty=f"No request is {state}.")
    if not as_json:
        for line in _warnings(rows):
            click.echo(line)


@approval.command("show")
@click.argument("code", metavar="CODE")
@desk_options
@json_option
def show_approval(*, code: str, desk: Desk, as_json: bool) -> None:
    """Show one request, by its code or its id.

    Example: keyborn approval show 7K3M-9QXZ
    """
    show(_one(desk, code), as_json=as_json)


@approval.command()
@click.argument("code", metavar="CODE")
@click.option("--words", metavar="WORDS", help="The key words that the device shows: others are refused.")
@click.option("--yes", is_flag=True, help="Do not ask whether the device shows the same.")
@desk_options
@json_option
def approve(*, code: str, words: str | None, yes: bool, desk: Desk, as_json: bool) -> None:
    """Let this device have the name that it asks for, with the key that it has.

    Compare the key words with those on the device, or have them read out to you: whoever puts another key in
    the place of the device's cannot show the same ones. With --words the service compares them. An approval
    is for this name, this key and this group, and good for one enrolment.

    Example: keyborn approval approve 7K3M-9QXZ --words lusab-babad-gutih-tugad
    """
    found = _one(desk, code)
    if not (yes or words is not None or _agreed(found, desk, as_json=as_json)):
        click.echo("Nothing was decided.", err=True)
        click.get_current_context().exit(1)
    decision = {"state": "approved", "words": words}
    _tell(_decide(desk, found, decision), as_json=as_json)


@approval.command()
@click.argument("code", metavar="CODE")
@click.option("--reason", default="", metavar="TEXT", help="For the audit trail; the device is not told.")
@desk_options
@json_option
def refuse(*, code: str, reason: str, desk: Desk, as_json: bool) -> None:
    """Say no, or take an approval back before it is used.

    Example: keyborn approval refuse 7K3M-9QXZ --reason 'nobody stands there'
    """
    found = _one(desk, code)
    _tell(_decide(desk, found, {"state": "refused", "reason": reason}), as_json=as_json)


@approval.command()
@click.option("--count", type=click.IntRange(1), help="Stop after so many requests.")
@click.option(
    "--every", type=Number(0.1, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@desk_options
@json_option
def watch(*, count: int | None, every: float, desk: Desk, as_json: bool) -> None:
    """Show each request as it comes, those that wait already first, until interrupted.

    Example: keyborn approval watch
    """
    if not as_json:
        click.echo("Watching for requests (interrupt to end)", err=True)
    for number, row in enumerate(_arrivals(desk, every), start=1):
        click.echo(json.dumps(row) if as_json else _line(row))
        if number == count:
            return


def _all(desk: Desk, state: str) -> list[dict[str, Any]]:
    """Every request in a state; what has expired meanwhile is not."""
    return [row for row in pages(desk, "/v1/approvals", "id", state=state) if row["state"] == state]


def _one(desk: Desk, code: str) -> dict[str, Any]:
    if not code.strip():
        raise NotFound(what="approval", name=ascii(code))
    found: dict[str, Any] = desk.ask("GET", f"/v1/approvals/{place(code)}")
    return found


def _decide(desk: Desk, found: dict[str, Any], decision: dict[str, Any]) -> dict[str, Any]:
    """By its id: a second request of this code that came meanwhile is not meant."""
    given = {name: value for name, value in decision.items() if value is not None}
    done: dict[str, Any] = desk.ask("POST", f"/v1/approvals/{place(found['id'])}", given)
    return done


def _agreed(found: dict[str, Any], desk: Desk, *, as_json: bool) -> bool:
    """Whether a person has compared; a program has to say so with an option."""
    if as_json:
        raise click.UsageError("Say --words WORDS, or --yes: --json asks no questions.")
    show({name: value for name, value in found.items() if name not in _APART}, as_json=False)
    others = [row for row in _all(desk, "pending") if row["thingName"] == found["thingName"]]
    for line in _warnings(others):
        click.echo(line)
    if found["replaces"]:
        click.echo(f"Another key has the name {found['thingName']}: approving replaces it.")
    return click.confirm("Does the device show this code and these words?", default=False)


def _tell(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(done, as_json=True)
        return
    click.echo(f"{done['thingName']} ({done['code']}) is {done['state']}, until {done['expires']}.")


def _arrivals(desk: Desk, every: float) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    while True:
        rows = _all(desk, "pending")
        yield from sorted((row for row in rows if row["id"] not in seen), key=lambda row: str(row["asked"]))
        seen = {row["id"] for row in rows}  # one that comes again is news, and what is gone is forgotten
        time.sleep(every)


def _warnings(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Several keys want one name: only one of them gets it."""
    counts = Counter(row["thingName"] for row in rows)
    for name, count in sorted(counts.items()):
        if count > 1:
            yield (
                f"Careful: {count} requests are for {name}, each with another key or group, or one from "
                "before the name was taken. The first one that is approved and comes back gets the name; "
                "the others are refused."
            )


def _line(row: dict[str, Any]) -> str:
    also = "  (replaces a key)" if row["replaces"] else ""
    parts = (row["asked"], row["code"], row["words"], row["thingName"], row["group"], row["source"])
    return printable("  ".join(parts) + also)
