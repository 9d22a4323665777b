"""``keyborn group code``: enrolment codes for devices that prove themselves without a secret in them."""

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options
from keyborn.cli.output import json_option, show
from keyborn.cli.token import Duration

METHODS = ("factory", "oidc", "registered", "ask")
_HINTS = {
    "factory": " --factory-cert FILE --factory-key FILE",
    "oidc": " --jwt-file FILE",
    "registered": "",
    "ask": "",
}


@click.command("code", short_help="Make an enrolment code without a secret.")
@click.argument("name", metavar="GROUP")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="How the device proves itself.  [default: the group's first one]",
)
@click.option(
    "--ttl", type=Duration(), default="30d", show_default=True, help="How long devices may believe its dates."
)
@desk_options
@json_option
def code(*, name: str, method: str | None, ttl: int, desk: Desk, as_json: bool) -> None:
    """Make a code that says where to enrol and whom to trust, and permits nothing; on the last line.

    All devices of the group may have the same one. It is no secret, but must not be exchanged on the way:
    a device believes the service that its code names.

    Example: keyborn group code line-7

    Example: keyborn group code line-7 --method factory
    """
    wish = {"method": method, "ttl": ttl}
    body = {each: value for each, value in wish.items() if value is not None}
    made = desk.ask("POST", f"/v1/groups/{place(name)}/codes", body)
    if as_json:
        show(made, as_json=True)
        return
    show({each: made[each] for each in ("group", "method", "expires", "url")}, as_json=False)
    click.echo(f"On each device, give this code to: keyborn enroll - --thing NAME{_HINTS[made['method']]}\n")
    click.echo(made["code"])
