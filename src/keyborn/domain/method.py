"""Ways to prove that a device may enrol."""

from dataclasses import dataclass
from enum import StrEnum


class Method(StrEnum):
    """One way to prove it. A group combines them (``Way``)."""

    TOKEN = "token"  # noqa: S105 - a word, no secret
    """A bearer secret."""
    OPEN = "open"
    """Nothing at all, on loopback; no group accepts it."""
    GROUP_KEY = "group-key"
    """A signature by the key that was derived for this device from its group's key."""
    FACTORY = "factory"
    """A signature by the key of a certificate that the manufacturer gave."""
    OIDC = "oidc"
    """A bearer token of somebody else's identity provider (OpenID Connect)."""
    REGISTERED = "registered"
    """The device's own key, whose hash was announced."""
    ASK = "ask"
    """A person who compares what the device shows."""
    WEBHOOK = "webhook"
    """Another service that says yes."""

    @property
    def is_credential(self) -> bool:
        """Whether the caller shows something for it; the rest is asked once the request has been parsed."""
        return self in _CREDENTIALS


_CREDENTIALS = frozenset({Method.TOKEN, Method.GROUP_KEY, Method.FACTORY, Method.OIDC})


@dataclass(frozen=True, slots=True)
class Way:
    """Methods all of which are demanded together."""

    methods: frozenset[Method]

    @property
    def credentials(self) -> frozenset[Method]:
        """What the caller has to show."""
        return frozenset(each for each in self.methods if each.is_credential)

    @property
    def conditions(self) -> tuple[Method, ...]:
        """What is asked then, in the order in which it is asked: the cheapest first, the farthest last."""
        return tuple(each for each in (Method.REGISTERED, Method.ASK, Method.WEBHOOK) if each in self.methods)

    def __str__(self) -> str:
        """As a group's file says it: ``factory + webhook``."""
        return " + ".join(each.value for each in Method if each in self.methods)
