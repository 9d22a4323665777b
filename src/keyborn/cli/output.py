"""Tables for people, JSON for programs."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def typed(**options: str | None) -> str:
    """Options as a person types them, each after a space; what is None is left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items())


def show(data: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record: ``name  value`` lines, or one JSON object."""
    if as_json:
        click.echo(json.dumps(data, default=str))
        return
    width = max((len(key) for key in data), default=0)
    for key, value in data.items():
        click.echo(f"{key:<{width}}  {_cell(value)}")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print records: a table with those columns, or a JSON array; ``empty`` is the sentence for none."""
    if as_json:
        click.echo(json.dumps(list(rows), default=str))
        return
    if not rows:
        click.echo(empty)
        return
    for line in lines(rows, columns):
        click.echo(line)


def stream(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a JSON array as its records come, each on a line: nobody holds them all."""
    opened = "["
    for row in rows:
        click.echo(f"{opened}{json.dumps(row, default=str)}", nl=False)
        opened = ",\n "
    click.echo("]" if opened != "[" else "[]")


def lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """The lines of a table: a heading, then a line for each row."""
    cells = [[_title(column) for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _title(column: str) -> str:
    """``usesTaken`` as a heading: ``USES TAKEN``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).upper()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
