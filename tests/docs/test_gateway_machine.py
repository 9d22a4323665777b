"""What stands for systemd on the gateway's page: a unit that lies must fail."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gateway import open_gateway

pytestmark = pytest.mark.needs("systemctl")
UNIT = "[Service]\nType={}\nUser=someone\nUMask=0027\nEnvironment=PLACE=here\nExecStart={}\n"


class Machine:
    """A machine with the user ``someone``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with open_gateway(folder) as world:
            self.environment = {**os.environ, **world.environment}
        assert self.run("useradd", "--system", "someone") == 0

    def run(self, *words: str) -> int:
        return subprocess.run(words, env=self.environment, timeout=60, check=False).returncode

    def unit(self, kind: str, command: str) -> None:
        path = self.folder / "etc/systemd/system/it.service"
        path.write_text(UNIT.format(kind, command))

    def journal(self) -> str:
        return (self.folder / "run/it.journal").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.run("systemctl", "stop", "it")


def test_a_unit_s_command_is_its_user_with_its_umask_and_its_environment(machine: Machine) -> None:
    machine.unit("oneshot", "sh -c 'id -u; umask; echo $PLACE'")
    assert machine.run("systemctl", "start", "it") == 0
    user, umask, place = machine.journal().split()
    assert (umask, place) == ("0027", "here")
    assert user != "0"


def test_a_command_that_fails_is_a_unit_that_fails(machine: Machine) -> None:
    machine.unit("oneshot", "false")
    assert machine.run("systemctl", "start", "it") != 0


def test_a_service_is_up_once_it_has_said_so_and_ends_when_it_is_told(machine: Machine) -> None:
    word = "import os,socket,time; s=socket.socket(1,2); a=os.environ['NOTIFY_SOCKET']; time.sleep(0.2)"
    said = f"{word}; print('up',flush=True); s.sendto(b'READY=1','\\0'+a[1:]); time.sleep(60)"
    machine.unit("notify", f'python3 -c "{said}"')
    assert machine.run("systemctl", "start", "it") == 0
    assert machine.journal() == "up\n"
    assert machine.run("systemctl", "is-active", "it") == 0
    assert machine.run("systemctl", "stop", "it") == 0
    assert machine.run("systemctl", "is-active", "it") == 3


def test_a_service_that_ends_before_it_is_ready_did_not_start(machine: Machine) -> None:
    machine.unit("notify", "false")
    assert machine.run("systemctl", "start", "it") != 0
