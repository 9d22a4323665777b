"""``keyborn watch``: messages as they arrive, over a broker identity like any other service's."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.desk import WATCH, Desk, desk_options
from keyborn.cli.device import printable
from keyborn.cli.output import json_option
from keyborn.cli.service_home import watcher
from keyborn.domain.errors import SessionLost

if TYPE_CHECKING:
    from keyborn.device.session import Received, Session

_GLANCE = 1.0


@click.command()
@click.argument("topic_filter", metavar="FILTER")
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--retained", is_flag=True, help="Begin with the retained messages.")
@desk_options
@json_option
def watch(*, topic_filter: str, count: int | None, retained: bool, desk: Desk, as_json: bool) -> None:
    """Print the messages that match FILTER, with thing and time, until interrupted.

    It connects as the service keyborn-watch, whose key and certificate are made at first use, in the data
    folder, and which may receive everything and publish nothing. AWS IoT does not say who published: with
    --aws the thing is the one whose topic it is. With --aws and --api-key-file the key and certificate are
    in the state folder; the first time with an API key takes the role admin.

    Example: keyborn watch 'certtest/#'

    Example: keyborn watch 'certtest/#' --aws keyborn
    """
    from keyborn.device.topics import check_filter

    check_filter(topic_filter)
    about = _about(desk)
    prefix = None if desk.tells_publishers else str(about["topicPrefix"])
    with closing(_session(desk, about["mqtt"])) as session:
        session.subscribe(topic_filter, retained=retained)
        click.echo(f"Watching {topic_filter} (interrupt to end)", err=True)
        if prefix is not None:
            click.echo("AWS IoT tells no publisher: the thing is the one whose topic it is.", err=True)
        try:
            for seen, received in enumerate(_messages(session), start=1):
                row = _row(received, prefix)
                click.echo(json.dumps(row) if as_json else _line(row))
                if seen == count:
                    return
        except SessionLost as lost:
            raise desk.ended(lost) from None


def _about(desk: Desk) -> Mapping[str, Any]:
    """What the service says of itself; raises a leaf of OperatorError where none runs."""
    about: Mapping[str, Any] = desk.ask("GET", "/v1/about")
    if not about:  # nothing runs, or it has only just begun to
        desk.require_open()
        about = desk.ask("GET", "/v1/about")
    return about


def _session(desk: Desk, address: str) -> "Session":
    """A session of the watch service; every watcher has a client id of its own."""
    from keyborn.adapters.system import SystemClock
    from keyborn.device.connecting import connect, tls_context
    from keyborn.device.keystore import FileKeyStore

    home, identity = watcher(desk)
    host, port = _reachable(address, desk.reached_at)
    client_id = f"{WATCH}-{os.getpid()}-{secrets.token_hex(4)}"
    broker = replace(identity.broker, endpoint=host, port=port, client_id=client_id)
    context = tls_context(home, FileKeyStore(home.key), identity, SystemClock().now())
    return connect(replace(identity, broker=broker), context)


def _reachable(address: str, reached_at: str) -> tuple[str, int]:
    """The broker as this machine reaches it: a listener on all addresses is where the service itself is."""
    from keyborn.settings import Address

    listening = Address.parse(address, "mqtt")
    return (reached_at if listening.is_wildcard else listening.host), listening.port


def _messages(session: "Session") -> "Iterator[Received]":
    while True:
        received = session.receive(_GLANCE)
        if received is not None:
            yield received


def _row(received: "Received", prefix: str | None = None) -> dict[str, object]:
    """One message; a payload that is no text is hex.

    Where the broker does not tell publishers, ``prefix`` is what stands before a thing's name in its topics.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    thing = received.publisher if prefix is None else _owner(received.topic, prefix)
    row: dict[str, object] = {"time": now, "thing": thing, "topic": received.topic}
    if prefix is not None and thing is not None:
        row["thingFrom"] = "topic"
    try:
        row["payload"] = received.payload.decode()
    except UnicodeDecodeError:
        row["payloadHex"] = received.payload.hex()
    if received.retain:
        row["retained"] = True
    return row


def _owner(topic: str, prefix: str) -> str | None:
    """The thing whose topic it is, by the default policy; None for any other topic."""
    if not topic.startswith(f"{prefix}/"):
        return None
    return topic.removeprefix(f"{prefix}/").partition("/")[0] or None


def _line(row: dict[str, object]) -> str:
    """Time, thing, topic, payload; control characters shown, so that no message can draw on the terminal."""
    payload = str(row["payload"]) if "payload" in row else f"0x{row['payloadHex']}"
    retained = "  (retained)" if "retained" in row else ""
    return printable(f"{row['time']}  {row['thing'] or '-'}  {row['topic']}  {payload}{retained}")
