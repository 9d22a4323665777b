"""An account of AWS around a page: the stand-in, with the names that pages use for what is somewhere else."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import packages
from support.aws_party import Party, open_party, stand_in_grants
from support.documents import World
from support.pki import pem

ACCOUNT = "123456789012"
DOOR = "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"
BROKER = "a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com"
_STAND_IN_ACCOUNT = "000000000000"
_DEPLOY = "keyborn aws deploy"


@dataclass
class Account(World):
    """The world of one page: an account, and whatever stack the page makes in it."""

    party: Party | None = None
    options: str = ""
    """Of every deploy: where the stand-in's door and broker are, and what its functions run on."""

    def command(self, line: str) -> str:
        """A deploy, with the options that the stand-in needs, and code that is built already if it may be."""
        if not line.startswith(_DEPLOY):
            return line
        if self.party is None or self.party.built is None:
            return line.replace(_DEPLOY, f"{_DEPLOY} {self.options}")
        order = shlex.join(self.party.order("aws", "deploy"))
        return line.replace(_DEPLOY, f"{order} {self.options}")

    def done(self, line: str) -> None:
        """After a deploy the door leads to the API."""
        if line.startswith(_DEPLOY) and "--dry-run" not in line and self.party is not None:
            deployed(self.party)


def deployed(party: Party) -> None:
    """What the harness does after a deployment by hand; see ``Party.deploy``."""
    (found,) = party.aws.client("cloudformation").describe_stacks(StackName=party.stack)["Stacks"]
    party.outputs = {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}
    party.front.lead_to(party.aws.port, party.outputs["ApiId"])
    for role in ("EnrollRole", "SweepRole"):
        stand_in_grants(party.aws, party.outputs[role])


@contextmanager
def open_account(folders: pytest.TempPathFactory, *, stack: bool, builds: bool) -> Iterator[Account]:
    """An account in which nothing is deployed, or the stack ``keyborn``.

    ``builds``: whether the page's deployments build the functions' code, as they do where people read it.
    """
    with open_party(folders) as party:
        party.stack, party.built = "keyborn", None if builds else party.built
        if stack:
            party.deploy()
        names = {
            DOOR: party.front.url,
            f"{BROKER}:8883": f"localhost:{party.aws.mqtt_port}",
            BROKER: "localhost",
            ACCOUNT: _STAND_IN_ACCOUNT,
        }
        root = _files(party)
        yield Account({**party.environment, "CURL_CA_BUNDLE": str(root)}, names, party, _options(party, root))


def _files(party: Party) -> Path:
    """The roots of door and broker, as files; the door's."""
    root = party.folder / "door.pem"
    root.write_text(pem(party.front.root.certificate))
    (party.folder / "broker.pem").write_text(party.broker_root())
    return root


def _options(party: Party, root: Path) -> str:
    target = packages.own_target()
    words = [
        f"--runtime {target.runtime} --architecture {target.architecture}",
        f"--url {party.front.url} --url-root {root}",
        f"--mqtt-endpoint localhost:{party.aws.mqtt_port} --mqtt-roots {party.folder / 'broker.pem'}",
    ]
    return " ".join(words)
