"""The systemd units that we ship: unprivileged, hardened, watched; and the word that the agent says."""

import configparser
import os
import socket
import subprocess
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from keyborn.cli.agent import agent
from keyborn.cli.renew import renew
from keyborn.device.agent.notify import Notifier

FOLDER = Path(__file__).parents[3] / "deploy" / "local"
UNIT = FOLDER / "keyborn-agent.service"
RENEWAL = FOLDER / "keyborn-renew.service"
TIMER = FOLDER / "keyborn-renew.timer"
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "CapabilityBoundingSet": "",
    "StateDirectory": "keyborn",
    "StateDirectoryMode": "0700",
    "UMask": "0077",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "MemoryDenyWriteExecute": "yes",
    "LimitCORE": "0",
}


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names as they are written
    parser.read(unit)
    return parser


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    return read(UNIT)["Service"]


@pytest.mark.parametrize(("name", "value"), HARDENED.items())
@pytest.mark.parametrize("unit", [UNIT, RENEWAL], ids=lambda unit: unit.name)
def test_the_units_are_hardened(unit: Path, name: str, value: str) -> None:
    assert read(unit)["Service"][name] == value


@pytest.mark.parametrize("unit", [UNIT, RENEWAL], ids=lambda unit: unit.name)
def test_the_units_run_as_a_user_of_their_own(unit: Path) -> None:
    service = read(unit)["Service"]
    assert service["User"] not in ("", "root")
    assert service["User"] == service["Group"]


def test_agent_and_renewal_live_in_one_home_under_one_sandbox() -> None:
    how = {"Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "SyslogIdentifier"}
    how |= {"WatchdogSec", "TimeoutStartSec", "TimeoutStopSec"}
    agent, renewal = ({*read(unit)["Service"].items()} for unit in (UNIT, RENEWAL))
    assert {name for name, _ in agent ^ renewal} <= how


def test_systemd_waits_for_the_agent_s_word_and_watches_it(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert 60 <= int(service["WatchdogSec"]) <= 600
    assert service["Restart"] == "on-failure"


def test_the_command_is_one_that_the_agent_takes(service: configparser.SectionProxy) -> None:
    _, program, command, *words = service["ExecStart"].split()
    assert (program, command) == ("keyborn", "agent")
    parsed = agent.make_context("agent", words)
    assert parsed.params["home"] == Path("/var/lib/keyborn")


def test_the_renewal_s_command_is_one_that_renew_takes_and_ends_in_time() -> None:
    service = read(RENEWAL)["Service"]
    _, program, command, *words = service["ExecStart"].split()
    assert (program, command) == ("keyborn", "renew")
    parsed = renew.make_context("renew", words).params
    assert parsed["home"] == Path("/var/lib/keyborn")
    assert not parsed["now"]
    assert parsed["timeout"] < int(service["TimeoutStartSec"])


def test_the_timer_looks_every_day_at_an_hour_of_its_own_and_makes_up_for_a_power_cut() -> None:
    timer = read(TIMER)["Timer"]
    assert timer["OnCalendar"] == "daily"
    assert timer["Persistent"] == "yes"
    assert timer["RandomizedDelaySec"] == "6h"
    assert "Unit" not in timer, "it starts the service of the same name"


@pytest.mark.parametrize("unit", [UNIT, RENEWAL], ids=lambda unit: unit.name)
def test_system_calls_are_filtered(unit: Path) -> None:
    lines = [line for line in unit.read_text().splitlines() if line.startswith("SystemCallFilter=")]
    assert lines == ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"]


@pytest.mark.needs("systemd-analyze")
def test_systemd_itself_finds_nothing_wrong() -> None:
    words = ["systemd-analyze", "verify", str(UNIT), str(RENEWAL), str(TIMER)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", [UNIT, RENEWAL], ids=lambda unit: unit.name)
def test_systemd_finds_little_that_is_exposed(unit: Path) -> None:
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-300:]


# ── the word ──


class Manager:
    """The other end of ``$NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(0)

    def heard(self) -> list[str]:
        heard = []
        while True:
            try:
                heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return heard


@pytest.fixture
def manager() -> Iterator[Manager]:
    made = Manager(f"@keyborn-test-{os.getpid()}-{os.urandom(4).hex()}")
    yield made
    made.socket.close()


def test_the_agent_says_that_it_is_ready_and_that_it_ends(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address}, lambda: 0.0)
    notifier.ready()
    notifier.status("connected,\nas it should")
    notifier.beat()
    notifier.stopping()
    assert manager.heard() == ["READY=1", "STATUS=connected, as it should", "STOPPING=1"]


def test_it_says_that_it_lives_no_more_often_than_needed(manager: Manager) -> None:
    now = [0.0]
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "120000000"}
    notifier = Notifier(environment, lambda: now[0])
    assert notifier.every == 30.0
    for now[0] in (0.0, 1.0, 29.0, 30.0, 31.0, 90.0):
        notifier.beat()
    assert manager.heard() == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "more", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}]
)
def test_where_nobody_watches_nothing_is_said(manager: Manager, more: dict[str, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address, **more}, lambda: 0.0)
    notifier.beat()
    assert notifier.every == inf
    assert manager.heard() == []


def test_a_socket_in_the_file_system_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manager = Manager("notify")
    Notifier({"NOTIFY_SOCKET": "notify"}, lambda: 0.0).ready()
    assert manager.heard() == ["READY=1"]
    manager.socket.close()


def test_a_manager_that_has_gone_ends_nothing() -> None:
    Notifier({"NOTIFY_SOCKET": "/nonexistent/notify", "WATCHDOG_USEC": "1000000"}, lambda: 0.0).beat()
    Notifier({}, lambda: 0.0).ready()
