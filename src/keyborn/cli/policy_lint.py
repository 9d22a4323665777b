"""``keyborn policy lint``: the traps in a policy before it is put. Needs neither a server nor its parts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import printable
from keyborn.cli.output import json_option
from keyborn.cli.policy_file import read_policy

if TYPE_CHECKING:
    from keyborn.domain.access_policy.document import PolicyDocument
    from keyborn.domain.access_policy.lint import Finding


@click.command("lint", short_help="Say what is wrong with the document in FILE, and what to write.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--strict", is_flag=True, help="End with 1 for warnings too.")
@json_option
def lint_command(*, file: Path, strict: bool, as_json: bool) -> None:
    """Say what is wrong with the document in FILE (- is standard input), and what to write instead.

    An error is what can never do what it says, or what AWS refuses: `policy put` refuses it too. A warning is
    what gives more, or less, than it seems to. Ends with 1 where there is an error.

    Example: keyborn policy lint narrow.json
    """
    from keyborn.domain.access_policy.lint import Severity, lint
    from keyborn.domain.access_policy.parse import parse_document

    document = parse_document(read_policy(file))
    found = lint(document)
    click.echo(json.dumps(_report(document, found)) if as_json else _told(document, found))
    if any(strict or each.severity is Severity.ERROR for each in found):
        raise click.exceptions.Exit(1)


def _report(document: "PolicyDocument", found: "tuple[Finding, ...]") -> dict[str, object]:
    from keyborn.domain.access_policy.document import MAX_DOCUMENT
    from keyborn.domain.access_policy.lint import size

    return {
        "statements": len(document.statements),
        "characters": size(document.text),
        "limit": MAX_DOCUMENT,
        "findings": [_row(each) for each in found],
    }


def _row(finding: "Finding") -> dict[str, object]:
    """A finding for programs; ``corrected`` is JSON, to put in the place of ``statement`` (from 1)."""
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "where": finding.where,
        "statement": None if finding.statement is None else finding.statement + 1,
        "sentence": finding.sentence,
        "corrected": finding.corrected,
    }


def _told(document: "PolicyDocument", found: "tuple[Finding, ...]") -> str:
    from keyborn.domain.access_policy.document import MAX_DOCUMENT
    from keyborn.domain.access_policy.lint import size

    statements = _counted(len(document.statements), "statement")
    length = f"{statements}, {size(document.text)} of {MAX_DOCUMENT} characters"
    if not found:
        return f"Nothing to say: {length}."
    errors = sum(each.severity == "error" for each in found)
    count = f"{_counted(errors, 'error')}, {_counted(len(found) - errors, 'warning')}"
    return "\n\n".join([*map(_paragraph, found), f"{count}; {length}."])


def _paragraph(finding: "Finding") -> str:
    lines = [f"{finding.severity}: {finding.where} [{finding.code}]", f"  {printable(finding.sentence)}"]
    if finding.corrected is not None:
        lines += ["  Write instead:", *(f"    {line}" for line in finding.corrected.splitlines())]
    return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
