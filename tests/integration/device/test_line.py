"""The journey's line to a real broker: one session, whose refusals are told from a network's."""

import ssl
from datetime import datetime
from pathlib import Path

import pytest

from keyborn.device import line as module
from keyborn.device.connecting import tls_context
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import KeyStore
from keyborn.device.line import BrokerLine
from keyborn.domain.errors import (
    BrokerUnreachable,
    BrokerUntrusted,
    KeyUnusable,
    SessionLost,
    SessionRefused,
)
from keyborn.domain.slots import Slot
from support.device_home import DAY, FixedClock, identify, now
from support.device_slots import stage
from support.pki import SERVER, new_pki, shared_pki
from support.rude_broker import CONNECT, RudeBroker, accept, rude_broker


def identity_at(home: Home, broker: RudeBroker, *, pinned: bool = True) -> Identity:
    return identify(home, broker=(broker.host, broker.port), pinned=pinned)


def test_a_session_is_opened_kept_and_closed(home: Home, broker: RudeBroker) -> None:
    line = BrokerLine(FixedClock())
    line.connect(home, identity_at(home, broker))
    assert line.session is not None
    line.serve(0.2)
    line.close()
    line.close()
    assert broker.kinds()[0] == CONNECT


def test_another_slot_s_identity_is_shown_with_its_own_key(home: Home, broker: RudeBroker) -> None:
    identity_at(home, broker)
    made = stage(home)
    line = BrokerLine(FixedClock())
    line.connect(home.of(Slot.NEXT), made)
    line.serve(0.05)
    line.close()
    assert broker.faults == []


def test_a_session_that_ends_is_lost(home: Home, broker: RudeBroker) -> None:
    line = BrokerLine(FixedClock())
    broker.answer = lambda packet, level: accept(packet, level) if packet.kind == CONNECT else None
    line.connect(home, identity_at(home, broker))
    assert line.session is not None
    line.session.ping()
    with pytest.raises(SessionLost):
        line.serve(5)
    line.close()


def test_a_broker_that_hangs_up_refuses(home: Home, broker: RudeBroker) -> None:
    broker.answer = lambda _packet, _level: None
    with pytest.raises(SessionRefused):
        BrokerLine(FixedClock()).connect(home, identity_at(home, broker))


def test_nobody_there_is_no_refusal(home: Home, broker: RudeBroker) -> None:
    identity = identify(home, broker=("localhost", 1))
    with pytest.raises(BrokerUnreachable):
        BrokerLine(FixedClock()).connect(home, identity)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_is_refused_in_the_handshake_is_refused_in_either_tls(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion
) -> None:
    """TLS 1.3 says so only after the client believes that it is connected."""

    def of_version(
        home: Home, store: KeyStore, own: Identity, wall: datetime, *, behind: bool
    ) -> ssl.SSLContext:
        context = tls_context(home, store, own, wall, behind=behind)
        context.maximum_version = version
        return context

    monkeypatch.setattr(module, "tls_context", of_version)
    strange = identify(home, broker=(broker.host, broker.port), pki=new_pki())
    home.roots.write_text(shared_pki().root_pem)
    with pytest.raises(SessionRefused):
        BrokerLine(FixedClock()).connect(home, strange)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_broker_of_the_future_shows_a_clock_that_is_behind_where_a_root_is_pinned(
    home: Home, tmp_path: Path, *, pinned: bool
) -> None:
    future = shared_pki().servers.leaf(
        "b", usage=SERVER, start=now() + DAY, end=now() + 9 * DAY, between=True
    )
    with rude_broker(tmp_path, leaf=future) as broker:
        line, own = BrokerLine(FixedClock()), identity_at(home, broker, pinned=pinned)
        if pinned:
            line.connect(home, own)
            line.close()
        else:
            with pytest.raises(BrokerUntrusted):
                line.connect(home, own)


def test_a_broker_that_has_expired_is_not_believed(home: Home, tmp_path: Path) -> None:
    old = shared_pki().servers.leaf("b", usage=SERVER, start=now() - 9 * DAY, end=now() - DAY, between=True)
    with rude_broker(tmp_path, leaf=old) as broker, pytest.raises(BrokerUntrusted):
        BrokerLine(FixedClock()).connect(home, identity_at(home, broker))


def test_a_key_that_does_not_fit_is_said(home: Home, broker: RudeBroker) -> None:
    own = identity_at(home, broker)
    home.key.unlink()
    with pytest.raises(KeyUnusable):
        BrokerLine(FixedClock()).connect(home, own)
