"""Write docs/reference/ from the code: ``make docs``. A test checks that the pages are up to date.

cli.md is every command's own help; api.md is the OpenAPI document as tables; errors.md is the error tree;
journey.md is the device's state table; metrics.md is every figure that a service tells.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import click

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.cli.main import COMMANDS, cli
from keyborn.domain import errors
from keyborn.domain.journey import picture
from keyborn.http import openapi
from keyborn.http.admin import Office, build_admin
from keyborn.http.openapi_operators import operator_calls
from keyborn.http.problems import STATUS
from keyborn.ports import Notary, RootKeeper
from keyborn.service.audit import AuditOffice, AuditPorts
from keyborn.service.figures import BOUNDS, FIGURES, Label
from keyborn.service.roots import RootNames, RootsPorts
from keyborn.service.sealing import RandomSecrets
from keyborn.wiring.use_cases import Grouping, Offices

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `make docs` from the code; edit the code instead. -->\n"
WIDTH = 100
FEW = 20
"""Values of a label that a page can name."""


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """The command's full name and its help, then those of its subcommands."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from commands(child, click.Context(child, info_name=name, parent=context))


def cli_page() -> str:
    """Every command with its help, in the order of the table."""
    settings = {**cli.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    top = click.Context(cli, info_name="keyborn", **settings)
    parts = [NOTE, "# Commands\n", "Exit codes: 0 done, 1 refused or failed, 2 usage, 130 interrupted.\n"]
    parts += [f"- [`keyborn {name}`](#keyborn-{name}): {summary}" for name, (_, summary) in COMMANDS.items()]
    for title, text in list(commands(cli, top))[1:]:
        parts.append(f"\n## {title}\n\n```text\n{text}\n```")
    return "\n".join(parts) + "\n"


def api_page() -> str:
    """Every route with its bodies and answers, from the OpenAPI document."""
    operators = operator_calls(build_admin(every_office()).routes)
    document = json.loads(openapi.document(renewal=True, reports=True, operators=operators))
    parts = [NOTE, "# HTTP interface\n", document["info"]["description"] + "\n"]
    parts.append("The service publishes this as OpenAPI 3.1 at `/openapi.json`. Bodies are at most 16 KiB.")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(route(path, method, operation))
    parts.append("\n## Bodies")
    parts += [body(name, schema) for name, schema in document["components"]["schemas"].items()]
    return "\n".join(parts) + "\n"


def every_office() -> Office:
    """An office with every route; nobody asks it anything."""
    registry, entropy, clock = MemoryRegistry(), SystemEntropy(), SystemClock()
    offices = Offices(
        registry,
        clock,
        RandomSecrets(entropy),
        grace=registry,
        grouping=Grouping(registry, entropy),
        keys=registry,
        entropy=entropy,
    )
    nobody, nameless = cast("RootKeeper", None), cast("Callable[[], RootNames]", None)
    return offices.office(
        None,
        trust=lambda: ("", b""),
        authorities=tuple,
        about=dict,
        roots=RootsPorts(registry, registry, nobody, registry, clock, nameless),
        audit=AuditOffice(AuditPorts(registry, registry, cast("Notary", None), clock), str),
    )


def route(path: str, method: str, operation: dict[str, Any]) -> str:
    """One operation: summary, credential, request body, answers."""
    lines = [f"\n## {method.upper()} {path}\n", operation["summary"] + "\n"]
    if "description" in operation:
        lines.append(operation["description"] + "\n")
    if operation.get("security"):
        keys = "apiKey" in operation["security"][0]
        lines.append(f"Credential: `Authorization: Bearer {'<API key>' if keys else '<secret>'}`.\n")
    if "requestBody" in operation:
        lines.append(f"Request: {contents(operation['requestBody'])}\n")
    lines += ["| status | meaning | body |", "| --- | --- | --- |"]
    for status, answer in operation["responses"].items():
        lines.append(f"| {status} | {answer['description']} | {contents(answer)} |")
    return "\n".join(lines)


def contents(holder: dict[str, Any]) -> str:
    """Media types and schema names of a request or an answer."""
    pairs = [(media, kind(each["schema"])) for media, each in holder.get("content", {}).items()]
    return ", ".join(f"`{media}`: {name}" for media, name in pairs) or "none"


def kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def body(name: str, schema: dict[str, Any]) -> str:
    """A body's members as a table."""
    lines = [f"\n### {name}\n", schema.get("description", "").replace("``", "`") + "\n"]
    lines += ["| member | type | required | |", "| --- | --- | --- | --- |"]
    for member, value in schema.get("properties", {}).items():
        required = "yes" if member in schema.get("required", ()) else "no"
        lines.append(f"| `{member}` | {kind(value)} | {required} | {value.get('description', '')} |")
    return "\n".join(lines)


def errors_page() -> str:
    """Every code of the error tree with its status and sentence, by branch."""
    parts = [NOTE, "# Errors\n"]
    parts.append("A code is stable; a sentence may get better. Words in braces are filled in.")
    branches = dict(STATUS) | dict.fromkeys([errors.DeviceError], None)
    for branch, status in branches.items():
        edge = f"HTTP {status.value}; the command exits 1" if status else "the command exits 1"
        parts += [f"\n## {branch.__name__}\n", f"{summary(branch)} ({edge})\n"]
        parts += ["| code | when | sentence |", "| --- | --- | --- |"]
        leaves = [leaf for leaf in {branch, *below(branch)} if speaks(leaf)]
        parts += [row(leaf) for leaf in sorted(leaves, key=lambda leaf: leaf.code)]
    return "\n".join(parts) + "\n"


def journey_page() -> str:
    """The device's state table."""
    return NOTE + picture.page()


def metrics_page() -> str:
    """Every figure with its type and labels."""
    parts = [NOTE, "# Figures\n"]
    parts.append(
        "What `keyborn metrics` prints, and a scraper reads from `serve --metrics HOST:PORT`: "
        "[how to watch a service](../how-to/watch-with-prometheus.md). Labels take the values below and no "
        "other: what is none of them is counted as `other`. No label holds a name, an id or an address.\n"
    )
    bounds = ", ".join(f"{each / 1e9:g}" for each in BOUNDS)
    parts.append(f"The buckets of every histogram end at {bounds} seconds.\n")
    parts += ["| figure | type | labels | |", "| --- | --- | --- | --- |"]
    for each in FIGURES:
        labels = ", ".join(f"`{label.name}`" for label in each.labels)
        parts.append(f"| `{each.name}` | {each.kind} | {labels} | {each.says}. |")
    parts += ["\n## Labels\n", "| label | values |", "| --- | --- |"]
    parts += dict.fromkeys(label_row(label) for each in FIGURES for label in each.labels)
    return "\n".join(parts) + "\n"


def label_row(label: Label) -> str:
    """A label with its values, where they are few."""
    few = len(label.values) <= FEW
    values = ": " + ", ".join(f"`{value}`" for value in sorted(label.values)) if few else ""
    return f"| `{label.name}` | {label.means}{values} |"


def below(branch: type[errors.KeybornError]) -> Iterator[type[errors.KeybornError]]:
    """Every class under a branch."""
    for child in branch.__subclasses__():
        yield child
        yield from below(child)


def speaks(leaf: type[errors.KeybornError]) -> bool:
    """Whether it has a sentence of its own; the branches have none."""
    return leaf.sentence is not errors.KeybornError.sentence


def summary(leaf: type[errors.KeybornError]) -> str:
    """The first paragraph of its docstring, on one line."""
    return " ".join((leaf.__doc__ or "").partition("\n\n")[0].replace("``", "`").split())


def row(leaf: type[errors.KeybornError]) -> str:
    """One leaf as a line of the table."""
    cells = [f"`{leaf.code}`", summary(leaf), leaf.sentence]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES = {
    "cli.md": cli_page,
    "api.md": api_page,
    "errors.md": errors_page,
    "journey.md": journey_page,
    "metrics.md": metrics_page,
}


def main() -> None:
    """Write every page that differs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write())
        sys.stdout.write(f"docs/reference/{name}\n")


if __name__ == "__main__":
    main()
