"""The project's own scripts: they find what they look for, so that a green run means something."""

import json
from pathlib import Path

import pytest

import bootstrap
import budgets
import check_lock

LONG = "def f():\n" + "    x = 1\n" * 60


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout that the tools take for the project's."""
    for tool in (budgets, check_lock, bootstrap):
        monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_function_over_sixty_lines_is_named(house: Path) -> None:
    file = write(house / "a.py", LONG)
    longest = budgets.function_budgets([file])[-1]
    assert not longest.kept
    assert longest.over == ("a.py:1 f (61)",)


def test_a_function_of_sixty_lines_is_kept(house: Path) -> None:
    file = write(house / "a.py", LONG.rstrip().removesuffix("    x = 1").rstrip() + "\n")
    assert budgets.function_budgets([file])[-1].kept


def test_a_file_over_four_hundred_lines_is_named(house: Path) -> None:
    file = write(house / "a.py", "x = 1\n" * 401)
    assert budgets.file_budget([file]).over == ("a.py (401)",)


@pytest.mark.parametrize(
    "source", ["class A:\n  def b(self): pass\n", "def outer():\n  '''x'''\n  def inner(): pass\n", "x = 1\n"]
)
def test_a_public_name_without_a_docstring_is_named(house: Path, source: str) -> None:
    assert budgets.docstring_budget([write(house / "a.py", source)]).over


def test_private_names_need_no_docstring(house: Path) -> None:
    file = write(house / "a.py", '"""Here."""\ndef _a(): pass\nclass _B: pass\n')
    assert budgets.docstring_budget([file]).kept


@pytest.mark.parametrize(
    "mark",
    [
        "# TO" + "DO later",
        "raise NotImplemented" + "Error",
        "@pytest.mark." + "xfail",
        "pytest." + "skip('why')",
        "x = 1  # no" + "qa",
        "x = 1  # type: " + "ignore",
    ],
)
def test_a_mark_of_unfinished_work_is_named(house: Path, mark: str) -> None:
    assert budgets.mark_budget([write(house / "a.py", f"{mark}\n")]).over


def test_an_excuse_that_names_its_rule_is_no_mark(house: Path) -> None:
    file = write(house / "a.py", "x = 1  # no" + "qa: E501\ny = 2  # type: " + "ignore[misc]\n")
    assert budgets.mark_budget([file]).kept


@pytest.mark.parametrize(
    "path", ["/wo" + "rk/x", "see /ro" + "ot/.cache", "/tm" + "p/run-1", "/ho" + "me/ada/x"]
)
def test_a_path_of_one_machine_is_named(house: Path, path: str) -> None:
    assert budgets.machine_budget([write(house / "a.md", f"{path}\n")]).over


def test_the_table_says_which_budget_is_over() -> None:
    rows = [budgets.Budget("a", "<= 1", "1"), budgets.Budget("b", "0", "2", ("x", "y"))]
    assert budgets.table(rows).splitlines()[2:] == ["| a | <= 1 | 1 |", "| b | 0 | 2 **over** |"]


PYPROJECT = """
[project]
dependencies = ["click>=8.1"]
[project.optional-dependencies]
server = ["msgspec>=0.19"]
aws = []
dev = []
"""
CLICK = "click==8.2 \\\n    --hash=sha256:00\n"
MSGSPEC = "msgspec==0.19 ; python_version > '3' \\\n    --hash=sha256:11\n"


def locks(
    house: Path, *, device: str = CLICK, server: str = CLICK + MSGSPEC, dev: str = CLICK + MSGSPEC
) -> None:
    write(house / "pyproject.toml", PYPROJECT)
    texts = {"device.lock": device, "server.lock": server, "dev.lock": dev}
    texts |= {"build.lock": "# nothing\n", "ministack.lock": "# nothing\n", "openbao.lock": "# nothing\n"}
    for name, text in texts.items():
        write(house / "requirements" / name, text)


def test_locks_that_match_have_no_problem(house: Path) -> None:
    locks(house)
    assert list(check_lock.problems()) == []


def test_a_dependency_that_no_lock_pins_is_named(house: Path) -> None:
    locks(house, server=CLICK)
    assert list(check_lock.problems()) == ["server.lock does not pin msgspec"]


def test_a_pin_below_the_declared_version_is_named(house: Path) -> None:
    old = CLICK.replace("8.2", "8.0")
    locks(house, device=old, server=old + MSGSPEC, dev=old + MSGSPEC)
    assert "device.lock pins click 8.0, pyproject.toml asks for >=8.1" in list(check_lock.problems())


def test_locks_that_disagree_are_named(house: Path) -> None:
    locks(house, device=CLICK.replace("8.2", "8.3"))
    assert list(check_lock.problems()) == ["device.lock and dev.lock disagree about click"]


def test_a_pin_without_a_hash_is_named(house: Path) -> None:
    locks(house, device="click==8.2\n")
    assert list(check_lock.problems()) == ["device.lock has no hash for click"]


@pytest.mark.parametrize("line", ["--index-url https://a.example/simple", "-i x", "click @ /srv/click.whl"])
def test_a_host_or_path_in_a_lock_is_named(house: Path, line: str) -> None:
    locks(house, dev=f"{line}\n{CLICK}{MSGSPEC}")
    assert any("names a host or a path" in problem for problem in check_lock.problems())


NEEDS = """
[there]
command = "sh"
package = "dash"
[absent]
command = "no-such-program"
package = "no-such-package"
[measure]
file = "/no/such/header.h"
package = "only-for-bench"
only = "bench"
"""


def test_missing_packages_are_those_of_the_level(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(house / "tests" / "needs.toml", NEEDS)
    monkeypatch.setattr(bootstrap, "has_venv", lambda: True)
    assert bootstrap.missing_packages("server") == []
    assert bootstrap.missing_packages("dev") == ["no-such-package"]
    assert bootstrap.missing_packages("bench") == ["no-such-package", "only-for-bench"]


def test_without_root_the_packages_are_named_and_the_rest_goes_on(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(house / "tests" / "needs.toml", NEEDS)
    monkeypatch.setattr(bootstrap, "has_venv", lambda: True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    bootstrap.prepare_machine("dev")
    said = capsys.readouterr().err
    assert "sudo apt-get install --no-install-recommends no-such-package" in said
    assert "left out and named" in said


def test_without_venv_nothing_can_work_and_the_package_is_named(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(house / "tests" / "needs.toml", "")
    monkeypatch.setattr(bootstrap, "has_venv", lambda: False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="python3-venv"):
        bootstrap.prepare_machine("server")


@pytest.fixture
def orders(house: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A checkout with locks and an environment; returns what pip would have been asked for."""
    locks(house)
    (house / ".venv").mkdir()
    asked: list[str] = []
    monkeypatch.setattr(bootstrap, "pip", lambda *arguments: asked.append(arguments[-1]))
    monkeypatch.setattr("bootstrap.subprocess.run", lambda *_, **__: None)
    return asked


def test_a_second_run_installs_nothing(orders: list[str]) -> None:
    bootstrap.prepare_environment("server")
    assert orders == ["requirements/build.lock", "requirements/server.lock", "."]
    bootstrap.prepare_environment("server")
    assert len(orders) == 3


def test_an_environment_for_tests_serves_the_demo_too(orders: list[str]) -> None:
    bootstrap.prepare_environment("dev")
    bootstrap.prepare_environment("server")
    assert orders.count("requirements/server.lock") == 0


@pytest.mark.parametrize(("name", "place"), [("ministack", "STAND_IN"), ("openbao", "PEER")])
def test_what_clashes_with_ours_has_an_environment_of_its_own_that_is_built_once(
    house: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    write(house / "requirements" / f"{name}.lock", "a==1\n")
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(bootstrap, place, house / f".venv-{name}")
    monkeypatch.setattr(bootstrap, "pip", lambda *words, venv: asked.append((words[-1], venv)))
    monkeypatch.setattr("bootstrap.subprocess.run", lambda *_, **__: (house / f".venv-{name}").mkdir())
    prepare = {"STAND_IN": bootstrap.prepare_stand_in, "PEER": bootstrap.prepare_peer}[place]
    prepare()
    prepare()
    assert asked == [(f"requirements/{name}.lock", house / f".venv-{name}")]


def test_an_environment_that_was_copied_elsewhere_is_made_anew(
    orders: list[str], house: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.prepare_environment("server")
    stamp = json.loads((house / ".venv" / "keyborn-stamp.json").read_text())
    write(
        house / ".venv" / "keyborn-stamp.json", json.dumps(stamp | {"made": "elsewhere", "server.lock": "x"})
    )
    made: list[list[str]] = []
    monkeypatch.setattr("bootstrap.subprocess.run", lambda order, **_: made.append(order))
    bootstrap.prepare_environment("server")
    assert [order[1:4] for order in made] == [["-m", "venv", "--clear"]]


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements/dev.lock", "requirements/build.lock"])
def test_a_changed_file_builds_the_environment_anew(orders: list[str], house: Path, name: str) -> None:
    bootstrap.prepare_environment("dev")
    with (house / name).open("a") as file:
        file.write("\n# changed\n")
    bootstrap.prepare_environment("dev")
    assert len(orders) == 6


def test_a_broken_installation_is_not_remembered(
    orders: list[str], house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.prepare_environment("server")
    write(house / "requirements" / "server.lock", CLICK + MSGSPEC + "# changed\n")

    def fail(*_: str) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(bootstrap, "pip", fail)
    with pytest.raises(SystemExit):
        bootstrap.prepare_environment("server")
    assert not (house / ".venv" / "keyborn-stamp.json").exists()


def test_the_stamp_is_plain_json(orders: list[str], house: Path) -> None:
    bootstrap.prepare_environment("server")
    stamp = json.loads((house / ".venv" / "keyborn-stamp.json").read_text())
    assert set(stamp) == {"made", "server.lock"}


def test_every_need_of_the_tests_says_how_it_is_seen_and_what_brings_it() -> None:
    for need in bootstrap.needs().values():
        assert (need.command is None) != (need.file is None)
        assert need.package
