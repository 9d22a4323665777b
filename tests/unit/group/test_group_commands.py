"""``keyborn group lint`` and what it reads: files named in the file, findings for people and programs."""

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keyborn.cli.group import lint_group
from keyborn.cli.group_document import read_group_text
from keyborn.domain.errors import InvalidGroup
from keyborn.domain.group_file import parse_group
from support.group_stage import WEBHOOK, maker_pem, text
from support.pki import pem, shared_pki

MADE = """\
name = "line-7"     # ours
things = "sensor-*"
methods = ["factory"]

[factory]
authorities-file = "maker.pem"  # from their page
name = "{common_name}"
"""


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(lint_group, words, input=stdin)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "maker.pem").write_text(maker_pem())
    (tmp_path / "line-7.toml").write_text(MADE)
    return tmp_path / "line-7.toml"


# ── files in the file ─────────────────────────────────────────────────────────────────────────────────


def test_a_named_file_comes_in_its_place_and_the_rest_stays(made: Path) -> None:
    read = read_group_text(made)
    assert tomllib.loads(read)["factory"] == {"authorities": maker_pem(), "name": "{common_name}"}
    assert read.startswith('name = "line-7"     # ours\n')
    rule = parse_group(read).factory
    assert rule is not None
    assert rule.authorities_pem == maker_pem()


def test_of_a_bundle_the_certificates_are_kept_and_nothing_else(made: Path) -> None:
    root = pem(shared_pki().root.certificate)
    (made.parent / "maker.pem").write_text(f'Bag """ Attributes\\\r\n{maker_pem()}some words\n{root}')
    rule = parse_group(read_group_text(made)).factory
    assert rule is not None
    assert rule.authorities_pem == maker_pem() + root


def test_three_files_in_three_tables(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text(maker_pem())
    source = 'name = "a"\nthings = "*"\nmethods = ["factory", "oidc", "token + webhook"]\n'
    source += "[factory]\nname = \"{serial}\"\nauthorities-file = 'a.pem'\n"
    source += (
        '[ oidc ] # theirs\nissuer = "https://a"\naudience = "b"\nname = "{sub}"\n  roots-file = "a.pem"\n'
    )
    source += '[webhook]\nurl = "https://a"\nroots-file="a.pem"\n'
    (tmp_path / "group.toml").write_text(source)
    group = parse_group(read_group_text(tmp_path / "group.toml"))
    assert group.oidc is not None
    assert group.webhook is not None
    assert group.oidc.roots_pem == group.webhook.roots_pem == maker_pem()


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ('authorities-file = "key.pem"', "private key"),
        ('authorities-file = "empty.pem"', "no certificate"),
        ('authorities-file = "binary.pem"', "not UTF-8"),
        ('authorities-file = "huge.pem"', "larger than"),
        ("authorities-file = 7", "name of a file"),
        ('authorities-file = ""', "name of a file"),
        ('authorities-file = "maker.pem"\nauthorities = "x"', "take one of the two out"),
        ('"authorities-file" = "maker.pem"', "line of its own"),
        ('authorities-file = """maker.pem"""', "line of its own"),
    ],
)
def test_a_file_that_is_not_certificates_is_refused(made: Path, line: str, detail: str) -> None:
    folder = made.parent
    (folder / "key.pem").write_bytes(maker_pem().encode() + shared_pki().devices.leaf("x").key_pem())
    (folder / "empty.pem").write_text("")
    (folder / "binary.pem").write_bytes(b"\xff\xfe")
    (folder / "huge.pem").write_bytes(b"x" * 70_000)
    made.write_text(MADE.replace('authorities-file = "maker.pem"  # from their page', line))
    with pytest.raises(InvalidGroup, match=detail):
        read_group_text(made)


def test_a_file_in_braces_is_refused_with_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text(maker_pem())
    (tmp_path / "a.toml").write_text('factory = { authorities-file = "a.pem", name = "{serial}" }')
    with pytest.raises(InvalidGroup, match=r"line of its own under \[factory\]"):
        read_group_text(tmp_path / "a.toml")


def test_a_file_that_is_not_there_is_said(made: Path) -> None:
    (made.parent / "maker.pem").unlink()
    assert isinstance(run(str(made)).exception, FileNotFoundError)


def test_the_same_line_elsewhere_is_left_alone(made: Path) -> None:
    odd = MADE + '[give]\nattributes = { x = "1" }\n# authorities-file = "maker.pem"\n'
    made.write_text(odd)
    assert '# authorities-file = "maker.pem"' in read_group_text(made)


# ── lint ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clean_file_is_a_line_and_zero(made: Path) -> None:
    result = run(str(made))
    assert (result.exit_code, result.output) == (0, "Nothing to say.\n")


BROKEN = text(methods=["token", "webhook"], webhook=WEBHOOK | {"url": "http://mes.example.com"}, things="*")


def test_a_finding_has_its_place_its_sentence_and_what_to_write() -> None:
    result = run("-", stdin=BROKEN)
    assert result.exit_code == 1
    first, second, third, end = result.stdout.split("\n\n")
    assert first.startswith("error: webhook.url [http_url]\n  Without TLS whoever")
    assert first.endswith('\n  Write instead: url = "https://mes.example.com"')
    assert second.startswith("warning: methods [webhook_alone]\n")
    assert third.startswith("warning: things [any_name]\n")
    assert end == "1 error, 2 warnings.\n"


def test_warnings_alone_end_with_zero_and_under_strict_with_one() -> None:
    source = text(things="*")
    assert run("-", stdin=source).exit_code == 0
    assert run("-", "--strict", stdin=source).exit_code == 1
    assert run("-", "--strict", stdin=text()).exit_code == 0


def test_programs_get_every_finding_whole() -> None:
    report = json.loads(run("-", "--json", stdin=BROKEN).stdout)
    assert [row["code"] for row in report["findings"]] == ["http_url", "webhook_alone", "any_name"]
    assert set(report["findings"][0]) == {"severity", "code", "where", "sentence", "corrected"}
    assert json.loads(run("-", "--json", stdin=text()).stdout) == {"findings": []}


def test_a_window_that_is_over_is_seen_without_a_service() -> None:
    source = 'name = "a"\nthings = "a-*"\nmethods = ["token"]\ncloses = 2020-01-01T00:00:00Z\n'
    assert "[window_past]" in run("-", stdin=source).stdout


@pytest.mark.parametrize("source", ["", "=", "name = 1", 'name = "a"'])
def test_what_is_no_group_is_refused_with_its_sentence(source: str) -> None:
    result = run("-", stdin=source)
    assert isinstance(result.exception, InvalidGroup)
    assert str(result.exception).startswith("The group is not usable: ")


def test_no_file_can_draw_on_the_operator_s_terminal() -> None:
    hostile = (
        text(
            methods=["webhook"],
            webhook=WEBHOOK,
        )
        + "# \u202e\n"
    )
    shown = run("-", stdin=hostile).stdout
    assert all(line.isprintable() for line in shown.splitlines())
