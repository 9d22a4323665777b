"""schemathesis on the running service: what OpenAPI allows and forbids is answered as it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from keyborn.cli.console import ask
from support.figures import Figure
from support.server import Server, running
from support.walks import FULL

EXAMPLES = 15 if FULL else 8
PHASES = "examples,coverage,fuzzing,stateful" if FULL else "examples,fuzzing"
UNDESCRIBED = "positive_data_acceptance"
"""Left out: no JSON schema can say which strings are a signed CSR, so random ones are rightly refused."""


TAG = "operator"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_schemathesis_finds_no_failure(tmp_path: Path, figure: Figure) -> None:
    with running(tmp_path) as server:
        secret = server.token(uses=0)["secret"]
        report = explore(server, tmp_path / "root.pem", secret, "--exclude-tag", TAG, phases=PHASES)
    assert report.returncode == 0, report.stdout[-6000:] + report.stderr[-2000:]
    figure("schemathesis: " + " ".join(report.stdout.split("= SUMMARY =")[-1].replace("=", " ").split()))


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_schemathesis_finds_no_failure_as_an_operator(tmp_path: Path, figure: Figure) -> None:
    """Requests without a key come late once there were too many: those are for tests of our own."""
    words = ("--include-tag", TAG, "--exclude-checks", f"{UNDESCRIBED},ignored_auth")
    with running(tmp_path) as server:
        made = ask(server.data, "POST", "/v1/api-keys", {"name": "schemathesis", "role": "admin"})
        report = explore(server, tmp_path / "root.pem", made["apiKey"], *words, phases="examples,fuzzing")
    assert report.returncode == 0, report.stdout[-6000:] + report.stderr[-2000:]
    figure("as an operator: " + " ".join(report.stdout.split("= SUMMARY =")[-1].replace("=", " ").split()))


def explore(
    server: Server, root: Path, bearer: str, *more: str, phases: str
) -> subprocess.CompletedProcess[str]:
    answer = server.request("GET", "/v1/trust-bundle")
    root.write_bytes(answer.body)
    tool = Path(sys.executable).with_name("schemathesis")
    words = [
        str(tool), "run", f"{server.about['url']}/openapi.json",
        "--header", f"Authorization: Bearer {bearer}",
        "--tls-verify", str(root),
        "--exclude-checks", UNDESCRIBED,
        "--max-examples", str(EXAMPLES),
        "--phases", phases,
        "--seed", "1",
        "--no-color",
        "--workers", "4",  # a refusal may be held for two seconds: others need not wait for it
        *more,
    ]  # fmt: skip
    return subprocess.run(words, capture_output=True, text=True, timeout=560, check=False, cwd=root.parent)
