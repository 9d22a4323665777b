"""Measure the house against its budgets (CONTRIBUTING.md): ``python tools/budgets.py`` prints the table.

The figures are taken from the files themselves, with ``ast``; nothing is imported. Exit 1 if one is over.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "keyborn"
TESTS = ROOT / "tests"

MEDIAN, P90, LONGEST = 8, 30, 60
FILE_LINES = 400
PORT_METHODS = 3
TEST_RATIO = 1.3

# Spelled in pieces, so that this file does not carry the marks that it looks for.
UNFINISHED = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"])
EXCUSED = "|".join(
    [r"pytest\.mark\." + "(skip|xfail)", r"pytest\." + r"skip\(", "import" + "orskip", r"unittest\." + "skip"]
)
BARE = "|".join([r"# type: " + r"ignore(?!\[)", r"no" + "qa(?!:)"])
MARKS = re.compile(f"{UNFINISHED}|{EXCUSED}|{BARE}")
MACHINE = re.compile(r"(?<![\w.:/~-])/(work|farm|root|home/\w+)/|/tmp/[a-z]+-[0-9]")


@dataclass(frozen=True, slots=True)
class Budget:
    """One line of the table: what is measured, its limit, what it came to, and where it is over."""

    name: str
    limit: str
    measured: str
    over: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether nothing is over."""
        return not self.over


def python_files(*folders: Path) -> list[Path]:
    """Every Python file below the folders, in order."""
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def place(file: Path, line: int | None = None) -> str:
    """``path:line`` from the root of the checkout."""
    path = str(file.relative_to(ROOT))
    return path if line is None else f"{path}:{line}"


def lines_of(files: Iterable[Path]) -> int:
    """How many lines the files have together."""
    return sum(len(file.read_text().splitlines()) for file in files)


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method and its length in lines, signature and docstring included."""

    place: str
    name: str
    lines: int


def functions(files: Iterable[Path]) -> list[Function]:
    """Every function of the files, nested ones too."""
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append(Function(place(file, node.lineno), node.name, lines))
    return found


def function_budgets(files: Iterable[Path]) -> list[Budget]:
    """Median at most 8 lines, 90th percentile at most 30, none over 60."""
    found = functions(files)
    lengths = sorted(each.lines for each in found) or [0]
    median, p90 = lengths[len(lengths) // 2], lengths[int(len(lengths) * 0.9)]
    long = tuple(f"{each.place} {each.name} ({each.lines})" for each in found if each.lines > LONGEST)
    return [
        Budget("functions", "-", str(len(found))),
        Budget(
            "function length, median",
            f"<= {MEDIAN}",
            str(median),
            () if median <= MEDIAN else ("the median",),
        ),
        Budget("function length, p90", f"<= {P90}", str(p90), () if p90 <= P90 else ("the 90th percentile",)),
        Budget("function length, longest", f"<= {LONGEST}", str(lengths[-1]), long),
    ]


def file_budget(files: Iterable[Path]) -> Budget:
    """No file over 400 lines."""
    sizes = {place(file): len(file.read_text().splitlines()) for file in files}
    over = tuple(f"{name} ({size})" for name, size in sizes.items() if size > FILE_LINES)
    return Budget("file length, longest", f"<= {FILE_LINES}", str(max(sizes.values(), default=0)), over)


def undocumented(file: Path) -> Iterator[str]:
    """Names of a file that do not begin with an underscore and have no docstring, nested ones too."""
    tree = ast.parse(file.read_text())
    if not ast.get_docstring(tree):
        yield place(file, 1)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if not node.name.startswith("_") and not ast.get_docstring(node):
            yield f"{place(file, node.lineno)} {node.name}"


def docstring_budget(files: Iterable[Path]) -> Budget:
    """A docstring on everything public."""
    over = tuple(name for file in files for name in undocumented(file))
    return Budget("public names without a docstring", "0", str(len(over)), over)


def mark_budget(files: Iterable[Path]) -> Budget:
    """Nothing unfinished, skipped, expected to fail or excused without a reason."""
    over = tuple(matches(files, MARKS))
    return Budget("unfinished or excused places", "0", str(len(over)), over)


def machine_budget(files: Iterable[Path]) -> Budget:
    """No path of one machine."""
    over = tuple(matches(files, MACHINE))
    return Budget("paths of one machine", "0", str(len(over)), over)


def matches(files: Iterable[Path], pattern: re.Pattern[str]) -> Iterator[str]:
    """Places where the pattern occurs."""
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if pattern.search(line):
                yield f"{place(file, number)} {line.strip()[:80]}"


def port_budget() -> Budget:
    """A port has at most three methods; ``Registry`` only composes."""
    bodies = [ast.parse(file.read_text()).body for file in sorted((SOURCE / "ports").glob("*.py"))]
    sizes = {node.name: _methods(node) for body in bodies for node in body if isinstance(node, ast.ClassDef)}
    over = tuple(f"{name} ({size})" for name, size in sizes.items() if size > PORT_METHODS)
    return Budget("methods of a port, most", f"<= {PORT_METHODS}", str(max(sizes.values())), over)


def _methods(node: ast.ClassDef) -> int:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return sum(isinstance(each, kinds) and not each.name.startswith("_") for each in node.body)


def test_budget(source: list[Path], tests: list[Path]) -> Budget:
    """At least 1.3 lines of tests for a line of source."""
    ratio = lines_of(tests) / max(lines_of(source), 1)
    kept = ratio >= TEST_RATIO
    measured = f"{ratio:.2f} ({lines_of(tests)} / {lines_of(source)})"
    return Budget("test lines / source lines", f">= {TEST_RATIO}", measured, () if kept else ("the ratio",))


def documents() -> list[Path]:
    """Text that is not Python, where a machine's path could hide."""
    names = ["*.md", "*.toml", "*.sh", "*.sql", "*.lock", "*.yaml", "*.yml"]
    folders = ["docs", "src", "tests", "bench", "tools", "deploy", "requirements"]
    nested = [file for folder in folders for name in names for file in (ROOT / folder).rglob(name)]
    return sorted({*nested, *(file for name in names for file in ROOT.glob(name)), ROOT / "Makefile"})


def budgets() -> list[Budget]:
    """Every budget with its measured figure."""
    source, tests = python_files(SOURCE), python_files(TESTS)
    everything = [*source, *tests, *python_files(ROOT / "bench", ROOT / "tools")]
    return [
        *function_budgets(source),
        file_budget(source),
        docstring_budget(source),
        port_budget(),
        test_budget(source, tests),
        mark_budget(everything),
        machine_budget([*everything, *documents()]),
    ]


def table(rows: Iterable[Budget]) -> str:
    """The budgets as a Markdown table."""
    lines = ["| budget | limit | measured |", "| --- | --- | --- |"]
    lines += [
        f"| {row.name} | {row.limit} | {row.measured}{'' if row.kept else ' **over**'} |" for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the table and what is over; exit 1 if anything is."""
    rows = budgets()
    sys.stdout.write(table(rows) + "\n")
    over = [f"over {row.name}: {where}" for row in rows for where in row.over]
    if over:
        sys.exit("\n".join(over))


if __name__ == "__main__":
    main()
