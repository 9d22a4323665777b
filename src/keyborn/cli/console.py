"""The operator's line to a data folder: ``control.sock`` if a server runs, in process if none does."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import click

from keyborn.adapters.data_folder import DataFolder
from keyborn.domain.errors import DataFolderInUse, OperatorError, ServerNotRunning

DEFAULT_DATA = Path("keyborn-data")
_PATIENCE = 30.0
_CHUNK = 1 << 16
_START_PATIENCE = 5.0
_BEAT = 0.05

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA,
    show_default=True,
    envvar="KEYBORN_DATA",
    help="The server's data folder.",
)


class Refused(OperatorError):
    """What the service answered, in its own words."""

    sentence = "{detail}"

    def __init__(self, *, code: str, detail: str) -> None:
        super().__init__(detail=detail)
        self.code = code  # type: ignore[misc]  # the service's code, not this class's


class _ControlConnection(http.client.HTTPConnection):
    """HTTP over a connected Unix socket."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self.sock = sock


def ask(data: Path, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
    """Send one request; returns the decoded JSON. Raises Refused, or a leaf of OperatorError."""
    return ask_with_keys(data, None, method, path, body, **query)


def ask_with_keys(
    data: Path,
    passphrase: bytes | None,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    **query: object,
) -> Any:  # noqa: ANN401 - JSON
    """As ``ask``; with the passphrase of the authority's keys, for where no server runs that has it."""
    folder = DataFolder(data)
    target, payload = request_of(path, body, query)
    deadline = time.monotonic() + _START_PATIENCE
    sock = _reach(folder)
    while sock is None:
        try:
            return decode(*asyncio.run(_ask_in_process(folder, passphrase, method, target, payload)))
        except DataFolderInUse:  # a server is starting, or another command is at work
            if time.monotonic() > deadline:
                raise
            time.sleep(_BEAT)
            sock = _reach(folder)
    connection = _ControlConnection(sock)
    try:
        connection.request(method, target, body=payload, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        return decode(answer.status, answer.read())
    except (OSError, http.client.HTTPException):
        raise ServerNotRunning(path=data) from None
    finally:
        connection.close()


def fetch(data: Path, passphrase: bytes | None, target: str, sink: Callable[[bytes], None]) -> None:
    """Give what a request answers to ``sink``, as it comes. Raises Refused, or a leaf of OperatorError.

    ``passphrase``: as for ``ask_with_keys``.
    """
    folder = DataFolder(data)
    sock = _reach(folder)
    if sock is None:
        decode(*asyncio.run(_ask_in_process(folder, passphrase, "GET", target, b"", sink=sink)))
        return
    with contextlib.closing(_ControlConnection(sock)) as connection:
        for chunk in _answered(connection, data, target):
            sink(chunk)


def _answered(connection: _ControlConnection, data: Path, target: str) -> Iterator[bytes]:
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        if answer.status >= http.client.BAD_REQUEST:
            decode(answer.status, answer.read())
        while chunk := answer.read1(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException):
        raise ServerNotRunning(path=data) from None


def request_of(path: str, body: Mapping[str, Any] | None, query: Mapping[str, object]) -> tuple[str, bytes]:
    """Target and payload of a request; what is None in ``query`` is left out."""
    given = {name: value for name, value in query.items() if value is not None}
    target = path + ("?" + urlencode(given, doseq=True) if given else "")
    return target, _encode(body) if body is not None else b""


def place(name: str) -> str:
    """``name`` as one part of a path, whatever was typed."""
    return quote(name, safe="", errors="surrogateescape")


def _encode(body: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8; a usage error for an argument whose bytes are not."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise click.UsageError("An argument is not text in UTF-8.") from None


def require_running(data: Path) -> None:
    """Raise ServerNotRunning where no server answers, for a command that no data folder alone can serve."""
    sock = _reach(DataFolder(data))
    if sock is None:
        raise ServerNotRunning(path=data)
    sock.close()


def _reach(folder: DataFolder) -> socket.socket | None:
    """The server that runs on the folder, or None; raises DataFolderMissing where none ever ran.

    A server that answers comes first: on its first start it keeps its settings once it has begun to serve.
    """
    sock = folder.connect_control()
    if sock is None:
        folder.require()
    return sock


async def _ask_in_process(
    folder: DataFolder,
    passphrase: bytes | None,
    method: str,
    target: str,
    payload: bytes,
    *,
    sink: Callable[[bytes], None] | None = None,
) -> tuple[int, bytes]:
    from keyborn.http.admin import build_admin
    from keyborn.wiring.offices import open_office

    async with open_office(folder, passphrase) as office:
        return await call_office(build_admin(office), method, target, payload, sink)


async def call_office(
    app: Any,  # noqa: ANN401 - ASGI
    method: str,
    target: str,
    payload: bytes,
    sink: Callable[[bytes], None] | None = None,
) -> tuple[int, bytes]:
    """Call an office's ASGI application without a socket; status and body.

    With a ``sink``, what is not refused goes there as it comes, and the body is ``null``.
    """
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {
            "version": "3.0",
            "spec_version": "2.4",
        },  # sending is told of troubles; nobody listens for them
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"content-length", str(len(payload)).encode())],
        "http_version": "1.1",
        "scheme": "http",
        "client": None,
        "server": None,
        "root_path": "",
    }
    status, chunks, stopped = 500, list[bytes](), list[OSError]()

    async def _receive() -> dict[str, Any]:
        return {"type": "http.request", "body": payload, "more_body": False}

    async def _send(message: Mapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif sink is not None and status < http.client.BAD_REQUEST:
            try:
                sink(message.get("body", b""))
            except OSError as trouble:
                stopped.append(trouble)
                raise
        else:
            chunks.append(message.get("body", b""))

    try:
        await app(scope, _receive, _send)
    except Exception:
        if stopped:
            raise stopped[0] from None  # the place that it was written to, not the office
        raise
    return status, b"".join(chunks) or b"null"


def decode(status: int, body: bytes) -> Any:  # noqa: ANN401 - JSON
    """The JSON of an answer; raises Refused for what the service refused."""
    answer = json.loads(body)
    if status >= http.client.BAD_REQUEST:
        raise Refused(code=answer["code"], detail=answer["detail"])
    return answer
