"""What the HTTP edge alone costs: requests a second, and the server's CPU time for each.

    python bench/edge.py                    GET /healthz and POST /v1/enroll, plain and over TLS
    python bench/edge.py --seconds 5        longer

Behind the edge stands a registration authority that answers at once with one certificate: what is left is
the parser, the limits, the routes, the body and the answer. Plain HTTP goes through a Unix socket. The
load client is a process of its own and keeps its connections open; each waits for its answer before it asks
again.
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from keyborn.domain.applicant import Applicant
from keyborn.domain.certificate import Certificate
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress
from keyborn.http.server import HttpServer
from keyborn.ports import Credential
from keyborn.service.enroll import Enrollment, EnrollmentRequest, RegistrationAuthority

PEM = "-----BEGIN CERTIFICATE-----\n" + ("A" * 64 + "\n") * 9 + "-----END CERTIFICATE-----\n"
CSR = (
    "-----BEGIN CERTIFICATE REQUEST-----\\n" + ("A" * 64 + "\\n") * 5 + "-----END CERTIFICATE REQUEST-----\\n"
)
BODY = f'{{"thingName":"sensor-1","csr":"{CSR}"}}'.encode()
HEADERS = b"Host: localhost:8443\r\nUser-Agent: edge/1\r\nAccept: */*\r\n"
ASKED = {
    "GET /healthz": b"GET /healthz HTTP/1.1\r\n" + HEADERS + b"\r\n",
    "POST /v1/enroll": b"POST /v1/enroll HTTP/1.1\r\n"
    + HEADERS
    + b"Authorization: Bearer kbt1.0123456789012345678901234567890123456789012\r\n"
    + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    + BODY,
}


class Instant:
    """In the place of a RegistrationAuthority: whoever asks gets the same certificate."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self._applicant = cast("Applicant", object())
        self._certificate = Certificate(
            id=CertificateId("0" * 64),
            thing=ThingName("sensor-1"),
            key_hash=KeyHash("0" * 64),
            der=b"\x30" * 420,
            not_before=now,
            not_after=now + timedelta(days=365),
        )

    async def authenticate(self, _credential: Credential) -> Applicant:
        """Return an applicant."""
        return self._applicant

    async def enroll(self, _applicant: Applicant, _request: EnrollmentRequest) -> Enrollment:
        """Return the certificate."""
        return Enrollment(self._certificate, repeated=False)


def _serve(folder: Path, told: Connection) -> None:
    asyncio.run(_serving(folder, told))


async def _serving(folder: Path, told: Connection) -> None:
    broker = BrokerAddress("localhost", 8883, "certtest", lambda: PEM, lambda _der: PEM)
    authority = cast("RegistrationAuthority", Instant())
    server = HttpServer(build_app(Service(authority, broker, _ready)))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(folder / "s"))
    await server.listen_unix(sock)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem")
    told.send(await server.listen_tls("127.0.0.1", 0, context))
    await asyncio.Event().wait()


async def _ready() -> None:
    """Nothing is awaited."""


async def _load(
    connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]],
    request: bytes,
    clients: int,
    seconds: float,
) -> int:
    """How many were answered."""
    until = time.monotonic() + seconds
    lines = [await connect() for _ in range(clients)]
    counts = await asyncio.gather(*(_ask(line, request, until) for line in lines))
    return sum(counts)


async def _ask(line: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes, until: float) -> int:
    reader, writer = line
    count = 0
    while time.monotonic() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(head.decode())
        await reader.readexactly(_length(head))
        count += 1
    writer.close()
    return count


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])


def _cpu(pid: int) -> float:
    """Seconds of CPU that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _certificate(path: Path) -> None:
    """Write a key and its self-signed certificate for localhost."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + builder.sign(key, SHA256()).public_bytes(Encoding.PEM))


def main() -> None:
    """Measure each request on each wire, and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _certificate(folder / "cert.pem")
        here, there = spawn.Pipe()
        server = spawn.Process(target=_serve, args=(folder, there), daemon=True)
        server.start()
        host, port = here.recv()
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(folder / "cert.pem")
        wires = {
            "plain": lambda: asyncio.open_unix_connection(str(folder / "s")),
            "TLS": lambda: asyncio.open_connection(host, port, ssl=trusting, server_hostname="localhost"),
        }
        assert server.pid is not None
        for wire, connect in wires.items():
            for title, request in ASKED.items():
                asyncio.run(_load(connect, request, options.clients, 0.5))
                began, used = time.monotonic(), _cpu(server.pid)
                count = asyncio.run(_load(connect, request, options.clients, options.seconds))
                took, used = time.monotonic() - began, _cpu(server.pid) - used
                print(
                    f"{wire:5}  {title:16}  {count / took:7.0f} requests/s  {used / count * 1e6:6.0f} µs CPU"
                )
        server.kill()
        server.join()


if __name__ == "__main__":
    main()
