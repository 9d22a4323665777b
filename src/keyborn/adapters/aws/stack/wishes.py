"""What a deployer wishes a stack to be: options become parameters; what is not given stays as it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyborn.adapters.aws.package import Target
from keyborn.domain.errors import InvalidSetting

MOST_ROOTS, LONGEST_ROOTS = 8, 32_768
"""Certificates and characters of what a device is given to trust: it refuses more (``keyborn.device``)."""
_BEGIN = b"-----BEGIN CERTIFICATE-----"
DEFAULT_TARGET = Target("arm64", "python3.13")


def require_takable(roots: bytes, option: str) -> None:
    """Raise InvalidSetting for ``roots``, PEM, that every device would refuse."""
    count, length = roots.count(_BEGIN), len(roots)
    if count > MOST_ROOTS:
        detail = f"it has {count} certificates, and a device takes at most {MOST_ROOTS}"
        raise InvalidSetting(setting=option, detail=detail)
    if length > LONGEST_ROOTS:
        detail = f"it has {length:,} characters, and a device takes at most {LONGEST_ROOTS:,}"
        raise InvalidSetting(setting=option, detail=detail)


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of one command. None: not given; an empty text: back to what the template would do."""

    architecture: str | None = None
    runtime: str | None = None
    url: str | None = None
    root_fingerprint: str | None = None
    """SHA-256, 64 hex digits."""
    url_root: bytes | None = None
    """PEM of what the fingerprint is of; empty for a public authority."""
    mqtt_endpoint: str | None = None
    mqtt_roots: bytes | None = None
    """PEM; empty for Amazon's."""
    topic_prefix: str | None = None
    enrollments_per_second: float | None = None
    alarm_email: str | None = None
    log_retention_days: int | None = None
    memory: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The account's own endpoint ends at Amazon's roots: by older ones no device could connect to it."""
        if self.mqtt_endpoint == "" and self.mqtt_roots is None:
            object.__setattr__(self, "mqtt_roots", b"")

    def target(self, known: Mapping[str, str]) -> Target:
        """What the functions are to run on; ``known``: the stack's parameters. Raises InvalidSetting."""
        return Target(
            self.architecture or known.get("Architecture") or DEFAULT_TARGET.architecture,
            self.runtime or known.get("Runtime") or DEFAULT_TARGET.runtime,
        )

    def parameters(self) -> dict[str, str]:
        """The parameters that were given, as the template names them."""
        given: dict[str, object | None] = {
            "Architecture": self.architecture,
            "Runtime": self.runtime,
            "Url": self.url,
            # A new URL has the certificate that is said to be its own, or a public one.
            "RootFingerprint": self.root_fingerprint if self.url is None else self.root_fingerprint or "",
            "MqttEndpoint": self.mqtt_endpoint,
            "TopicPrefix": self.topic_prefix,
            "EnrollmentsPerSecond": self.enrollments_per_second,
            "AlarmEmail": self.alarm_email,
            "LogRetentionDays": self.log_retention_days,
            "MemorySize": self.memory,
        }
        return {name: str(value) for name, value in given.items() if value is not None}
