"""Group keys, factory certificates and codes without a secret, as people type them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyborn.domain.group_key import GroupKey, device_key
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.token import CodeFacts, EnrollmentCode, encode_secret
from support.device import enroll, keyborn, keyborn_json
from support.factory import Maker, manufacturer
from support.server import Server, running

LINE = 'name = "{name}"\nthings = "sensor-*"\nmethods = ["{method}"]\n'
ROOT = manufacturer()
PLANT = ROOT.authority("Plant")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("signed")) as server:
        yield server


def put(server: Server, folder: Path, name: str, method: str = "group-key", more: str = "") -> None:
    file = folder / f"{name}.toml"
    file.write_text(LINE.format(name=name, method=method) + more)
    keyborn("group", "put", file, "--data", server.data)


def make(server: Server, folder: Path, name: str) -> Path:
    """A group key in a file, with all that the command says around it."""
    done = keyborn("group", "key", "create", name, "--uses", "5", "--data", server.data)
    file = folder / f"{name}.key"
    file.touch(mode=0o600)
    file.write_text(done.stdout)
    assert done.stdout.splitlines()[-1].startswith("kbg1.")
    return file


def idevid(folder: Path, device: Maker, *above: Maker) -> tuple[Path, Path]:
    """What a manufacturer leaves on a device."""
    certificate, key = folder / "idevid.pem", folder / "idevid.key"
    certificate.write_text("".join(each.pem for each in (device, *above)))
    key.touch(mode=0o600)
    key.write_bytes(device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


# ── group keys ────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_enrols_with_the_code_that_was_derived_for_its_name(server: Server, tmp_path: Path) -> None:
    put(server, tmp_path, "line-1")
    key = make(server, tmp_path, "line-1")
    code = keyborn("group", "key", "derive", key, "--thing", "sensor-1").stdout
    outcome = enroll(tmp_path / "home", code, "sensor-1")
    assert (outcome["thing"], outcome["obtained"]) == ("sensor-1", True)
    again = enroll(tmp_path / "home", code, "sensor-1")
    assert again["obtained"] is False
    other = keyborn("enroll", "-", "--thing", "sensor-2", "--home", tmp_path / "other", typed=code, expect=1)
    assert "[group_key_refused]" in other.stderr
    assert "--thing" in other.stderr
    (row,) = (row for row in keyborn_json("token", "list", "--data", server.data) if row["group"] == "line-1")
    assert (row["method"], row["uses"], row["usesTaken"]) == ("group-key", 5, 1)
    keyborn("token", "withdraw", row["id"], "--data", server.data)
    late = keyborn("group", "key", "derive", key, "--thing", "sensor-3").stdout
    refused = keyborn("enroll", "-", "--thing", "sensor-3", "--home", tmp_path / "x", typed=late, expect=1)
    assert "[group_key_refused]" in refused.stderr


def test_the_codes_of_a_whole_line_are_made_offline(server: Server, tmp_path: Path) -> None:
    put(server, tmp_path, "line-2")
    key = make(server, tmp_path, "line-2")
    (tmp_path / "names.txt").write_text("sensor-10\n\n  sensor-11  \r\nsensor-12")
    done = keyborn("group", "key", "derive", "-", "--names", tmp_path / "names.txt", typed=key.read_text())
    rows = [line.split(" ") for line in done.stdout.splitlines()]
    assert [name for name, _ in rows] == ["sensor-10", "sensor-11", "sensor-12"]
    held = GroupKey.decode(key.read_text().split()[-1])
    for name, code in rows:
        assert EnrollmentCode.decode(code).secret == device_key(held.key, ThingName(name))
    as_json = keyborn("group", "key", "derive", key, "--names", tmp_path / "names.txt", "--json").stdout
    told = [json.loads(line) for line in as_json.splitlines()]
    assert [[each["thing"], each["code"]] for each in told] == rows
    assert told[0]["secret"] == encode_secret(device_key(held.key, ThingName("sensor-10")))
    assert (told[0]["id"], told[0]["group"], told[0]["url"]) == (held.id, "line-2", server.about["url"])
    assert enroll(tmp_path / "home", rows[1][1], "sensor-11")["thing"] == "sensor-11"


def test_a_long_line_says_how_far_it_is(tmp_path: Path) -> None:
    held = GroupKey.decode(_text())
    names = tmp_path / "names.txt"
    names.write_text("".join(f"sensor-{number}\n" for number in range(20_001)))
    done = keyborn("group", "key", "derive", "-", "--names", names, typed=held.encode())
    assert len(done.stdout.splitlines()) == 20_001
    assert done.stderr.splitlines() == [f"{count} of 20001 codes" for count in (10_000, 20_000, 20_001)]


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ("sensor-1\na b\n", "line 2"),
        ("sensor-1\nsensor-2\nSENSOR-1\n", "stands in line 1 already"),
        ("sensor-1\n\xff\n", "line 2"),
    ],
)
def test_one_wrong_name_stops_a_line_before_it_begins(tmp_path: Path, names: str, word: str) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(names.encode("latin-1"))
    refused = keyborn("group", "key", "derive", "-", "--names", file, typed=_text(), expect=2)
    assert word in refused.stderr
    assert refused.stdout == ""


def test_a_group_key_is_not_read_where_others_could_read_it(tmp_path: Path) -> None:
    file = tmp_path / "line.key"
    file.write_text(_text())
    file.chmod(0o644)
    refused = keyborn("group", "key", "derive", file, "--thing", "sensor-1", expect=1)
    assert "[file_not_private]" in refused.stderr
    argument = keyborn("group", "key", "derive", _text(), "--thing", "sensor-1", expect=2)
    assert "everybody can see arguments" in argument.stderr
    missing = keyborn("group", "key", "derive", tmp_path / "none", "--thing", "sensor-1", expect=1)
    assert "[invalid_group_key]" in missing.stderr
    for words in ((), ("--thing", "a", "--names", str(file))):
        assert "either" in keyborn("group", "key", "derive", file, *words, expect=2).stderr


def test_no_device_takes_a_group_key(tmp_path: Path) -> None:
    refused = keyborn("enroll", "-", "--home", tmp_path / "home", typed=_text(), expect=1)
    assert "[invalid_enrollment_code]" in refused.stderr
    assert not (tmp_path / "home" / "device.key").exists()


def test_what_operators_slip_at_is_one_sentence(server: Server, tmp_path: Path) -> None:
    put(server, tmp_path, "asking", "ask")
    at = ("--data", server.data)
    assert "There is no group called none" in keyborn("group", "key", "create", "none", *at, expect=1).stderr
    wrong = keyborn("group", "key", "create", "asking", *at, expect=1).stderr
    assert "does not accept group-key" in wrong
    assert "factory" not in keyborn("group", "code", "asking", *at).stdout
    wrong = keyborn("group", "code", "asking", "--method", "factory", *at, expect=1).stderr
    assert "the group takes here: ask" in wrong
    put(server, tmp_path, "keyed")
    assert "group key create" in keyborn("group", "code", "keyed", *at, expect=1).stderr


def _text() -> str:
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    return GroupKey(bytes(32), GroupName("line"), "https://a.example", b"", moment, moment).encode()


# ── factory certificates ──────────────────────────────────────────────────────────────────────────────


def test_a_device_enrols_with_what_its_manufacturer_gave_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "maker.pem").write_text(ROOT.pem)
    table = '[factory]\nauthorities-file = "maker.pem"\nname = "sensor-{serial_number}"\n'
    put(server, tmp_path, "made", "factory", table)
    made = keyborn_json("group", "code", "made", "--data", server.data)
    assert (made["method"], made["group"]) == ("factory", "made")
    code = EnrollmentCode.decode(made["code"])
    assert code.secret == b""
    home = tmp_path / "home"
    missing = keyborn("enroll", "-", "--thing", "sensor-7", "--home", home, typed=made["code"], expect=1)
    assert "[proof_missing]" in missing.stderr
    assert "--factory-cert" in missing.stderr
    assert not (home / "device.key").exists()
    certificate, key = idevid(tmp_path, PLANT.device("7"), PLANT)
    before = (certificate.read_bytes(), key.read_bytes())
    files = ("--factory-cert", str(certificate), "--factory-key", str(key))
    outcome = enroll(home, made["code"], "sensor-7", *files)
    assert outcome["obtained"] is True
    assert (certificate.read_bytes(), key.read_bytes()) == before
    assert (home / "device.key").read_bytes() != key.read_bytes()
    for name in ("sensor-8", "sensor-7"):
        refused = keyborn(
            "enroll", "-", "--thing", name, "--home", tmp_path / f"again-{name}", *files,
            typed=made["code"], expect=1,
        )  # fmt: skip
        wanted = "name_not_permitted" if name == "sensor-8" else "thing_name_taken"
        assert f"[{wanted}]" in refused.stderr


def test_files_of_a_manufacturer_that_do_not_fit_are_named_before_anybody_is_asked(tmp_path: Path) -> None:
    held = GroupKey.decode(_text())
    plain = held.code_for(ThingName("sensor-1"))
    code = replace(plain, secret=b"", facts=CodeFacts(Method.FACTORY, GroupName("made"))).encode()
    certificate, key = idevid(tmp_path, PLANT.device("7"), PLANT)
    other = tmp_path / "other.pem"
    other.write_text(PLANT.pem)
    home = ("--home", str(tmp_path / "home"), "--thing", "sensor-7")

    def refused(*words: str, expect: int = 1) -> str:
        return keyborn("enroll", "-", *home, *words, typed=code, expect=expect).stderr

    assert "go together" in refused("--factory-cert", str(certificate), expect=2)
    said = refused("--factory-cert", str(other), "--factory-key", str(key))
    assert "[factory_certificate_unusable]" in said
    assert "not the one of the factory key" in said
    assert "no certificates" in refused("--factory-cert", str(key), "--factory-key", str(key))
    assert "[key_unusable]" in refused(
        "--factory-cert", str(certificate), "--factory-key", str(key), "--adopt-key", str(key)
    )
    key.chmod(0o644)
    assert "[file_not_private]" in refused("--factory-cert", str(certificate), "--factory-key", str(key))
    assert not (tmp_path / "home" / "device.key").exists()


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────


def test_no_command_but_the_one_that_makes_it_shows_a_group_key(server: Server, tmp_path: Path) -> None:
    put(server, tmp_path, "canary")
    key = make(server, tmp_path, "canary")
    held = GroupKey.decode(key.read_text().split()[-1])
    at = ("--data", server.data)
    told = "".join(
        keyborn(*words, *at, *more).stdout
        for words in (("token", "list"), ("group", "show", "canary"), ("audit", "show"), ("group", "list"))
        for more in ((), ("--json",))
    )
    code = held.code_for(ThingName("sensor-77"))
    out = keyborn("enroll", "-", "--thing", "sensor-77", "--home", tmp_path / "home", typed=code.encode())
    told += out.stdout + out.stderr + server.log.read_text()
    for secret in (held.key, code.secret):
        for shape in (encode_secret(secret), secret.hex()):
            assert shape not in told
