"""The house as a whole: budgets, arrows that import-linter cannot see, and honest declarations."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import budgets
import check_lock

PROJECT = tomllib.loads((budgets.ROOT / "pyproject.toml").read_text())


def test_the_house_keeps_its_budgets() -> None:
    measured = budgets.budgets()
    over = [f"{row.name}: {where}" for row in measured for where in row.over]
    assert not over, "\n".join([budgets.table(measured), *over])


def calls(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            yield node.lineno, function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)


def test_only_the_registration_authority_approves_a_request() -> None:
    callers = {
        budgets.place(file, line)
        for file in budgets.python_files(budgets.SOURCE)
        for line, name in calls(file)
        if name in {"approve", "ApprovedRequest"}
    }
    outside = {
        each for each in callers if not each.startswith(("src/keyborn/service/", "src/keyborn/domain/"))
    }
    assert not outside
    assert any(each.startswith("src/keyborn/service/") for each in callers)


def test_the_domain_asks_nobody_for_the_time() -> None:
    clocks = {"now", "utcnow", "today", "time", "monotonic"}
    found = [
        budgets.place(file, line)
        for file in budgets.python_files(budgets.SOURCE / "domain", budgets.SOURCE / "service")
        for line, name in calls(file)
        if name.rpartition(".")[2] in clocks and "clock" not in file.read_text().splitlines()[line - 1]
    ]
    assert not found


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def third_party(*folders: str) -> set[str]:
    """Distributions that the Python files below the folders import, by canonical name."""
    files = budgets.python_files(*(budgets.ROOT / folder for folder in folders))
    own = {"keyborn", "support", *(file.stem for file in files), *(file.parent.name for file in files)}
    names = {name for file in files for name in imported(file)} - own - set(sys.stdlib_module_names)
    owners = importlib.metadata.packages_distributions()
    return {re.sub(r"[-_.]+", "-", owners.get(name, [name])[0]).lower() for name in names}


def declared(*extras: str) -> set[str]:
    return {requirement.name.lower() for requirement in check_lock.declared(extras)}


def test_every_package_that_the_source_imports_is_declared() -> None:
    assert third_party("src") <= declared("server", "aws")


def test_every_package_that_tests_tools_and_benches_import_is_declared() -> None:
    assert third_party("tests", "tools", "bench") <= declared("server", "aws", "dev") | {"setuptools"}


def test_the_lock_files_match_the_declarations() -> None:
    assert list(check_lock.problems()) == []


def test_every_room_says_what_it_is_for() -> None:
    rooms = [file for file in budgets.python_files(budgets.SOURCE) if file.name == "__init__.py"]
    assert len(rooms) >= 8
    assert [budgets.place(file) for file in rooms if not ast.get_docstring(ast.parse(file.read_text()))] == []


def test_every_ignored_lint_rule_has_its_reason() -> None:
    text = (budgets.ROOT / "pyproject.toml").read_text()
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.pydocstyle]")]
    lines = [line for line in section.splitlines() if re.match(r'\s+"[A-Z]+[0-9]*",', line)]
    assert lines
    assert [line for line in lines if "#" not in line] == []


def test_warnings_are_errors_and_types_are_strict() -> None:
    assert PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"][0] == "error"
    assert PROJECT["tool"]["mypy"]["strict"] is True


def test_contracts_name_every_room() -> None:
    layers = " ".join(PROJECT["tool"]["importlinter"]["contracts"][0]["layers"])
    rooms = {entry.stem for entry in budgets.SOURCE.iterdir() if not entry.name.startswith(("_", "."))}
    rooms -= {"py"}
    assert rooms - set(re.findall(r"\w+", layers)) <= {"settings"}
