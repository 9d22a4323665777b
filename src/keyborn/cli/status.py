"""``keyborn status``: what this device is, from its files alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.device import find_home, home_option
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from datetime import datetime

    from keyborn.device.home import Home
    from keyborn.device.identity import Identity

_DAY = 86400


@click.command()
@home_option
@json_option
@click.pass_context
def status(context: click.Context, *, home: Path | None, as_json: bool) -> None:
    """Show this device's identity, its files and its outbox; exit code 1 unless it is ready.

    Example: keyborn status --json
    """
    from keyborn.adapters.system import SystemClock
    from keyborn.device.identity import State, assess
    from keyborn.domain.errors import HomeUnusable

    place, now = find_home(home), SystemClock().now()
    report: dict[str, Any] = {"home": str(place.path)}
    try:
        place.check()
    except HomeUnusable as wrong:
        missing = not place.path.exists()
        report |= {"state": State.NONE.value, "problems": [] if missing else [str(wrong)]}
    else:
        standing = assess(place, now)
        report["state"] = standing.state.value
        if standing.identity is not None:
            report |= _identity(standing.identity, now)
        counts, troubles = _outbox(place)
        report |= {"keyMode": _mode(place), **counts, "problems": [*standing.problems, *troubles]}
    _print(report, as_json=as_json)
    if report["state"] != State.READY.value or report["problems"]:
        context.exit(1)


def _identity(identity: "Identity", now: "datetime") -> dict[str, Any]:
    return {
        "thing": identity.thing,
        "certificateId": identity.certificate_id,
        "notBefore": f"{identity.not_before:%Y-%m-%dT%H:%M:%SZ}",
        "notAfter": f"{identity.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "daysLeft": int((identity.not_after - identity.time(now)).total_seconds() // _DAY),
        "keyType": identity.key_type,
        "broker": f"{identity.broker.endpoint}:{identity.broker.port}",
        "topic": identity.broker.topic,
        "service": identity.service_url,
    }


def _mode(home: "Home") -> str | None:
    try:
        return f"{home.key.lstat().st_mode & 0o7777:04o}"
    except OSError:
        return None


def _outbox(home: "Home") -> tuple[dict[str, Any], list[str]]:
    """Counts, without making an outbox where there is none, and what is wrong with it."""
    if not home.outbox.exists():
        return {"outboxWaiting": 0, "outboxRefused": 0}, []
    from keyborn.device.outbox import open_outbox
    from keyborn.domain.errors import FileNotPrivate, OutboxUnusable

    try:
        with open_outbox(home.outbox) as outbox:
            counts = outbox.counts()
    except (FileNotPrivate, OutboxUnusable) as wrong:
        return {"outboxWaiting": None, "outboxRefused": None}, [str(wrong)]
    return {"outboxWaiting": counts.waiting, "outboxRefused": counts.refused}, []


def _print(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(report, as_json=True)
        return
    problems = report.pop("problems")
    show(report, as_json=False)
    for problem in problems:
        click.echo(f"problem: {problem}")
    if report["state"] == "none":
        click.echo("This device has no identity. Run: keyborn enroll CODE")
    report["problems"] = problems
