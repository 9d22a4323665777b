"""``keyborn group``: the rules by which devices enrol."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.device import printable, printable_lines
from keyborn.cli.group_code import code
from keyborn.cli.group_document import read_group_text
from keyborn.cli.group_key import key
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table
from keyborn.cli.policy_file import finding_line

if TYPE_CHECKING:
    from keyborn.domain.group_lint import Finding

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group(cls=Group)
def group() -> None:
    """Enrolment groups: rules that say who may enrol, as what, and how many.

    Example: keyborn group put line-7.toml
    """


group.add_command(code)
group.add_command(key)


@group.command("put", short_help="Keep the rule in FILE, in force for the next request.")
@_file
@click.option("--strict", is_flag=True, help="Refuse a file of which lint has anything to say.")
@click.option("--dry-run", is_flag=True, help="Say what lint says of it beside what is there; keep nothing.")
@desk_options
@json_option
def put_group(*, file: Path, strict: bool, dry_run: bool, desk: Desk, as_json: bool) -> None:
    """Keep the rule in FILE (- is standard input) under the name in it; over an older one it counts up.

    Files that it names (authorities-file, roots-file) are read here, and their certificates kept with it.
    What lint has to say is printed; errors are refused. The secret with which questions to a webhook are
    signed is printed once.

    Example: keyborn group put line-7.toml

    Example: keyborn group put line-7.toml --aws keyborn
    """
    from keyborn.domain.group_file import parse_group

    text = read_group_text(file)
    name = parse_group(text).name
    if strict or dry_run:
        found = desk.ask("POST", f"{_place(name)}/lint", {"document": text})
        _require_sound(found["findings"], strict=strict)
        if dry_run:
            _tell_found(found, as_json=as_json)
            return
    kept = desk.ask("PUT", _place(name), {"document": text})
    if as_json:
        show(kept, as_json=True)
        return
    click.echo(f"{kept['groupName']} is kept, version {kept['version']}, in force now.")
    for finding in kept["findings"]:
        click.echo(finding_line(finding), err=True)
    if kept["webhookSecret"]:
        click.echo("Its webhook checks our questions with this secret, which is shown only now:\n")
        click.echo(kept["webhookSecret"])


def _require_sound(findings: list[dict[str, str]], *, strict: bool) -> None:
    """Raise InvalidGroup for the first error, or with ``strict`` for the first finding."""
    from keyborn.domain.errors import InvalidGroup

    for finding in findings:
        if strict or finding["severity"] == "error":
            raise InvalidGroup(where=finding["where"], detail=finding["sentence"].rstrip("."))


def _tell_found(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(found, as_json=True)
        return
    for finding in found["findings"]:
        click.echo(finding_line(finding), err=True)
    click.echo(f"{found['groupName']} could be kept; nothing was.")


@group.command("list")
@desk_options
@json_option
def list_groups(*, desk: Desk, as_json: bool) -> None:
    """List the groups, by name, with how many devices have enrolled.

    Example: keyborn group list
    """
    rows = list(pages(desk, "/v1/groups", "groupName"))
    if not as_json:
        rows = [row | {"methods": ", ".join(row["methods"]) or _UNREADABLE} for row in rows]
    columns = ["groupName", "version", "things", "methods", "enrolled", "limit", "opens", "closes"]
    table(rows, columns, as_json=as_json, empty="There are no groups. Make one with: keyborn group put FILE")


_UNREADABLE = "none: it cannot be read"


@group.command("show")
@click.argument("name")
@click.option("--document", "only", is_flag=True, help="Print nothing but the file.")
@desk_options
@json_option
def show_group(*, name: str, only: bool, desk: Desk, as_json: bool) -> None:
    """Show a group: its rule, how many devices have enrolled, and what lint says of it.

    Example: keyborn group show line-7
    """
    shown = desk.ask("GET", _place(name))
    if only:
        click.echo(shown["document"].rstrip())
        return
    if as_json:
        show(shown, as_json=True)
        return
    document, findings = shown.pop("document"), shown.pop("findings")
    show(shown | {"methods": ", ".join(shown["methods"]) or _UNREADABLE}, as_json=False)
    click.echo(f"\n{printable_lines(document.rstrip())}")
    for finding in findings:
        click.echo(f"\n{finding_line(finding)}")


@group.command("remove")
@click.argument("name")
@desk_options
@json_option
def remove_group(*, name: str, desk: Desk, as_json: bool) -> None:
    """Forget a group: nobody enrols under it any more, and what has enrolled stays.

    Its count stays, too: put again, it goes on where it was.

    Example: keyborn group remove line-7
    """
    removed = desk.ask("DELETE", _place(name))
    if as_json:
        show(removed, as_json=True)
        return
    click.echo(f"{name} is removed. What has enrolled under it stays.")


@group.command("lint", short_help="Say what is wrong with the rule in FILE, and what to write.")
@_file
@click.option("--strict", is_flag=True, help="End with 1 for warnings too.")
@json_option
def lint_group(*, file: Path, strict: bool, as_json: bool) -> None:
    """Say what is wrong with the rule in FILE (- is standard input), and what to write instead.

    Needs no service. An error is what can never do what it says: `group put` refuses it too. A warning is
    what admits more, or fewer, than it seems to. Ends with 1 where there is an error. What takes other
    groups and policies to see, `group put --dry-run` says.

    Example: keyborn group lint line-7.toml
    """
    from keyborn.adapters.system import SystemClock
    from keyborn.domain.group_file import parse_group
    from keyborn.domain.group_lint import Around, Severity, lint

    found = lint(parse_group(read_group_text(file)), Around(now=SystemClock().now()))
    click.echo(json.dumps({"findings": [_row(each) for each in found]}) if as_json else _told(found))
    if any(strict or each.severity is Severity.ERROR for each in found):
        raise click.exceptions.Exit(1)


def _row(finding: "Finding") -> dict[str, object]:
    """A finding for programs; ``corrected`` is TOML, to put in the place of the key ``where``."""
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "where": finding.where,
        "sentence": finding.sentence,
        "corrected": finding.corrected,
    }


def _told(found: "tuple[Finding, ...]") -> str:
    errors = sum(each.severity == "error" for each in found)
    if not found:
        return "Nothing to say."
    count = f"{_counted(errors, 'error')}, {_counted(len(found) - errors, 'warning')}."
    return "\n\n".join([*map(_paragraph, found), count])


def _paragraph(finding: "Finding") -> str:
    lines = [f"{finding.severity}: {finding.where} [{finding.code}]", f"  {printable(finding.sentence)}"]
    if finding.corrected is not None:
        lines.append(f"  Write instead: {printable(finding.corrected)}")
    return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _place(name: str) -> str:
    return f"/v1/groups/{place(name)}"
