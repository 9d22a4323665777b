"""``keyborn policy``: what devices and services may do on the broker."""

import json
from pathlib import Path
from typing import Any

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.device import printable, printable_lines
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table
from keyborn.cli.policy_file import document_option, finding_line, read_policy, require_sound
from keyborn.cli.policy_lint import lint_command
from keyborn.domain.errors import UnexpectedVerdict

ACTIONS = ("connect", "publish", "receive", "retain", "subscribe")


@click.group(cls=Group)
def policy() -> None:
    """Access policies, in AWS IoT's policy grammar: what a device may do on the broker.

    Example: keyborn policy simulate --thing gateway-1 --action publish --topic certtest/gateway-1
    """


policy.add_command(lint_command, "lint")


@policy.command("put", short_help="Keep the document in FILE under NAME, in force at once.")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--strict", is_flag=True, help="Refuse a document of which lint has anything to say.")
@desk_options
@json_option
def put_policy(*, name: str, file: Path, strict: bool, desk: Desk, as_json: bool) -> None:
    """Keep the document in FILE (- is standard input) under NAME; over an older one it counts a version up.

    A change is in force on every open session when the command ends; on AWS within minutes. What lint has to
    say is printed; errors are refused.

    Example: keyborn policy put narrow narrow.json
    """
    text = read_policy(file)
    require_sound(file, text, strict=strict)
    kept = desk.ask("PUT", _place(name), {"document": text})
    if as_json:
        show(kept, as_json=True)
        return
    when = "" if desk.at_once else f" {_when(desk)}"
    count = f"version {kept['version']}"
    click.echo(f"{kept['policyName']} is kept, {count}, in force{when} for everybody who has it.")
    if kept["version"] == 1:
        click.echo(f"Next: keyborn policy attach {kept['policyName']} --thing NAME{desk.words}")
    for finding in kept["findings"]:
        click.echo(finding_line(finding), err=True)


@policy.command("list")
@desk_options
@json_option
def list_policies(*, desk: Desk, as_json: bool) -> None:
    """List the policies, by name.

    Example: keyborn policy list
    """
    rows = list(pages(desk, "/v1/policies", "policyName"))
    columns = ["policyName", "version", "statements", "updated", "writtenBy"]
    table(rows, columns, as_json=as_json, empty="There are no policies. A service puts the default one.")


@policy.command("show")
@click.argument("name")
@click.option("--document", "only", is_flag=True, help="Print nothing but the document, for a file.")
@desk_options
@json_option
def show_policy(*, name: str, only: bool, desk: Desk, as_json: bool) -> None:
    """Show a policy: its document, who has it, and what lint says of it.

    Example: keyborn policy show keyborn-default
    """
    shown = desk.ask("GET", _place(name))
    if only:
        click.echo(shown["document"].rstrip())
        return
    if as_json:
        show(shown, as_json=True)
        return
    document, findings = shown.pop("document"), shown.pop("findings")
    attached = ", ".join(shown.pop("attachedTo")) or "nobody by name"
    default = "; every device that has no policy of its own" if shown.pop("isDefault") else ""
    show(shown | {"attachedTo": attached + default}, as_json=False)
    click.echo(f"\n{printable_lines(document.rstrip())}")
    for finding in findings:
        click.echo(f"\n{finding_line(finding)}")


@policy.command("remove")
@click.argument("name")
@desk_options
@json_option
def remove_policy(*, name: str, desk: Desk, as_json: bool) -> None:
    """Forget a policy that nobody has.

    Example: keyborn policy remove narrow
    """
    removed = desk.ask("DELETE", _place(name))
    if as_json:
        show(removed, as_json=True)
        return
    click.echo(f"{name} is removed.")


@policy.command("attach", short_help="Give a thing one more policy.")
@click.argument("name")
@click.option("--thing", required=True, metavar="NAME", help="The device or service that gets it.")
@desk_options
@json_option
def attach_policy(*, name: str, thing: str, desk: Desk, as_json: bool) -> None:
    """Give a thing one more policy, in force at once; on AWS within minutes.

    A thing without policies of its own has keyborn-default, and keeps it beside the new one until it is
    detached.

    Example: keyborn policy attach narrow --thing gateway-1

    Example: keyborn policy attach narrow --thing gateway-1 --aws keyborn
    """
    _tell(desk, desk.ask("POST", f"{_thing(thing)}/policies", {"policyName": name}), as_json=as_json)


@policy.command("detach", short_help="Take a policy away from a thing.")
@click.argument("name")
@click.option("--thing", required=True, metavar="NAME", help="The device or service that loses it.")
@desk_options
@json_option
def detach_policy(*, name: str, thing: str, desk: Desk, as_json: bool) -> None:
    """Take a policy away from a thing, at once (on AWS within minutes); without any it may do nothing.

    Example: keyborn policy detach keyborn-default --thing gateway-1
    """
    _tell(desk, desk.ask("DELETE", f"{_thing(thing)}/policies/{place(name)}"), as_json=as_json)


@policy.command("simulate", short_help="Say whether the broker would allow it, and why.")
@click.option("--thing", required=True, metavar="NAME", help="Who acts: a device or a service.")
@click.option(
    "--action", required=True, type=click.Choice(ACTIONS, case_sensitive=False), help="What it wants to do."
)
@click.option("--topic", metavar="TOPIC", help="The topic, or for subscribe the filter.")
@click.option("--client-id", metavar="ID", help="The connection's client id.  [default: the thing name]")
@click.option("--will", is_flag=True, help="The connection has a last will.")
@click.option("--persistent", is_flag=True, help="The connection wants a session that outlives it.")
@click.option("--expect", type=click.Choice(["allowed", "denied"]), help="End with 1 for the other verdict.")
@document_option
@desk_options
@json_option
def simulate_policy(
    *,
    thing: str,
    action: str,
    topic: str | None,
    client_id: str | None,
    will: bool,
    persistent: bool,
    expect: str | None,
    document: Path | None,
    desk: Desk,
    as_json: bool,
) -> None:
    """Say whether the broker would allow it, by which statement, and what the variables stand for.

    With --policy FILE the document in it is tried in the place of the thing's own policies.

    Example: keyborn policy simulate --thing gateway-1 --action subscribe --topic 'certtest/gateway-1/#'
    """
    if topic is None and action != "connect":
        raise click.UsageError(f"--action {action} needs --topic.")
    if topic is not None and action == "connect":
        raise click.UsageError("--action connect is about a client id: use --client-id, not --topic.")
    _require_real(action, topic)
    named = thing if client_id is None else client_id
    resource = named if action == "connect" else topic
    body: dict[str, Any] = {"thing": thing, "action": action, "resource": resource, "clientId": client_id}
    body |= {"will": will, "persistent": persistent}
    if document is not None:
        body["document"] = read_policy(document)
    said = desk.ask("POST", "/v1/simulations", body)
    click.echo(json.dumps(said) if as_json else explained(said))
    if expect is not None and expect != said["verdict"]:
        raise UnexpectedVerdict(verdict=said["verdict"], expected=expect)


def _require_real(action: str, topic: str | None) -> None:
    """Raise InvalidTopic for what no broker would take, whatever a policy says of it."""
    from keyborn.device.topics import check_filter, check_topic

    if topic is not None:
        check = check_filter if action == "subscribe" else check_topic
        check(topic)


def explained(said: dict[str, Any]) -> str:
    """A simulation for people: the verdict first, then variables, then every statement."""
    lines = [f"{said['verdict'].upper()}: {said['reason']}"]
    if not said["certificateLive"]:
        lines.append(f"But now the broker does not let it in at all: {_why_not(said)}.")
    if said["variables"]:
        lines += ["", "Variables"]
        lines += [f"  {each['name']}  {_value(each)}" for each in said["variables"]]
    lines += ["", "Statements" if said["statements"] else "No statement: the thing has no policy."]
    for each in said["statements"]:
        mark = "matches" if each["matched"] else "does not match"
        title = f"{each['policyName']} statement {each['number']}"
        sid = f" ({each['sid']})" if each["sid"] else ""
        lines.append(f"  {each['effect']:<5} {title}{sid} {mark}: {each['because']}")
    return "\n".join(map(printable, lines))


def _why_not(said: dict[str, Any]) -> str:
    if said["thingStatus"] != "active":
        return f"{said['thingName']} is {said['thingStatus']}"
    if said["certificateStatus"] != "active":
        return f"its certificate is {said['certificateStatus']}"
    return "its certificate is outside its dates"


def _value(variable: dict[str, Any]) -> str:
    if variable["value"] is not None:
        return f"= {variable['value']}"
    return f"does not resolve: {variable['because']}"


def _tell(desk: Desk, thing: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(thing, as_json=True)
        return
    held = ", ".join(thing["policies"]) or "no policy: it may do nothing"
    click.echo(f"{thing['thingName']} has {held}. In force {_when(desk)}.")


def _when(desk: Desk) -> str:
    """When a change is in force. AWS IoT keeps policies in mind for some minutes (its Developer Guide)."""
    return "now" if desk.at_once else "within minutes"


def _place(name: str) -> str:
    return f"/v1/policies/{place(name)}"


def _thing(name: str) -> str:
    return f"/v1/things/{place(name)}"
