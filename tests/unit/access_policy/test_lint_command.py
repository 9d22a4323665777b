"""``keyborn policy lint``: findings for people and programs, exit codes, and nothing needed but a file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keyborn.cli.policy_lint import lint_command
from keyborn.domain.access_policy.lint import lint
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.errors import InvalidPolicy
from keyborn.policies import device_policy, watch_policy
from support.lint_stage import CLIENT, allow, deny

BROKEN = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [allow("Connect", f"client/{CLIENT}"), deny("Subscribe", "topic/a/#")],
    }
)


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(lint_command, words, input=stdin)


def test_a_clean_document_is_a_line_and_zero(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(device_policy("certtest"))
    result = run(str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Nothing to say: 3 statements, ")
    assert result.stdout.endswith(" of 2048 characters.\n")


def test_a_finding_has_its_place_its_sentence_and_what_to_write() -> None:
    result = run("-", stdin=BROKEN)
    assert result.exit_code == 1
    first, second, end = result.stdout.split("\n\n")
    assert first.startswith(
        "warning: statement 1, Resource [client_id_untied]\n  'client/${iot:ClientId}' compares"
    )
    assert "\n  Write instead:\n    {\n" in first
    assert second.startswith(
        "error: statement 2, Resource [topic_for_topicfilter]\n  Subscribe is asked about"
    )
    shown = second.partition("Write instead:\n")[2]
    assert json.loads(shown) == deny("Subscribe", "topicfilter/a/#")
    assert end.startswith("1 error, 1 warning; 2 statements, ")


def test_warnings_alone_end_with_zero_and_under_strict_with_one() -> None:
    assert run("-", stdin=watch_policy()).exit_code == 0
    assert run("-", "--strict", stdin=watch_policy()).exit_code == 1
    assert run("-", "--strict", stdin=device_policy()).exit_code == 0
    assert "0 errors, 2 warnings; 3 statements" in run("-", stdin=watch_policy()).stdout


def test_programs_get_every_finding_whole() -> None:
    result = run("-", "--json", stdin=BROKEN)
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["statements"] == 2
    assert report["limit"] == 2048
    assert report["characters"] == len("".join(BROKEN.split()))
    findings = lint(parse_document(BROKEN))
    assert [row["code"] for row in report["findings"]] == [each.code for each in findings]
    assert [row["corrected"] for row in report["findings"]] == [each.corrected for each in findings]
    assert [row["statement"] for row in report["findings"]] == [1, 2]
    assert set(report["findings"][0]) == {"severity", "code", "where", "statement", "sentence", "corrected"}


def test_programs_get_an_empty_list_for_a_clean_document() -> None:
    report = json.loads(run("-", "--json", stdin=device_policy()).stdout)
    assert report["findings"] == []


def test_a_finding_about_the_whole_document_has_no_statement() -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": [allow("Publish", "topic/a")]})
    (row,) = json.loads(run("-", "--json", stdin=text).stdout)["findings"]
    assert (row["code"], row["where"], row["statement"], row["corrected"]) == (
        "no_connect",
        "document",
        None,
        None,
    )
    shown = run("-", stdin=text).stdout
    assert "warning: document [no_connect]" in shown
    assert "Write instead" not in shown


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Version": "2012-10-17"}', '{"Statement": [], "Id": "x"}'])
def test_what_is_no_policy_is_refused_with_its_sentence(text: str) -> None:
    result = run("-", stdin=text)
    assert isinstance(result.exception, InvalidPolicy)
    assert str(result.exception).startswith("The policy is not usable: ")


def test_a_document_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe{}")
    assert isinstance(run(str(tmp_path / "bad.json")).exception, InvalidPolicy)


def test_a_file_is_needed() -> None:
    assert run().exit_code == 2


def test_no_document_can_draw_on_the_operator_s_terminal() -> None:
    hostile = json.dumps(
        {"Version": "2012-10-17", "Statement": [allow("Publish", "topic/*\u001b[2J\u202e")]},
        ensure_ascii=False,
    )
    shown = run("-", stdin=hostile).stdout
    assert all(line.isprintable() for line in shown.splitlines())


# ── the real command ──────────────────────────────────────────────────────────────────────────────────


def keyborn(*words: str, stdin: str, folder: Path) -> subprocess.CompletedProcess[str]:
    order = [sys.executable, "-m", "keyborn", "policy", "lint", *words]
    return subprocess.run(
        order, input=stdin, capture_output=True, text=True, timeout=30, check=False, cwd=folder
    )


def test_the_command_needs_no_data_folder_and_leaves_none(tmp_path: Path) -> None:
    assert keyborn("-", stdin=device_policy(), folder=tmp_path).returncode == 0
    assert keyborn("-", stdin=BROKEN, folder=tmp_path).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_one_sentence_and_exit_one(tmp_path: Path) -> None:
    done = keyborn("-", stdin="{", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("keyborn: The policy is not usable: line 1, column 2")
    assert done.stderr.endswith("[invalid_policy]\n")
    problem = json.loads(keyborn("-", "--json", stdin="{", folder=tmp_path).stderr)
    assert problem["code"] == "invalid_policy"


def test_the_command_needs_no_server_parts() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from keyborn.cli.main import cli\n"
        "result = CliRunner().invoke(cli, ['policy', 'lint', '-'], input=sys.stdin.read())\n"
        "assert result.exit_code == 0, result.output\n"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=device_policy(), capture_output=True, text=True, check=True
    )
    assert not {"msgspec", "starlette", "httptools"} & set(done.stdout.split())
