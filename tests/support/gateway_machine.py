"""What a page needs of a Debian machine, below one folder: its users, its units, its journal.

Called under the name of the program that it stands for. Where that works without systemd as process 1 the
real program does it, with another root: ``useradd``, ``install``, ``systemctl enable``. What systemd does
with a unit is done here: the unit's own command, with its environment and umask, as its user, READY=1
awaited on ``$NOTIFY_SOCKET``, SIGTERM at the end. Sandbox and watchdog are not here: ``systemd-analyze``
looks at them, and nothing but systemd applies them.
"""

import configparser
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

MACHINE = Path(os.environ.get("GATEWAY", "/nonexistent"))
UNITS = MACHINE / "etc/systemd/system"
STATE = MACHINE / "run"
PLACES = ("/var/lib/keyborn", "/etc/systemd/system", "/opt/keyborn", "/usr/local/bin")
PATIENCE = 30.0
AS_ROOT = os.geteuid() == 0
_CAPABILITIES = "+dac_override,+dac_read_search"
"""So that another user can read an interpreter and a checkout that lie in root's own folder."""


def numbers(user: str) -> tuple[str, str]:
    """A user's number and its group's, as ``useradd`` wrote them below the machine's root."""
    rows = [row.split(":") for row in (MACHINE / "etc/passwd").read_text().splitlines()]
    return next((row[2], row[3]) for row in rows if row[0] == user)


def as_user(user: str, words: Sequence[str]) -> list[str]:
    """A command as another user; where we are not root there is only one."""
    if not AS_ROOT:
        return [*words]
    uid, gid = numbers(user)
    rights = [f"--inh-caps={_CAPABILITIES}", f"--ambient-caps={_CAPABILITIES}"]
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *rights, "--", *words]


def useradd(words: Sequence[str]) -> int:
    """Into the machine's own files."""
    return real("useradd", "--prefix", str(MACHINE), *words) if AS_ROOT else 0


def userdel(words: Sequence[str]) -> int:
    """From them."""
    return real("userdel", "--prefix", str(MACHINE), *words) if AS_ROOT else 0


def runuser(words: Sequence[str]) -> int:
    """``-u USER -- COMMAND``, with the caller's environment."""
    assert (words[0], words[2]) == ("-u", "--")
    return real(*as_user(words[1], words[3:]))


def install(words: Sequence[str]) -> int:
    """With the machine's users; those who are not root give nothing away."""
    given: list[str] = []
    rest = iter(words)
    for word in rest:
        if word not in ("-o", "-g"):
            given.append(word)
            continue
        name = next(rest)
        if AS_ROOT:
            given += [word, numbers(name)[word == "-g"]]
    code = real("install", *given)
    for unit in UNITS.glob("keyborn-*.service"):
        if str(MACHINE) not in unit.read_text():
            unit.write_text(here(unit.read_text()))
    return code


def journalctl(words: Sequence[str]) -> int:
    """``-u UNIT -o cat``: what it wrote."""
    assert (words[0], words[2:]) == ("-u", ["-o", "cat"])
    sys.stdout.write((STATE / f"{words[1]}.journal").read_text())
    return 0


def systemctl(words: Sequence[str]) -> int:
    """One verb on one unit."""
    verb, *rest = words
    if verb == "daemon-reload":
        return 0
    now = "--now" in rest
    (name,) = (word for word in rest if word != "--now")
    if verb in ("enable", "disable"):
        code = real("systemctl", f"--root={MACHINE}", verb, name, quiet=True)
        verb = "" if not now else "start" if verb == "enable" else "stop"
        return code or (VERBS[verb](name) if verb else 0)
    return VERBS[verb](name)


def start(name: str) -> int:
    """Until it says that it is ready, or (oneshot) has ended well; a timer has nothing to do yet."""
    if name.endswith(".timer"):
        return 0
    supervisor = subprocess.Popen([sys.executable, __file__, "supervise", name], start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while supervisor.poll() is None and not (STATE / f"{name}.ready").exists():
        assert time.monotonic() < deadline, f"{name} does not come up"
        time.sleep(0.05)
    return supervisor.poll() or 0


def stop(name: str) -> int:
    """SIGTERM, and wait for its end."""
    pid = STATE / f"{name}.pid"
    if not pid.exists():
        return 0
    os.kill(int(pid.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while pid.exists():
        assert time.monotonic() < deadline, f"{name} does not end"
        time.sleep(0.05)
    return 0


def is_active(name: str) -> int:
    """Whether it runs."""
    running = (STATE / f"{name}.pid").exists()
    sys.stdout.write("active\n" if running else "inactive\n")
    return 0 if running else 3


def supervise(name: str) -> int:
    """The unit's process from its start to its end, in a process of our own."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names as they are written
    parser.read(UNITS / f"{name}.service")
    unit = parser["Service"]
    os.umask(int(unit.get("UMask", "0022"), 8))
    ready, pid = STATE / f"{name}.ready", STATE / f"{name}.pid"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0keyborn-gateway-{os.getpid()}")
        process = _spawn(name, unit, f"@keyborn-gateway-{os.getpid()}")
        try:
            if unit["Type"] == "notify":
                pid.write_text(str(process.pid))
                _await_ready(manager, process)
                ready.touch()
            return process.wait()
        finally:
            for path in (ready, pid):
                path.unlink(missing_ok=True)


def _spawn(name: str, unit: configparser.SectionProxy, address: str) -> "subprocess.Popen[bytes]":
    said = dict(word.split("=", 1) for word in shlex.split(unit.get("Environment", "")))
    given = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": address, "LANG": "C.UTF-8", **said}
    words = as_user(unit["User"], shlex.split(unit["ExecStart"]))
    with (STATE / f"{name}.journal").open("ab") as journal:
        return subprocess.Popen(
            words, env=given, cwd="/", stdin=subprocess.DEVNULL, stdout=journal, stderr=journal
        )


def _await_ready(manager: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    manager.settimeout(0.1)
    while process.poll() is None:
        with contextlib.suppress(TimeoutError):
            if manager.recv(4096) == b"READY=1":
                return


def here(text: str) -> str:
    """A text with the places of a machine below the machine's root."""
    for place in PLACES:
        text = text.replace(place, f"{MACHINE}{place}")
    return text


def real(*words: str, quiet: bool = False) -> int:
    """The program itself, not what stands for it here."""
    path = os.pathsep.join(
        each for each in os.environ["PATH"].split(os.pathsep) if each != str(MACHINE / "shims")
    )
    found = subprocess.run(words, env={**os.environ, "PATH": path}, check=False, capture_output=quiet)
    return found.returncode


VERBS: dict[str, Callable[[str], int]] = {"start": start, "stop": stop, "is-active": is_active}
VERBS["restart"] = lambda name: stop(name) or start(name)
PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    each.__name__: each for each in (useradd, userdel, runuser, install, journalctl, systemctl)
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["supervise"]:
        sys.exit(supervise(sys.argv[2]))
    sys.exit(PROGRAMS[Path(sys.argv[0]).name](sys.argv[1:]))
