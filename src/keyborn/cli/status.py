"""``keyborn status``: what this device is, from its files, and from its agent where one runs."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.device import find_home, home_option, home_words, printable
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from keyborn.device.home import Home
    from keyborn.device.identity import Identity

_DAY = 86400
_LISTED = 20
_UNUSABLE = "unusable"
"""The state of a home that this user may not look into, or that others can enter."""
_STRANDED = "stranded"


@click.command()
@home_option
@click.option("--outbox", "listed", is_flag=True, help="Also list the last messages that the broker refused.")
@json_option
@click.pass_context
def status(context: click.Context, *, home: Path | None, listed: bool, as_json: bool) -> None:
    """Show this device's identity, its files and its outbox.

    Exit code 1 unless it is ready, and where an agent runs that is `stranded`: broker or service turn the
    device away, and a person has to see to it.

    It looks at local files, and asks the agent where one runs, but no service. `outboxRefused` counts
    messages that the broker will never take, such as those for another thing's topic: they are set aside, and
    --outbox shows topic, time and reason.

    Example: keyborn status --json
    """
    from keyborn.adapters.system import SystemClock
    from keyborn.device.identity import State, assess
    from keyborn.device.waiting import noted
    from keyborn.domain.errors import HomeUnusable

    place, now = find_home(home), SystemClock().now()
    report: dict[str, Any] = {"home": str(place.path)}
    try:
        place.check()
    except HomeUnusable as wrong:
        if place.missing():
            report |= {"state": State.NONE.value, "problems": []}
        else:
            report |= {"state": _UNUSABLE, **_by_agent(place), "problems": [str(wrong)]}
    else:
        standing = assess(place, now)
        report["state"] = standing.state.value
        if standing.identity is not None:
            report |= _identity(standing.identity, now)
        elif shown := noted(place):
            report |= _waits(shown)
        report |= _journey(place, now)
        counts, troubles = _outbox(place, listed=listed)
        report |= {"keyMode": _mode(place), **counts, "problems": [*standing.problems, *troubles]}
    _print(report, place, as_json=as_json)
    if report["state"] != State.READY.value or report["problems"] or report.get("journey") == _STRANDED:
        context.exit(1)


def _identity(identity: "Identity", now: "datetime") -> dict[str, Any]:
    from keyborn.domain.moment import shown

    return {
        "thing": identity.thing,
        "certificateId": identity.certificate_id,
        "notBefore": shown(identity.not_before),
        "notAfter": shown(identity.not_after),
        "renewsAt": shown(identity.renews_at),
        "daysLeft": int((identity.not_after - identity.time(now)).total_seconds() // _DAY),
        "keyType": identity.key_type,
        "broker": f"{identity.broker.endpoint}:{identity.broker.port}",
        "topic": identity.broker.topic,
        "service": identity.service_url,
    }


def _waits(shown: "Mapping[str, Any]") -> dict[str, Any]:
    """What a person compares; of a file that others may have cut short."""
    names = {"waitsAs": "thing", "approval": "approval", "words": "words"}
    return {said: printable(str(shown.get(name) or "-")) for said, name in names.items()}


def _journey(home: "Home", now: "datetime") -> dict[str, Any]:
    """Where the device stands: the agent says so, or what lies there does."""
    from keyborn.device.slots import survey
    from keyborn.domain.journey import Stage

    if told := _told(home):
        return _running(told)
    seen = survey(home, now)
    if seen.next_usable:
        stage = Stage.STAGED
    elif seen.current.whole:
        stage = Stage.CONFIRMING if seen.unconfirmed else Stage.ENROLLED
    else:
        stage = Stage.UNPROVISIONED
    return {"agent": False, "journey": stage.value}


def _told(home: "Home") -> dict[str, Any] | None:
    """What the agent says, where one runs."""
    from keyborn.device.agent.client import agent_of
    from keyborn.domain.errors import DeviceError

    with contextlib.suppress(DeviceError), agent_of(home) as agent:
        if agent is not None:
            told: dict[str, Any] = agent.ask("status")["status"]
            return told
    return None


def _running(told: dict[str, Any]) -> dict[str, Any]:
    running = {"agent": True, "journey": told["stage"], "connected": told["connected"]}
    errors = {"lastError": told["error"], "renewalError": told.get("renewalError")}
    if errors["renewalError"] == errors["lastError"]:
        del errors["renewalError"]
    return running | {name: said for name, said in errors.items() if said}


def _by_agent(home: "Home") -> dict[str, Any]:
    """All that there is to say of a home whose files are not for this user: root may talk to its agent."""
    told = _told(home)
    if told is None:
        return {}
    counts = told["outbox"] or {}
    outbox = {"outboxWaiting": counts.get("waiting"), "outboxRefused": counts.get("refused")}
    return {"thing": told["thing"], "certificateId": told["certificateId"], **_running(told), **outbox}


def _mode(home: "Home") -> str | None:
    try:
        return f"{home.key.lstat().st_mode & 0o7777:04o}"
    except OSError:
        return None


def _outbox(home: "Home", *, listed: bool) -> tuple[dict[str, Any], list[str]]:
    """Counts, without making an outbox where there is none, and what is wrong with it or its settings."""
    from keyborn.device.outbox import open_outbox
    from keyborn.device.outbox_settings import outbox_settings
    from keyborn.domain.errors import FileNotPrivate, KeybornError, OutboxUnusable
    from keyborn.domain.moment import shown

    try:
        outbox_settings(home)
    except KeybornError as wrong:  # every other command would say so, and do nothing
        return {"outboxWaiting": None, "outboxRefused": None}, [str(wrong)]
    if not home.outbox.exists():
        return {"outboxWaiting": 0, "outboxRefused": 0, **({"refused": []} if listed else {})}, []
    try:
        with open_outbox(home.outbox) as outbox:
            counts, refused = outbox.counts(), outbox.set_aside(_LISTED) if listed else None
    except (FileNotPrivate, OutboxUnusable) as wrong:
        return {"outboxWaiting": None, "outboxRefused": None}, [str(wrong)]
    report: dict[str, Any] = {"outboxWaiting": counts.waiting, "outboxRefused": counts.refused}
    lost = {"outboxDropped": counts.dropped, "outboxExpired": counts.expired}
    report |= {name: count for name, count in lost.items() if count}
    if refused is not None:  # never a payload
        report["refused"] = [
            {"topic": each.topic, "keptAt": shown(each.created_at), "reason": each.reason} for each in refused
        ]
    return report, []


def _print(report: dict[str, Any], home: "Home", *, as_json: bool) -> None:
    if as_json:
        show(report, as_json=True)
        return
    apart = ("problems", "refused")
    show({name: value for name, value in report.items() if name not in apart}, as_json=False)
    for each in report.get("refused", ()):
        click.echo(printable(f"refused: {each['topic']}, kept at {each['keptAt']}: {each['reason']}"))
    for problem in report["problems"]:
        click.echo(f"problem: {problem}")
    for line in _advice(report, home):
        click.echo(line)


def _advice(report: dict[str, Any], home: "Home") -> "Iterator[str]":
    """What a person may want to do next."""
    place, state = home_words(home), report["state"]
    if report.get("outboxRefused") and "refused" not in report:
        count = f"outboxRefused: {report['outboxRefused']} that the broker will never take, set aside."
        yield f"{count} See topics and reasons with: keyborn status --outbox{place}"
        yield f"Let them wait again, or drop them, with: keyborn messages retry | drop{place}"
    if "words" in report and state != "ready":
        yield "A person has to approve this device, who compares code and words: keyborn approval list"
    elif state == "none" and not report["problems"]:
        yield f"There is no identity here. Run: keyborn enroll -{place} (or say where it is: --home DIR)"
    elif state in ("key-only", "incomplete"):
        yield f"The identity is not complete. To complete it run: keyborn enroll -{place}"
    elif state == "expired":
        yield (
            "The certificate has expired, if this device's clock is right. Ask the operator for grace "
            f"(keyborn thing grace {report['thing']}) and run: keyborn renew{place}. Or for a new code, "
            f"and run: keyborn enroll -{place} (the key stays)"
        )
    if state == "ready" and report.get("journey") == _STRANDED:
        yield f"The agent tries again within an hour, or at once with: keyborn look{place}"
    who = "the agent and the files here say" if report.get("agent") else "the files here say"
    yield f"This is what {who}; no service was asked."
