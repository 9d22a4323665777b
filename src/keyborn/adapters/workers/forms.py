"""How values cross between core and workers: typed JSON, read into exactly the type that is expected.

JSON, for msgspec writes and reads the domain's frozen values in it as they are, serial numbers of 159 bits
among them, which MessagePack cannot hold. A union of dataclasses says by a word which of them it is. Refusals
cross as the name of their class and their facts: whoever reads them makes the same error of the same tree.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from keyborn.domain import errors
from keyborn.domain.errors import DeviceError, KeybornError, Unavailable

T = TypeVar("T")
_PLAIN = (str, int, float, bool, type(None))


class UnreadableError(Exception):
    """Bytes that no core and no worker of ours writes."""


def _plain(value: object) -> object:
    """What msgspec does not know; raises TypeError for what must not cross."""
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise TypeError(f"{type(value).__name__} does not cross")


_tagged = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_encoder = msgspec.json.Encoder(enc_hook=_plain)


class Form(Generic[T]):
    """How values of one type are written; ``Form(int)``, or ``Form(tuple[Attempt])`` for arguments."""

    def __init__(self, kind: Any) -> None:  # noqa: ANN401 - any type expression
        self.kinds: tuple[Any, ...] = (kind,)
        self._decoder = msgspec.json.Decoder(kind)

    def write(self, value: T) -> bytes:
        """The value as bytes."""
        return _encoder.encode(value)

    def read(self, body: bytes) -> T:
        """The value again; raises UnreadableError for anything else."""
        try:
            value: T = self._decoder.decode(body)
        except (msgspec.MsgspecError, KeybornError, ValueError, RecursionError):
            raise UnreadableError from None
        return value


class OneOf(Form[T]):
    """One of several dataclasses, told apart by the names of their classes."""

    def __init__(self, kinds: Sequence[type]) -> None:
        self.kinds = tuple(kinds)
        self._names = {kind: kind.__name__ for kind in kinds}
        self._readers: dict[str, msgspec.json.Decoder[Any]] = {
            kind.__name__: msgspec.json.Decoder(kind) for kind in kinds
        }

    def write(self, value: T) -> bytes:
        """See ``Form.write``. Raises KeyError for another class."""
        return _encoder.encode((self._names[type(value)], value))

    def read(self, body: bytes) -> T:
        """See ``Form.read``."""
        try:
            name, raw = _tagged.decode(body)
            value: T = self._readers[name].decode(raw)
        except (KeyError, msgspec.MsgspecError, KeybornError, ValueError):
            raise UnreadableError from None
        return value


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────


def _leaves(branch: type[KeybornError]) -> dict[str, type[KeybornError]]:
    found = {branch.__name__: branch}
    for each in branch.__subclasses__():
        found |= _leaves(each)
    return found


REFUSALS: Mapping[str, type[KeybornError]] = {
    name: kind
    for name, kind in _leaves(KeybornError).items()
    if getattr(errors, name, None) is kind and not issubclass(kind, DeviceError)
}
"""The public tree of a service by name: classes of the package ``domain.errors``, and no others."""

Facts = dict[str, str | int | float | bool | None]
_refusal: Form[tuple[str, Facts]] = Form(tuple[str, Facts])


def write_refusal(refusal: KeybornError) -> bytes:
    """Class and facts; facts that are no plain values as the sentence shows them."""
    told = refusal.facts.items()
    facts: Facts = {name: value if isinstance(value, _PLAIN) else str(value) for name, value in told}
    return _refusal.write((type(refusal).__name__, facts))


def read_refusal(body: bytes) -> KeybornError:
    """The error again; Unavailable for one that is not in the tree, or not of these facts.

    Raises UnreadableError for what is no refusal at all.
    """
    name, facts = _refusal.read(body)
    try:
        return REFUSALS[name](**facts)
    except (KeyError, TypeError, ValueError, IndexError):
        return Unavailable()
