"""What holds for every test: a missing program leaves tests out by name, and CI does not accept that."""

import os
from collections.abc import Callable
from functools import partial

import pytest

from bootstrap import Need, needs

LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with nothing left out."""
    config.stash[LEFT_OUT] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect each test whose declared program is not on this machine, and remember why."""
    table = needs()
    kept = []
    for item in items:
        missing = [need for need in _declared(item, table) if not need.met()]
        if missing:
            names = ", ".join(sorted({need.package for need in missing}))
            config.stash[LEFT_OUT].append(f"{item.nodeid} (needs {names})")
        else:
            kept.append(item)
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def _declared(item: pytest.Item, table: dict[str, Need]) -> list[Need]:
    names = [name for mark in item.iter_markers("needs") for name in mark.args]
    unknown = sorted(set(names) - table.keys())
    if unknown:
        message = f"{item.nodeid} needs {', '.join(unknown)}, which tests/needs.toml does not know"
        raise pytest.UsageError(message)
    return [table[name] for name in names]


class Workers:
    """Under pytest-xdist each worker collects; the first one's list is taken home."""

    def pytest_testnodedown(self, node: object) -> None:
        """Take the list that a finished worker sent."""
        stash = node.config.stash  # type: ignore[attr-defined] # the plugin ships no types
        stash[LEFT_OUT] = stash[LEFT_OUT] or getattr(node, "workeroutput", {}).get("left_out", [])


def pytest_sessionstart(session: pytest.Session) -> None:
    """The controller of a parallel run listens to its workers."""
    if session.config.pluginmanager.hasplugin("dsession"):
        session.config.pluginmanager.register(Workers(), "keyborn-workers")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends its list; with CI=true anything left out fails the run."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash[LEFT_OUT]
    elif session.config.stash[LEFT_OUT] and _in_ci() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Call it with a sentence that holds a measured figure; the run's summary prints it."""
    return partial(record_property, "figure")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured; name what was left out, and say whether that counts."""
    figures = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("measured", sep="-")
        for line in figures:
            terminalreporter.line(str(line))
    left_out = config.stash[LEFT_OUT]
    if left_out:
        verdict = "CI=true makes that a failure" if _in_ci() else "install the packages to run them"
        terminalreporter.section(f"left out: {len(left_out)}; {verdict}", sep="-", yellow=True)
        for line in left_out:
            terminalreporter.line(line)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"true", "1"}
