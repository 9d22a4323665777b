"""Where the registry is gone already: things of the stack's own type are taken away by AWS IoT's own list.

The type is the stack's alone, and so are the things of it. A certificate is taken for the stack's if it is
bound to no thing but these and has no policy but the stack's; any other is left alone, and its thing with it.
"""

import time
from collections.abc import Callable, Collection

from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.stack import clearing
from keyborn.adapters.aws.stack.stacks import Tell
from keyborn.domain.errors import ThingNotCleared, Unavailable
from keyborn.domain.names import CertificateId, ThingName

_FOREIGN = "a certificate that may be somebody else's is attached"


class UnlistedClearing:
    """Takes away what nobody keeps a list of any more. Every step may be repeated."""

    def __init__(self, *, stack: str, iot: Iot, things: Callable[[], list[str]], tell: Tell) -> None:
        """``things``: the names of the things of the stack's type, as AWS IoT lists them now."""
        self._stack = stack
        self._iot = iot
        self._things = things
        self._tell = tell
        self._troubles: dict[str, str] = {}
        self.done = clearing.Cleared()

    def clear(self) -> clearing.Cleared:
        """Do it all. Raises ThingNotCleared where something does not go."""
        begun = left = self._things()
        if begun:
            kind = self._iot.account.thing_type
            self._tell(f"The registry is gone already; AWS IoT lists {len(begun):,} things of type {kind}.")
        for number in range(clearing.ROUNDS):
            if not left:
                break
            if number:
                time.sleep(clearing.PAUSE)
            self._troubles.clear()
            for name in left:
                self._take(name, left)
            self.done.things |= set(left) - set(left := self._things())
        if left:
            raise ThingNotCleared(
                stack=self._stack,
                what=", ".join(left[: clearing.SHOWN]),
                reason=next(iter(self._troubles.values()), _FOREIGN),
            )
        # Without the registry nobody knows which sessions there are; AWS IoT ends those of what is revoked.
        self.done.open_sessions = bool(self.done.certificates)
        return self.done

    def _take(self, name: str, ours: Collection[str]) -> None:
        try:
            for principal in list(self._iot.principals(name)):
                self._certificate(principal, ours)
            self._iot.delete_thing(ThingName(name))
        except Unavailable as trouble:
            self._troubles[name] = str(trouble)

    def _certificate(self, principal: str, ours: Collection[str]) -> None:
        """Revoke it, unbind it and delete it, unless it is, or may be, somebody else's."""
        beginning = self._iot.account.certificate(CertificateId(""))
        if not principal.startswith(beginning):
            return
        certificate = CertificateId(principal.removeprefix(beginning))
        owns = self._iot.account.owns_policy
        if set(self._iot.things_of(certificate)) <= set(ours) and all(
            map(owns, self._iot.attached(certificate))
        ):
            self._iot.clear_away(certificate)
            self.done.certificates.add(certificate)
