"""Runs the commands of a Markdown page, in order, and compares what they print.

The convention is light. Every fenced ``console`` block is run: a line that starts with ``$ `` is a command,
``> `` continues it, every other line is what it prints, where ``…`` stands for anything. A comment right
before the block changes that::

    <!-- run: background -->   its command keeps running; wait until what the page shows has been printed
    <!-- run: seen -->         no command: what the latest background command has printed since
    <!-- run: not -->          shown, not run (clone, install, another machine, a custom domain)
    <!-- run: unclosed -->     done, but the stand-in for AWS has no DeleteConnection: the command says so
                               with the warning ``session_left_open``; the page shows what AWS would give

One page is one Bash in one empty folder, so that variables last. Pages name the default ports and, for a
machine on a network, ``192.0.2.10``, an address for documentation (RFC 5737); the runner lets the service
pick free ports, puts an address of loopback in its place, and translates both ways. Pages that need more
around them, an account of AWS, are given a ``World``.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

PATIENCE = 30.0
FREE_PORTS = "--https 127.0.0.1:0 --mqtt 127.0.0.1:0"
DEFAULTS = {"https": "8443", "mqtts": "8883"}
FIGURES = "9464"
"""The port of a scraper, where a page has one."""
LAN, STAND_IN = "192.0.2.10", "127.0.0.2"
_BLOCK = re.compile(r"(?:<!-- run: (\w+) -->\n+)?```console\n(.*?)```", re.DOTALL)
_MODES = {"", "background", "seen", "not", "unclosed"}
_MARK = "·done·"


@dataclass(frozen=True)
class Step:
    """One command of a page, and what the page says it prints."""

    line: str
    prints: str
    mode: str = ""


def steps(page: str) -> Iterator[Step]:
    """Every step of a page, in order."""
    for mode, block in _BLOCK.findall(page):
        assert mode in _MODES, f"no such mode: {mode}"
        if mode == "seen":
            yield Step("", block.strip(), mode)
            continue
        for chunk in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *rest = chunk.rstrip("\n").split("\n")
            more = next((i for i, line in enumerate(rest) if not line.startswith("> ")), len(rest))
            line = "\n".join([first, *(each[2:] for each in rest[:more])])
            yield Step(line, "\n".join(rest[more:]).strip(), mode)


def matches(prints: str, output: str) -> bool:
    """Whether the output is what the page shows; where it shows nothing, it promises nothing."""
    pattern = re.escape(prints).replace("…", ".*")
    return not prints or re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def replaced(text: str, table: Mapping[str, str]) -> str:
    """The text with each port of the table exchanged, where it follows a host or ``-p``."""
    for old, new in table.items():
        text = re.sub(rf"(127\.0\.0\.[12]:|localhost:|-p ){old}\b", rf"\g<1>{new}", text)
    return text


def real(text: str, ports: Mapping[str, str]) -> str:
    """A page's text as it holds here: the stand-in's address, and the ports by default port."""
    return replaced(text.replace(LAN, STAND_IN), ports)


def shown(text: str, ports: Mapping[str, str]) -> str:
    """What came here, as the page shows it: the way back from ``real``."""
    return replaced(text, {port: default for default, port in ports.items()}).replace(STAND_IN, LAN)


def served(line: str) -> str:
    """A line that starts a service, on free ports of loopback; any other line as it is."""
    if not line.startswith("keyborn serve"):
        return line
    line = re.sub(rf"(--metrics \S+):{FIGURES}", r"\1:0", line)
    if "--https" not in line:
        return line.replace("keyborn serve", f"keyborn serve {FREE_PORTS}", 1)
    return re.sub(r"(--https|--mqtt) (\S+):\d+", r"\1 \2:0", line.replace(LAN, STAND_IN))


@dataclass
class World:
    """What a page has around it beside its folder."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Of every command."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the page calls something, and what that is called here; both ways, as ports are."""

    def command(self, line: str) -> str:
        """A line as it has to be given here."""
        return line

    def done(self, line: str) -> None:
        """Told after each line that was run."""

    def real(self, text: str) -> str:
        """A page's text as it holds here."""
        for name, here in self.names.items():
            text = text.replace(name, here)
        return text

    def shown(self, text: str) -> str:
        """What came here, as the page shows it."""
        for name, here in self.names.items():
            text = text.replace(here, name)
        return text


@dataclass
class Background:
    """A command that keeps running, and its output so far."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_for(self, prints: str, ports: Mapping[str, str], world: World) -> str:
        """Wait until what the page shows has been printed; returns the output as it is."""
        deadline = time.monotonic() + PATIENCE
        while True:
            output = self.log.read_text()
            if matches(prints, world.shown(shown(output, ports))):
                return output
            if time.monotonic() > deadline:
                raise AssertionError(f"the page shows\n{prints}\nthis came\n{output}")
            time.sleep(0.05)


@dataclass
class Shell:
    """One page's shell: a folder, a Bash that lasts, and commands in the background."""

    folder: Path
    world: World = field(default_factory=World)
    ports: dict[str, str] = field(default_factory=dict)
    """The free ports in place of the default ones."""
    backgrounds: list[Background] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Start the shell."""
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-o", "pipefail"],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End the shell and everything in the background, the newest first."""
        for each in reversed(self.backgrounds):
            each.process.terminate()
            each.process.wait(PATIENCE)
        _open(self._bash.stdin).close()
        self._bash.wait(PATIENCE)
        _open(self._bash.stdout).close()

    def run(self, step: Step) -> None:
        """Run one step; raises AssertionError if it fails or prints something else."""
        if step.mode == "background":
            self._start(step)
        elif step.mode == "seen":
            self.backgrounds[-1].wait_for(f"…{step.prints}…", self.ports, self.world)
        elif step.mode != "not":
            self._run(step)

    def _run(self, step: Step) -> None:
        stdin = _open(self._bash.stdin)
        line = self._line(step.line)
        stdin.write(f"{{ {line}\n}} < /dev/null; __code=$?; echo; echo {_MARK} $__code\n")
        stdin.flush()
        code, output = self._answer()
        printed = self.world.shown(shown(output, self.ports))
        if step.mode == "unclosed":
            assert (code, "[session_left_open]" in printed) == (0, True), f"$ {step.line}\n{code}\n{printed}"
            return
        assert code == 0, f"$ {step.line}\nexit {code}\n{printed}"
        assert matches(step.prints, printed), (
            f"$ {step.line}\nprints\n{printed}\nthe page shows\n{step.prints}"
        )
        self.world.done(step.line)

    def _line(self, line: str) -> str:
        return self.world.command(self.world.real(real(line, self.ports)))

    def _answer(self) -> tuple[int, str]:
        lines: list[str] = []
        for line in _open(self._bash.stdout):
            if line.startswith(_MARK):
                return int(line.split()[1]), "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended: {''.join(lines)}")

    def _start(self, step: Step) -> None:
        log = self.folder / f".background-{len(self.backgrounds)}.log"
        line = served(step.line)
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._line(line)}"],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started = Background(process, log)
        self.backgrounds.append(started)
        if line != step.line:
            self._learn_ports(started, step.line)
        started.wait_for(f"{step.prints}…" if step.prints else "", self.ports, self.world)

    def _learn_ports(self, started: Background, started_with: str) -> None:
        output = started.wait_for("…https://…mqtts://…\n…", {}, self.world)
        for scheme, port in DEFAULTS.items():
            found = re.search(rf"{scheme}://127\.0\.0\.[12]:(\d+)", output)
            assert found is not None
            self.ports[port] = found[1]
        if FIGURES in started_with:
            output = started.wait_for("…figures…http://…\n…", {}, self.world)
            self.ports[FIGURES] = output.partition("figures")[2].partition("/metrics")[0].rpartition(":")[2]

    def _environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("KEYBORN", "AWS_"))},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "COLUMNS": "110",
            **self.world.environment,
        }


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def run_page(page: Path, folder: Path, world: World | None = None) -> Sequence[Step]:
    """Run every step of a page; returns the steps."""
    found = list(steps(page.read_text()))
    with Shell(folder, world or World()) as shell:
        for step in found:
            shell.run(step)
    return found
