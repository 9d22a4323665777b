"""The operator's commands from another machine: another folder, another home, one file with a key."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyborn.domain.api_key import ApiKeyWord, find_word
from support.device import enroll, keyborn, keyborn_json
from support.server import Server, running

ROLES = ("viewer", "approver", "admin")
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}],
}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A machine that has nothing of the service but keys."""

    folder: Path
    server: Server

    def run(
        self, *words: str | Path, role: str = "admin", expect: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """One command, as it is typed there."""
        asked = [sys.executable, "-m", "keyborn", *map(str, words)]
        if not environment:
            asked += ["--api-key-file", f"{role}.key"]
        done = subprocess.run(
            asked, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True,
            timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == expect, (words, done)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str | Path, role: str = "admin") -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.run(*words, "--json", role=role).stdout)

    def refused(self, *words: str | Path, role: str = "admin", **environment: str) -> str:
        """The code of a refusal."""
        problem = json.loads(self.run(*words, "--json", role=role, expect=1, **environment).stderr)
        return str(problem["code"])

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYBORN_")}
        return kept | {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("elsewhere")
    with running(tmp_path_factory.mktemp("server")) as server:
        for role in ROLES:
            words = ("api-key", "create", "--name", role, "--role", role, "--out", folder / f"{role}.key")
            keyborn(*words, "--data", server.data)
        yield Elsewhere(folder, server)


# ── making keys ──


def test_create_prints_the_key_once_on_its_last_line(there: Elsewhere) -> None:
    words = ("api-key", "create", "--name", "bob", "--role", "viewer", "--ttl", "12h")
    said = keyborn(*words, "--data", there.server.data).stdout
    assert said.count("kba1.") == 1
    assert ApiKeyWord.decode(said.splitlines()[-1]) == find_word(said)
    made = keyborn_json(*words, "--data", there.server.data)
    assert {"id", "name", "role", "expires", "apiKey", "url", "fingerprint"} <= set(made)


def test_a_key_file_is_private_new_and_named(there: Elsewhere, tmp_path: Path) -> None:
    out = tmp_path / "bob.key"
    words = ("api-key", "create", "--name", "bob", "--role", "viewer", "--data", there.server.data, "--out")
    said = keyborn(*words, out).stdout
    assert out.stat().st_mode & 0o777 == 0o600
    assert "kba1." not in said
    kept = out.read_text()
    keyborn(*words, out, expect=2)
    assert out.read_text() == kept


def test_a_key_that_could_not_be_written_is_good_for_nobody(there: Elsewhere, tmp_path: Path) -> None:
    words = ("api-key", "create", "--name", "lost", "--role", "admin", "--data", there.server.data, "--out")
    keyborn(*words, tmp_path / "missing" / "lost.key", expect=1)
    rows = keyborn_json("api-key", "list", "--data", there.server.data)
    assert [row["state"] for row in rows if row["name"] == "lost"] == ["withdrawn"]


@pytest.mark.whole
def test_keys_are_made_where_no_server_runs_too(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        (server.data / "server.toml").write_text(f'https = "{server.about["https"]}"\n')
    out = tmp_path / "a.key"
    keyborn("api-key", "create", "--name", "a", "--role", "viewer", "--data", server.data, "--out", out)
    server.start()
    try:
        assert keyborn("thing", "list", "--api-key-file", out).returncode == 0
    finally:
        server.stop()


@pytest.mark.parametrize("ttl", ["0s", "400d"])
def test_a_life_too_long_or_none_is_refused(there: Elsewhere, ttl: str) -> None:
    words = ("api-key", "create", "--name", "x", "--role", "viewer", "--ttl", ttl)
    assert "--ttl" in keyborn(*words, "--data", there.server.data, expect=1).stderr


# ── working elsewhere ──


def test_an_admin_does_from_there_what_is_done_here(there: Elsewhere, tmp_path: Path) -> None:
    made = there.json("token", "create", "--thing", "lamp-1")
    enrolled = enroll(tmp_path / "device", made["code"], "lamp-1")
    assert enrolled["thing"] == "lamp-1"
    data = ("--data", there.server.data)
    for words in (("thing", "list"), ("thing", "show", "lamp-1")):
        assert there.json(*words) == keyborn_json(*words, *data)
    document = there.folder / "narrow.json"
    document.write_text(json.dumps(POLICY))
    there.run("policy", "put", "narrow", document.name)
    there.run("policy", "attach", "narrow", "--thing", "lamp-1")
    said = there.json("policy", "simulate", "--thing", "lamp-1", "--action", "connect", role="viewer")
    assert said["verdict"] == "allowed"
    revoked = there.run("thing", "revoke", "lamp-1", "--reason", "lost").stdout
    assert revoked.startswith("lamp-1 is revoked.")
    assert keyborn_json("thing", "show", "lamp-1", *data)["status"] == "revoked"


def test_the_trail_is_verified_from_there_and_names_who_did_what(there: Elsewhere) -> None:
    there.run("token", "create", "--thing", "lamp-2")
    assert there.json("audit", "verify", role="viewer")["chain"] == "unbroken"
    rows = there.json("audit", "show", role="viewer")
    made = next(
        row for row in rows if row["action"] == "token.create" and row["details"]["scope"] == "lamp-2"
    )
    assert made["actor"].endswith(" admin")
    there.run("audit", "export", "trail.jsonl", role="viewer")
    checked = there.json("audit", "verify", "trail.jsonl", role="viewer")
    assert checked["records"] >= len(rows)


@pytest.mark.parametrize("role", ["viewer", "approver"])
def test_others_are_refused_with_one_sentence(there: Elsewhere, role: str) -> None:
    refused = there.run("token", "create", "--thing", "lamp-3", role=role, expect=1)
    assert refused.stdout == ""
    assert f"role is {role}, and this takes admin" in refused.stderr
    assert there.refused("policy", "remove", "keyborn-default", role=role) == "role_too_low"


def test_keys_are_listed_and_withdrawn_from_there_and_never_made(there: Elsewhere) -> None:
    words = ("api-key", "create", "--name", "carol", "--role", "viewer")
    out = there.folder / "carol.key"
    keyborn(*words, "--data", there.server.data, "--out", out)
    [row] = [row for row in there.json("api-key", "list") if row["name"] == "carol"]
    there.run("thing", "list", role="carol")
    there.run("api-key", "withdraw", row["id"])
    assert there.refused("thing", "list", role="carol") == "api_key_refused"
    assert there.refused(*words) == "not_remote"
    assert there.refused(*words, KEYBORN_API_KEY_FILE="admin.key") == "not_remote"


@pytest.mark.parametrize("step", ["renew-root", "switch-root", "retire-root"])
def test_what_opens_the_authority_s_keys_says_that_it_is_not_done_from_there(
    there: Elsewhere, step: str
) -> None:
    assert there.refused("ca", step) == "not_remote"
    assert there.refused("ca", step, KEYBORN_URL=there.server.about["url"]) == "not_remote"


def test_roots_are_looked_at_and_exported_from_there(there: Elsewhere) -> None:
    data = ("--data", there.server.data)
    for words in (("ca", "show"), ("ca", "roots")):
        assert there.json(*words, role="viewer") == keyborn_json(*words, *data)
    assert there.run("ca", "export", role="viewer").stdout == keyborn("ca", "export", *data).stdout


def test_the_environment_leads_there_too(there: Elsewhere) -> None:
    assert there.run("thing", "list", KEYBORN_API_KEY_FILE="viewer.key").returncode == 0
    named = {"KEYBORN_API_KEY_FILE": "viewer.key", "KEYBORN_URL": there.server.about["url"]}
    assert there.run("thing", "list", **named).returncode == 0
    assert there.refused("thing", "list", **(named | {"KEYBORN_URL": "https://127.0.0.1:9"})) == (
        "remote_unreachable"
    )
    both = there.run("thing", "list", expect=2, KEYBORN_DATA="d", KEYBORN_API_KEY_FILE="viewer.key")
    assert "exclude each other" in both.stderr


def test_a_file_that_others_can_read_is_refused(there: Elsewhere) -> None:
    open_file = there.folder / "open.key"
    open_file.write_text((there.folder / "viewer.key").read_text())
    open_file.chmod(0o644)
    assert there.refused("thing", "list", role="open") == "file_not_private"


def test_another_root_gets_no_key(there: Elsewhere) -> None:
    word = find_word((there.folder / "viewer.key").read_text())
    path = there.folder / "wrong.key"
    path.touch(0o600)
    path.write_text(ApiKeyWord(word.url, bytes(32), word.secret).encode())
    assert there.refused("thing", "list", role="wrong") == "remote_untrusted"


def test_a_service_is_added_and_messages_are_watched_from_there(there: Elsewhere, tmp_path: Path) -> None:
    document = there.folder / "dashboard.json"
    document.write_text(json.dumps(POLICY))
    added = there.json("service", "add", "dashboard", "--policy", document.name)
    assert added["home"].startswith(str(there.folder / "state"))
    device = tmp_path / "device"
    enroll(device, there.json("token", "create", "--thing", "lamp-5")["code"], "lamp-5")
    words = [sys.executable, "-m", "keyborn", "watch", "certtest/#", "--count", "1", "--json"]
    words += ["--api-key-file", "admin.key"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, cwd=there.folder, env=there.environment, stdout=pipe, stderr=pipe, text=True
    ) as watch:
        assert watch.stderr is not None
        assert watch.stderr.readline().startswith("Watching"), watch.stderr.read()
        keyborn("publish", "certtest/lamp-5", "hello", "--home", device)
        out, _ = watch.communicate(timeout=30)
    assert json.loads(out)["thing"] == "lamp-5"


@pytest.mark.whole
def test_a_key_ends_with_the_root_that_it_names(tmp_path: Path) -> None:
    """As enrolment codes do: once the service shows itself under the next root, a new key is asked for."""
    with running(tmp_path) as server:
        out = tmp_path / "old.key"
        keyborn("api-key", "create", "--name", "a", "--role", "viewer", "--data", server.data, "--out", out)
        data = ("--data", server.data)
        keyborn("ca", "renew-root", *data)
        assert keyborn("thing", "list", "--api-key-file", out).returncode == 0
        keyborn("ca", "switch-root", "--yes", *data)
        deadline = time.monotonic() + 20
        while (said := keyborn("thing", "list", "--api-key-file", out, expect=None)).returncode == 0:
            assert time.monotonic() < deadline
        assert "ask for a new key" in said.stderr
        assert "[remote_untrusted]" in said.stderr
