"""``keyborn agent``: the process that runs for ever."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import KEY_TYPES, Number, find_home, home_option, rate_option, surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyborn.device.agent.run import Agent, Options
    from keyborn.device.home import Home

_OVERFLOW = ("drop-oldest", "drop-newest", "refuse")


@click.command()
@home_option
@rate_option
@click.option(
    "--outbox-messages",
    type=click.IntRange(0),
    show_default="100000, or what outbox.toml says",
    help="How many messages may wait; 0 is without bound.",
)
@click.option(
    "--outbox-bytes",
    type=click.IntRange(0),
    show_default="256 MiB, or what outbox.toml says",
    help="How many bytes of topics and payloads may wait; 0 is without bound.",
)
@click.option(
    "--overflow",
    type=click.Choice(_OVERFLOW),
    show_default="drop-oldest, or what outbox.toml says",
    help="What gives way when the outbox is full.",
)
@click.option("--will", nargs=2, metavar="TOPIC MESSAGE", help="What the broker says if this device is lost.")
@click.option("--will-retain", is_flag=True, help="The broker keeps that for who asks later.")
@click.option(
    "--code-file",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    help="Enroll by itself with the code in this file, then remove it.  [default: enroll.code in the home]",
)
@click.option("--thing", metavar="NAME", help="The name to enroll with.  [default: this machine's host name]")
@click.option("--group", metavar="GROUP", help="The enrolment group, where the code does not say it.")
@click.option("--key-type", type=click.Choice(KEY_TYPES), help="The key to make then.  [default: p256]")
@click.option("--subject", default="", metavar="/C=…/O=…", help="Further subject attributes of the request.")
@click.option(
    "--spread",
    type=Number(0, 3600),
    default=5.0,
    show_default=True,
    help="Seconds within which it connects first, at random, if the machine has just been switched on.",
)
def agent(
    *,
    home: Path | None,
    rate: float | None,
    outbox_messages: int | None,
    outbox_bytes: int | None,
    overflow: str | None,
    will: tuple[str, str] | None,
    will_retain: bool,
    code_file: Path | None,
    thing: str | None,
    group: str | None,
    key_type: str | None,
    subject: str,
    spread: float,
) -> None:
    """Keep this device connected, send what waits, renew its certificate in time; until it is told to end.

    It has the only session of this home: `keyborn publish` and `subscribe` go through it, and so can other
    programs of the same user, over the socket agent.sock. It logs JSON lines on standard error. SIGTERM ends
    it after a last round of sending, SIGHUP makes it look at its files anew, and at the service's roots.

    A device that is not enrolled yet is so as soon as there is a code for it: in the file enroll.code in its
    home, mode 0600, which is removed once it has done its work. Where a person has to approve it, the code
    and the key words to compare are in `keyborn status`.

    How much may wait, and how fast it leaves, can also stand in outbox.toml in the home, which every command
    heeds: messages, bytes, overflow, rate.

    Example: keyborn agent --will certtest/gateway-1/state lost

    Example: systemctl enable --now keyborn-agent
    """
    from keyborn.device.agent.enrolling import FirstWish
    from keyborn.device.agent.log import Log
    from keyborn.device.agent.run import Agent

    around = surroundings(quiet=True)
    log = Log(sys.stderr, around.clock)
    chosen = {"rate": rate, "messages": outbox_messages, "bytes": outbox_bytes, "overflow": overflow}
    options = replace(
        _options(place := find_home(home), chosen, will, retain=will_retain),
        first=FirstWish(code_file, thing, key_type, subject, group),
        spread=spread,
    )
    running = Agent(place, replace(around, say=log.say), options, os.environ, log)
    _obey_signals(running)
    running.run()


def _options(
    home: "Home", chosen: "Mapping[str, object]", will: tuple[str, str] | None, *, retain: bool
) -> "Options":
    from keyborn.device.agent.run import Options
    from keyborn.device.opening import Will
    from keyborn.device.outbox_settings import outbox_settings
    from keyborn.device.topics import check_payload, check_topic

    settings = outbox_settings(home, chosen)
    last = None
    if will is not None:
        payload = check_payload(will[1].encode(errors="surrogateescape"))
        last = Will(check_topic(will[0]), payload, retain)
    return Options(settings.rate, settings.limits, last)


def _obey_signals(running: "Agent") -> None:
    from keyborn.device.agent.bridge import Call

    wanted = {signal.SIGTERM: Call.STOP, signal.SIGINT: Call.STOP, signal.SIGHUP: Call.LOOK}

    def _obey(number: int, _frame: object) -> None:
        running.call(wanted[signal.Signals(number)])

    for number in wanted:
        signal.signal(number, _obey)
