"""``keyborn publish`` and ``keyborn subscribe``: messages out and in, through the durable outbox."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import find_home, home_option, printable, read_input, say, surroundings
from keyborn.cli.output import json_option

if TYPE_CHECKING:
    from keyborn.device.messenger import Messenger
    from keyborn.device.session import Received

_rate_option = click.option(
    "--rate",
    type=click.FloatRange(0.01, 1000),
    default=2.0,
    show_default=True,
    help="Messages sent per second.",
)


@click.command()
@click.argument("topic")
@click.argument("message")
@home_option
@_rate_option
@click.option(
    "--wait",
    type=click.FloatRange(0, 86400),
    default=30.0,
    show_default=True,
    help="Seconds to try; 0 only keeps it.",
)
@json_option
def publish(*, topic: str, message: str, home: Path | None, rate: float, wait: float, as_json: bool) -> None:
    """Send MESSAGE to TOPIC with QoS 1; `-` reads it from standard input.

    It is on disk before anything is sent. If the broker cannot be reached it stays in the outbox and goes
    with the next publish or subscribe: that is `kept`, and no failure.

    Example: keyborn publish certtest/gateway-1 hello
    """
    from keyborn.device.messenger import Delivery
    from keyborn.device.topics import MAX_PAYLOAD

    payload = message.encode(errors="surrogateescape")
    if message == "-":
        payload = read_input(MAX_PAYLOAD + 1)
    done = _messenger(home, rate).publish(topic, payload, wait=wait)
    if as_json:
        counts = {"waiting": done.outbox.waiting, "refused": done.outbox.refused}
        click.echo(json.dumps({"outcome": done.delivery.value, "topic": topic, "outbox": counts}))
    else:
        click.echo(done.delivery.value)
    if done.delivery is Delivery.KEPT:
        say(f"The message is in the outbox ({done.outbox.waiting} waiting) and goes with the next publish.")


@click.command()
@click.argument("topic_filter", metavar="FILTER")
@home_option
@_rate_option
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--timeout", type=click.FloatRange(0.1), help="Stop after so many seconds.")
@json_option
def subscribe(
    *,
    topic_filter: str,
    home: Path | None,
    rate: float,
    count: int | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Print the messages that match FILTER until interrupted; the outbox is emptied meanwhile.

    Example: keyborn subscribe certtest/gateway-1 --count 1
    """
    from keyborn.domain.errors import NothingArrived

    seen = 0
    for received in _messenger(home, rate).listen(topic_filter, seconds=timeout):
        click.echo(json.dumps(_record(received)) if as_json else _line(received))
        seen += 1
        if seen == count:
            return
    if count is not None:
        raise NothingArrived(seen=seen, count=count, topic=topic_filter, seconds=timeout)


def _messenger(home: Path | None, rate: float) -> "Messenger":
    from keyborn.device.messenger import Messenger

    return Messenger(find_home(home), surroundings(), rate)


def _record(received: "Received") -> dict[str, object]:
    """``payload`` where it is text, ``payloadBase64`` where it is not."""
    record: dict[str, object] = {"topic": received.topic, "qos": received.qos, "retain": received.retain}
    try:
        record["payload"] = received.payload.decode()
    except UnicodeDecodeError:
        record["payloadBase64"] = base64.b64encode(received.payload).decode()
    return record


def _line(received: "Received") -> str:
    return f"{printable(received.topic)}  {printable(received.payload.decode(errors='backslashreplace'))}"
