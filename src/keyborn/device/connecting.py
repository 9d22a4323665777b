"""How a session is opened: what proves both ends, in which time, on which port, with which MQTT."""

import ssl
import time
from datetime import datetime

from keyborn.device import files, tls
from keyborn.device.home import Home
from keyborn.device.identity import MAX_FILE, Identity
from keyborn.device.keystore import KeyStore
from keyborn.device.opening import Limits, Will
from keyborn.device.reasons import is_barred, refusal
from keyborn.device.session import MQTT_3_1_1, MQTT_5, Session
from keyborn.domain.errors import BrokerUnreachable, BrokerUntrusted, DeviceError

CONNECT_TIMEOUT = 10.0
VERSIONS = MQTT_5, MQTT_3_1_1
"""Versions of MQTT, in the order in which they are tried."""
_WRONG_VERSION = 0x84


def tls_context(
    home: Home, store: KeyStore, identity: Identity, wall: datetime, *, behind: bool = False
) -> ssl.SSLContext:
    """The context of a session: the home's roots, the store's key.

    A clock outside the certificate's dates is not believed, where a root is pinned: the broker's certificate
    must then outlast the time that was proved (PROTOCOL "The clock"). ``behind``: nor is one by which the
    broker's certificate is of the future. Raises KeyUnusable, FileNotPrivate, HomeUnusable.
    """
    try:
        roots = files.read_private(home.roots, MAX_FILE).decode()
        context = tls.verifying_context(roots, instead=identity.peer_dates(wall, behind=behind))
    except OSError as wrong:
        raise files.trouble(home.roots, wrong) from None
    store.authenticate(context, home.certificate)
    return context


def connect(
    identity: Identity,
    context: ssl.SSLContext,
    *,
    patience: float | None = None,
    will: Will | None = None,
) -> Session:
    """Open a session, with MQTT 5 first and 3.1.1 where that is refused; ``patience`` bounds all of it.

    Where the network does not let it shake hands with the broker, the broker's second port is tried, in the
    time that is left: networks that know only the web's ports are common. Nothing of that is remembered.
    Raises BrokerUnreachable, BrokerUntrusted, SessionRefused.
    """
    seconds = CONNECT_TIMEOUT if patience is None else patience
    begun, second = time.monotonic(), identity.on_fallback()
    if second is None:
        return _connect(identity, context, Limits(begun, seconds, seconds), will)
    try:
        return _connect(identity, context, Limits(begun, seconds / 2, seconds), will)
    except BrokerUnreachable as first:
        if not is_barred(first.__cause__):
            raise
        limits = Limits(time.monotonic(), left := begun + seconds - time.monotonic(), left)
        return _connect_second(second, context, limits, first, will)


def _connect_second(
    identity: Identity,
    context: ssl.SSLContext,
    limits: Limits,
    first: BrokerUnreachable,
    will: Will | None,
) -> Session:
    """Open a session on the second port; who does not prove to be the broker there is only in the way."""
    try:
        return _connect(identity, context, limits, will)
    except (BrokerUnreachable, BrokerUntrusted) as wrong:
        broker = f"{first.facts['broker']} or {wrong.facts['broker']}"
        detail = f"{first.facts['detail']}; on port {identity.broker.port}, {wrong.facts['detail']}"
        raise BrokerUnreachable(broker=broker, detail=detail) from None


def _connect(identity: Identity, context: ssl.SSLContext, limits: Limits, will: Will | None) -> Session:
    answer = None
    for version in VERSIONS:
        session = Session(identity, context, version, limits, will)
        try:
            answer = session.open()
            if answer is not None and answer.code == 0:
                return session
        except DeviceError:
            session.close()
            raise
        session.close()
        if answer is not None and answer.code != _WRONG_VERSION:
            break
    raise refusal(identity, answer)
