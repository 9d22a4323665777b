"""What docs/how-to/behind-a-proxy.md has besides HAProxy's configuration, which HAProxy itself is given."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from keyborn.settings import Address, parse_settings
from keyborn.wiring.plain import proxies_of
from support.haproxy import PAGE, SOCKET, documented


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_settings_are_good_and_name_the_socket_of_the_proxy() -> None:
    (text,) = blocks("toml")
    settings = parse_settings(tomllib.loads(text))
    assert settings.plain_http == Path(SOCKET)
    assert f"unix@{SOCKET} " in documented()
    assert settings.url.removeprefix("https://") in settings.names
    assert settings.public_host(Address("0.0.0.0", 8883)) == "devices.example"
    assert proxies_of(settings).socket


@pytest.mark.needs("systemd-analyze")
def test_the_units_are_good(tmp_path: Path) -> None:
    units = blocks("ini")
    assert len(units) == 2
    for text in units:
        (name,) = re.findall(r"^# /etc/systemd/system/(.+)$", text, re.MULTILINE)
        (tmp_path / name).write_text(text)
    words = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert "keyborn-haproxy" not in done.stderr
    assert done.returncode == 0, done.stderr
