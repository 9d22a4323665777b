"""More than one port: AWS's protocol name is required on one of them; all end together."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from keyborn.adapters.broker import server_context
from keyborn.adapters.broker.packets import Connect, Disconnect, PingReq, PingResp, Publish
from support.broker import PATIENCE, Device, Raw, World, running
from support.pki import SERVER

Refusals = Callable[..., list[str]]
AWS = "x-amzn-mqtt-ca"
TOPIC = "certtest/dev/t"


@pytest_asyncio.fixture
async def second(tmp_path: Path) -> AsyncIterator[tuple[World, int]]:
    """A world with a second listener that requires AWS's name, and that one's port."""
    async with running(tmp_path) as world:
        chain, key = world.pki.servers.leaf("again", usage=SERVER, between=True).write(tmp_path, "again")
        context = server_context(chain, key, world.pki.client_ca_pem)
        _, port = await world.gateway.start("127.0.0.1", 0, context, require_alpn=True)
        yield world, port


async def dial(world: World, port: int, device: Device, *alpn: str, version: int = 5) -> Raw:
    if alpn:
        device.context.set_alpn_protocols(list(alpn))
    world.port = port
    return await world.dial(device, version)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("alpn", [[AWS], [AWS, "http/1.1"], ["mqtt", AWS]])
async def test_who_asks_for_awss_name_is_served_on_the_strict_port(
    second: tuple[World, int], version: int, alpn: list[str]
) -> None:
    world, port = second
    raw = await dial(world, port, world.device("dev"), *alpn, version=version)
    await raw.send(Connect(version, "dev"))
    assert (await raw.next()) is not None
    await raw.ping()
    tls = raw.writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() == AWS


@pytest.mark.parametrize("alpn", [[], ["mqtt"], ["http/1.1"], [AWS + "x"]], ids=str)
@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_does_not_is_refused_there_before_any_packet(
    second: tuple[World, int], refusals: Refusals, alpn: list[str], tls: ssl.TLSVersion
) -> None:
    world, port = second
    device = world.device("dev")
    device.context.maximum_version = tls
    raw = await dial(world, port, device, *alpn)
    raw.writer.write(b"")
    assert await raw.closed() == []
    assert len(refusals("action=handshake", "did not ask for ALPN x-amzn-mqtt-ca", "peer=127.0.0.1:")) == 1
    assert world.directory.lookups == 0
    assert world.gateway.connected == 0


@pytest.mark.parametrize("alpn", [[], [AWS], ["mqtt"], ["http/1.1"]], ids=str)
async def test_the_other_port_asks_for_no_name(second: tuple[World, int], alpn: list[str]) -> None:
    world, _ = second
    raw = await dial(world, world.port, world.device("dev"), *alpn)
    await raw.send(Connect(5, "dev"), PingReq())
    await raw.next()
    await raw.expect(PingResp)


async def test_clients_of_both_ports_meet_in_one_broker(second: tuple[World, int]) -> None:
    world, port = second
    device = world.device("dev")
    old = await world.connect(device, version=5)
    new = await dial(world, port, device, AWS)
    ear = await dial(world, port, world.service("ear"), AWS)
    await ear.send(Connect(5, "ear"))
    await ear.next()
    await ear.subscribe("#", qos=0)
    await old.publish(TOPIC, b"hello")
    assert (await ear.expect(Publish)).payload == b"hello"
    await new.send(Connect(5, "dev"))
    assert await old.closed() == [Disconnect(0x8E)]


async def test_a_certificate_is_asked_for_there_too(second: tuple[World, int], refusals: Refusals) -> None:
    world, port = second
    context = ssl.create_default_context(cafile=str(world.roots))
    context.set_alpn_protocols([AWS])

    async def first_byte() -> bytes:
        reader, _ = await asyncio.open_connection(world.host, port, ssl=context, server_hostname="localhost")
        return await asyncio.wait_for(reader.readexactly(1), PATIENCE)

    with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
        await first_byte()
    assert refusals("action=handshake", "no client certificate")


async def test_stopping_ends_every_listener(second: tuple[World, int]) -> None:
    world, port = second
    first_port = world.port
    one = await world.connect(world.device("dev"), version=5)
    two = await dial(world, port, world.device("other"), AWS)
    await two.send(Connect(5, "other"))
    await two.next()
    stopping = asyncio.create_task(world.gateway.stop(5))
    for raw in (one, two):
        assert await raw.closed() == [Disconnect(0x8B)]
        raw.writer.close()
    await asyncio.wait_for(stopping, PATIENCE)
    for each in (first_port, port):
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(world.host, each)


async def test_an_address_that_is_taken_is_told_and_the_first_goes_on(world: World, tmp_path: Path) -> None:
    chain, key = world.pki.servers.leaf("again", usage=SERVER, between=True).write(tmp_path, "again")
    context = server_context(chain, key, world.pki.client_ca_pem)
    with pytest.raises(OSError, match="address already in use"):
        await world.gateway.start(world.host, world.port, context)
    await (await world.connect(world.device("dev"))).ping()
