"""The ``keyborn`` command before any noun: help, version, usage errors, and how failures leave."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from keyborn import __version__
from keyborn.cli import agent, device, failures, messages
from keyborn.cli.main import COMMANDS, cli
from keyborn.device import keys, messenger
from keyborn.device.messages import OutboxLimits, Overflow
from keyborn.device.outbox_settings import DEFAULT_RATE
from keyborn.domain.errors import ServerPartsMissing, Throttled


def keyborn(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    order = [sys.executable, "-m", "keyborn", *arguments]
    return subprocess.run(order, capture_output=True, text=True, timeout=30, check=False)


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after the statement."""
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(output.stdout.split())


def test_help_lists_every_command_with_its_summary() -> None:
    shown = keyborn("--help")
    assert shown.returncode == 0
    for name, (_, summary) in COMMANDS.items():
        assert name in shown.stdout
        assert summary.split(":")[0].split("(")[0][:40] in " ".join(shown.stdout.split())


def test_short_help_is_help() -> None:
    assert keyborn("-h").stdout == keyborn("--help").stdout


def test_the_version_is_the_packages() -> None:
    shown = keyborn("--version")
    assert (shown.returncode, shown.stdout) == (0, f"keyborn, version {__version__}\n")


def test_an_unknown_command_is_a_usage_error() -> None:
    shown = keyborn("enrol")
    assert shown.returncode == 2
    assert "No such command 'enrol'. Did you mean 'enroll'?" in shown.stderr
    assert shown.stdout == ""
    assert "Did you mean" not in keyborn("frobnicate").stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["aws", "deplyo"], "deploy"),
        (["thing", "lst"], "list"),
        (["token", "crate"], "create"),
        (["policy", "atach"], "attach"),
        (["service", "revke"], "revoke"),
        (["audit", "verfy"], "verify"),
        (["ca", "exprt"], "export"),
    ],
)
def test_a_slip_within_a_noun_is_answered_with_the_nearest_command(words: list[str], meant: str) -> None:
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 2
    assert f"No such command {words[1]!r}. Did you mean {meant!r}?" in shown.stderr
    assert f"keyborn {words[0]}" in CliRunner().invoke(cli, words, prog_name="keyborn").stderr
    assert "Did you mean" not in CliRunner().invoke(cli, [words[0], "frobnicate"]).stderr


def test_an_unknown_option_is_a_usage_error() -> None:
    assert keyborn("--frobnicate").returncode == 2


def test_no_command_at_all_shows_the_help_as_a_usage_error() -> None:
    shown = keyborn()
    assert shown.returncode == 2
    assert "Usage:" in shown.stderr + shown.stdout


def test_help_imports_nothing_heavy() -> None:
    loaded = loaded_by(
        "from click.testing import CliRunner; from keyborn.cli.main import cli; "
        "CliRunner().invoke(cli, ['--help'])"
    )
    assert not {"cryptography", "paho", "msgspec", "starlette", "httptools", "asyncio", "ssl"} & loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_helps_with_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"keyborn {name}" in shown.output
    assert "Example" in shown.output


def lone(callback: object) -> click.Command:
    return click.Command("probe", callback=callback)  # type: ignore[arg-type] # any callable does


@pytest.fixture(autouse=True)
def arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["keyborn"])


def test_a_refusal_is_one_sentence_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise Throttled(seconds=7)

    assert failures.run(lone(refuse)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("keyborn: ")
    assert said.err.endswith("[too_many_failures]\n")
    assert said.err.count("\n") == 1


def test_with_json_a_refusal_is_an_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise Throttled(seconds=7)

    command = lone(refuse)
    command.params.append(click.Option(["--json"], is_flag=True, expose_value=False))
    monkeypatch.setattr("sys.argv", ["keyborn", "--json"])
    assert failures.run(command) == 1
    problem = json.loads(capsys.readouterr().err)
    assert (problem["code"], problem["retryAfter"]) == ("too_many_failures", 7.0)


def test_an_interrupt_is_130_and_silent(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert failures.run(lone(interrupt)) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_usage_error_inside_a_command_is_2() -> None:
    def misuse() -> None:
        raise click.UsageError("no")

    assert failures.run(lone(misuse)) == 2


def test_a_command_that_ends_well_is_0() -> None:
    assert failures.run(lone(lambda: None)) == 0


def missing(module: str) -> click.Command:
    def load() -> None:
        raise ModuleNotFoundError(name=module)

    return lone(load)


@pytest.mark.parametrize("module", ["starlette", "starlette.routing", "msgspec", "httptools"])
def test_a_server_command_without_the_server_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(type(cli), "get_command", lambda *_: missing(module))
    with pytest.raises(ServerPartsMissing, match=r"pip install 'keyborn\[server\]'"):
        cli.main(["serve"], standalone_mode=False)


def test_another_missing_module_is_a_fault_of_ours_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(cli), "get_command", lambda *_: missing("keyborn.nowhere"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["serve"], standalone_mode=False)


def test_what_the_commands_know_without_loading_the_device_is_what_the_device_says() -> None:
    """Their options are there before anything else is: what they offer and promise is written twice."""
    assert device.KEY_TYPES == keys.KEY_TYPES
    assert messages.WAIT == messenger.DEFAULT_WAIT
    offered = {option.name: option for option in agent.agent.params if isinstance(option, click.Option)}
    overflow = offered["overflow"].type
    assert isinstance(overflow, click.Choice)
    assert list(overflow.choices) == list(Overflow)
    limits = OutboxLimits()
    promised = {
        "rate": f"{DEFAULT_RATE:g}",
        "outbox_messages": f"{limits.messages}",
        "outbox_bytes": f"{(limits.size or 0) // 2**20} MiB",
        "overflow": limits.overflow.value,
    }
    for name, default in promised.items():
        assert offered[name].show_default == f"{default}, or what outbox.toml says"
