"""What pages about others are given: an identity provider, a token that it gave, and a free port."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from support.documents import World
from support.issuer import provider


@contextmanager
def open_outside(folder: Path) -> Iterator[World]:
    """``https://id.example.com`` answers, and has given ``sensor-1`` a token; 9443 is free."""
    with provider(folder) as issuer:
        token, root = folder / "token.jwt", folder / "issuer-root.pem"
        token.write_text(issuer.token(datetime.now(UTC)))
        root.write_text(issuer.server.pki.root_pem)
        names = {
            "https://id.example.com": issuer.url,
            "/var/run/secrets/keyborn.jwt": str(token),
            "/etc/ssl/id.example.com.pem": str(root),
            "127.0.0.1:9443": f"127.0.0.1:{(port := _free_port())}",
            '"127.0.0.1", 9443': f'"127.0.0.1", {port}',
        }
        yield World(names=names)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
