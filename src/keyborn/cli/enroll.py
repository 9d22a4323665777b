"""``keyborn enroll``: a key, a certificate, an identity."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.code import CodeSource
from keyborn.cli.device import KEY_TYPES, Number, find_home, home_option, home_words, surroundings
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from keyborn.device.enroll import Outcome
    from keyborn.device.home import Home
    from keyborn.device.identity_token import IdentityTokenSource
    from keyborn.device.proof import FactoryFiles


@click.command()
@click.argument("code", required=False, envvar="KEYBORN_CODE")
@click.option(
    "--code-file",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    help="Read the enrolment code from a file, such as the saved output of `keyborn token create`.",
)
@click.option("--thing", metavar="NAME", help="The thing name.  [default: this machine's host name]")
@home_option
@click.option("--key-type", type=click.Choice(KEY_TYPES), help="The key to make.  [default: p256]")
@click.option("--adopt-key", type=click.Path(dir_okay=False, path_type=Path), help="Use a copy of this key.")
@click.option("--key", "key_uri", metavar="URI", help="Where the key lives; only file: for now.")
@click.option(
    "--subject",
    default="",
    metavar="/C=…/O=…",
    help="Further subject attributes of the CSR. CN is always the thing name. The service does not copy the "
    "others into its certificates (AWS IoT does).",
)
@click.option(
    "--group",
    metavar="GROUP",
    help="The enrolment group to ask in, where the code does not say it.",
)
@click.option(
    "--factory-cert",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The certificate from this device's manufacturer, then those above it, PEM; with --factory-key.",
)
@click.option(
    "--factory-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its key, which signs the request; it is only read.",
)
@click.option(
    "--jwt-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Prove this device by the identity token (JWT) in this file, read anew for each try.  [default: "
    "$KEYBORN_JWT, where the code needs one]",
)
@click.option(
    "--timeout",
    type=Number(1, 604800),
    show_default="90, and a day where a person has to approve this device",
    help="Seconds to keep trying.",
)
@click.option(
    "--publish",
    "message",
    metavar="MESSAGE",
    help="Then send MESSAGE to this device's own topic, and say what became of it.",
)
@json_option
def enroll(
    *,
    code: str | None,
    code_file: Path | None,
    thing: str | None,
    home: Path | None,
    key_type: str | None,
    adopt_key: Path | None,
    key_uri: str | None,
    subject: str,
    group: str | None,
    factory_cert: Path | None,
    factory_key: Path | None,
    jwt_file: Path | None,
    timeout: float | None,
    message: str | None,
    as_json: bool,
) -> None:
    """Make this device's key, have it certified, and store the identity; nothing if there is one already.

    CODE is what `keyborn token create` printed; `-` reads it from standard input, which keeps it out of `ps`,
    and asks for it at a terminal. It may also come from --code-file or $KEYBORN_CODE. A code of another
    service than this identity's is refused, and nothing is changed.

    Where a person has to approve this device, it shows a code and key words, which the operator compares, and
    waits. Interrupted, or out of time, the same command goes on with the same request.

    Example: keyborn enroll - --thing gateway-1 < code.txt

    Example: keyborn enroll - --publish hello < code.txt

    Example: keyborn enroll - --thing widget-1 --factory-cert idevid.pem --factory-key idevid.key < code.txt
    """
    from keyborn.device.enroll import Wish, enroll as enroll_device
    from keyborn.device.keystore import open_store

    if adopt_key is not None and key_type is not None:
        raise click.UsageError("--adopt-key and --key-type exclude each other.")
    place = find_home(home)
    open_store(key_uri, place.key)
    factory, token = _factory(factory_cert, factory_key), _token(jwt_file)
    wish = Wish(thing, key_type, subject, adopt_key, group=group, factory=factory, identity_token=token)
    source = CodeSource(code, code_file)
    outcome = enroll_device(
        place, wish, source.required, surroundings(quiet=as_json), timeout=timeout, offered=source.offered
    )
    if outcome.obtained:
        _rouse(place)
    report = _report(place, outcome)
    if not as_json:
        _tell(place, outcome)
    if message is not None:
        report["published"] = _publish(place, outcome, message, quiet=as_json)
    elif not as_json:
        topic = shlex.quote(outcome.identity.broker.topic)
        click.echo(f"Next: keyborn publish {topic} hello{home_words(place)}")
    if as_json:
        show(report, as_json=True)


def _rouse(home: "Home") -> None:
    """Tell an agent that waits for this identity."""
    from keyborn.device.agent.client import rouse

    rouse(home)


def _factory(certificate: Path | None, key: Path | None) -> "FactoryFiles | None":
    """What the manufacturer gave; a usage error for half of it."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError("--factory-cert and --factory-key go together.")
    from keyborn.device.proof import FactoryFiles

    return FactoryFiles(certificate, key)


def _token(file: Path | None) -> "IdentityTokenSource":
    """Where an identity token would come from; nothing is read before one is needed."""
    from keyborn.device.identity_token import VARIABLE, IdentityTokenSource

    return IdentityTokenSource(file, os.environ.get(VARIABLE))


def _publish(home: "Home", outcome: "Outcome", message: str, *, quiet: bool) -> dict[str, object]:
    """Send the first message, and say so to people."""
    from keyborn.cli import messages

    topic = outcome.identity.broker.topic
    done = messages.send(home, topic, message.encode(errors="surrogateescape"), quiet=quiet)
    if not quiet:
        click.echo(f"The message to {topic}: {messages.told(done)}")
    return messages.outcome(topic, done)


def _report(home: "Home", outcome: "Outcome") -> dict[str, Any]:
    from keyborn.domain.moment import shown

    identity = outcome.identity
    return {
        "thing": identity.thing,
        "certificateId": identity.certificate_id,
        "notAfter": shown(identity.not_after),
        "keyType": identity.key_type,
        "subject": outcome.subject,
        "obtained": outcome.obtained,
        "home": str(home.path),
        "files": {
            "key": str(home.key),
            "certificate": str(home.certificate),
            "roots": str(home.roots),
            "settings": str(home.settings),
        },
        "broker": f"{identity.broker.endpoint}:{identity.broker.port}",
        "topic": identity.broker.topic,
    }


def _tell(home: "Home", outcome: "Outcome") -> None:
    from keyborn.domain.moment import shown

    identity = outcome.identity
    if outcome.obtained:
        click.echo(f"This device is now {identity.thing}.")
    else:
        click.echo(f"This device already is {identity.thing}; no request was made.")
    show(
        {
            "  certificate": identity.certificate_id,
            "  valid until": shown(identity.not_after),
            "  key": f"{home.key} ({identity.key_type}, readable by you alone)",
            "  chain, roots": f"{home.certificate}, {home.roots}",
        },
        as_json=False,
    )
