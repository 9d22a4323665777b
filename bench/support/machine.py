"""The machine and the programs that a figure belongs to."""

import os
import platform
import shutil
import sqlite3
import ssl
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

from bench.support import openbao
from cryptography.hazmat.backends.openssl.backend import backend

_SYNCS = 300


def describe(folder: Path) -> list[str]:
    """Lines about this machine; ``folder`` is where the databases will lie."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    packages = ", ".join(f"{name} {version(name)}" for name in ("cryptography", "httptools", "starlette"))
    return [
        f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}, {system}",
        f"CPython {platform.python_version()}, {ssl.OPENSSL_VERSION} (TLS), SQLite {sqlite3.sqlite_version}",
        f"{packages}; cryptography signs with {backend.openssl_version_text()}",
        f"cfssl {cfssl_version()}; {openbao.version()}",
        f"databases on {_file_system(folder)}: 4 KiB written with fdatasync in {_sync_time(folder):.0f} µs",
    ]


def interpreter() -> list[str]:
    """Lines about this machine and its Python alone."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("boto3", "botocore", "cryptography", "starlette")
    )
    return [
        f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}, {system}",
        f"CPython {platform.python_version()}, {packages}",
    ]


def device() -> list[str]:
    """Lines about this machine and what devices are compared on it."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    names = ("cryptography", "paho-mqtt", "requests", "AWSIoTPythonSDK", "awscrt")
    return [
        f"{_processor()}, {os.cpu_count()} cores, shared; Linux {platform.release()}, {system}",
        f"CPython {platform.python_version()}, {ssl.OPENSSL_VERSION}",
        ", ".join([f"{name} {version(name)}" for name in names] + [_curl_version()]),
    ]


def _curl_version() -> str:
    said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:2])


def cfssl_version() -> str:
    """What cfssl says of itself, on one line."""
    if shutil.which("cfssl") is None:
        return "not installed"
    said = subprocess.run(["cfssl", "version"], capture_output=True, text=True, check=True).stdout
    fields = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    return f"{fields.get('Version', '?').strip()} ({fields.get('Runtime', '?').strip()})"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


def _file_system(folder: Path) -> str:
    """The type of the file system that holds ``folder``: the longest mount point above it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2] if above else "?"


def _sync_time(folder: Path) -> float:
    """Microseconds, the mean of a few hundred."""
    path = folder / "sync"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        begun = time.perf_counter()
        for number in range(_SYNCS):
            os.pwrite(descriptor, bytes(4096), number * 4096)
            os.fdatasync(descriptor)
        return (time.perf_counter() - begun) / _SYNCS * 1e6
    finally:
        os.close(descriptor)
        path.unlink()
