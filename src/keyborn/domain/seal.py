"""Sealed secrets: a bearer secret that says what it permits, so that a service need not look that up.

Shape: 16 random bytes, 16 bytes of HMAC-SHA-256 (RFC 2104) over all the rest under the service's key, then
the facts as a JSON array. The seal only keeps strangers out: whoever could make one has no permission yet.
That comes from the registry, which knows the digest of every secret that was handed out, facts included, and
demands it when a claim is written.
"""

import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from keyborn.domain.access_policy.document import PolicyName, parse_policy_name
from keyborn.domain.errors import CredentialRefused, InvalidSetting, KeybornError
from keyborn.domain.names import GroupName, NameScope, parse_group_name
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import MAX_SECRET_BYTES

SEAL_KEY_BYTES = 32
RANDOM_BYTES = 16
_MAC_BYTES = 16
_HEAD = RANDOM_BYTES + _MAC_BYTES
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token permits; none of it ever changes."""

    scope: NameScope
    uses: int | None
    """How many (thing, key) pairs may redeem it; None is unlimited."""
    expires_at: datetime
    """Aware, UTC; whole milliseconds."""
    replace: bool = False
    kind: ThingKind = ThingKind.DEVICE
    policies: tuple[PolicyName, ...] | None = None
    """Access policies that a name gets when it is claimed with it; None is the default policy."""
    group: GroupName | None = None
    """Under whose rule its holders enrol; None: under that of the token alone."""


def seal(key: bytes, random: bytes, facts: TokenFacts) -> bytes:
    """A secret that says ``facts``; ``random`` is 16 bytes nobody can guess.

    Raises ValueError for other lengths, and InvalidSetting for facts too long for an enrolment code.
    """
    if len(key) != SEAL_KEY_BYTES or len(random) != RANDOM_BYTES:
        raise ValueError("a seal takes a key of 32 bytes and 16 random ones")
    said = _written(facts)
    if len(said) > MAX_SECRET_BYTES - _HEAD:
        raise InvalidSetting(setting="policies", detail="together their names are too long for a code")
    return random + _mac(key, random, said) + said


def unseal(key: bytes, secret: bytes) -> TokenFacts:
    """What a sealed secret says; raises CredentialRefused for anything that was not sealed with ``key``."""
    random, mac, said = secret[:RANDOM_BYTES], secret[RANDOM_BYTES:_HEAD], secret[_HEAD:]
    if not hmac.compare_digest(mac, _mac(key, random, said)):
        raise CredentialRefused
    return _read(said)


def _mac(key: bytes, random: bytes, said: bytes) -> bytes:
    return hmac.digest(key, random + said, "sha256")[:_MAC_BYTES]


def _written(facts: TokenFacts) -> bytes:
    named = None if facts.policies is None else list(facts.policies)
    expires = (facts.expires_at - _EPOCH) // _MILLISECOND
    said = [facts.scope.pattern, expires, facts.uses, facts.replace, facts.kind.value, named]
    if facts.group is not None:
        said.append(facts.group)
    return json.dumps(said, separators=(",", ":")).encode()


def _read(said: bytes) -> TokenFacts:
    """Read what a service of ours has sealed; one of another version may have said it differently."""
    try:
        pattern, expires, uses, replace, kind, named, *group = _shaped(json.loads(said))
        facts = TokenFacts(
            NameScope(pattern),
            uses,
            _EPOCH + expires * _MILLISECOND,
            replace,
            ThingKind(kind),
            None if named is None else tuple(map(parse_policy_name, named)),
            parse_group_name(group[0]) if group else None,
        )
    except (ValueError, TypeError, OverflowError, KeybornError):
        raise CredentialRefused from None
    return facts


def _shaped(said: Any) -> Any:  # noqa: ANN401 - JSON
    """The array, if each of its six or seven parts is of its type; raises ValueError."""
    shapes = (str, int, int | None, bool, str, list | None, str)
    if not isinstance(said, list) or len(shapes) - len(said) not in (0, 1):
        raise ValueError("it is no array of six or seven")
    if not all(isinstance(one, shape) for one, shape in zip(said, shapes, strict=False)):
        raise ValueError("a part is of another type")
    return said
