"""The demonstration's walk: eleven steps, each printed as it happens with what it proved."""

import hashlib
import stat
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from keyborn.cli.demo.evidence import enroll_at_once, key_traces
from keyborn.cli.demo.stage import Say, Stage, Untrue, require

THING = "demo-sensor-1"
OTHER = "demo-sensor-2"
MESSAGE = "21.5 degrees"
EQUAL_ENROLLMENTS = 50
_PRIVATE = 0o600


def run_demo(keep: Path | None, say: Say) -> str | None:
    """Walk every step in a temporary folder (or ``keep``); returns the sentence that was untrue, or None."""
    with ExitStack() as stack:
        if keep is None:
            keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyborn-demo-")))
        keep.mkdir(parents=True, exist_ok=True)
        stage = Stage(keep, say)
        stack.callback(stage.close)
        try:
            _Walk(stage).run()
        except Untrue as untrue:
            return str(untrue)
    say("\nEvery step was true.")
    return None


class _Walk:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._number = 0
        self._about: dict[str, Any] = {}
        self._enrolled: dict[str, Any] = {}

    def run(self) -> None:
        """All steps, in order; raises Untrue at the first that does not hold."""
        for step in (
            self.serve,
            self.enroll,
            self.look_at_key,
            self.check_certificate,
            self.publish,
            self.enroll_again,
            self.refuse_other_topic,
            self.enroll_fifty_times,
            self.revoke,
            self.search_for_key,
        ):
            step()

    def serve(self) -> None:
        """A server process makes its authority, registry and broker."""
        self._about = self._stage.start_server()
        self._title("A registration authority, certificate authority and MQTT broker start on this machine")
        self._evidence(f"URL              {self._about['url']}")
        self._evidence(f"broker           {self._about['mqtt']} (mutual TLS)")
        self._evidence(f"root fingerprint {self._about['fingerprint']}")

    def enroll(self) -> None:
        """The device makes its key and its request, and gets its certificate."""
        code = self._stage.run(
            "token", "create", "--thing", THING, "--data", str(self._stage.data)
        ).splitlines()[-1]
        self._title(f"The operator makes an enrolment code for {THING}")
        self._evidence(f"{code[:24]}… ({len(code)} characters: URL, root fingerprint, secret)")
        words = ("enroll", "-", "--thing", THING, "--home", str(self._stage.home))
        self._enrolled = self._stage.run_json(*words, "--subject", "/C=JP/O=Keyborn demo", typed=code)
        self._title("The device makes its key, asks for a certificate, and checks what it got")
        self._evidence(f"CSR subject      {self._enrolled['subject']}")
        self._evidence(
            f"answer           mqtts://{self._enrolled['broker']}, topic {self._enrolled['topic']}"
        )
        self._evidence(
            f"certificate      {self._enrolled['certificateId'][:32]}… until {self._enrolled['notAfter']}"
        )

    def look_at_key(self) -> None:
        """The key file is private."""
        key = self._stage.home / "device.key"
        mode = stat.S_IMODE(key.stat().st_mode)
        require(mode == _PRIVATE, f"the key file's mode is 0600, not {mode:04o}")
        self._title("The private key lies on the device, readable by its owner alone")
        folder = stat.S_IMODE(self._stage.home.stat().st_mode)
        self._evidence(f"{key.name}       mode {mode:04o}, folder mode {folder:04o}")

    def check_certificate(self) -> None:
        """OpenSSL agrees with the chain; the id is the hash of the DER."""
        certificate, roots = str(self._stage.home / "device.crt"), str(self._stage.home / "roots.pem")
        verdict = self._stage.openssl(
            "verify",
            "-x509_strict",
            "-purpose",
            "sslclient",
            "-CAfile",
            roots,
            "-untrusted",
            certificate,
            certificate,
        )
        self._title("OpenSSL, which shares no code with us, verifies the certificate")
        self._evidence(verdict.replace(str(self._stage.home) + "/", ""))
        der_path = self._stage.home.parent / "leaf.der"
        self._stage.openssl("x509", "-in", certificate, "-outform", "DER", "-out", str(der_path))
        digest = hashlib.sha256(der_path.read_bytes()).hexdigest()
        require(digest == self._enrolled["certificateId"], "the certificate id is the SHA-256 of the DER")
        self._evidence(f"SHA-256 of its DER is the certificate id: {digest[:32]}…")
        subject = self._stage.openssl("x509", "-in", certificate, "-noout", "-subject")
        require(THING in subject, "the certificate names the thing")
        self._evidence(subject)

    def search_for_key(self) -> None:
        """No server-side file holds the private key, in any form we can think of."""
        files = self._stage.server_files()
        found, forms = key_traces(self._stage.home / "device.key", files)
        require(not found, f"the private key appears in no server-side file, not in {found}")
        size = sum(path.stat().st_size for path in files)
        self._title("Every file the server wrote meanwhile is searched for the private key")
        self._evidence(f"{forms} forms of the key, {len(files)} files, {size:,} bytes: not found")

    def publish(self) -> None:
        """The message arrives at the operator."""
        watch = self._stage.start_watch("certtest/#")
        self._stage.run("publish", f"certtest/{THING}", MESSAGE, "--home", str(self._stage.home))
        seen = watch.communicate(timeout=10)[0].strip()
        require(
            f"certtest/{THING}" in seen and MESSAGE in seen, f"the operator sees the message, not {seen!r}"
        )
        self._title("The device connects with mutual TLS and publishes; the operator sees it")
        self._evidence(seen)

    def enroll_again(self) -> None:
        """A second enroll makes no request."""
        code = self._stage.run(
            "token", "create", "--thing", THING, "--data", str(self._stage.data)
        ).splitlines()[-1]
        before = self._stage.about()["requests"]
        words = ("enroll", "-", "--thing", THING, "--home", str(self._stage.home))
        again = self._stage.run_json(*words, typed=code)
        after = self._stage.about()["requests"]
        require(before == after, f"the second enroll made no request, not {after - before}")
        require(again["certificateId"] == self._enrolled["certificateId"], "the identity is the same")
        self._title("A second enroll finds the identity and makes no request")
        self._evidence(f"requests at the service before {before}, after {after}")

    def refuse_other_topic(self) -> None:
        """A device may not speak for another."""
        words = ("publish", f"certtest/{OTHER}", "I am somebody else", "--home", str(self._stage.home))
        refused = self._stage.run(*words, expect=1)
        self._title("A publish to another thing's topic is refused")
        self._evidence(refused.splitlines()[-1])
        logged = [line for line in self._stage.server_log() if OTHER in line]
        require(bool(logged), "the broker logs the refusal")
        self._evidence(f"broker log: {logged[-1]}")

    def enroll_fifty_times(self) -> None:
        """Fifty equal enrolments at once give one certificate."""
        token = self._stage.run_json("token", "create", "--thing", OTHER, "--data", str(self._stage.data))
        answers = enroll_at_once(token, OTHER, EQUAL_ENROLLMENTS)
        bodies = {body for status, body in answers if status in (200, 201)}
        require(len(answers) == EQUAL_ENROLLMENTS and len(bodies) == 1, f"one body, not {len(bodies)}")
        certificates = self._stage.run_json("thing", "show", OTHER, "--data", str(self._stage.data))[
            "certificates"
        ]
        active = [row for row in certificates if row["status"] == "active"]
        require(len(certificates) == len(active) == 1, f"one certificate, not {len(certificates)}")
        self._title("Fifty equal enrolments at once give one certificate")
        self._evidence(
            f"{len(answers)} answers, {len(bodies)} distinct body, {len(active)} active certificate"
        )

    def revoke(self) -> None:
        """What the operator takes away is gone while the command runs."""
        listening = self._stage.start_listening(f"certtest/{THING}/#", self._stage.home)
        before = time.monotonic()
        said = self._stage.run("thing", "revoke", THING, "--data", str(self._stage.data))
        took = time.monotonic() - before
        require("Open sessions closed: 1" in said, f"the open session is closed, not: {said}")
        self._title("The operator revokes the device while it is connected; its session ends")
        self._evidence(f"{said} (the whole command took {took * 1000:.0f} ms)")
        listening.terminate()
        words = (
            "publish",
            f"certtest/{THING}",
            "still here?",
            "--home",
            str(self._stage.home),
            "--wait",
            "1",
        )
        self._evidence(self._stage.run(*words, expect=1).splitlines()[-1])

    def _title(self, text: str) -> None:
        self._number += 1
        self._stage.say(f"\n{self._number:2}. {text}")

    def _evidence(self, line: str) -> None:
        self._stage.say(f"      {line}")
