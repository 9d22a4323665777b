"""A power cut at any step of the first start, or of a renewal, costs nothing but the next start's time."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keyborn.adapters.ca import ServiceIdentity, introduce_root, service_names
from keyborn.adapters.ca.standing import Standing, read_standing
from support.ca_crash import retire_it, switch_it
from support.ca_world import ENTROPY, HandClock, make_authority

TESTS = Path(__file__).parents[2]
FILES = {"root.key", "root.crt", "devices.key", "devices.crt", "servers.key", "servers.crt"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crashes")


@pytest.fixture(scope="module")
def walked(base: Path) -> dict[str, Any]:
    """Every step walked, each by a process that was really killed."""
    command = [sys.executable, "-m", "support.ca_crash", str(base)]
    told = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=100, check=False)
    assert told.returncode == 0, told.stderr
    report: dict[str, Any] = json.loads(told.stdout)
    return report


def folders(base: Path, walk: str, steps: list[str]) -> list[tuple[str, Path]]:
    return [(f"{number}: {step}", base / walk / str(number)) for number, step in enumerate(steps, 1)]


def test_the_first_start_was_killed_at_every_kind_of_step(walked: dict[str, Any]) -> None:
    steps = walked["first start"]
    assert steps[0] == "mkdir"
    assert steps.count("open") == steps.count("write") == steps.count("half a write") == len(FILES)
    assert steps.count("fsync") == len(FILES) + 2
    assert steps.count("rename") == 1


def test_whatever_the_crash_left_the_authority_is_whole_or_not_there(
    base: Path, walked: dict[str, Any]
) -> None:
    for step, data in folders(base, "first", walked["first start"]):
        left = {each.name for each in (data / "ca").iterdir()} if (data / "ca").exists() else FILES
        assert left == FILES, step


def test_no_crash_leaves_a_key_that_others_can_read(base: Path, walked: dict[str, Any]) -> None:
    for walk, name in (("first", "first start"), ("renewal", "renewal")):
        for step, data in folders(base, walk, walked[name]):
            for path in data.rglob("*"):
                secret = path.is_dir() or path.suffix in {".key", ".pem", ".new"}
                assert not secret or not stat.S_IMODE(path.stat().st_mode) & 0o077, (step, path)


def test_the_next_start_recovers_from_a_crash_at_every_step(base: Path, walked: dict[str, Any]) -> None:
    for step, data in folders(base, "first", walked["first start"]):
        authority = make_authority(data)
        assert {each.name for each in (data / "ca").iterdir()} == FILES, step
        assert [each.name for each in data.iterdir()] == ["ca"], step
        assert make_authority(data).root_fingerprint() == authority.root_fingerprint(), step


def test_a_renewal_that_is_killed_leaves_the_old_certificate_or_the_new_one(
    base: Path, walked: dict[str, Any]
) -> None:
    assert {"open", "write", "half a write", "fsync", "rename"} <= set(walked["renewal"])
    for step, data in folders(base, "renewal", walked["renewal"]):
        pem = (data / "ca" / "service.pem").read_bytes()
        key, (leaf, _) = load_pem_private_key(pem, None), x509.load_pem_x509_certificates(pem)
        assert key.public_key() == leaf.public_key(), step


def test_the_next_start_clears_what_a_killed_renewal_left(base: Path, walked: dict[str, Any]) -> None:
    for step, data in folders(base, "renewal", walked["renewal"]):
        clock = HandClock()
        authority = make_authority(data, clock)
        clock.moment = x509.load_pem_x509_certificate(
            (data / "ca" / "service.pem").read_bytes().partition(b"-----END PRIVATE KEY-----\n")[2]
        ).not_valid_after_utc
        ServiceIdentity(data / "ca", authority, names=service_names(), clock=clock, entropy=ENTROPY).prepare()
        assert {each.name for each in (data / "ca").iterdir()} == FILES | {"service.pem"}, step


def test_first_starts_at_the_same_moment_agree_on_one_authority(base: Path, walked: dict[str, Any]) -> None:
    for number, fingerprints in enumerate(walked["race"]):
        data = base / "race" / str(number)
        assert set(fingerprints) == {make_authority(data).root_fingerprint().hex()}
        assert {each.name for each in (data / "ca").iterdir()} == FILES
        assert [each.name for each in data.iterdir()] == ["ca"]


def test_a_first_start_that_another_overtakes_between_two_of_its_steps_uses_what_that_one_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scratch folder was there when we made ours, and is renamed when we look at it."""
    mkdir, rivals = Path.mkdir, []

    def overtaken(self: Path, mode: int = 0o777) -> None:
        monkeypatch.setattr(Path, "mkdir", mkdir)
        rivals.append(make_authority(tmp_path).root_fingerprint())
        raise FileExistsError(self, mode)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    assert [make_authority(tmp_path).root_fingerprint()] == rivals
    assert [each.name for each in tmp_path.iterdir()] == ["ca"]


def test_a_next_root_is_whole_or_not_there_and_the_present_one_goes_on(
    base: Path, walked: dict[str, Any]
) -> None:
    steps = walked["introduction"]
    assert steps.count("rename") == 1
    assert steps.count("write") == len(FILES)
    for step, data in folders(base, "introduction", steps):
        following = data / "ca" / "root-2"
        left = {each.name for each in following.iterdir()} if following.exists() else FILES
        assert left == FILES, step
        before = make_authority(data)
        introduce_root(data / "ca", now=HandClock().now(), entropy=ENTROPY)
        after = make_authority(data)
        assert after.root_fingerprint() == before.root_fingerprint(), step
        assert after.roots_pem().count("BEGIN") == 2, step
        assert stat.S_IMODE((following / "root.key").stat().st_mode) == 0o600


def test_a_switch_has_happened_or_not_and_either_way_one_root_issues_and_both_are_believed(
    base: Path, walked: dict[str, Any]
) -> None:
    steps = walked["switch"]
    assert steps.count("rename") == 1
    issuing = set()
    for step, data in folders(base, "switch", steps):
        authority = make_authority(data)
        assert authority.roots_pem().count("BEGIN") == 2, step
        issuing.add(read_standing(data / "ca").issuing)
        switch_it(data)
        assert read_standing(data / "ca") == Standing(1, 2, 2), step
    assert issuing == {1, 2}


def test_a_retired_root_is_gone_at_once_and_its_keys_with_the_next_start(
    base: Path, walked: dict[str, Any]
) -> None:
    steps = walked["retirement"]
    assert steps.count("unlink") >= 3
    for step, data in folders(base, "retirement", steps):
        retire_it(data)
        assert make_authority(data).roots_pem().count("BEGIN") == 1, step
        assert read_standing(data / "ca") == Standing(2, 2, 2), step
        assert not list((data / "ca").glob("*.key")), step
        assert len(list((data / "ca" / "root-2").glob("*.key"))) == 3, step
