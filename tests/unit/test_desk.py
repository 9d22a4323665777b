"""Where an operator works: which desk the options and the environment choose, and what that needs."""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from keyborn.adapters.aws.stack.outputs import parse_outputs
from keyborn.cli import state, watch
from keyborn.cli.desk import Desk, LocalDesk, desk_options, pages
from keyborn.cli.main import cli
from keyborn.cli.stack_desk import StackDesk
from keyborn.device.session import Received
from keyborn.domain.errors import KeybornError, NothingToPrune, ServerStopped, SessionLost

OPERATORS = [
    "token create",
    "token list",
    "token withdraw",
    "thing list",
    "thing show",
    "thing suspend",
    "thing activate",
    "thing grace",
    "thing release-key",
    "thing move",
    "thing set",
    "thing revoke",
    "thing retire",
    "group put",
    "group list",
    "group show",
    "group remove",
    "policy put",
    "policy list",
    "policy show",
    "policy remove",
    "policy attach",
    "policy detach",
    "policy simulate",
    "service add",
    "service list",
    "service suspend",
    "service activate",
    "service revoke",
    "audit show",
    "audit verify",
    "watch",
]


@click.command()
@desk_options
def where(*, desk: Desk) -> None:
    """Say which desk this is."""
    if isinstance(desk, LocalDesk):
        click.echo(f"folder {desk.services().parent}")
    else:
        click.echo(type(desk).__name__)


def chosen(*words: str, **environment: str) -> str:
    done = CliRunner().invoke(where, words, env=environment)
    return done.output.strip() if done.exit_code == 0 else f"exit {done.exit_code}: {done.output}"


# ── the choice ──


def test_without_a_word_it_is_the_data_folder() -> None:
    assert chosen() == "folder keyborn-data"
    assert chosen(KEYBORN_DATA="there") == "folder there"


def test_a_stack_is_typed_or_set() -> None:
    assert chosen("--aws", "kb") == "StackDesk"
    assert chosen(KEYBORN_AWS_STACK="kb") == "StackDesk"
    assert chosen("--aws", "kb", "--region", "eu-central-1", "--profile", "plant") == "StackDesk"


def test_what_is_typed_counts_more_than_what_is_set() -> None:
    assert chosen("--data", "here", KEYBORN_AWS_STACK="kb") == "folder here"
    assert chosen("--aws", "kb", KEYBORN_DATA="there") == "StackDesk"


def test_two_places_at_once_are_a_usage_error() -> None:
    typed = chosen("--aws", "kb", "--data", "here")
    assert typed.startswith("exit 2")
    assert "--data and --aws exclude each other" in typed
    both_set = chosen(KEYBORN_AWS_STACK="kb", KEYBORN_DATA="there")
    assert "KEYBORN_DATA and KEYBORN_AWS_STACK exclude each other" in both_set


def test_a_service_elsewhere_is_typed_or_set() -> None:
    assert chosen("--api-key-file", "a.key") == "RemoteDesk"
    assert chosen("--api-key-file", "a.key", "--url", "https://a.example") == "RemoteDesk"
    assert chosen("--url", "https://a.example", KEYBORN_API_KEY_FILE="a.key") == "RemoteDesk"
    assert chosen(KEYBORN_API_KEY_FILE="a.key") == "RemoteDesk"
    assert chosen(KEYBORN_API_KEY_FILE="a.key", KEYBORN_URL="https://a.example") == "RemoteDesk"


def test_what_is_typed_counts_more_than_what_is_set_there_too() -> None:
    assert chosen("--data", "here", KEYBORN_API_KEY_FILE="a.key") == "folder here"
    assert chosen("--aws", "kb", KEYBORN_API_KEY_FILE="a.key", KEYBORN_URL="https://a.example") == "StackDesk"
    assert chosen("--api-key-file", "a.key", KEYBORN_DATA="d", KEYBORN_AWS_STACK="kb") == "RemoteDesk"


@pytest.mark.parametrize(
    "words",
    [
        ("--api-key-file", "a.key", "--data", "here"),
        ("--api-key-file", "a.key", "--aws", "kb"),
        ("--url", "https://a.example", "--data", "here"),
    ],
)
def test_a_service_elsewhere_and_another_place_exclude_each_other(words: tuple[str, ...]) -> None:
    assert "exclude each other" in chosen(*words)


def test_places_that_are_set_exclude_each_other_too() -> None:
    said = chosen(KEYBORN_API_KEY_FILE="a.key", KEYBORN_AWS_STACK="kb")
    assert "KEYBORN_URL or KEYBORN_API_KEY_FILE and KEYBORN_AWS_STACK exclude each other" in said


def test_an_address_without_a_key_is_a_slip() -> None:
    for said in (chosen("--url", "https://a.example"), chosen(KEYBORN_URL="https://a.example")):
        assert "--url needs the API key" in said


@pytest.mark.parametrize(
    "url", ["http://a.example", "a.example", "", "https://user@a.example", "https://a b"]
)
def test_an_address_that_is_none_is_a_usage_error(url: str) -> None:
    assert chosen("--url", url, "--api-key-file", "a.key").startswith("exit 2")


def test_a_region_does_not_go_with_a_service_elsewhere() -> None:
    assert "go with --aws" in chosen("--api-key-file", "a.key", "--region", "eu-central-1")


def test_an_empty_setting_chooses_nothing() -> None:
    assert chosen(KEYBORN_URL="", KEYBORN_API_KEY_FILE="") == "folder keyborn-data"
    assert chosen(KEYBORN_AWS_STACK="") == "folder keyborn-data"


@pytest.mark.parametrize("words", [("--region", "eu-central-1"), ("--profile", "plant")])
def test_a_region_without_a_stack_is_a_slip(words: tuple[str, str]) -> None:
    assert "go with --aws" in chosen(*words)


@pytest.mark.parametrize("name", ["", "k b", "1kb", "kb/x", "k" * 129, "../kb"])
def test_a_stack_that_can_have_no_such_name_is_a_usage_error(name: str) -> None:
    assert chosen("--aws", name).startswith("exit 2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ""),
        (["--data", "keyborn-data"], ""),
        (["--data", "my plant"], " --data 'my plant'"),
        (["--aws", "kb"], " --aws kb"),
        (
            ["--aws", "kb", "--profile", "iot admin", "--region", "eu-west-1"],
            " --aws kb --region eu-west-1 --profile 'iot admin'",
        ),
    ],
)
def test_the_words_that_lead_to_a_desk_choose_it_again(words: list[str], said: str) -> None:
    @click.command()
    @desk_options
    def tell(*, desk: Desk) -> None:
        click.echo(desk.words, nl=False)

    assert CliRunner().invoke(tell, words).output == said
    assert CliRunner().invoke(tell, shlex.split(said)).output == said


@pytest.mark.parametrize("command", OPERATORS)
def test_every_operators_command_takes_a_stack(command: str) -> None:
    shown = CliRunner().invoke(cli, [*command.split(), "--help"]).output
    for option in ("--data", "--url URL", "--api-key-file FILE", "--aws STACK", "--region", "--profile"):
        assert option in shown


@pytest.mark.parametrize("command", ["ca show", "ca export", "ca roots", "api-key list", "api-key withdraw"])
def test_what_a_stack_does_not_have_takes_a_service_elsewhere_alone(command: str) -> None:
    shown = CliRunner().invoke(cli, [*command.split(), "--help"]).output
    assert "--api-key-file FILE" in shown
    assert "--aws" not in shown


@pytest.mark.parametrize("group", ["token", "thing", "group", "policy", "service", "audit"])
def test_each_noun_shows_how_to_reach_a_stack(group: str) -> None:
    command = cli.get_command(click.Context(cli), group)
    assert isinstance(command, click.Group)
    helps = [one.help or "" for one in command.commands.values()]
    assert any("--aws keyborn" in text for text in helps)


# ── what it needs ──


def loaded_by(*words: str) -> set[str]:
    """The modules that a command has when it ends, whatever its end."""
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom keyborn.cli.main import cli\n"
        f"CliRunner().invoke(cli, {list(words)!r})\nprint(' '.join(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(output.stdout.split())


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("thing", "--help"),
        ("thing", "revoke", "--help"),
        ("watch", "--help"),
        ("publish", "a", "b", "--home", "/nonexistent"),
        ("thing", "list", "--data", "/nonexistent"),
    ],
    ids=" ".join,
)
def test_nothing_of_aws_is_imported_where_nobody_asked_for_a_stack(words: tuple[str, ...]) -> None:
    loaded = loaded_by(*words)
    assert not {"botocore", "boto3", "keyborn.wiring.aws_office", "keyborn.adapters.aws"} & loaded


def test_a_stack_needs_neither_sqlite_nor_a_certificate_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    loaded = loaded_by("thing", "list", "--aws", "kb", "--region", "eu-central-1")
    assert "botocore" in loaded
    assert not {"keyborn.adapters.sql", "keyborn.adapters.ca", "paho", "httptools"} & loaded


@pytest.mark.parametrize("package", ["botocore", "starlette", "msgspec", "httptools"])
def test_a_service_elsewhere_is_operated_from_a_bare_installation(package: str) -> None:
    code = (
        f"import sys\nsys.modules[{package!r}] = None\nfrom keyborn.cli.main import main\n"
        "sys.argv = ['keyborn', 'thing', 'list', '--api-key-file', '/nonexistent']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "[invalid_api_key]" in done.stderr


@pytest.mark.parametrize("package", ["botocore", "starlette", "msgspec"])
def test_an_installation_without_aws_says_what_to_install(package: str) -> None:
    code = (
        f"import sys\nsys.modules[{package!r}] = None\n"
        "from keyborn.cli.main import main\n"
        "sys.argv = ['keyborn', 'thing', 'list', '--aws', 'kb', '--region', 'eu-central-1']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'keyborn[aws]'" in done.stderr
    assert package in done.stderr
    assert "[aws_parts_missing]" in done.stderr


def test_deploying_without_aws_says_it_too() -> None:
    code = (
        "import sys\nsys.modules['botocore'] = None\nfrom keyborn.cli.main import main\n"
        "sys.argv = ['keyborn', 'aws', 'outputs']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "[aws_parts_missing]" in done.stderr


# ── pages ──


class Paper:
    """A desk with one list."""

    at_once = True
    tells_publishers = True
    has_roots = True
    reached_at = "127.0.0.1"
    watcher = "keyborn-watch"
    words = ""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.asked: list[object] = []

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        assert (method, path, body) == ("GET", "/v1/things", None)
        self.asked.append(query["after"])
        rest = [name for name in self.names if str(query["after"] or "") < name]
        return [{"thingName": name} for name in rest[: int(str(query["limit"]))]]

    def services(self) -> Path:
        return Path()

    def require_open(self) -> None: ...

    def ended(self, lost: Exception) -> Any:  # noqa: ANN401 - as it came
        return lost


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9])
def test_a_list_of_any_length_is_read_to_its_end(count: int) -> None:
    names = [f"t{number}" for number in range(count)]
    paper = Paper(names)
    assert [row["thingName"] for row in pages(paper, "/v1/things", "thingName", limit=2)] == names
    assert len(paper.asked) == count // 2 + 1


# ── a stack's folder, and its broker ──

FACTS = {
    "Url": "https://enroll.example.com",
    "MqttEndpoint": "mqtt.example.com",
    "TopicPrefix": "certtest",
    "Table": "kb-Table-1ABC",
    "ThingType": "kb_device",
    "DefaultPolicy": "kb_keyborn-default",
    "PolicyPrefix": "kb_",
    "IotArn": "arn:aws:iot:eu-central-1:123456789012",
    "EnrollmentsPerSecond": "9.8",
}


def stacked(table: str) -> StackDesk:
    """A desk that has asked its stack already."""
    desk = StackDesk("kb", region=None, profile=None)
    desk._door.__dict__["outputs"] = parse_outputs("kb", "CREATE_COMPLETE", FACTS | {"Table": table})
    return desk


def test_services_of_a_stack_live_in_the_operators_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    expected = tmp_path / "keyborn" / "aws" / "123456789012-eu-central-1-kb-Table-1ABC" / "services"
    assert stacked("kb-Table-1ABC").services() == expected


def test_a_stack_that_was_made_anew_has_services_of_its_own() -> None:
    assert stacked("kb-Table-1ABC").services() != stacked("kb-Table-2DEF").services()


def test_a_relative_state_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state.state_folder() == tmp_path / ".local" / "state" / "keyborn"


def test_a_lost_session_is_the_servers_end_here_and_itself_on_aws() -> None:
    lost = SessionLost(broker="b", detail="it ended")
    assert isinstance(LocalDesk(Path("here")).ended(lost), ServerStopped)
    assert stacked("t").ended(lost) is lost


# ── watch ──


def received(topic: str, publisher: str | None = None, payload: bytes = b"1") -> Received:
    return Received(topic, payload, qos=1, retain=False, publisher=publisher)


@pytest.mark.parametrize(
    ("topic", "thing"),
    [
        ("plant/one/lamp-1", "lamp-1"),
        ("plant/one/lamp-1/state/x", "lamp-1"),
        ("plant/one/", None),
        ("plant/one", None),
        ("plant/onetwo/lamp-1", None),
        ("other/lamp-1", None),
        ("", None),
    ],
)
def test_on_aws_the_thing_is_the_one_whose_topic_it_is(topic: str, thing: str | None) -> None:
    row = watch._row(received(topic), "plant/one")
    assert row["thing"] == thing
    assert row.get("thingFrom") == ("topic" if thing else None)


def test_where_the_broker_tells_publishers_the_topic_says_nothing() -> None:
    row = watch._row(received("certtest/lamp-1", publisher="pump-1"))
    assert row["thing"] == "pump-1"
    assert "thingFrom" not in row


def test_a_claim_of_a_publisher_is_not_believed_on_aws() -> None:
    row = watch._row(received("certtest/lamp-1", publisher="pump-1"), "certtest")
    assert row["thing"] == "lamp-1"


def test_a_message_is_one_line_of_json_either_way() -> None:
    row = watch._row(received("certtest/lamp-1", payload=b"\xff"), "certtest")
    assert json.loads(json.dumps(row))["payloadHex"] == "ff"
    assert "\n" not in watch._line(row)


# ── what a stack does not have ──


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--aws", "keyborn"], {}),
        ([], {"KEYBORN_AWS_STACK": "keyborn"}),
        ([], {"KEYBORN_AWS_STACK": "keyborn", "KEYBORN_API_KEY_FILE": "key"}),
    ],
)
def test_pruning_never_reaches_a_folder_where_a_stack_is_meant(
    words: list[str], environment: dict[str, str]
) -> None:
    done = CliRunner().invoke(cli, ["prune", "--older-than", "9", *words], env=environment)
    assert isinstance(done.exception, NothingToPrune)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--data", "nowhere"], "nowhere"), (["--api-key-file", "no-key"], "no-key")],
)
def test_what_is_typed_counts_more_than_a_stack_in_the_environment(words: list[str], said: str) -> None:
    done = CliRunner().invoke(
        cli, ["prune", "--older-than", "9", *words], env={"KEYBORN_AWS_STACK": "keyborn"}
    )
    assert isinstance(done.exception, KeybornError)
    assert not isinstance(done.exception, NothingToPrune)
    assert said in str(done.exception)
