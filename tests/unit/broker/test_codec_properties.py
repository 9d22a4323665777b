"""What must hold for every packet, every cut of the stream, and every string of bytes."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from keyborn.adapters.broker.decode import Decoder
from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.packets import V5, V311, Connect, Packet, Publish
from keyborn.adapters.broker.wire import ProtocolError
from support.decoding import feed
from support.packets import connects, packets

BIG = 1 << 20
VERSIONS = st.sampled_from([V311, V5])
STREAMS = VERSIONS.flatmap(
    lambda version: st.tuples(st.just(version), st.lists(packets(version), max_size=6))
)


def same(found: list[Packet], wanted: list[Packet]) -> bool:
    """Equal, kinds included: as tuples PINGREQ and PINGRESP are the same."""
    return found == wanted and [type(each) for each in found] == [type(each) for each in wanted]


@given(STREAMS)
def test_what_is_encoded_decodes_to_the_same(stream: tuple[int, list[Packet]]) -> None:
    version, wanted = stream
    data = b"".join(encode(packet, version) for packet in wanted)
    assert same(feed(Decoder(BIG, version), data), wanted)


@given(VERSIONS.flatmap(connects))
def test_connect_survives_and_sets_the_version(packet: Connect) -> None:
    decoder = Decoder(BIG)
    assert feed(decoder, encode(packet, packet.version)) == [packet]
    assert decoder.version == packet.version


@given(STREAMS, st.randoms(use_true_random=False))
def test_any_cut_of_the_stream_gives_the_same_packets(
    stream: tuple[int, list[Packet]], dice: random.Random
) -> None:
    version, wanted = stream
    data = b"".join(encode(packet, version) for packet in wanted)
    decoder, found = Decoder(BIG, version), []
    while data:
        size = dice.randint(1, 7)
        found += feed(decoder, data[:size])
        data = data[size:]
    assert same(found, wanted)
    assert decoder.buffered == 0


@given(st.binary(max_size=200), st.sampled_from([None, V311, V5]))
@settings(max_examples=500)
def test_arbitrary_bytes_raise_nothing_but_protocol_error(data: bytes, version: int | None) -> None:
    with suppress(ProtocolError):
        feed(Decoder(BIG, version), data)


@given(st.sampled_from([V311, V5]).flatmap(lambda v: st.tuples(st.just(v), packets(v))), st.data())
def test_a_packet_cut_short_waits_and_yields_nothing(made: tuple[int, Packet], data: st.DataObject) -> None:
    version, packet = made
    wire = encode(packet, version)
    cut = data.draw(st.integers(0, len(wire) - 1))
    decoder = Decoder(BIG, version)
    assert feed(decoder, wire[:cut]) == []
    assert decoder.buffered == cut
    assert same(feed(decoder, wire[cut:]), [packet])


@given(st.integers(0, 300), st.integers(2, 300))
def test_a_packet_over_the_limit_is_refused_as_soon_as_its_header_is_read(size: int, limit: int) -> None:
    wire = encode(Publish("t", b"x" * size), V311)
    header = 2 if len(wire) <= 129 else 3
    decoder = Decoder(limit, V311)
    if len(wire) <= limit:
        assert len(feed(decoder, wire)) == 1
    else:
        with pytest.raises(ProtocolError) as caught:
            feed(decoder, wire[:header])
        assert caught.value.reason == 0x95


def test_mutated_packets_never_crash_the_decoder() -> None:
    """Bounded and seeded; the count is printed. Mutants reach deeper than random bytes do."""
    dice = random.Random(20_261_123)
    seeds = [
        b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x3c\x00\x03dev\x00\x00\x00\x00",
        b"\x10\x1f\x00\x04MQTT\x05\x26\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x03dev\x02\x01\x01\x00\x01w\x00\x01x",
        b"\x32\x0a\x00\x03a/b\x00\x07\x00xy",
        b"\x32\x13\x00\x03a/b\x00\x07\x09\x01\x01\x26\x00\x01k\x00\x01vxx",
        b"\x82\x08\x00\x01\x00\x03a/#\x01",
        b"\x82\x0b\x00\x01\x02\x0b\x05\x00\x03a/#\x2d",
        b"\xe0\x07\x04\x05\x11\x00\x00\x00\x01",
        b"\x40\x08\x00\x01\x87\x04\x1f\x00\x01r",
    ]
    refused = 0
    for _ in range(20_000):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 4)):
            spot = dice.randrange(len(data))
            match dice.randrange(4):
                case 0:
                    data[spot] = dice.randrange(256)
                case 1:
                    data[spot] ^= 1 << dice.randrange(8)
                case 2:
                    del data[spot:]
                case _:
                    data[spot:spot] = dice.randbytes(dice.randint(1, 3))
            if not data:
                break
        try:
            feed(Decoder(BIG, dice.choice([None, V311, V5])), bytes(data))
        except ProtocolError:
            refused += 1
    print(  # noqa: T201 - the count is part of the evidence
        f"20,000 mutated packets, {refused:,} refused, no crash"
    )
    assert 0 < refused < 20_000
