"""An existing device, unmodified AWSIoTPythonSDK 1.6.2 and all, works by changing URL and adding a token."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from support.server import Server

pytestmark = pytest.mark.needs("openssl")  # the script starts it
SCRIPT = Path(__file__).with_name("clients") / "classic_device.py"


def run_device(server: Server, folder: Path, thing: str) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    root = folder / "root.pem"
    root.write_bytes(server.request("GET", "/v1/trust-bundle").body)
    host, port = server.mqtt
    secret = server.token(thing=thing)["secret"]
    words = [sys.executable, "-W", "ignore::DeprecationWarning", str(SCRIPT), server.about["url"], secret]
    return subprocess.run(
        [*words, str(root), thing, host, str(port)],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def watch(server: Server, topic: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "keyborn", "watch", topic, "--count", "1", "--data", str(server.data)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Watching" in process.stderr.readline()
    return process


def test_the_sdk_is_the_one_that_devices_have() -> None:
    assert version("AWSIoTPythonSDK") == "1.6.2"


def test_its_message_is_printed_by_watch(server: Server, tmp_path: Path) -> None:
    operator = watch(server, "certtest/#")
    device = run_device(server, tmp_path / "device", "meguro-1")
    assert device.returncode == 0, device.stderr
    seen = operator.communicate(timeout=20)[0]
    assert "meguro-1" in seen
    assert "certtest/meguro-1" in seen
    assert "Hello from meguro-1" in seen
    assert (tmp_path / "device" / "certificate.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_run_again_it_gets_the_same_certificate(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "device"
    certificates = []
    for _ in range(2):
        assert run_device(server, folder, "meguro-2").returncode == 0
        certificates.append((folder / "certificate.pem").read_bytes())
    assert certificates[0] == certificates[1]
    assert len(server.active("meguro-2")) == 1


def test_the_same_request_under_a_second_name_is_refused_with_what_to_do(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    assert run_device(server, folder, "meguro-3").returncode == 0
    refused = run_device(server, folder, "meguro-4")
    assert refused.returncode == 1
    problem = json.loads(refused.stderr)
    assert problem["code"] == "key_in_use"
    assert "make a new key" in problem["detail"]
