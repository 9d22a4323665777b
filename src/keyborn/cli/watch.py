"""``keyborn watch``: messages as they arrive."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from keyborn.cli.console import data_option, listen
from keyborn.cli.output import json_option
from keyborn.domain.errors import ServerStopped


@click.command()
@click.argument("topic_filter", metavar="FILTER")
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@data_option
@json_option
def watch(*, topic_filter: str, count: int | None, data: Path, as_json: bool) -> None:
    """Print the messages that match FILTER, with thing and time, until interrupted.

    Example: keyborn watch 'certtest/#'
    """
    seen = 0
    for row in listen(data, "/v1/messages", filter=topic_filter):
        if not row:  # the server's first line: the tap is open
            click.echo(f"Watching {topic_filter} (interrupt to end)", err=True)
            continue
        click.echo(json.dumps(row) if as_json else _line(row))
        seen += 1
        if count is not None and seen >= count:
            return
    raise ServerStopped(path=data)


def _line(row: Mapping[str, object]) -> str:
    """Time, thing, topic, payload; control characters shown, so that no message can draw on the terminal."""
    payload = str(row["payload"]) if "payload" in row else f"0x{row['payloadHex']}"
    lost = f"  ({row['lostBefore']} messages lost before this one)" if "lostBefore" in row else ""
    return _shown(f"{row['time']}  {row['thing'] or '-'}  {row['topic']}  {payload}{lost}")


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
