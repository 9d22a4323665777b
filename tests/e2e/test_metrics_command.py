"""``keyborn metrics``, and what ``serve`` does not do about figures."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keyborn.service.figures import FIGURES
from support.device import keyborn, keyborn_json
from support.server import Server


def test_it_prints_what_a_scraper_reads_without_any_listener(server: Server) -> None:
    printed = keyborn("metrics", "--data", server.data).stdout
    read = {each.name for each in text_string_to_metric_families(printed)}
    assert read == {each.name.removesuffix("_total") for each in FIGURES}
    assert server.about["metrics"] is None
    rows = keyborn_json("metrics", "--data", server.data)
    assert [row["name"] for row in rows] == [each.name for each in FIGURES]
    commits = next(row for row in rows if row["name"] == "keyborn_registry_commits_total")
    assert commits["kind"] == "counter"
    assert commits["samples"][0]["value"] > 0


def test_without_a_server_there_is_nothing_to_print(tmp_path: Path) -> None:
    keyborn("token", "create", "--thing", "x", "--data", tmp_path / "none", expect=1)
    refused = keyborn("metrics", "--data", tmp_path / "none", expect=1)
    assert not refused.stdout


def test_elsewhere_it_says_where_it_works(server: Server) -> None:
    refused = keyborn("metrics", "--url", server.about["url"], "--api-key-file", "none", expect=None)
    assert refused.returncode != 0
    assert "keyborn metrics" in refused.stderr


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464", "example.com:9464", "9464"]
)
def test_figures_are_not_served_to_others(address: str, tmp_path: Path) -> None:
    refused = keyborn(
        "serve", "--data", tmp_path / "data", "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0",
        "--metrics", address, expect=None,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "--metrics" in refused.stderr
    assert not (tmp_path / "data" / "server.toml").exists()


def test_a_settings_file_cannot_open_them_either(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "server.toml").write_text('metrics = "0.0.0.0:9464"\n')
    refused = keyborn("serve", "--data", data, expect=None)
    assert refused.returncode != 0
    assert "this machine alone" in refused.stderr


def test_what_serve_is_asked_for_once_it_keeps(tmp_path: Path) -> None:
    assert json.dumps(_kept(tmp_path, "--metrics", "127.0.0.1:0")["metrics"]) == '"127.0.0.1:0"'


def _kept(folder: Path, *words: str) -> dict[str, object]:
    import tomllib

    from support.server import running

    with running(folder, *words) as server:
        return tomllib.loads((server.data / "server.toml").read_text())
