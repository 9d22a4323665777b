"""The stand-in for AWS: ministack, in its own environment, one for each test process, on loopback.

``KEYBORN_MINISTACK_PYTHON`` names the Python it is installed in; else that is ``.venv-ministack/bin/python``.
"""

import atexit
import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("KEYBORN_MINISTACK_PYTHON") or str(ROOT / ".venv-ministack" / "bin" / "python")
REGION = "eu-central-1"
START_SECONDS, STOP_SECONDS = 30, 15
_TRIES = 3
_tables = count(1)


@dataclass(slots=True)
class Ministack:
    """A running stand-in. Its folder holds what functions unpack; it goes with it."""

    process: subprocess.Popen[bytes]
    port: int
    mqtt_port: int
    folder: tempfile.TemporaryDirectory[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    _kept: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where its API answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it printed."""
        return (Path(self.folder.name) / "ministack.log").read_text(errors="replace")

    def client(
        self,
        service: str,
        *,
        key: str = "test",
        secret: str = "test",
        session: str | None = None,
        **config: object,
    ) -> Any:  # noqa: ANN401 - botocore's clients have no types
        """A client of its own session, as root unless ``key`` says otherwise; it repeats nothing."""
        settings: dict[str, Any] = {"connect_timeout": 5, "read_timeout": 20, "max_pool_connections": 32}
        retries = {"mode": "standard", "total_max_attempts": 1}
        session_of_its_own = botocore.session.Session()
        session_of_its_own.register_component("data_loader", _descriptions())
        return session_of_its_own.create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=session,
            config=Config(**settings | config, retries=retries),
        )

    def root(self, service: str) -> Any:  # noqa: ANN401 - as above
        """Root's client of a service, always the same one: making one takes longer than what it is asked."""
        if service not in self._kept:
            self._kept[service] = self.client(service)
        return self._kept[service]

    def reset(self) -> None:
        """Forget everything."""
        request = urllib.request.Request(f"{self.url}/_ministack/reset", method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def stop(self) -> None:
        """End it and what it started. Repeating is harmless."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        self.folder.cleanup()


@cache
def _descriptions() -> Loader:
    """What botocore knows of services, read once for all clients."""
    return Loader()


def start(**settings: str) -> Ministack:
    """Start one; returns when its API and its MQTT port answer. ``settings`` go into its environment."""
    for _ in range(_TRIES):
        stack = _spawn(settings)
        if _ready(stack):
            return stack
        log = stack.log
        stack.stop()
    message = f"ministack did not start with {PYTHON}:\n{log[-2000:]}"
    raise RuntimeError(message)


def _spawn(settings: Mapping[str, str]) -> Ministack:
    if not Path(PYTHON).exists():
        message = f"there is no ministack: {PYTHON} is missing (set KEYBORN_MINISTACK_PYTHON)"
        raise RuntimeError(message)
    folder = tempfile.TemporaryDirectory(prefix="ministack-")
    port, mqtt_port = _free(), _free()
    # Functions inherit this environment: it holds nothing of ours.
    environment = {
        "PATH": os.defpath,
        "HOME": folder.name,
        "TMPDIR": folder.name,
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "1",
        "IOT_MTLS_PORT": str(mqtt_port),
        "AUTH": "true",
        "MINISTACK_REGION": REGION,
        **settings,
    }
    with (Path(folder.name) / "ministack.log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "ministack"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.name,
            start_new_session=True,
        )
    return Ministack(process, port, mqtt_port, folder, environment)


def _ready(stack: Ministack) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and stack.process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{stack.url}/_ministack/ready", timeout=1).close()
            return True
        time.sleep(0.02)
    return False


def _free() -> int:
    """A port that nobody has now; ministack cannot say which one it chose."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_starting = threading.Lock()


def shared() -> Ministack:
    """The one of this test process: started by who asks first, ended with the process."""
    with _starting:
        return _shared()


def forget_things() -> None:
    """Take the things away that other tests left on the shared one: their names are free again."""
    iot = shared().root("iot")
    for one in iot.list_things()["things"]:
        name = one["thingName"]
        for principal in iot.list_thing_principals(thingName=name)["principals"]:
            iot.detach_thing_principal(thingName=name, principal=principal)
        iot.delete_thing(thingName=name)


@cache
def _shared() -> Ministack:
    stack = start()
    atexit.register(stack.stop)
    return stack


@cache
def dynamodb() -> Any:  # noqa: ANN401 - as above
    """One client for all tables of the shared stand-in; making one takes longer than a test."""
    return shared().client("dynamodb")


def new_table(client: Any = None) -> str:  # noqa: ANN401 - as above
    """An empty table under a name that no other test has."""
    name = f"keyborn-{os.getpid()}-{next(_tables)}"
    create_table(client or dynamodb(), name)
    return name


def create_table(client: Any, name: str) -> None:  # noqa: ANN401 - as above
    """The registry's table as the template makes it, but without time to live: tests live in other times."""
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in ("pk", "sk")],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    )
