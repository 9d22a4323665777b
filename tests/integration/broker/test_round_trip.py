"""A message goes from a device to the broker and back, on both versions, over real TLS."""

from pathlib import Path

import pytest

from keyborn.adapters.broker.packets import PubAck, Publish
from support.broker import running


@pytest.mark.parametrize("version", [4, 5])
async def test_a_device_hears_its_own_topic(tmp_path: Path, version: int) -> None:
    async with running(tmp_path) as world:
        client = await world.connect(world.device("dev"), version=version)
        assert client.connack.reason == 0
        assert (await client.subscribe("certtest/dev/#")).reasons == (1,)
        await client.send(Publish("certtest/dev/a", b"hello", 1, packet_id=3))
        heard = await client.expect(Publish)
        assert (heard.topic, heard.payload, heard.qos) == ("certtest/dev/a", b"hello", 1)
        assert (await client.expect(PubAck)).packet_id == 3
        await client.leave()
