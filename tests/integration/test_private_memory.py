"""With a passphrase, what is in the core's memory is for the core: nobody else of its user reads it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
CHILD = f"""
import ctypes, os, sys
from pathlib import Path
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.process import keep_memory_private, process_readings
if os.geteuid() == 0:
    os.setuid({NOBODY})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as it is for who was that user from the beginning
keep_memory_private(hidden=sys.argv[1] == "hidden")
folder = DataFolder(Path(sys.argv[2]))
listening = folder.bind_control()
listening.listen()
folder.connect_control().close()
assert process_readings()["process_open_fds"][""] > 0
print("ready", flush=True)
sys.stdin.read()
"""
READER = f"""
import os, sys
from pathlib import Path
if os.geteuid() == 0:
    os.setuid({NOBODY})
here = Path("/proc") / sys.argv[1]
try:
    with (here / "environ").open("rb") as file:
        print("read", end=" ")
except PermissionError:
    print("refused", end=" ")
core = [line.split()[4:6] for line in (here / "limits").read_text().splitlines() if "core file" in line]
print(*core[0])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that nobody can enter, whoever runs the tests."""
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    if os.geteuid() == 0:
        os.chown(made, NOBODY, -1)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize(("how", "expected"), [("hidden", "refused 0 0"), ("open", "read 0 0")])
def test_another_program_of_the_user_reads_nothing_where_there_is_a_passphrase(
    how: str, expected: str, folder: Path
) -> None:
    words = [sys.executable, "-c", CHILD, how, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "ready\n"
            reader = [sys.executable, "-c", READER, str(child.pid)]
            seen = subprocess.run(reader, capture_output=True, check=True, timeout=20, text=True)
            assert seen.stdout.strip() == expected
        finally:
            child.kill()
