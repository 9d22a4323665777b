"""Real handshakes: who is let in, who is not, and a certificate that changes under a running service."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyborn.adapters.ca import (
    EmbeddedAuthority,
    ReloadedContexts,
    ServiceIdentity,
    https_context,
    service_names,
)
from support.ca_world import ENTROPY, HandClock, approved_for, make_authority, write_pem
from support.csr_make import DeviceKey, shared_key

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PATIENCE = 10.0


class Service:
    """A running TLS server that answers each line with the peer certificate's hash, or ``nobody``."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self.folder = folder
        self.clock = clock
        self.authority = make_authority(folder, clock)
        self.identity = ServiceIdentity(
            folder / "ca",
            self.authority,
            names=service_names(["gateway.example"]),
            clock=clock,
            entropy=ENTROPY,
        )
        self.identity.prepare()
        self.context = https_context(
            self.identity.server_chain_path, self.identity.server_key_path, self.authority.client_ca_pem()
        )
        self.identity.serve(self.context)
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self.context)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True)
        who = hashlib.sha256(der).hexdigest() if der else "nobody"
        while await reader.readline():
            writer.write(who.encode() + b"\n")
            await writer.drain()
        writer.close()

    async def connect(self, context: ssl.SSLContext, name: str = "127.0.0.1") -> Streams:
        return await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name), PATIENCE
        )

    async def told(self, context: ssl.SSLContext, name: str = "127.0.0.1") -> str:
        """Connect, ask who we are, and hang up."""
        streams = await self.connect(context, name)
        try:
            return await ask(streams)
        finally:
            await hang_up(streams)


async def ask(streams: Streams) -> str:
    reader, writer = streams
    writer.write(b"who am I?\n")
    line = await asyncio.wait_for(reader.readline(), PATIENCE)
    if not line:
        raise ConnectionResetError
    return line.decode().strip()


async def hang_up(streams: Streams) -> None:
    streams[1].close()
    try:
        await asyncio.wait_for(streams[1].wait_closed(), PATIENCE)
    except (ssl.SSLError, OSError):
        return  # a server that refused us has closed already


def served(streams: Streams) -> bytes:
    der: bytes = streams[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
    return der


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A service that first started twenty days ago, by its own clock."""
    clock = HandClock()
    clock.move(timedelta(days=-20))
    return Service(tmp_path, clock)


def client_context(authority: EmbeddedAuthority) -> ssl.SSLContext:
    """A client that trusts the root and nothing else, strictly."""
    context = ssl.create_default_context(cadata=authority.roots_pem())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


async def device_files(service: Service, folder: Path, key: DeviceKey, *, chain: bool) -> tuple[Path, Path]:
    """Key and certificate of a device, the intermediate sent along or not."""
    leaf = x509.load_der_x509_certificate(await service.authority.issue(approved_for("a:b_c-1", key)))
    intermediate = x509.load_pem_x509_certificate(service.authority.chain_pem().encode())
    certificates = write_pem(folder / "device.crt", leaf, *([intermediate] if chain else []))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "device.key").write_bytes(pem)
    return certificates, folder / "device.key"


async def device_context(
    service: Service, folder: Path, key_type: str = "p256", *, chain: bool = True
) -> ssl.SSLContext:
    context = client_context(service.authority)
    context.load_cert_chain(*await device_files(service, folder, shared_key(key_type), chain=chain))
    return context


# ── who is let in ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["127.0.0.1", "gateway.example"])
async def test_a_client_without_a_certificate_is_served(service: Service, name: str) -> None:
    async with service.running():
        assert await service.told(client_context(service.authority), name) == "nobody"


async def test_a_name_that_is_not_the_services_is_noticed_by_the_client(service: Service) -> None:
    async with service.running():
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await service.told(client_context(service.authority), "other.example")


@pytest.mark.parametrize("chain", [True, False], ids=["with its chain", "with its leaf alone"])
@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_application_sees_which_device_it_is(
    service: Service, tmp_path: Path, key_type: str, version: ssl.TLSVersion, *, chain: bool
) -> None:
    context = await device_context(service, tmp_path, key_type, chain=chain)
    context.minimum_version = context.maximum_version = version
    leaf = x509.load_pem_x509_certificates((tmp_path / "device.crt").read_bytes())[0]
    async with service.running():
        told = await service.told(context)
    assert told == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()


async def refused(service: Service, context: ssl.SSLContext) -> None:
    """In TLS 1.3 a client learns of the refusal with its first read."""
    async with service.running():
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await service.told(context)


async def test_a_device_of_another_installation_is_refused(service: Service, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Service(tmp_path / "other", service.clock)
    context = client_context(service.authority)
    context.load_cert_chain(*await device_files(other, tmp_path, shared_key(), chain=True))
    await refused(service, context)


async def test_an_expired_device_is_refused(service: Service, tmp_path: Path) -> None:
    _, key = await device_files(service, tmp_path, shared_key(), chain=True)
    approved = approved_for("pump-7", now=service.clock.now())
    short = replace(approved.intent, not_after=service.clock.now() + timedelta(days=1))
    der = await service.authority.issue(replace(approved, intent=short))
    context = client_context(service.authority)
    context.load_cert_chain(write_pem(tmp_path / "device.crt", x509.load_der_x509_certificate(der)), key)
    await refused(service, context)


async def test_the_services_own_certificate_is_no_client(service: Service) -> None:
    context = client_context(service.authority)
    context.load_cert_chain(service.identity.server_chain_path, service.identity.server_key_path)
    await refused(service, context)


async def test_a_device_cannot_pose_as_the_service(service: Service, tmp_path: Path) -> None:
    """Even under its own name: the purpose refuses it, not only the host name."""
    files = await device_files(service, tmp_path, shared_key(), chain=True)
    service.context.load_cert_chain(*files)
    context = client_context(service.authority)
    context.check_hostname = False
    async with service.running():
        with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
            await service.told(context)


def old_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_1_is_refused(service: Service) -> None:
    context = old_client(ssl.TLSVersion.TLSv1_2)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    await refused(service, context)


async def test_tls_1_2_without_authenticated_encryption_is_refused(service: Service) -> None:
    context = old_client(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA")
    await refused(service, context)


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None)])
async def test_http_1_1_is_what_alpn_agrees_on(
    service: Service, offered: list[str], chosen: str | None
) -> None:
    context = client_context(service.authority)
    context.set_alpn_protocols(offered)
    async with service.running():
        streams = await service.connect(context)
        assert streams[1].get_extra_info("ssl_object").selected_alpn_protocol() == chosen
        await hang_up(streams)


# ── renewal while it runs ─────────────────────────────────────────────────────────────────────────────


async def test_the_served_certificate_changes_without_a_restart_and_open_connections_stay(
    service: Service, tmp_path: Path
) -> None:
    """The clock starts twenty days back, so that both certificates are valid for the real client."""
    context = await device_context(service, tmp_path)
    async with service.running():
        old = await service.connect(context)
        before, who = served(old), await ask(old)
        looked = asyncio.Event()
        fresh = asyncio.create_task(service.identity.keep_fresh(one_look(service.clock, looked)))
        await asyncio.wait_for(looked.wait(), PATIENCE)
        new = await service.connect(context)
        after = served(new)
        assert after != before
        assert x509.load_der_x509_certificate(after).public_key() != public_key(before)
        assert await ask(old) == await ask(new) == who
        assert served(old) == before
        for each in (old, new):
            await hang_up(each)
        fresh.cancel()


def public_key(der: bytes) -> object:
    return x509.load_der_x509_certificate(der).public_key()


class one_look:  # noqa: N801 - used as a function
    """A sleep that moves the clock twenty days, and the second time only says that a look has been taken."""

    def __init__(self, clock: HandClock, looked: asyncio.Event) -> None:
        self.clock, self.looked, self.slept = clock, looked, False

    async def __call__(self, seconds: float) -> None:
        if self.slept:
            self.looked.set()
            await asyncio.Event().wait()
        self.slept = True
        self.clock.move(timedelta(days=20))


async def test_a_resumed_session_outlives_a_renewal(service: Service) -> None:
    """Tickets are the context's, not the certificate's: devices do not pay a full handshake for it."""
    context = client_context(service.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the ticket comes with the handshake
    async with service.running():
        session = await asyncio.to_thread(handshake, service.port, context, None)
        service.clock.move(timedelta(days=20))
        assert service.identity.renew_if_due()
        assert await asyncio.to_thread(handshake, service.port, context, session) is None


def handshake(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Connect with ``session``; returns the new session, or None if the old one was resumed."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        tls = context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
        with tls:
            return None if tls.session_reused else tls.session


async def test_another_process_follows_the_file(service: Service) -> None:
    """A worker has no signing key; it sees that the file was replaced."""
    worker = ReloadedContexts(service.identity.server_chain_path)
    context = https_context(
        service.identity.server_chain_path,
        service.identity.server_key_path,
        service.authority.client_ca_pem(),
    )
    worker.add(context)
    assert not worker.reload_if_replaced()
    service.clock.move(timedelta(days=20))
    assert service.identity.renew_if_due()
    service.context = context
    async with service.running():
        first = await service.connect(client_context(service.authority))
        assert worker.reload_if_replaced()
        assert not worker.reload_if_replaced()
        second = await service.connect(client_context(service.authority))
        assert served(first) != served(second)
        for each in (first, second):
            await hang_up(each)


async def test_a_damaged_file_leaves_the_loaded_certificate_in_use(service: Service) -> None:
    worker = ReloadedContexts(service.identity.server_chain_path)
    worker.add(service.context)
    service.identity.server_chain_path.write_bytes(b"nonsense")
    with pytest.raises(ssl.SSLError):
        worker.reload_if_replaced()
    async with service.running():
        assert await service.told(client_context(service.authority)) == "nobody"
