"""``keyborn publish`` and ``subscribe``: messages out and in; ``messages``: those that were set aside."""

import base64
import contextlib
import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import (
    Number,
    find_home,
    home_option,
    printable,
    rate_option,
    read_input,
    surroundings,
)
from keyborn.cli.output import json_option, show, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyborn.device.home import Home
    from keyborn.device.messenger import Messenger, Published
    from keyborn.device.outbox import Outbox
    from keyborn.device.session import Received

_NUMBER = re.compile(r"-\.?[0-9]")
_MARK = "\0"
"""Stands before a word that begins with a dash and is no option; no argument of a process can hold one."""

WAIT = 5.0
"""Seconds in which the broker is tried."""


class _Publish(click.Command):
    """Takes a negative number as MESSAGE, and shows how to send other words that begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does; raises UsageError with the way out for an option that does not exist."""
        valued = {name for param in self.params for name in param.opts if not getattr(param, "is_flag", True)}
        end = args.index("--") if "--" in args else len(args)
        marked = [
            _MARK + word if _NUMBER.match(word) and before not in valued else word
            for before, word in zip(["", *args], args[:end], strict=False)
        ]
        try:
            return super().parse_args(ctx, marked + args[end:])
        except click.NoSuchOption as wrong:
            way = f"A MESSAGE that begins with a dash goes last, after --: {ctx.command_path} TOPIC -- -x"
            raise click.UsageError(f"{wrong.format_message()} {way}", ctx) from None


def _unmark(_context: click.Context, _parameter: click.Parameter, word: str) -> str:
    return word.removeprefix(_MARK)


@click.command(cls=_Publish)
@click.argument("topic", callback=_unmark)
@click.argument("message", callback=_unmark)
@home_option
@rate_option
@click.option(
    "--wait",
    type=Number(0, 86400),
    default=WAIT,
    show_default=True,
    help="Seconds to keep trying if the broker is away; 0 only keeps the message.",
)
@click.option("--no-wait", is_flag=True, help="The same as --wait 0: it is kept, and sent later.")
@json_option
def publish(
    *,
    topic: str,
    message: str,
    home: Path | None,
    rate: float | None,
    wait: float,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Send MESSAGE to TOPIC with QoS 1.

    MESSAGE may be a negative number; any other that begins with a dash goes last, after `--`. Where MESSAGE
    is `-` it is read from standard input.

    It is on disk before anything is sent. If the broker cannot be reached within --wait it stays in the
    outbox and goes with the next publish or subscribe: that is `kept`, and no failure. Where an agent runs,
    it is handed to the agent, which sends it at its own --rate.

    Example: keyborn publish certtest/gateway-1 hello

    Example: keyborn publish certtest/gateway-1 -- -x

    Example: keyborn publish certtest/gateway-1 - < reading.json
    """
    from keyborn.device.topics import MAX_PAYLOAD

    payload = message.encode(errors="surrogateescape")
    if message == "-":
        payload = read_input(MAX_PAYLOAD + 1)
    done = send(find_home(home), topic, payload, rate, 0 if no_wait else wait, quiet=as_json)
    click.echo(json.dumps(outcome(topic, done)) if as_json else told(done))


def send(
    home: "Home", topic: str, payload: bytes, rate: float | None = None, wait: float = WAIT, *, quiet: bool
) -> "Published":
    """Through the agent; without one, or where it ends before it has answered, by ourselves.

    Raises as ``Messenger.publish``.
    """
    from keyborn.device.agent.client import agent_of

    with agent_of(home) as agent:
        if agent is not None:
            from keyborn.device.agent.through import publish as publish_through
            from keyborn.domain.errors import AgentGone

            with contextlib.suppress(AgentGone):  # perhaps it was kept: twice is better than not at all
                return publish_through(agent, home, topic, payload, wait=wait)
    return _messenger(home, rate, quiet=quiet).publish(topic, payload, wait=wait)


def outcome(topic: str, done: "Published") -> dict[str, object]:
    """What became of a message, for programs."""
    counts = {"waiting": done.outbox.waiting, "refused": done.outbox.refused}
    found: dict[str, object] = {"outcome": done.delivery.value, "topic": topic, "outbox": counts}
    return found if done.why is None else {**found, "reason": done.why}


def told(done: "Published") -> str:
    """The same for people."""
    if done.why is None:
        return done.delivery.value
    left = f"{done.outbox.waiting} waiting in the outbox, {done.later}"
    return printable(f"{done.delivery.value}: {done.why}; {left}")


@click.command()
@click.argument("topic_filter", metavar="FILTER")
@home_option
@rate_option
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--timeout", type=Number(0.1), help="Stop after so many seconds.")
@json_option
def subscribe(
    *,
    topic_filter: str,
    home: Path | None,
    rate: float | None,
    count: int | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Print the messages that match FILTER until interrupted; the outbox is emptied meanwhile.

    Example: keyborn subscribe certtest/gateway-1 --count 1
    """
    from keyborn.domain.errors import NothingArrived

    seen = 0
    for received in _listen(find_home(home), topic_filter, rate, timeout, quiet=as_json):
        click.echo(json.dumps(_record(received)) if as_json else _line(received))
        seen += 1
        if seen == count:
            return
    if count is not None:
        raise NothingArrived(seen=seen, count=count, topic=topic_filter, seconds=timeout)


def _listen(
    home: "Home", topic_filter: str, rate: float | None, seconds: float | None, *, quiet: bool
) -> "Iterator[Received]":
    from keyborn.device.agent.client import agent_of
    from keyborn.device.agent.through import listen as listen_through

    with agent_of(home) as agent:
        if agent is not None:
            say = surroundings(quiet=quiet).say
            yield from listen_through(agent, home, topic_filter, seconds=seconds, say=say)
            return
    yield from _messenger(home, rate, quiet=quiet).listen(topic_filter, seconds=seconds)


def _messenger(home: "Home", rate: float | None, *, quiet: bool) -> "Messenger":
    from keyborn.device.messenger import Messenger
    from keyborn.device.outbox_settings import outbox_settings

    settings = outbox_settings(home, {"rate": rate})
    return Messenger(home, surroundings(quiet=quiet), settings.rate, settings.limits)


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


@click.group()
def messages() -> None:
    """Messages that the broker will never take: look, let them wait again, drop them.

    They were set aside with the reason, so that the others could go on. What the device may publish, the
    operator can ask with `keyborn policy simulate`.

    Example: keyborn messages list
    """


@messages.command("list")
@home_option
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many, at most.")
@json_option
def list_messages(*, home: Path | None, last: int, as_json: bool) -> None:
    """List the last messages that were set aside, and count what became of the others.

    Payloads are not shown. `dropped` had to make room in a full outbox or were dropped by hand, `expired`
    were too old; both are counted since the outbox was made.

    Example: keyborn messages list --json
    """
    from keyborn.domain.moment import shown

    with _outbox(home) as outbox:
        counts, found = outbox.counts(), outbox.set_aside(last)
    summary = {name: getattr(counts, name) for name in ("waiting", "refused", "dropped", "expired")}
    rows: list[dict[str, object]] = [
        {"id": each.id, "topic": each.topic, "keptAt": shown(each.created_at), "bytes": each.size}
        | {"reason": each.reason}
        for each in found
    ]
    if as_json:
        show({**summary, "messages": rows}, as_json=True)
        return
    safe = [{name: printable(str(value)) for name, value in row.items()} for row in rows]
    table(safe, ["id", "topic", "keptAt", "bytes", "reason"], as_json=False, empty="Nothing is set aside.")
    click.echo(", ".join(f"{count} {name}" for name, count in summary.items()))


_ids = click.argument("ids", metavar="ID...", nargs=-1, type=click.IntRange(1))
_all_option = click.option("--all", "every", is_flag=True, help="All that are set aside.")


@messages.command()
@_ids
@_all_option
@home_option
@json_option
def retry(*, ids: tuple[int, ...], every: bool, home: Path | None, as_json: bool) -> None:
    """Let messages that were set aside wait again, in their old place.

    Where an agent runs it sends them now, else they go with the next publish or subscribe. Where the reason
    has not gone away, they come back.

    Example: keyborn messages retry 17

    Example: keyborn messages retry --all
    """
    from keyborn.device.agent.client import wake

    chosen = _chosen(ids, every=every)
    with _outbox(home) as outbox:
        count = outbox.retry(chosen)
    told = wake(find_home(home)) if count else False
    when = "The agent sends them now." if told else "They go with the next publish or subscribe."
    _report(count, "retried", f"Messages that wait again: {count}. {when}", as_json=as_json)


@messages.command()
@_ids
@_all_option
@home_option
@json_option
def drop(*, ids: tuple[int, ...], every: bool, home: Path | None, as_json: bool) -> None:
    """Drop messages that were set aside, for ever.

    Example: keyborn messages drop 17

    Example: keyborn messages drop --all
    """
    chosen = _chosen(ids, every=every)
    with _outbox(home) as outbox:
        count = outbox.drop(chosen)
    _report(count, "dropped", f"Messages dropped: {count}.", as_json=as_json)


@contextmanager
def _outbox(chosen: Path | None) -> "Iterator[Outbox]":
    """The outbox of a home that is there; raises HomeUnusable, OutboxUnusable, FileNotPrivate."""
    from keyborn.device.outbox import open_outbox
    from keyborn.device.outbox_settings import outbox_settings

    home = find_home(chosen)
    home.check()
    with open_outbox(home.outbox, outbox_settings(home).limits) as outbox:
        yield outbox


def _chosen(ids: tuple[int, ...], *, every: bool) -> list[int] | None:
    if every == bool(ids):
        raise click.UsageError("Say which: one ID or more, or --all.")
    return None if every else list(ids)


def _report(count: int, name: str, words: str, *, as_json: bool) -> None:
    if as_json:
        show({name: count}, as_json=True)
    else:
        click.echo(words if count else "Nothing is set aside.")
