"""Deploying: the code is built, a change set is made of it and of the options, shown, and applied."""

import hashlib
from dataclasses import dataclass

from keyborn.adapters.aws.package import Package, build_package
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.aws.stack.bucket import CodeBucket
from keyborn.adapters.aws.stack.orders import Orders, Place
from keyborn.adapters.aws.stack.outputs import StackOutputs
from keyborn.adapters.aws.stack.stacks import Plan, Stack, Standing, Tell, ready
from keyborn.adapters.aws.stack.wishes import Wishes, require_takable


@dataclass(frozen=True, slots=True)
class Draft:
    """What a deploy would do; nothing in the account has changed yet, but for the change set."""

    standing: Standing | None
    plan: Plan | None
    """None: the stack is as it should be."""
    package: Package
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
        parameters |= {
            "CodeBucket": self.bucket.name,
            "CodeKey": package.key,
            "MqttRoots": hashlib.sha256(roots).hexdigest() if roots else "",
        }
        if standing is None:
            parameters.setdefault("MqttEndpoint", self._endpoint())
            parameters["FirstTopicPrefix"] = parameters.get("TopicPrefix", "certtest")
        elif parameters.get("MqttEndpoint") == "":
            parameters["MqttEndpoint"] = self._endpoint()
        plan = self.stack.plan(standing, parameters, wishes.tags)
        return Draft(standing, plan, package, roots, url_root, fingerprint)

    def _endpoint(self) -> str:
        """The account's own, for devices (AWS IoT Developer Guide, "AWS IoT device data endpoints")."""
        address = self._orders.ask("iot", "DescribeEndpoint", endpointType="iot:Data-ATS")
        return str(address["endpointAddress"])

    def _roots(self, wishes: Wishes, known: str) -> bytes:
        if wishes.mqtt_roots is not None:
            return wishes.mqtt_roots
        return self.bucket.read(_roots_key(known)) if known else b""

    def _url_root(self, wishes: Wishes, fingerprint: str) -> bytes:
        if wishes.url_root is not None:
            return wishes.url_root
        return self.bucket.read(_roots_key(fingerprint)) if fingerprint else b""

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
        self.bucket.make()
        if draft.roots:
            self.bucket.put(_roots_key(hashlib.sha256(draft.roots).hexdigest()), draft.roots)
        if draft.url_root:
            self.bucket.put(_roots_key(draft.root_fingerprint), draft.url_root)
        if self.bucket.keep(draft.package):
            self._tell(f"Sent {len(draft.package.data):,} bytes of code to {self.bucket.name}.")

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


def _roots_key(digest: str) -> str:
    return f"keyborn/roots/{digest}.pem"
