"""What holds for every test: a missing program leaves tests out by name, and CI does not accept that."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest

from bootstrap import Need, needs
from support.kill_points import PROPERTY, Recorder, Table
from support.walks import FULL

LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with nothing left out, and with a keyboard: a shell starts background jobs deaf to Ctrl-C.

    What these start would inherit that, and tests that interrupt it would wait in vain.
    """
    config.stash[LEFT_OUT] = []
    _let_bytecode_be_kept(config)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def _let_bytecode_be_kept(config: pytest.Config) -> None:
    """Where bytecode is unwanted beside sources, processes of tests keep theirs in pytest's own folder.

    They are more than a thousand, and each would compile everything anew.
    """
    unwanted = os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if unwanted and getattr(config, "cache", None) is not None:
        os.environ["PYTHONPYCACHEPREFIX"] = str(config.cache.mkdir("bytecode"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One process more than there are cores: tests wait for programs, and for time to pass.

    What PYTEST_XDIST_AUTO_NUM_WORKERS says counts more: None leaves it to the plugin.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect each test whose declared program is not on this machine, and remember why.

    Walks that cannot be sampled are for KEYBORN_FULL: without it they are not wanted, and nothing is missing.
    """
    table = needs()
    for item in items:
        if item.get_closest_marker("whole"):
            item.add_marker("slow")
    if not FULL:
        _deselect(config, items, {item for item in items if item.get_closest_marker("whole")})
    kept = []
    for item in items:
        missing = [need for need in _declared(item, table) if not need.met()]
        if missing:
            names = ", ".join(sorted({need.package for need in missing}))
            config.stash[LEFT_OUT].append(f"{item.nodeid} (needs {names})")
        else:
            kept.append(item)
    _deselect(config, items, set(items) - set(kept))


def _deselect(config: pytest.Config, items: list[pytest.Item], unwanted: set[pytest.Item]) -> None:
    if unwanted:
        config.hook.pytest_deselected(items=[item for item in items if item in unwanted])
        items[:] = [item for item in items if item not in unwanted]


def _declared(item: pytest.Item, table: dict[str, Need]) -> list[Need]:
    names = [name for mark in item.iter_markers("needs") for name in mark.args]
    unknown = sorted(set(names) - table.keys())
    if unknown:
        message = f"{item.nodeid} needs {', '.join(unknown)}, which tests/needs.toml does not know"
        raise pytest.UsageError(message)
    return [table[name] for name in names]


_allowed: set[str] | None = None
"""Programs of tests/needs.toml that the running test has declared; None between tests."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """While a test runs, it may start only the programs that it has declared."""
    global _allowed  # noqa: PLW0603 - an audit hook cannot be given anything else
    _allowed = {need.command or "" for need in _declared(item, needs())}
    try:
        return (yield)
    finally:
        _allowed = None


def _watch_programs(event: str, arguments: tuple[object, ...]) -> None:
    if event != "subprocess.Popen" or _allowed is None:
        return
    program = Path(str(arguments[0])).name
    if program in PROGRAMS and program not in _allowed:
        message = f"this test starts {program}: it has to say @pytest.mark.needs({program!r})"
        raise AssertionError(message)


PROGRAMS = frozenset(need.command for need in needs().values() if need.command)
sys.addaudithook(_watch_programs)


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


KILLS = pytest.StashKey[Table]()


@pytest.fixture
def recorder(record_property: Callable[[str, object], None]) -> Recorder:
    """Where a walk reports the points at which it killed; the run's summary prints one table."""
    return Recorder(record_property)


def _kills(config: pytest.Config) -> Table:
    """What the walks of this run reported, wherever they ran."""
    if KILLS not in config.stash:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        reports = reporter.getreports("passed") if reporter is not None else []
        told = [str(value) for each in reports for name, value in each.user_properties if name == PROPERTY]
        config.stash[KILLS] = Table(told)
    return config.stash[KILLS]


def _walks_whole(config: pytest.Config) -> bool:
    """Whether every long walk ran: nothing less was asked for, and each walk in whole."""
    everywhere = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    all_walks = not config.getoption("keyword") and config.getoption("markexpr") in {"", "slow"}
    return everywhere and all_walks and FULL


def _tell_kills(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    kills, whole = _kills(config), _walks_whole(config)
    if kills.empty and not whole:
        return
    terminalreporter.section("real processes killed", sep="-")
    for line in [*kills.lines(), *kills.troubles(whole=whole)]:
        terminalreporter.line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends its list; with CI=true anything left out fails the run."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash[LEFT_OUT]
        return
    lacking = session.config.stash[LEFT_OUT] and _in_ci()
    unkilled = _kills(session.config).troubles(whole=_walks_whole(session.config))
    if (lacking or unkilled) and session.exitstatus == pytest.ExitCode.OK:
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
    _tell_kills(terminalreporter, config)
    left_out = config.stash[LEFT_OUT]
    if left_out:
        verdict = "CI=true makes that a failure" if _in_ci() else "install the packages to run them"
        terminalreporter.section(f"left out: {len(left_out)}; {verdict}", sep="-", yellow=True)
        for line in left_out:
            terminalreporter.line(line)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"true", "1"}
