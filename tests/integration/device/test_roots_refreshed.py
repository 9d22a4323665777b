"""A service whose trust bundle changes: what a device takes over, and what it keeps instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from keyborn.device import identity, roots, tls, verify
from keyborn.device.believing import Believer
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.proving import prove_broker
from keyborn.device.renewal import RenewalClient
from keyborn.device.trust import BUNDLE_PATH
from keyborn.domain.errors import (
    BrokerUnreachable,
    BrokerUntrusted,
    DeviceError,
    ServiceUnreachable,
    UntrustedService,
    WrongAnswer,
)
from keyborn.domain.roots import root_set
from support.device_home import DAY, FixedClock, Machine, home_in, identify, now
from support.device_slots import run
from support.pki import SERVER, Pki, new_pki, pem, shared_pki
from support.renewing_service import Renewing, renewing_service
from support.rude_service import Reply, RudeService, endless, plain, rude_service, silent

OTHER = new_pki()
OLD, NEW = shared_pki().root_pem, OTHER.root_pem
PEM = "application/pem-certificate-chain"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Renewing]:
    with renewing_service(tmp_path) as running:
        yield running


@contextmanager
def broker_of(folder: Path, pki: Pki) -> Iterator[RudeService]:
    """Whoever shakes hands: nothing is said after that."""
    (folder / "broker").mkdir()
    with rude_service(folder / "broker", pki=pki) as running:
        yield running


def port_of(service: RudeService) -> int:
    return int(service.url.rpartition(":")[2])


def device(tmp_path: Path, service: Renewing, broker: int = 1, *, pinned: bool = True) -> Home:
    home = home_in(tmp_path)
    changes = {} if pinned else {"fingerprint": b""}
    identify(home, code=service.service.code(**changes), broker=("localhost", broker))
    service.know(home.certificate.read_bytes())
    return home


def shows(service: Renewing, bundle: str) -> None:
    service.service.script(BUNDLE_PATH, plain(200, bundle.encode(), Content_Type=PEM))


def asked(home: Home, *, seconds: float = 5) -> roots.Change | None:
    return RenewalClient(home, FixedClock(), seconds).new_roots(own(home), now())


def own(home: Home) -> Identity:
    return identity.read_settings(home)


def believe(home: Home, bundle: str) -> None:
    change = roots.weigh(bundle.encode(), home.roots.read_text(), now(), url="u")
    assert change is not None
    run(roots.steps(home, change))


def test_the_same_bundle_changes_nothing(tmp_path: Path, service: Renewing) -> None:
    assert asked(device(tmp_path, service)) is None


def test_a_new_root_is_taken_over_without_asking_the_broker(tmp_path: Path, service: Renewing) -> None:
    home = device(tmp_path, service)
    shows(service, NEW + OLD)
    change = asked(home)
    assert change is not None
    assert change.roots_pem == NEW + OLD
    assert len(service.service.asked(BUNDLE_PATH)) == 2, "and once more under all that it has then"


def test_an_old_root_goes_once_service_and_broker_lead_to_the_new_one(tmp_path: Path) -> None:
    """A whole switch: both believed, the service's certificate is another one, the old root is dropped."""
    with renewing_service(tmp_path, pki=OTHER) as service, broker_of(tmp_path, OTHER) as broker:
        home = device(tmp_path, service, port_of(broker))
        with pytest.raises(UntrustedService):
            asked(home)
        believe(home, NEW + OLD)
        change = asked(home)
        assert change is not None
        assert (change.roots_pem, len(change.dropped)) == (NEW, 1)
        run(roots.steps(home, change))
        assert asked(home) is None, "and is still believed"


def test_a_bundle_without_the_root_of_the_service_itself_is_not_believed(
    tmp_path: Path, service: Renewing
) -> None:
    """By an operator's mistake: the device would never speak to this service again."""
    home = device(tmp_path, service)
    believe(home, NEW + OLD)
    shows(service, NEW)
    with pytest.raises(UntrustedService):
        asked(home)
    assert home.roots.read_text() == NEW + OLD


def test_a_bundle_without_any_known_root_is_not_believed(tmp_path: Path, service: Renewing) -> None:
    home = device(tmp_path, service)
    shows(service, NEW)
    with pytest.raises(WrongAnswer, match="none of the roots that this device believes"):
        asked(home)


def test_a_root_that_hides_another_one_is_not_taken_over(tmp_path: Path, service: Renewing) -> None:
    """OpenSSL takes the first root of a name and key identifier for the issuer, and looks no further."""
    home = device(tmp_path, service)
    shows(service, twin_of(OLD) + OLD)
    with pytest.raises(UntrustedService):
        asked(home)


def twin_of(root_pem: str) -> str:
    """Another key's root that is called the same, and says the same of its key."""
    root, key = x509.load_pem_x509_certificate(root_pem.encode()), OTHER.root.key
    builder = x509.CertificateBuilder(root.issuer, root.subject, key.public_key(), root.serial_number)
    builder = builder.not_valid_before(now() - DAY).not_valid_after(now() + DAY)
    for each in root.extensions:
        builder = builder.add_extension(each.value, each.critical)
    return pem(builder.sign(key, SHA256()))


def test_a_root_that_the_broker_still_needs_is_not_dropped(tmp_path: Path) -> None:
    with renewing_service(tmp_path, pki=OTHER) as service, broker_of(tmp_path, shared_pki()) as broker:
        home = device(tmp_path, service, port_of(broker))
        believe(home, NEW + OLD)
        with pytest.raises(BrokerUntrusted):
            asked(home)


def test_while_the_broker_is_away_no_root_is_dropped(tmp_path: Path) -> None:
    with renewing_service(tmp_path, pki=OTHER) as service:
        home = device(tmp_path, service)
        believe(home, NEW + OLD)
        with pytest.raises(BrokerUnreachable):
            asked(home)


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (plain(200, b"nothing"), WrongAnswer),
        (plain(200, shared_pki().servers.leaf("x", usage=SERVER).der), WrongAnswer),
        (plain(200, OLD.encode() * 9), WrongAnswer),
        (plain(404, b"{}"), WrongAnswer),
        (plain(302, b"", Location="https://elsewhere.example/"), WrongAnswer),
        (plain(503, b"{}"), ServiceUnreachable),
        (endless, WrongAnswer),
        (silent, ServiceUnreachable),
    ],
)
def test_whatever_else_comes_the_roots_stay(
    tmp_path: Path, service: Renewing, reply: Reply, raised: type[DeviceError]
) -> None:
    home = device(tmp_path, service)
    service.service.script(BUNDLE_PATH, reply)
    with pytest.raises(raised):
        asked(home, seconds=1)
    assert home.roots.read_text() == OLD


def test_a_stranger_is_asked_for_nothing(tmp_path: Path) -> None:
    with renewing_service(tmp_path, pki=OTHER) as service:
        home = device(tmp_path, service)
        shows(service, NEW + OLD)
        with pytest.raises(UntrustedService):
            asked(home)
        assert service.service.seen == []


def test_the_brokers_second_port_will_do(tmp_path: Path) -> None:
    from dataclasses import replace

    from keyborn.device.answer import Fallback

    with rude_service(tmp_path) as broker:
        home = home_in(tmp_path)
        made = identify(home, broker=("localhost", 1))
        second = replace(made, broker=replace(made.broker, fallback=Fallback(port_of(broker), "x-mqtt")))
        prove_broker(second, tls.verifying_context(OLD), 5)
        with pytest.raises(BrokerUnreachable):
            prove_broker(made, tls.verifying_context(OLD), 5)


# ── what the service is told ──


def test_the_device_tells_which_roots_it_believes_by_the_digest_of_the_set(
    tmp_path: Path, service: Renewing
) -> None:
    home = device(tmp_path, service)
    RenewalClient(home, FixedClock()).tell_roots(own(home))
    believe(home, NEW + OLD)
    RenewalClient(home, FixedClock()).tell_roots(own(home))
    assert service.believed == [root_set(verify.ders(OLD)), root_set(verify.ders(OLD + NEW))]


def test_a_service_that_does_not_ask_does_no_harm(tmp_path: Path, service: Renewing) -> None:
    home, machine = device(tmp_path, service), Machine()
    service.service.script("/v1/roots", plain(404, b"{}"))
    shows(service, NEW + OLD)
    believer = Believer(home, machine.surroundings(), RenewalClient(home, FixedClock(), 5))
    after = believer.look(own(home), now())
    assert after == own(home)
    assert home.roots.read_text() == NEW + OLD
    assert len(machine.said) == 1


def test_it_is_told_once_and_again_when_it_changes(tmp_path: Path, service: Renewing) -> None:
    home = device(tmp_path, service)
    believer = Believer(home, Machine().surroundings(), RenewalClient(home, FixedClock(), 5))
    for bundle in (OLD, OLD, NEW + OLD, NEW + OLD):
        shows(service, bundle)
        believer.look(own(home), now())
    assert len(service.believed) == 2
