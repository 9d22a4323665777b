"""An existing device works on AWS as it is: AWSIoTPythonSDK 1.6.2, the script of old, a URL and a token.

The script enrols at a server of one's own too (tests/e2e/test_classic_device.py): not a line of it is
changed. On AWS itself both roots are Amazon's; here the door's and the broker's lie in one file.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.aws_crowd import Crowd, crowd
from support.aws_party import Party
from support.pki import pem

pytestmark = pytest.mark.needs("openssl")  # the script starts it
SCRIPT = Path(__file__).parents[1] / "clients" / "classic_device.py"


@pytest.fixture(scope="module")
def party(stack: Party) -> Party:
    return stack


@pytest.fixture
def people(party: Party, tmp_path: Path) -> Iterator[Crowd]:
    with crowd(party, tmp_path) as made:
        yield made


def run_device(people: Crowd, folder: Path, thing: str) -> "subprocess.CompletedProcess[str]":
    """The script in its folder, as its owner starts it."""
    party = people.party
    folder.mkdir(exist_ok=True)
    root = folder / "roots.pem"
    root.write_text(pem(party.front.root.certificate) + party.broker_root())
    made = party.keyborn("token", "create", "--thing", thing, "--json", "--aws", party.stack)
    secret = json.loads(made.stdout)["secret"]
    host, port = people.mqtt
    words = [sys.executable, "-W", "ignore::DeprecationWarning", str(SCRIPT), party.front.url, secret]
    return subprocess.run(
        [*words, str(root), thing, host, str(port)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_its_message_arrives(people: Crowd, tmp_path: Path) -> None:
    ear = people.ear("ear-2")
    done = run_device(people, tmp_path / "device", "meguro-1")
    assert done.returncode == 0, done.stderr
    ear.hears("Hello from meguro-1")
    assert [one.topic for one in ear.heard] == ["certtest/meguro-1"]
    bare = (tmp_path / "device" / "certificate.pem").read_text()
    assert bare.startswith("-----BEGIN CERTIFICATE-----")
    assert bare.count("BEGIN") == 1


def test_run_again_it_gets_the_same_certificate(people: Crowd, tmp_path: Path) -> None:
    folder, before = tmp_path / "device", people.party.active()
    certificates = []
    for _ in range(2):
        done = run_device(people, folder, "meguro-2")
        assert done.returncode == 0, done.stderr
        certificates.append((folder / "certificate.pem").read_bytes())
    assert certificates[0] == certificates[1]
    assert len(people.party.active() - before) == 1


def test_the_same_request_under_a_second_name_is_refused_with_what_to_do(
    people: Crowd, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    assert run_device(people, folder, "meguro-3").returncode == 0
    refused = run_device(people, folder, "meguro-4")
    assert refused.returncode == 1
    problem = json.loads(refused.stderr)
    assert problem["code"] == "key_in_use"
    assert "make a new key" in problem["detail"]
