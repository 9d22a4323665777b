"""The runner of pages itself: a page that lies must fail."""

from pathlib import Path

import pytest

from support.documents import Step, World, matches, real, replaced, run_page, served, shown, steps

PAGE = """
Text.

```console
$ echo one
one
$ printf 'a\\n%s\\n' \\
> b
a
b
```

<!-- run: not -->

```console
$ false
```
"""


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text)
    return path


def block(text: str, mode: str = "") -> str:
    return (f"<!-- run: {mode} -->\n" if mode else "") + f"```console\n{text}\n```\n"


def test_commands_continuations_output_and_modes_are_read() -> None:
    assert list(steps(PAGE)) == [
        Step("echo one", "one"),
        Step("printf 'a\\n%s\\n' \\\nb", "a\nb"),
        Step("false", "", "not"),
    ]


def test_other_fences_are_not_run() -> None:
    assert list(steps("```text\n$ false\n```\n")) == []


def test_an_unknown_mode_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="no such mode"):
        list(steps(block("$ true", "never")))


@pytest.mark.parametrize(
    ("prints", "output", "same"),
    [
        ("", "anything", True),
        ("one", "one\n", True),
        ("one", "two", False),
        ("one", "one two", False),
        ("a … c", "a b\nb c", True),
        ("a.c", "abc", False),
    ],
)
def test_what_a_page_shows_must_be_printed(prints: str, output: str, same: bool) -> None:  # noqa: FBT001 - a table
    assert matches(prints, output) is same


def test_ports_are_translated_only_after_a_host() -> None:
    table = {"8443": "50001"}
    assert (
        replaced("https://127.0.0.1:8443/x localhost:8443", table)
        == "https://127.0.0.1:50001/x localhost:50001"
    )
    assert replaced("8443 127.0.0.1:84430 example:8443", table) == "8443 127.0.0.1:84430 example:8443"


def test_an_address_for_documentation_stands_for_loopback_and_comes_back() -> None:
    ports = {"8443": "50001"}
    assert real("curl https://192.0.2.10:8443/healthz", ports) == "curl https://127.0.0.2:50001/healthz"
    assert shown("curl https://127.0.0.2:50001/healthz", ports) == "curl https://192.0.2.10:8443/healthz"


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("keyborn serve", "keyborn serve --https 127.0.0.1:0 --mqtt 127.0.0.1:0"),
        ("keyborn serve --verbose", "keyborn serve --https 127.0.0.1:0 --mqtt 127.0.0.1:0 --verbose"),
        (
            "keyborn serve --https 192.0.2.10:8443 --mqtt 192.0.2.10:8883 --name a.example",
            "keyborn serve --https 127.0.0.2:0 --mqtt 127.0.0.2:0 --name a.example",
        ),
        (
            "keyborn serve --metrics 127.0.0.1:9464",
            "keyborn serve --https 127.0.0.1:0 --mqtt 127.0.0.1:0 --metrics 127.0.0.1:0",
        ),
        ("keyborn watch --data there 'a:1'", "keyborn watch --data there 'a:1'"),
    ],
)
def test_a_service_of_a_page_gets_free_ports_of_loopback(line: str, runs: str) -> None:
    assert served(line) == runs


def test_a_true_page_passes(tmp_path: Path) -> None:
    assert len(run_page(page(tmp_path, PAGE), tmp_path)) == 3


def test_variables_last_for_the_page(tmp_path: Path) -> None:
    run_page(page(tmp_path, block("$ X=1") + block("$ echo $X\n1")), tmp_path)


@pytest.mark.parametrize("text", ["$ false", "$ echo one\ntwo", "$ false | true", "$ no-such-program"])
def test_a_command_that_fails_or_prints_something_else_fails_the_page(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError):
        run_page(page(tmp_path, block(text)), tmp_path)


def test_a_background_command_is_waited_for_and_ended(tmp_path: Path) -> None:
    line = "$ bash -c 'sleep 0.2; touch there; echo ready; sleep 0.2; echo later; sleep 60'\nready"
    text = block(line, "background") + block("$ test -e there") + block("later", "seen")
    run_page(page(tmp_path, text), tmp_path)


def test_commands_read_no_input(tmp_path: Path) -> None:
    run_page(page(tmp_path, block("$ cat\n$ echo still here\nstill here")), tmp_path)


# ── a page with more around it ──


class Somewhere(World):
    """A world that adds a word to one command, and remembers what was run."""

    ran: list[str]

    def command(self, line: str) -> str:
        return line.replace("greet", "echo hello")

    def done(self, line: str) -> None:
        self.ran.append(line)


def test_what_a_page_names_is_called_otherwise_here_and_comes_back(tmp_path: Path) -> None:
    world = World(names={"far.example:8883": "localhost:50001", "far.example": "localhost"})
    line = "$ echo far.example:8883 far.example | tee there\nfar.example:8883 far.example"
    run_page(page(tmp_path, block(line)), tmp_path, world)
    assert (tmp_path / "there").read_text() == "localhost:50001 localhost\n"


def test_a_world_gives_its_environment_to_every_command(tmp_path: Path) -> None:
    world = World({"PLACE": "somewhere"})
    text = block("$ echo $PLACE\nsomewhere") + block(
        "$ bash -c 'echo $PLACE; sleep 60'\nsomewhere", "background"
    )
    run_page(page(tmp_path, text), tmp_path, world)


def test_a_world_has_its_own_way_to_say_a_command_and_is_told_what_was_run(tmp_path: Path) -> None:
    world = Somewhere()
    world.ran = []
    run_page(page(tmp_path, block("$ greet world\nhello world") + block("$ false", "not")), tmp_path, world)
    assert world.ran == ["greet world"]


def test_where_a_session_cannot_be_closed_the_command_must_say_so(tmp_path: Path) -> None:
    warns = "$ echo it may go on '[session_left_open]'\nit is suspended."
    run_page(page(tmp_path, block(warns, "unclosed")), tmp_path)
    with pytest.raises(AssertionError):
        run_page(page(tmp_path, block("$ echo it is suspended.", "unclosed")), tmp_path)
