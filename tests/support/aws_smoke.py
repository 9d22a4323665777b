"""``keyborn aws smoke`` on a party's stack: here or as a command, by somebody who may do no more."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.smoke.lab import PREFIX, Lab, Pace
from keyborn.adapters.aws.smoke.ledger import SUFFIX, Ledger
from keyborn.adapters.aws.stack.orders import Place
from keyborn.adapters.aws.stack.outputs import read_outputs
from keyborn.adapters.aws.stack.permissions import smoke_policy
from support.aws_party import ONLY_ON_STAR, Party
from support.ministack import REGION
from support.stack import everything

ACCOUNT = "000000000000"
PACE = Pace(answer=4.0, later=1.5, between=0.05, burst=16)
"""The stand-in does at once what it does at all, and has no quota for connections."""
DIFFERS_THERE = {
    "endpoint": "the party has a domain of its own",
    "stage-limits": "CloudFormation leaves a stage's throttling out",
    "concurrency": "it is kept to three functions at once",
    "certificate-dates": "from a minute before, not two",
    "list-newest-first": "in the order of an id",
    "thing-attributes": "no limit without a type",
    "thing-update-version": "it heeds no version",
    "exclusive-thing": "the attachment's type is forgotten",
    "policy-length": "no limit",
    "policy-versions": "no limit",
    "policies-per-certificate": "no limit",
    "will-unlisted": "a will needs no permission",
    "delete-connection": "there is no such call",
    "delete-connection-absent": "there is no such call",
}
"""Checks that the stand-in does not pass, and why."""
NOT_DECIDED_THERE = {
    "iot-quotas": "there is no such service",
    "write-conflicts": "one request after another",
    "connect-443": "its broker has one port",
    "revoked-session": "open sessions stay",
    "throttling": "nobody is throttled",
}
"""Checks that say nothing there, and why."""
_users = count(1)


@dataclass(slots=True)
class Smoker:
    """A user of a party's account with the printed policy, and what the calls were that he made."""

    party: Party
    folder: Path
    settings: Mapping[str, str]
    calls: set[tuple[str, str]] = field(default_factory=set)
    """Service and operation."""

    @property
    def ledgers(self) -> list[Path]:
        """Lists of things that are still to be removed."""
        return sorted(self.folder.rglob(f"*{SUFFIX}"))

    def lab(self, monkeypatch: pytest.MonkeyPatch, ledger: Ledger, pace: Pace = PACE) -> Lab:
        """A lab with this user's rights. Its calls are noted."""
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)
        session = AwsSession()
        emitter = session._open().get_component("event_emitter")
        emitter.register("before-call", self._note)
        outputs = read_outputs(session.client("cloudformation"), self.party.stack)
        return Lab(session, outputs, ledger, run="test", roots=self.party.broker_root(), pace=pace)

    def _note(self, model: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
        self.calls.add((model.service_model.signing_name, model.name))

    def order(self, *words: str | Path) -> list[str]:
        """A command line."""
        roots = self.folder / "roots.pem"
        roots.write_text(self.party.broker_root())
        return self.party.order(
            *("aws", "smoke", "--stack", self.party.stack, "--mqtt-roots", roots, "--patience", "2"), *words
        )

    def smoke(self, *words: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        done = subprocess.run(
            self.order(*words),
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done

    @contextmanager
    def smoking(self, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
        """A run that goes on beside the test; it is killed if the test does not end it."""
        running = subprocess.Popen(
            self.order(*words),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield running
        finally:
            running.kill()
            running.communicate(timeout=30)

    def _environment(self) -> dict[str, str]:
        return {**self.party.surroundings(), **self.settings}

    def made(self) -> list[str]:
        """Everything in the account that a run made and did not remove."""
        found = [name for names in snapshot(self.party).values() for name in names if PREFIX in name]
        return found + list(self.party.certificates())


def smoker(party: Party, folder: Path, *, without: str = "") -> Smoker:
    """Make the user; ``without`` takes an action away from the policy."""
    name = f"smoker-{next(_users)}"
    iam = party.aws.client("iam")
    iam.create_user(UserName=name)
    document = {"Version": "2012-10-17", "Statement": [*_statements(party, without), _stand_in(without)]}
    iam.put_user_policy(UserName=name, PolicyName="smoke", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    settings = {
        **{name: value for name, value in party.environment.items() if name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "XDG_STATE_HOME": str(folder),
    }
    return Smoker(party, folder, settings)


def _statements(party: Party, without: str) -> list[dict[str, Any]]:
    statements = json.loads(smoke_policy(party.stack, Place("aws", ACCOUNT, REGION, "")))["Statement"]
    less = [one | {"Action": [each for each in listed(one) if each != without]} for one in statements]
    return [one for one in less if one["Action"]]


def _stand_in(without: str) -> dict[str, Any]:
    """What the stand-in checks against ``*`` alone."""
    given = ONLY_ON_STAR | {"iam:SimulatePrincipalPolicy"}
    return {"Effect": "Allow", "Action": sorted(given - {without}), "Resource": "*"}


def listed(statement: Mapping[str, Any]) -> list[str]:
    """A statement's actions."""
    action = statement["Action"]
    return [action] if isinstance(action, str) else list(action)


def snapshot(party: Party) -> dict[str, list[str]]:
    """What there is in the account; things and certificates, too."""
    iot = party.aws.client("iot")
    things = [one["thingName"] for one in iot.list_things()["things"]]
    return {**everything(party.aws), "things": things, "certificates": sorted(party.certificates())}


def until(done: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something; it must come."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def stop(running: "subprocess.Popen[str]", how: signal.Signals) -> tuple[int, str]:
    """End a run; its exit code and what it said on standard error."""
    running.send_signal(how)
    _, said = running.communicate(timeout=60)
    return running.returncode, said
