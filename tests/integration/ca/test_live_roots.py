"""The roots of a running listener: what it shows and whom it trusts changes at once, what is open stays."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyborn.adapters.broker.tls import server_context
from keyborn.adapters.ca import (
    Material,
    ServiceIdentity,
    https_context,
    introduce_root,
    retire_root,
    service_names,
    switch_root,
)
from keyborn.wiring.roots import Listening
from support.ca_world import ENTROPY, HandClock, approved_for, make_authority
from support.csr_make import shared_key

PATIENCE = 10.0
NAMES = ("127.0.0.1", "gateway.example")
"""The first goes without a server's name in the handshake, the second with one."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CHANGES: dict[str, Callable[..., Material]] = {
    "introduce": partial(introduce_root, entropy=ENTROPY),
    "switch": switch_root,
    "retire": retire_root,
}


class Live:
    """A listener that answers each line with ``here``, and its authority."""

    def __init__(self, folder: Path, makes: Callable[[Path, Path, str], ssl.SSLContext]) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.authority = make_authority(folder, self.clock)
        names = service_names(["gateway.example"])
        self.identity = ServiceIdentity(
            folder / "ca", self.authority, names=names, clock=self.clock, entropy=ENTROPY
        )
        self.identity.prepare()
        self.listening = Listening(self.authority, self.identity)
        path = self.listening.certificate
        self.context = self.listening.context(lambda: makes(path, path, self.authority.client_ca_pem()))
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=self.context)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield

    def change(self, step: str) -> None:
        self.listening.adopt(CHANGES[step](self.folder / "ca", now=self.clock.now()))

    async def device(self, name: str) -> Path:
        """A device's key, leaf and chain in one file, from the root that issues now."""
        key = shared_key()
        leaf = await self.authority.issue(approved_for(name, key))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path = self.folder / f"{name}.pem"
        path.write_text(pem + ssl.DER_cert_to_PEM_cert(leaf) + self.authority.chain_pem(leaf))
        return path

    async def connect(self, root: str, device: Path, name: str) -> Streams:
        context = ssl.create_default_context(cadata=root)
        context.load_cert_chain(device)
        return await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name), PATIENCE
        )

    async def takes(self, root: str, device: Path) -> bool:
        """Whether both sides trust each other, whatever name the client says."""
        return all([await self._takes(root, device, name) for name in NAMES])

    async def _takes(self, root: str, device: Path, name: str) -> bool:
        try:
            streams = await self.connect(root, device, name)
        except ssl.SSLError:
            return False
        try:
            return await asks(streams)
        finally:
            await hang_up(streams)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.readline():
            writer.write(b"here\n")
            await writer.drain()
    writer.close()


async def asks(streams: Streams) -> bool:
    reader, writer = streams
    try:
        writer.write(b"anybody?\n")
        return await asyncio.wait_for(reader.readline(), PATIENCE) == b"here\n"
    except OSError:
        return False


async def hang_up(streams: Streams) -> None:
    streams[1].close()
    with contextlib.suppress(OSError):
        await asyncio.wait_for(streams[1].wait_closed(), PATIENCE)


@pytest.mark.parametrize("makes", [https_context, server_context], ids=["https", "mqtt"])
async def test_a_change_of_the_root_under_a_listener(
    tmp_path: Path, makes: Callable[[Path, Path, str], ssl.SSLContext]
) -> None:
    live = Live(tmp_path, makes)
    old, before = live.authority.roots_pem(), await live.device("before")
    async with live.running():
        open_ = await live.connect(old, before, NAMES[0])
        live.change("introduce")
        new = live.authority.roots_pem().removesuffix(old)
        assert await live.takes(old, before)
        live.change("switch")
        after = await live.device("after")
        assert [await live.takes(new, device) for device in (before, after)] == [True, True]
        assert [await live.takes(old, device) for device in (before, after)] == [False, False]
        live.change("retire")
        assert [await live.takes(new, device) for device in (before, after)] == [False, True]
        assert await asks(open_), "what was open goes on"
        await hang_up(open_)


async def test_a_certificate_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full once the step is done: the service goes on, and makes it with its next look."""
    live = Live(tmp_path, https_context)
    old, before = live.authority.roots_pem(), await live.device("before")
    live.change("introduce")
    blocked = tmp_path / "ca" / ".service.pem.new"
    (blocked / "in the way").mkdir(parents=True)
    async with live.running():
        live.change("switch")
        assert "service certificate" in caplog.text
        assert await live.takes(old, before)
        (blocked / "in the way").rmdir()
        blocked.rmdir()
        assert live.identity.renew_if_due()
        assert not await live.takes(old, before)
