"""TLS before the stand-in's whole API, as AWS's own endpoints have it.

The stand-in holds callers to a bucket's policy, and that of the code's bucket denies what comes without TLS.
Signatures hold: the host name goes through as it came.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.aws_front import open_front
from support.ministack import REGION, Ministack
from support.pki import new_pki


@dataclass(frozen=True, slots=True)
class Gate:
    """Where AWS is, with TLS, and what signed its certificate."""

    port: int
    roots: Path

    @property
    def url(self) -> str:
        """Its address; one with digits, so that buckets are named in the path."""
        return f"https://127.0.0.1:{self.port}"

    def settings(self, key: str, secret: str) -> Mapping[str, str]:
        """The standard settings by which AWS's tools find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CA_BUNDLE": str(self.roots),
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }


@contextmanager
def open_gate(aws: Ministack, folder: Path) -> Iterator[Gate]:
    """A gate before ``aws``; its root lies in ``folder``."""
    pki = new_pki()
    roots = folder / "gate-roots.pem"
    roots.write_text(pki.root_pem)
    with open_front(pki, aws.port) as front:
        yield Gate(front.port, roots)
