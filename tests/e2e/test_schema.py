"""schemathesis on the running service: what OpenAPI allows and forbids is answered as it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.figures import Figure
from support.server import Server, running
from support.walks import FULL

EXAMPLES = 40 if FULL else 8
PHASES = "examples,coverage,fuzzing,stateful" if FULL else "examples,fuzzing"
UNDESCRIBED = "positive_data_acceptance"
"""Left out: no JSON schema can say which strings are a signed CSR, so random ones are rightly refused."""


@pytest.mark.slow
def test_schemathesis_finds_no_failure(tmp_path: Path, figure: Figure) -> None:
    with running(tmp_path) as server:
        report = explore(server, tmp_path / "root.pem")
    assert report.returncode == 0, report.stdout[-6000:] + report.stderr[-2000:]
    figure("schemathesis: " + " ".join(report.stdout.split("= SUMMARY =")[-1].replace("=", " ").split()))


def explore(server: Server, root: Path) -> subprocess.CompletedProcess[str]:
    answer = server.request("GET", "/v1/trust-bundle")
    root.write_bytes(answer.body)
    tool = Path(sys.executable).with_name("schemathesis")
    words = [
        str(tool), "run", f"{server.about['url']}/openapi.json",
        "--header", f"Authorization: Bearer {server.token(uses=0)['secret']}",
        "--tls-verify", str(root),
        "--exclude-checks", UNDESCRIBED,
        "--max-examples", str(EXAMPLES),
        "--phases", PHASES,
        "--seed", "1",
        "--no-color",
    ]  # fmt: skip
    return subprocess.run(words, capture_output=True, text=True, timeout=110, check=False, cwd=root.parent)
