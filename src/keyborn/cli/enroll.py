"""``keyborn enroll``: a key, a certificate, an identity."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.device import find_home, home_option, surroundings
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from keyborn.device.enroll import Outcome
    from keyborn.device.home import Home
    from keyborn.domain.token import EnrollmentCode

_KEY_TYPES = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096")
_MAX_CODE_FILE = 4096


@click.command()
@click.argument("code", required=False, envvar="KEYBORN_CODE")
@click.option(
    "--code-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read the enrolment code from a file.",
)
@click.option("--thing", metavar="NAME", help="The thing name.  [default: this machine's host name]")
@home_option
@click.option("--key-type", type=click.Choice(_KEY_TYPES), help="The key to make.  [default: p256]")
@click.option("--adopt-key", type=click.Path(dir_okay=False, path_type=Path), help="Use a copy of this key.")
@click.option("--key", "key_uri", metavar="URI", help="Where the key lives; only file: for now.")
@click.option(
    "--subject", default="", metavar="/C=…/O=…", help="Further subject attributes; CN is the thing."
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86400),
    default=60.0,
    show_default=True,
    help="Seconds to keep trying.",
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
    timeout: float,
    as_json: bool,
) -> None:
    """Make this device's key, have it certified, and store the identity; nothing if there is one already.

    CODE is what `keyborn token create` printed; `-` reads it from standard input, which keeps it out of `ps`.
    It may also come from --code-file or $KEYBORN_CODE.

    Example: keyborn enroll - --thing gateway-1 < code.txt
    """
    from keyborn.device.enroll import Wish
    from keyborn.device.enroll import enroll as enroll_device
    from keyborn.device.keystore import open_store

    if adopt_key is not None and key_type is not None:
        raise click.UsageError("--adopt-key and --key-type exclude each other.")
    place = find_home(home)
    open_store(key_uri, place.key)
    wish = Wish(thing, key_type, subject, adopt_key)
    outcome = enroll_device(place, wish, lambda: _read_code(code, code_file), surroundings(), timeout=timeout)
    if as_json:
        show(_report(place, outcome), as_json=True)
    else:
        _tell(place, outcome)


def _read_code(code: str | None, code_file: Path | None) -> "EnrollmentCode":
    from keyborn.domain.token import EnrollmentCode

    if code_file is not None:
        try:
            with code_file.open(encoding="ascii", errors="replace") as file:
                code = file.read(_MAX_CODE_FILE)
        except OSError as wrong:
            raise click.FileError(str(code_file), wrong.strerror) from None
    elif code == "-":
        code = sys.stdin.read(_MAX_CODE_FILE)
    if code is None:
        raise click.UsageError("Give the enrolment code: as CODE, - for standard input, or --code-file.")
    return EnrollmentCode.decode(code)


def _report(home: "Home", outcome: "Outcome") -> dict[str, Any]:
    identity = outcome.identity
    return {
        "thing": identity.thing,
        "certificateId": identity.certificate_id,
        "notAfter": f"{identity.not_after:%Y-%m-%dT%H:%M:%SZ}",
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
    identity = outcome.identity
    if outcome.obtained:
        click.echo(f"This device is now {identity.thing}.")
    else:
        click.echo(f"This device already is {identity.thing}; no request was made.")
    show(
        {
            "  certificate": identity.certificate_id,
            "  valid until": f"{identity.not_after:%Y-%m-%d %H:%M} UTC",
            "  key": f"{home.key} ({identity.key_type}, readable by you alone)",
            "  chain, roots": f"{home.certificate}, {home.roots}",
        },
        as_json=False,
    )
    click.echo(f"Next: keyborn publish {identity.broker.topic} hello")
