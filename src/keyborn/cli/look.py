"""``keyborn look``: the service's roots, now and not within a week."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import find_home, home_option, surroundings
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from keyborn.device.home import Home
    from keyborn.device.surroundings import Surroundings


@click.command()
@home_option
@json_option
def look(*, home: Path | None, as_json: bool) -> None:
    """Have this device look at the service's roots now: take over other ones, and tell which ones it has.

    Where an agent runs, it is told to, as by SIGHUP, and does so in a moment; it looks at its files, too.
    Whether the roots have `changed` is not known then, and null in JSON.

    Example: keyborn look
    """
    from keyborn.device.agent.client import agent_of
    from keyborn.device.identity import require_identity

    place, around = find_home(home), surroundings(quiet=as_json)
    before = require_identity(place, around.clock.now())
    with agent_of(place) as agent:
        if agent is not None:
            agent.ask("look")
    changed = None if agent is not None else _by_ourselves(place, around) != before.roots_hash
    if as_json:
        show({"thing": before.thing, "agent": agent is not None, "changed": changed}, as_json=True)
    elif agent is not None:
        click.echo("The agent looks.")
    else:
        click.echo("The roots are others now." if changed else "The roots are the same.")


def _by_ourselves(home: "Home", around: "Surroundings") -> str:
    """What binds the roots afterwards. Raises ServiceUnreachable and other DeviceErrors."""
    from keyborn.device.believing import Believer
    from keyborn.device.identity import read_settings
    from keyborn.device.renewal import RenewalClient

    with home.session():
        service, own = RenewalClient(home, around.clock), read_settings(home)
        moment = service.service_time(own) or own.time(around.clock.now())
        return Believer(home, around, service).look(own, moment).roots_hash
