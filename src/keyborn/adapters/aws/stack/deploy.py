"""Deploying: the code is built, a change set is made of it and of the options, shown, and applied."""

import hashlib
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from keyborn.adapters.aws.calls import Expected
from keyborn.adapters.aws.package import Package, build_package
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.aws.stack.bucket import CodeBucket
from keyborn.adapters.aws.stack.orders import Orders, Place
from keyborn.adapters.aws.stack.outputs import StackOutputs
from keyborn.adapters.aws.stack.stacks import Plan, Stack, Standing, Tell, ready
from keyborn.adapters.aws.stack.wishes import Wishes, require_takable
from keyborn.domain.errors import CodeDiffers, InvalidSetting

_GONE = "ResourceNotFoundException"
_SWAPPED = (
    "what lies in the bucket is not what was deployed; somebody may have changed it. Give the file again"
)


@dataclass(frozen=True, slots=True)
class Code:
    """What the functions are to run."""

    key: str
    """In the bucket."""
    sha256: str
    """Base64."""
    data: bytes | None
    """What is to be sent; None: the functions run it already, and it lies in the bucket."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a deploy would do; nothing in the account has changed yet, but for the change set."""

    standing: Standing | None
    plan: Plan | None
    """None: the stack is as it should be."""
    package: Package
    code: Code
    roots: bytes
    """What devices trust for MQTT, PEM; empty: Amazon's."""
    url_root: bytes
    """What they trust for the URL, PEM; empty: public authorities."""
    root_fingerprint: str


class Deployment:
    """One deploy of one stack."""

    def __init__(self, orders: Orders, place: Place, name: str, tell: Tell) -> None:
        self.session = orders.session
        self.stack = Stack(orders, name, tell)
        self.bucket = CodeBucket(orders, place)
        self._orders = orders
        self._tell = tell

    def draft(self, wishes: Wishes) -> Draft:
        """Build the code and ask what would change. Raises leaves of OperatorError."""
        standing = ready(self.stack, self._tell)
        known = {} if standing is None else standing.parameters
        target = wishes.target(known)
        parameters = wishes.parameters()
        roots = self._roots(wishes, known.get("MqttRoots", ""))
        fingerprint = {**known, **parameters}.get("RootFingerprint", "")
        url_root = self._url_root(wishes, fingerprint)
        self._tell(f"Building the functions' code for {target.runtime} on {target.architecture}.")
        package = build_package(target, roots=beside_the_code(roots, url_root))
        code = self._code(package, known)
        parameters |= {
            "CodeBucket": self.bucket.name,
            "CodeKey": code.key,
            "CodeSha256": code.sha256,
            "MqttRoots": hashlib.sha256(roots).hexdigest() if roots else "",
        }
        if standing is None:
            parameters.setdefault("MqttEndpoint", self._endpoint())
            parameters["FirstTopicPrefix"] = parameters.get("TopicPrefix", "certtest")
        elif parameters.get("MqttEndpoint") == "":
            parameters["MqttEndpoint"] = self._endpoint()
        if code.data is not None and not package.compiled:
            self._tell(_without_bytecode(target.version))
        plan = self.stack.plan(standing, parameters, wishes.tags)
        return Draft(standing, plan, package, code, roots, url_root, fingerprint)

    def _code(self, package: Package, known: Mapping[str, str]) -> Code:
        """What is deployed, if it is the same but for bytecode, and untouched; else the package.

        Bytecode is not the same each time it is made, so the zip of the last deploy is held against the
        SHA-256 of then, which is the stack's own word, and not against the zip that was built now.
        """
        key, sha256 = known.get("CodeKey", ""), known.get("CodeSha256", "")
        if not key.startswith(package.key.removesuffix(".zip")):
            return Code(package.key, package.sha256, package.data)
        running = self._running().values()
        if set(running) == {sha256} and self.bucket.holds(key, sha256):
            return Code(key, sha256, None)
        self._tell("The functions or the bucket do not hold the code of the last deploy; it is sent anew.")
        fresh = f"{package.key.removesuffix('.zip')}-{time.time_ns():x}.zip"
        return Code(fresh, package.sha256, package.data)

    def _running(self) -> dict[str, str]:
        """The SHA-256 of the code that each function runs, base64; none of a function that is not there."""
        found = {}
        for function in (f"{self.stack.name}-enroll", f"{self.stack.name}-sweep"):
            with suppress(Expected):
                answer = self._orders.ask(
                    "lambda", "GetFunctionConfiguration", expected={_GONE}, FunctionName=function
                )
                found[function] = answer["CodeSha256"]
        return found

    def require_genuine(self, draft: Draft) -> None:
        """Raise CodeDiffers if a function runs anything but the code of the draft; then both are stopped."""
        running = self._running()
        foreign = {name: sha for name, sha in running.items() if sha != draft.code.sha256}
        if not foreign:
            return
        for function in running:
            self._orders.ask(
                "lambda", "PutFunctionConcurrency", FunctionName=function, ReservedConcurrentExecutions=0
            )
        raise CodeDiffers(
            functions=" and ".join(foreign),
            found=next(iter(foreign.values())),
            wanted=draft.code.sha256,
            bucket=self.bucket.name,
        )

    def _endpoint(self) -> str:
        """The account's own, for devices (AWS IoT Developer Guide, "AWS IoT device data endpoints")."""
        address = self._orders.ask("iot", "DescribeEndpoint", endpointType="iot:Data-ATS")
        return str(address["endpointAddress"])

    def _roots(self, wishes: Wishes, known: str) -> bytes:
        if wishes.mqtt_roots is not None:
            return wishes.mqtt_roots
        found = self.bucket.read(_roots_key(known)) if known else b""
        if known and hashlib.sha256(found).hexdigest() != known:
            raise InvalidSetting(setting="--mqtt-roots", detail=_SWAPPED)
        return found

    def _url_root(self, wishes: Wishes, fingerprint: str) -> bytes:
        if wishes.url_root is not None:
            return wishes.url_root
        found = self.bucket.read(_roots_key(fingerprint)) if fingerprint else b""
        if found and _fingerprint(found) != fingerprint:
            raise InvalidSetting(setting="--url-root", detail=_SWAPPED)
        return found

    def apply(self, draft: Draft) -> Standing:
        """Send the code and change the stack. Raises StackFailed, StackSlow and others of OperatorError."""
        if draft.plan is None:
            raise ValueError("there is nothing to apply")
        try:
            self._send(draft)
        except BaseException:
            self.stack.discard(draft.plan)
            raise
        return self.stack.apply(draft.plan)

    def _send(self, draft: Draft) -> None:
        code = draft.code
        if code.data is not None:
            self._tell(f"Sending {len(code.data):,} bytes of code to {self.bucket.name}.")
        self.bucket.make()
        if draft.roots:
            self.bucket.put(_roots_key(hashlib.sha256(draft.roots).hexdigest()), draft.roots)
        if draft.url_root:
            self.bucket.put(_roots_key(draft.root_fingerprint), draft.url_root)
        if code.data is not None and not self.bucket.put(code.key, code.data):
            self._tell("It is there already.")

    def reopen(self, outputs: StackOutputs) -> None:
        """Undo what a destroy that was broken off before it deleted anything did to keep devices away."""
        for function in (outputs.enroll_function, outputs.sweep_function):
            kept = self._orders.ask("lambda", "GetFunctionConcurrency", FunctionName=function)
            if kept.get("ReservedConcurrentExecutions") == 0:
                self._orders.ask("lambda", "DeleteFunctionConcurrency", FunctionName=function)
        name = outputs.thing_type
        kind = self._orders.ask("iot", "DescribeThingType", thingTypeName=name)
        if kind["thingTypeMetadata"].get("deprecated"):
            self._orders.ask("iot", "DeprecateThingType", thingTypeName=name, undoDeprecate=True)


def _without_bytecode(version: str) -> str:
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"The code goes without bytecode, for there is no Python {version} here to make it: functions start "
        f"about twice as slowly. Install Python {version} and deploy again, or deploy with --runtime {own}."
    )


def beside_the_code(roots: bytes, url_root: bytes) -> bytes | None:
    """What the functions show devices, PEM; None: Amazon's roots, which come with the code.

    The root of a private URL goes with those for MQTT: a device finds it by its fingerprint in the trust
    bundle, before it believes anybody. Raises InvalidSetting for more than a device takes.
    """
    if not url_root or url_root.strip() in roots:
        require_takable(roots, "--mqtt-roots")
        return roots or None
    whole = b"\n".join([(roots or amazon_roots().encode()).strip(), url_root.strip(), b""])
    require_takable(whole, "--url-root, together with what devices trust for MQTT,")
    return whole


def _fingerprint(root: bytes) -> str:
    """SHA-256 of the one certificate in a PEM, hex; empty for anything else."""
    try:
        (found,) = x509.load_pem_x509_certificates(root)
    except ValueError:
        return ""
    return found.fingerprint(SHA256()).hex()


def _roots_key(digest: str) -> str:
    return f"keyborn/roots/{digest}.pem"
