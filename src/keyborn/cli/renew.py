"""``keyborn renew``: the next certificate, for timers and for people."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.device import Number, find_home, home_option, home_words, surroundings
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyborn.device.agent.client import AgentClient
    from keyborn.device.home import Home
    from keyborn.device.identity import Identity
    from keyborn.device.journey import Runner
    from keyborn.device.surroundings import Surroundings
    from keyborn.domain.journey import Journey

_GLANCE = 0.25
_NO_TIME = "It takes longer than --timeout."


@click.command()
@home_option
@click.option("--now", is_flag=True, help="Renew although it is not due.")
@click.option(
    "--timeout", type=Number(1, 86400), default=60.0, show_default=True, help="Seconds to keep trying."
)
@json_option
def renew(*, home: Path | None, now: bool, timeout: float, as_json: bool) -> None:
    """Renew this device's certificate with a new key, if it is due; a renewal that was interrupted goes on.

    Where an agent runs it renews by itself, and --now has it do so at once. Exit code 1 where the certificate
    was due and could not be renewed: one that is still good goes on, and the same command goes on with the
    rest.

    Example: keyborn renew

    Example: keyborn renew --now
    """
    from keyborn.device.agent.client import agent_of
    from keyborn.device.identity import require_identity

    place, around = find_home(home), surroundings(quiet=as_json)
    before = require_identity(place, around.clock.now())
    with agent_of(place) as agent:
        if agent is not None:
            renewed = now and _by_agent(agent, timeout)
        elif now or _is_due(place, around):
            renewed = _by_ourselves(place, around, timeout, now=now)
        else:
            renewed = False
        own = require_identity(place, around.clock.now())
        next_step = f"To renew it now: keyborn renew --now{home_words(place)}"
        if agent is not None:
            next_step = "The agent renews it then."
        elif not (renewed or now) and _is_due(place, around):
            next_step = f"This device's clock is ahead of the service's. {next_step}"
        _report(before, own, next_step, renewed=renewed, as_json=as_json)


def _is_due(home: "Home", around: "Surroundings") -> bool:
    """Whether it is, or an earlier renewal has not come to its end."""
    from keyborn.device import slots

    wall = around.clock.now()
    seen = slots.survey(home, wall)
    own = seen.current.identity
    if seen.next_usable or seen.unconfirmed or own is None:
        return True
    return own.time(wall) >= own.renews_at


def _by_agent(agent: "AgentClient", timeout: float) -> bool:
    """Call it, and look until it has done so; raises RenewalNotDone."""
    from keyborn.domain.errors import RenewalNotDone

    before = agent.ask("status")["status"]
    agent.ask("renew")
    deadline, status = time.monotonic() + timeout, {}
    while time.monotonic() < deadline:
        time.sleep(_GLANCE)
        status = agent.ask("status")["status"]
        if status["renewed"] > before["renewed"]:
            return True
        if status.get("unrenewed", 0) > before.get("unrenewed", 0):  # an agent before an update has none
            raise RenewalNotDone(detail=status["renewalError"])
    raise RenewalNotDone(detail=status.get("error") or _NO_TIME)


def _by_ourselves(home: "Home", around: "Surroundings", timeout: float, *, now: bool) -> bool:
    """Have the home for that long; False where the service says that it is too early."""
    from keyborn.device.journey import Runner
    from keyborn.device.line import BrokerLine
    from keyborn.device.renewal import RenewalClient
    from keyborn.domain.errors import RenewalNotDone

    with home.session():
        service, notes = RenewalClient(home, around.clock), _Notes(around.say)
        aware = replace(around, say=notes)
        runner = Runner(home, aware, BrokerLine(around.clock), service, now=now)
        watch = _Watch(runner, time.monotonic() + timeout)
        journey = runner.run(watch)
    notes.end(journey.error)
    if runner.renewed or watch.too_early:
        return bool(runner.renewed)
    raise RenewalNotDone(detail=journey.error or _NO_TIME)


class _Notes:
    """Says each note once the next one comes: the last may be the answer, which is said once."""

    def __init__(self, say: "Callable[[str], None]") -> None:
        self._say = say
        self._last: str | None = None

    def __call__(self, text: str) -> None:
        """Take a note."""
        self.end(None)
        self._last = text

    def end(self, answer: str | None) -> None:
        """Say the last one, unless it is the answer."""
        if self._last is not None and self._last != answer:
            self._say(self._last)
        self._last = None


class _Watch:
    """When the journey has come to an answer."""

    def __init__(self, runner: "Runner", deadline: float) -> None:
        self._runner = runner
        self._deadline = deadline
        self._begun = False
        self.too_early = False

    def __call__(self, journey: "Journey") -> bool:
        """Whether to stop.

        A broker that turns the present certificate away is no answer yet: the service may renew it, under
        grace, or after a root that the device has outlived.
        """
        from keyborn.domain.journey import Stage, Trouble

        self._begun |= journey.stage is Stage.RENEWING
        self.too_early = self._begun and journey.stage is Stage.ENROLLED and not journey.trouble
        passing = journey.trouble is Trouble.TURNED_AWAY and journey.stage is not Stage.STRANDED
        troubled = journey.trouble is not None and not passing
        ended = bool(self._runner.renewed or troubled or self.too_early)
        return ended or time.monotonic() >= self._deadline


def _report(before: "Identity", own: "Identity", next_step: str, *, renewed: bool, as_json: bool) -> None:
    from keyborn.domain.moment import shown

    due = shown(own.renews_at)
    report: dict[str, Any] = {
        "thing": own.thing,
        "renewed": renewed,
        "certificateId": own.certificate_id,
        "notAfter": shown(own.not_after),
        "renewsAt": due,
    }
    if as_json:
        show(report | ({"previousId": before.certificate_id} if renewed else {}), as_json=True)
    elif renewed:
        click.echo(f"{own.thing} has a new certificate, with a new key, valid until {report['notAfter']}.")
    else:
        click.echo(f"Nothing was done: the certificate of {own.thing} is to be renewed at {due}. {next_step}")
