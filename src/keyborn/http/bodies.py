"""The bodies on the wire, camelCase as in AWS IoT; OpenAPI is generated from these."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from keyborn.domain.certificate import Certificate
from keyborn.domain.moment import shown
from keyborn.domain.names import ThingName

Name = Annotated[str, msgspec.Meta(min_length=1, description="1 to 64 of A-Z a-z 0-9 : _ -")]
Csr = Annotated[
    str, msgspec.Meta(min_length=1, description="PKCS#10 in one PEM block, at most 4096 characters")
]


GroupWord = Annotated[
    str, msgspec.Meta(description="The enrolment group under whose rule this is; a token says its own")
]


class EnrollBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a device sends to /v1/enroll."""

    thing_name: Name
    csr: Csr
    attributes: dict[str, str] | None = None
    group: GroupWord | None = None


class AskedBody(msgspec.Struct, rename="camel"):
    """What is read of either body before anybody has proved anything."""

    thing_name: Any = None
    csr: Any = None
    group: Any = None


class LegacyBody(msgspec.Struct, rename="camel"):
    """What an existing client of the pattern sends to /getCertificate; further members are ignored."""

    thing_name: Name
    csr: Csr


Roots = Annotated[
    str,
    msgspec.Meta(
        pattern="^[0-9a-f]{64}$",
        max_length=64,  # a dollar stands before a line feed, too
        description="The roots that the device believes: SHA-256 of their sorted SHA-256 digests, in hex",
    ),
]


class RenewPayload(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a device signs for /v1/renew; who asks, the signature says."""

    csr: Csr
    roots: Roots | None = None


class ConfirmPayload(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a device signs for /v1/renew/confirm: an empty object will do."""

    roots: Roots | None = None


class RootsPayload(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a device signs for /v1/roots."""

    roots: Roots


class SignedBody(msgspec.Struct, forbid_unknown_fields=True):
    """A flattened JWS (RFC 7515, 7.2.2); each member in base64url without padding."""

    protected: Annotated[
        str, msgspec.Meta(description="JSON with alg, nonce, url and kid or x5c, and nothing more")
    ]
    payload: Annotated[str, msgspec.Meta(description="The JSON of the request")]
    signature: Annotated[str, msgspec.Meta(description="RFC 7518, 3.3 and 3.4; of ECDSA r and s, not DER")]


class NonceAnswer(msgspec.Struct):
    """What Replay-Nonce says, too."""

    nonce: str


class ConfirmAnswer(msgspec.Struct, rename="camel"):
    """The certificate that is the thing's only one from here on."""

    thing_name: str
    certificate_id: str
    not_after: str


class MqttFallback(msgspec.Struct, rename="camel", frozen=True):
    """A second port of the same endpoint, for networks that let the first one not through."""

    port: int
    alpn: str


class MqttAnswer(msgspec.Struct, rename="camel"):
    """Where and how the device connects."""

    endpoint: str
    port: int
    alpn: str | None
    fallback: MqttFallback | None
    protocol: str
    client_id: str
    topic: str
    roots_pem: str


class EnrollAnswer(msgspec.Struct, rename="camel"):
    """The certificate and everything needed to use it."""

    thing_name: str
    certificate_id: str
    certificate_pem: str
    chain_pem: str
    not_after: str
    mqtt: MqttAnswer


class PendingAnswer(msgspec.Struct):
    """A person has to decide: repeat the same request after Retry-After seconds."""

    approval: Annotated[str, msgspec.Meta(description="The code by which the operator finds the request")]
    words: Annotated[str, msgspec.Meta(description="Four words of the key that would be approved")]
    detail: str
    status: Literal["pending"] = "pending"


AWS_FALLBACK = MqttFallback(443, "x-amzn-mqtt-ca")
"""AWS IoT Core's second port (its Developer Guide, "Device communication protocols": ALPN is required)."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where devices find the broker, and the topic that is theirs."""

    endpoint: str
    port: int
    topic_prefix: str
    roots_pem: Callable[[], str]
    """What devices trust, asked each time: it may change while the service runs."""
    chain_pem: Callable[[bytes], str]
    """The chain above a leaf's DER."""
    alpn: str | None = None
    fallback: MqttFallback | None = None
    """Where the same broker answers too, for those who cannot reach ``port``."""


def pem_of(der: bytes) -> str:
    """PEM of a certificate: RFC 7468, 64 columns, LF."""
    if not der:
        return ""
    return ssl.DER_cert_to_PEM_cert(der)


def answer_enrollment(certificate: Certificate, broker: BrokerAddress) -> EnrollAnswer:
    """The body for a certificate: equal requests get equal bodies, as long as the roots are the same."""
    thing: ThingName = certificate.thing
    return EnrollAnswer(
        thing_name=thing,
        certificate_id=certificate.id,
        certificate_pem=pem_of(certificate.der),
        chain_pem=broker.chain_pem(certificate.der),
        not_after=shown(certificate.not_after),
        mqtt=MqttAnswer(
            endpoint=broker.endpoint,
            port=broker.port,
            alpn=broker.alpn,
            fallback=broker.fallback,
            protocol="mqtts",
            client_id=thing,
            topic=f"{broker.topic_prefix}/{thing}",
            roots_pem=broker.roots_pem(),
        ),
    )


def fingerprint_text(digest: bytes) -> str:
    """A fingerprint as people compare it: upper-case hex pairs with colons."""
    return ":".join(f"{byte:02X}" for byte in digest)
