"""The line to the broker on the journey: one MQTT session at a time, under whichever identity is tried."""

import ssl
from typing import TYPE_CHECKING

from keyborn.device import tls
from keyborn.device.connecting import connect, tls_context
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.opening import Will
from keyborn.device.session import Session
from keyborn.domain.errors import BrokerUnreachable, BrokerUntrusted, SessionRefused

if TYPE_CHECKING:
    from keyborn.ports import Clock

_REFUSALS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
"""What the names of TLS alerts hold that speak of our certificate (RFC 5246 7.2.2)."""


class BrokerLine:
    """Implements ``keyborn.device.journey.Line``; it keeps a session alive, and carries nothing."""

    def __init__(self, clock: "Clock", will: Will | None = None) -> None:
        self._clock = clock
        self._will = will
        self._session: Session | None = None

    @property
    def session(self) -> Session | None:
        """The session that is open."""
        return self._session

    def connect(self, home: Home, own: Identity) -> None:
        """See ``Line.connect``."""
        try:
            self._session = self._open(home, own, behind=False)
        except BrokerUntrusted as wrong:
            if not own.pinned or not _is_early(wrong.__cause__):
                raise
            self._session = self._open(home, own, behind=True)

    def serve(self, seconds: float) -> None:
        """See ``Line.serve``."""
        assert self._session is not None, "it is connected first"
        self._session.idle(seconds)

    def close(self) -> None:
        """See ``Line.close``."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self, home: Home, own: Identity, *, behind: bool) -> Session:
        wall, store = self._clock.now(), FileKeyStore(home.key)
        context = tls_context(home, store, own, wall, behind=behind)
        try:
            return connect(own, context, will=self._will)
        except BrokerUnreachable as wrong:
            cause = wrong.__cause__
            if isinstance(cause, ssl.SSLError) and _is_refusal(cause):
                broker = wrong.facts["broker"]
                raise SessionRefused(broker=broker, detail=tls.explain(cause), thing=own.thing) from None
            raise


def _is_early(cause: BaseException | None) -> bool:
    """Whether the broker's certificate is of the future by this clock, and nothing else is wrong with it."""
    return isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code == tls.NOT_YET_VALID


def _is_refusal(cause: ssl.SSLError) -> bool:
    """Whether the broker refused our certificate in the handshake, as TLS 1.2 lets it."""
    reason = cause.reason or ""
    return "ALERT" in reason and any(word in reason for word in _REFUSALS)
