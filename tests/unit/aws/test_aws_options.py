"""The options of ``keyborn aws``: what is refused before anything is asked of AWS."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keyborn.cli.aws import COMMANDS
from keyborn.cli.main import cli
from keyborn.domain.errors import InvalidSetting
from support.pki import new_pki, pem


def keyborn(*words: str) -> Result:
    return CliRunner().invoke(cli, ["aws", *words], env={"AWS_EC2_METADATA_DISABLED": "true"})


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever gets as far as AWS fails the test."""

    def reached(*_: object, **__: object) -> None:
        raise AssertionError("AWS was asked")

    monkeypatch.setattr("keyborn.cli.aws_deploy.reach", reached)
    monkeypatch.setattr("keyborn.cli.aws_destroy.reach", reached)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_an_example(name: str) -> None:
    shown = keyborn(name, "--help")
    assert shown.exit_code == 0, shown.output
    assert f"Example: keyborn aws {name}" in shown.output


def test_the_group_lists_its_commands_without_loading_them() -> None:
    shown = keyborn("--help")
    assert all(name in shown.output for name in COMMANDS)
    assert keyborn("deplot").exit_code == 2


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--url", "http://enroll.example"], "--url takes https://HOST"),
        (["--url", "https://enroll.example/path"], "--url takes https://HOST"),
        (["--mqtt-endpoint", "mqtt://x"], "--mqtt-endpoint takes HOST or HOST:PORT"),
        (["--topic-prefix", "a/+/b"], "--topic-prefix takes levels"),
        (["--topic-prefix", "/a"], "--topic-prefix takes levels"),
        (["--runtime", "python3.9"], "--runtime takes python3.11 or newer"),
        (["--architecture", "mips"], "Invalid value for '--architecture'"),
        (["--memory", "64"], "Invalid value for '--memory'"),
        (["--log-retention-days", "8"], "Invalid value for '--log-retention-days'"),
        (["--enrollments-per-second", "0"], "Invalid value for '--enrollments-per-second'"),
        (["--tag", "team"], "--tag takes KEY=VALUE"),
        (["--tag", "aws:x=1"], "no KEY of AWS's or Keyborn's own"),
        (["--tag", "Keyborn:stack=1"], "no KEY of AWS's or Keyborn's own"),
        (["--stack", "1st"], "--stack takes a letter"),
        (["--stack", "k" * 41], "--stack takes a letter"),
        (["--stack", "a_b"], "--stack takes a letter"),
        (["--mqtt-roots", "nowhere.pem"], "--mqtt-roots: nowhere.pem is not a readable file"),
    ],
)
def test_what_no_stack_can_be_is_a_usage_error(words: list[str], sentence: str) -> None:
    said = keyborn("deploy", "--yes", *words)
    assert said.exit_code == 2, said.output
    assert sentence in " ".join(said.stderr.split())


@pytest.mark.usefixtures("no_aws")
def test_a_root_is_one_certificate_in_pem(tmp_path: Path) -> None:
    pki = new_pki()
    two, none = tmp_path / "two.pem", tmp_path / "none.pem"
    two.write_text(pem(pki.root.certificate, pki.servers.certificate))
    none.write_text("no certificate\n")
    for path, sentence in ((two, "has 2"), (none, "not a readable file of certificates")):
        said = keyborn("deploy", "--yes", "--url", "https://x.example", "--url-root", str(path))
        assert said.exit_code == 2
        assert sentence in " ".join(said.stderr.split())


@pytest.mark.usefixtures("no_aws")
def test_more_roots_than_a_device_takes_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    file.write_text(pem(*[new_pki().root.certificate] * 9))
    said = keyborn("deploy", "--yes", "--mqtt-roots", str(file))
    assert isinstance(said.exception, InvalidSetting)
    assert "it has 9 certificates, and a device takes at most 8" in str(said.exception)


@pytest.mark.parametrize("account", ["12", "", "12345678901a", "١٢٣٤٥٦٧٨٩٠١٢", "1234567890123", "1234-5678"])
@pytest.mark.parametrize("command", ["deploy", "outputs", "smoke", "destroy"])
def test_an_account_that_is_no_number_of_aws_is_refused_before_aws_is_asked(
    command: str, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyborn.adapters.aws.session.AwsSession.client", None)
    said = keyborn(command, "--account", account)
    assert said.exit_code == 2
    assert "--account takes twelve digits." in said.stderr


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize("command", ["deploy", "destroy"])
def test_where_nobody_can_be_asked_nothing_is_done_without_yes(command: str) -> None:
    said = keyborn(command)
    assert said.exit_code == 2
    assert "--yes" in said.stderr


def test_the_deployers_policy_is_printed_without_asking_aws() -> None:
    words = ["permissions", "--stack", "kb", "--region", "eu-central-1", "--account", "123456789012"]
    shown, short = keyborn(*words), keyborn(*words, "--compact")
    assert json.loads(shown.stdout) == json.loads(short.stdout)
    assert short.stdout.count("\n") == 1
    assert "arn:aws:iot:eu-central-1:123456789012:thingtype/kb_device" in shown.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--region", "here", "--account", "123456789012"], "--region takes a region"),
        (["--region", "eu-central-1", "--account", "12"], "--account takes twelve digits"),
        (["--region", "eu-central-1", "--account", "1" * 12, "--partition", "x"], "--partition takes"),
        (["--region", "eu-central-1", "--account", "1" * 12, "--stack", "a b"], "--stack takes"),
        (["--account", "1" * 12], "Missing option '--region'"),
    ],
)
def test_a_policy_is_printed_for_a_place_that_can_be(words: list[str], sentence: str) -> None:
    said = keyborn("permissions", *words)
    assert said.exit_code == 2
    assert sentence in said.stderr
