"""Messages and mutual-TLS connections per second through the embedded broker, on loopback.

``python bench/broker.py [--seconds 3]``. The broker runs in one process of its own. The driver is a blocking
client cut as thin as it goes, so that the broker is what is measured: it publishes to its own subscription,
200 messages under way, and counts what comes back. The limits on a connection's rate are lifted for it.
"""

import argparse
import asyncio
import multiprocessing
import socket
import ssl
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.packets import Connect, Publish, Subscribe, Subscription
from support.broker import Device, running

DEVICES = 8
PAYLOAD = b"x" * 64
UNDER_WAY = 200
PUBACK = 0x40
UNHURRIED = Limits(packets_per_second=1e9, bytes_per_second=1e12)


def serve(folder: str, pipe: Connection) -> None:
    """The broker's process: sends the port and the devices when it is ready, ends when told."""

    async def until_told() -> None:
        async with running(Path(folder), limits=UNHURRIED) as world:
            devices = [world.device(f"dev-{number}") for number in range(DEVICES)]
            pipe.send((world.port, devices))
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(until_told())


def dial(port: int, device: Device) -> ssl.SSLSocket:
    """Connected and admitted."""
    plain = socket.create_connection(("127.0.0.1", port), 10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = device.context.wrap_socket(plain, server_hostname="localhost")
    tls.sendall(encode(Connect(4, device.thing, keep_alive=60), 4))
    if tls.recv(4) != b"\x20\x02\x00\x00":
        raise SystemExit("refused")
    return tls


def round_trip(port: int, device: Device, qos: int, seconds: float) -> float:
    """Messages per second that came back."""
    tls = dial(port, device)
    tls.sendall(encode(Subscribe(7, (Subscription(f"certtest/{device.thing}/#", qos),)), 4))
    tls.recv(5)
    packet = encode(Publish(f"certtest/{device.thing}/t", PAYLOAD, qos, packet_id=qos), 4)
    where = len(packet) - len(PAYLOAD) - 2
    tls.sendall(packet * UNDER_WAY)
    rest, got, began = b"", 0, time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        data, at, fresh, answers = rest + tls.recv(1 << 16), 0, 0, []
        while at + 4 <= len(data):
            if data[at] == PUBACK:
                at += 4
                continue
            if at + len(packet) > len(data):
                break
            if qos:
                answers.append(b"\x40\x02" + data[at + where : at + where + 2])
            at += len(packet)
            fresh += 1
        rest = data[at:]
        tls.sendall(b"".join(answers) + packet * fresh)
        got += fresh
    tls.close()
    return got / (now - began)


def connects(port: int, devices: list[Device], seconds: float) -> float:
    """TLS 1.3 with a client certificate, CONNECT, CONNACK; per second, eight at a time."""
    until = time.perf_counter() + seconds

    def again(device: Device) -> int:
        done = 0
        while time.perf_counter() < until:
            dial(port, device).close()
            done += 1
        return done

    with ThreadPoolExecutor(len(devices)) as pool:
        return sum(pool.map(again, devices)) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        here, there = multiprocessing.Pipe()
        broker = multiprocessing.Process(target=serve, args=(folder, there), daemon=True)
        broker.start()
        if not here.poll(30):
            raise SystemExit("the broker did not start")
        port, devices = here.recv()
        for qos in (0, 1):
            print(f"QoS {qos}: {round_trip(port, devices[qos], qos, seconds):,.0f} messages/s")
        print(f"mutual TLS connections: {connects(port, devices, seconds):,.0f}/s")
        here.send(None)
        broker.join(10)


if __name__ == "__main__":
    main()
