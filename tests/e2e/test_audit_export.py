"""The audit trail of a real server: signed while it runs and at its end, exported, checked, tampered with."""

import json
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keyborn.domain.audit import AuditEvent, ChainHead, canonical, link, parse_event
from keyborn.domain.audit_export import check_export
from support.csr_make import make_csr
from support.desks import Folder, told, typed
from support.device import keyborn, keyborn_json
from support.exports import lines_of
from support.server import Server, running


def verified(server: Server, *words: str | Path) -> dict[str, Any]:
    """What the command says of the service's trail; in this process, which is quicker."""
    found: dict[str, Any] = told(Folder(server), "audit", "verify", *words)
    return found


def refused(*words: str | Path) -> tuple[str, str]:
    """Code and sentence of a refusal."""
    said = typed(Nowhere(), "audit", *words, "--json")
    assert said.code == 1, said
    problem = json.loads(said.err)
    return problem["code"], problem["detail"]


@dataclass(frozen=True, slots=True)
class Nowhere:
    """A desk whose options are typed by hand."""

    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def enroll(self, name: str, csr: str, secret: str) -> int:
        """See ``Backend.enroll``: nothing enrolls here."""
        raise AssertionError((name, csr, secret))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a server with devices, a refusal and an order behind it; it has stopped."""
    with running(tmp_path_factory.mktemp("life")) as server:
        live(server)
    return server.data


@pytest.fixture
def lived(life: Path, tmp_path: Path) -> Server:
    """A copy of it, to do with as one likes."""
    shutil.copytree(life, tmp_path / "server", ignore=shutil.ignore_patterns("control.sock"))
    return Server(tmp_path / "server", tmp_path / "server.log")


def live(server: Server) -> None:
    for name in ("lamp-1", "lamp-2"):
        token = server.token(thing=name)
        assert server.enroll(name, make_csr(name)[1], token["secret"]).status == 201
    assert server.enroll("lamp-1", make_csr("lamp-1")[1], token["secret"]).status == 403
    keyborn("thing", "suspend", "lamp-2", "--reason", "looked odd", "--data", server.data)


# ── as it should be ───────────────────────────────────────────────────────────────────────────────────


def test_a_server_signs_when_it_stops_and_anybody_can_check_what_it_exported(
    lived: Server, tmp_path: Path
) -> None:
    found = verified(lived)
    assert found["signedUpTo"] == found["records"], "the last decision before the stop is signed"
    file = tmp_path / "audit.jsonl"
    said = keyborn("audit", "export", file, "--data", lived.data)
    assert said.stdout == ""
    assert said.stderr.startswith(
        f"Wrote {file}: {found['records']} records, signed by the key {found['key']}"
    )
    assert file.stat().st_mode & 0o777 == 0o600
    alone = keyborn_json("audit", "verify", file, "--key", found["key"], "--data", tmp_path / "nowhere")
    assert (alone["records"], alone["head"], alone["keyGiven"]) == (found["records"], found["head"], True)
    colons = ":".join(re.findall("..", found["key"].upper()))
    assert keyborn("audit", "verify", file, "--key", colons).returncode == 0
    said = keyborn("audit", "verify", file)
    assert "The file names its own key" in said.stderr
    assert found["key"] in said.stderr


def test_a_head_that_was_noted_is_found_later_in_the_trail_and_in_exports(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        noted = verified(server)
        live(server)
        for head in (noted["expect"], noted["head"]):
            assert verified(server, "--expect", head)["records"] > noted["records"]
        file, since = tmp_path / "all.jsonl", tmp_path / "since.jsonl"
        keyborn("audit", "export", file, "--data", server.data)
        keyborn("audit", "export", since, "--after", str(noted["records"]), "--data", server.data)
    for each in (file, since):
        assert keyborn("audit", "verify", each, "--expect", noted["expect"]).returncode == 0
    later = keyborn_json("audit", "verify", since)
    assert later["continues"] == noted["expect"]
    code, detail = refused("verify", since, "--expect", "0:" + "0" * 64)
    assert (code, "it begins behind it" in detail) == ("audit_head_missing", True)
    assert refused("verify", file, "--expect", "999:" + "0" * 64)[0] == "audit_head_missing"


def test_an_export_goes_to_standard_output_and_is_read_from_standard_input(lived: Server) -> None:
    made = keyborn("audit", "export", "--data", lived.data)
    assert made.stderr == ""
    report = check_export(lines_of(made.stdout.encode()))
    words = [sys.executable, "-m", "keyborn", "audit", "verify", "-", "--json"]
    checked = subprocess.run(words, input=made.stdout.encode(), capture_output=True, check=True, timeout=60)
    assert json.loads(checked.stdout)["records"] == report.end.count


def test_with_and_without_a_server_the_same_records_are_exported(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        live(server)
        served = keyborn("audit", "export", "--data", server.data).stdout
    alone = keyborn("audit", "export", "--data", tmp_path / "server").stdout
    records = [
        [line for line in text.splitlines() if line.startswith('{"record"')] for text in (served, alone)
    ]
    assert records[0] == records[1]
    assert len(records[0]) > 5


def test_the_key_is_under_the_authority_s_passphrase(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    with running(tmp_path, "--passphrase-file", str(secret)) as server:
        server.token(thing="lamp-1")
    data = ("--data", server.data)
    assert b"ENCRYPTED" in (server.data / "ca" / "audit.key").read_bytes()
    assert verified(server)["signedUpTo"] == 2, "who only checks needs no passphrase"
    assert refused("export", tmp_path / "no.jsonl", *data)[0] == "ca_locked"
    assert not (tmp_path / "no.jsonl").exists()
    keyborn("audit", "export", tmp_path / "yes.jsonl", "--passphrase-file", secret, *data)
    assert keyborn("audit", "verify", tmp_path / "yes.jsonl").returncode == 0


def signed_up_to(server: Server, number: int) -> dict[str, Any]:
    """Wait for the signature that a server gives at its start."""
    deadline = time.monotonic() + 20
    while (found := verified(server))["signedUpTo"] < number:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_server_that_is_killed_signs_what_it_left_when_it_comes_back(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        first = signed_up_to(server, 1)
        server.token(thing="lamp-1")
        server.kill()
        assert verified(server)["signedUpTo"] == first["signedUpTo"]
        server.start()
        assert signed_up_to(server, first["records"] + 1)["key"] == first["key"]


def test_records_are_shown_by_thing_action_outcome_and_time(lived: Server) -> None:
    def shown(*words: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = told(Folder(lived), "audit", "show", *words)
        return rows

    everything = shown()
    assert {row["subject"] for row in shown("--thing", "lamp-2", "--action", "enroll")} == {"lamp-2"}
    assert [row["action"] for row in shown("--thing", "lamp-2")] == [
        "token.create",
        "enroll",
        "thing.suspend",
    ]
    assert {row["action"] for row in shown("--action", "token")} == {"token.create"}
    assert shown("--action", "tok") == []
    assert {row["outcome"] for row in shown("--outcome", "refused")} == {"name_not_permitted"}
    assert shown("--outcome", "name_not_permitted") == shown("--outcome", "refused")
    assert shown("--since", "1h") == everything
    assert shown("--since", "2999-01-01") == []
    assert shown("--since", everything[2]["at"]) == everything[2:]
    assert shown("--since", everything[2]["at"], "--last", "1") == everything[-1:]
    assert shown("--outcome", "done", "--last", "1")[0]["action"] == "thing.suspend"
    nothing = keyborn("audit", "show", "--thing", "nobody", "--data", lived.data).stdout
    assert nothing == "Nothing of that kind has been decided.\n"
    usage = keyborn("audit", "show", "--since", "yesterday", "--data", lived.data, expect=2).stderr
    assert "2h or 7d" in usage


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "x.jsonl", "--key", "a"),
        ("export", "--after", "-1"),
        ("export", "--json"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(lived: Server, words: tuple[str, ...]) -> None:
    keyborn("audit", *words, "--data", lived.data, expect=2)


def test_on_a_terminal_a_long_export_tells_how_far_it_is(lived: Server, tmp_path: Path) -> None:
    """The terminal's line is left clean; elsewhere nothing is told of a short one."""
    code = (
        "import sys; from keyborn.cli import audit_export as m; m._BEAT = -1.0; "
        "from keyborn.cli.main import main; main()"
    )
    words = [
        sys.executable,
        "-c",
        code,
        "audit",
        "export",
        str(tmp_path / "x.jsonl"),
        "--data",
        str(lived.data),
    ]
    master, slave = pty.openpty()
    subprocess.run(words, stderr=slave, check=True, timeout=60)
    os.close(slave)
    said = os.read(master, 65536).decode()
    os.close(master)
    assert re.search(r"\r\x1b\[K\d+ lines", said)
    assert re.search(r"\r\x1b\[KWrote .*x\.jsonl", said)


# ── no secrets ────────────────────────────────────────────────────────────────────────────────────────


def test_no_secret_and_no_key_is_in_an_export(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        secrets = []
        for name in ("lamp-1", "lamp-2"):
            token = server.token(thing=name)
            csr = make_csr(name)[1]
            assert server.enroll(name, csr, token["secret"]).status == 201
            secrets += [token["secret"], token["code"], csr.splitlines()[1]]
        assert server.enroll("lamp-3", make_csr("lamp-3")[1], "A" * 43).status == 401
        secrets += ["A" * 43]
        exported = keyborn("audit", "export", "--data", server.data).stdout
    for file in (server.data / "ca").glob("*.key"):
        secrets += file.read_text().splitlines()[1:-1]
    assert "lamp-2" in exported
    assert len(secrets) > 10
    assert [one for one in secrets if one in exported] == []
    assert "PRIVATE" not in exported
    assert "CERTIFICATE" not in exported


# ── whoever can write the registry ────────────────────────────────────────────────────────────────────


def sql(server: Server, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(server.data / "registry.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def written_anew(server: Server, number: int) -> None:
    """Change who did it in one record, and make the chain fit again from there to its end."""
    rows = sql(server, "SELECT sequence, event FROM audit ORDER BY sequence")
    head = ChainHead()
    for sequence, text in rows:
        body = text
        if sequence == number:
            event = parse_event(text)
            body = canonical(
                AuditEvent(event.at, event.action, event.outcome, event.subject, "somebody-else")
            )
        digest = link(head.hash, sequence, body)
        sql(
            server,
            "UPDATE audit SET event = ?, previous = ?, hash = ? WHERE sequence = ?",
            body,
            head.hash,
            digest,
            sequence,
        )
        head = ChainHead(sequence, digest)


def test_a_trail_that_was_written_anew_is_found_by_its_checkpoints(lived: Server, tmp_path: Path) -> None:
    noted = verified(lived)
    written_anew(lived, 2)
    data = ("--data", lived.data)
    code, detail = refused("verify", *data)
    assert code == "audit_broken"
    assert "it is not the one that was signed" in detail
    assert refused("export", tmp_path / "x.jsonl", *data)[0] == "audit_broken"
    assert list(tmp_path.glob("*x.jsonl*")) == []
    sql(lived, "DELETE FROM checkpoints")
    assert refused("verify", "--key", noted["key"], *data)[0] == "audit_key_differs"
    assert verified(lived)["checkpoints"] == 0, (
        "who takes them away, too, is found by what was noted elsewhere"
    )
    for head in (noted["expect"], noted["head"]):
        assert refused("verify", "--expect", head, *data)[0] == "audit_head_missing"


def test_a_trail_that_was_cut_off_is_found(lived: Server) -> None:
    noted = verified(lived)
    data = ("--data", lived.data)
    sql(lived, "DELETE FROM audit WHERE sequence = ?", noted["records"])
    code, detail = refused("verify", *data)
    assert code == "audit_broken"
    assert "the trail ends before it" in detail
    sql(lived, "DELETE FROM checkpoints WHERE sequence = ?", noted["records"])
    assert verified(lived)["records"] == noted["records"] - 1
    code, detail = refused("verify", "--expect", noted["expect"], *data)
    assert (code, f"the last record is {noted['records'] - 1}" in detail) == ("audit_head_missing", True)


def test_whoever_signs_all_anew_with_a_key_of_his_own_is_found_by_the_key_that_was_noted(
    lived: Server,
) -> None:
    """He has the registry and the folder, but not the old key, which was noted."""
    noted = verified(lived, "--key", verified(lived)["key"])
    written_anew(lived, 2)
    sql(lived, "DELETE FROM checkpoints")
    for name in ("audit.key", "audit.pub"):
        (lived.data / "ca" / name).unlink()
    lived.start()
    lived.stop()
    forged = verified(lived)
    assert forged["signedUpTo"] == forged["records"]
    code, detail = refused("verify", "--key", noted["key"], "--data", lived.data)
    assert code == "audit_key_differs"
    assert forged["key"] in detail


def test_a_checkpoint_of_another_service_does_not_serve(lived: Server, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with running(tmp_path / "second") as other:
        live(other)
    [row] = sql(other, "SELECT sequence, hash, at, key, signature FROM checkpoints ORDER BY 1 DESC LIMIT 1")
    sql(lived, "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)", *row)
    code, detail = refused("verify", "--data", lived.data)
    assert code == "audit_broken"
    assert "not signed by a key of this service" in detail


def test_a_server_over_a_broken_trail_serves_and_says_that_it_does_not_sign(lived: Server) -> None:
    written_anew(lived, 2)
    before = sql(lived, "SELECT count(*) FROM checkpoints")
    lived.start()
    server_secret = lived.token(thing="lamp-9")["secret"]
    assert lived.enroll("lamp-9", make_csr("lamp-9")[1], server_secret).status == 201
    lived.stop()
    assert "the end of the audit trail is not signed" in lived.log.read_text()
    assert sql(lived, "SELECT count(*) FROM checkpoints") == before


def test_an_exported_file_that_somebody_touched_is_refused_with_the_line(
    lived: Server, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    keyborn("audit", "export", file, "--data", lived.data)
    raw = file.read_bytes()
    lines = raw.splitlines(keepends=True)
    for harm, line in (
        (raw.replace(b'"lamp-2"', b'"lamp-3"', 1), None),
        (b"".join([*lines[:3], *lines[4:]]), None),
        (b"".join(lines[:-1]), len(lines)),
        (raw[:-1], len(lines)),
        (raw + b"\n", len(lines) + 1),
        (b"\n" + raw, 1),
        (raw.replace(b"\n", b"\r\n"), 1),
        (b"", 1),
    ):
        assert harm != raw
        file.write_bytes(harm)
        code, detail = refused("verify", file)
        assert code == "export_broken"
        assert line is None or f"at line {line}: " in detail
    file.write_bytes(raw)
    assert refused("verify", file, "--key", "a" * 64)[0] == "audit_key_differs"
    assert refused("verify", tmp_path / "none.jsonl")[0] == "system_trouble"


def test_a_place_that_cannot_be_written_leaves_nothing(lived: Server, tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "audit.jsonl"
    said = keyborn("audit", "export", nowhere, "--data", lived.data, expect=1).stderr
    assert str(nowhere.parent) in said
    assert "Traceback" not in said


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""As people run it: what is written stays in the process for a while."""


@pytest.mark.parametrize("served", [True, False])
def test_a_full_disk_is_told_as_such_and_leaves_nothing(tmp_path: Path, *, served: bool) -> None:
    """``/dev/full`` answers every write as a full disk does (Linux)."""
    with running(tmp_path) as server:
        server.token(thing="lamp-1")
        words = [sys.executable, "-m", "keyborn", "audit", "export", "--data", str(server.data)]
        if not served:
            server.stop()
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                words, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60, env=BUFFERED
            )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr
