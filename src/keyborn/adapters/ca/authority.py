"""The embedded certificate authority behind the port ``CertificateAuthority``."""

import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.ca.certificates import Contents, Stamp
from keyborn.adapters.ca.check import check_issued
from keyborn.adapters.ca.leaf import DeviceContents, DeviceForm
from keyborn.adapters.ca.material import Material, open_material
from keyborn.domain.errors import CaDates
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.issued import SignedLeaf
from keyborn.domain.names import key_hash
from keyborn.domain.profile import SERVICE, Validity
from keyborn.ports import Clock, Entropy

_SERIAL_BITS = 159
_RETRY = 3600


def open_authority(
    folder: Path, *, clock: Clock, entropy: Entropy, passphrase: bytes | None = None
) -> "EmbeddedAuthority":
    """Open the authority in ``folder`` (the data folder's ``ca``), made on first start.

    The data folder itself must exist. Raises CaLocked, CaDamaged, CaExposed, CaExpired or CaFileTrouble.
    """
    material = open_material(folder, now=clock.now(), entropy=entropy, passphrase=passphrase)
    return EmbeddedAuthority(material)


class EmbeddedAuthority:
    """Signs what the registration authority approved; the leaf is what the profile says, whatever was asked.

    Signing takes about 0.1 ms of CPU (bench/ca.py), so it waits for nothing: on the event loop, or where a
    registry has it done within a claim (``ports.Signer``).
    """

    def __init__(self, material: Material) -> None:
        self.adopt(material)

    def adopt(self, material: Material) -> None:
        """Issue from ``material`` from now on; between two certificates, as nothing here waits."""
        self._root = material.root
        self._devices, self._servers = material.devices, material.servers
        self._device_form = DeviceForm(material.devices)
        self._service_stamp = Stamp(SERVICE, material.servers)
        self._introduced, self._outgoing = material.introduced, material.outgoing

    async def issue(self, approved: ApprovedRequest) -> bytes:
        """See ``sign``; returns the leaf's DER."""
        return self.sign(approved).der

    def sign(self, approved: ApprovedRequest) -> SignedLeaf:
        """Sign a device's leaf; returns it read again, and compared with the intent. From any thread.

        Raises TypeError for anything but an ApprovedRequest; CaDates; IssuedDiffersError (a fault of ours).
        """
        if type(approved) is not ApprovedRequest:
            raise TypeError("a certificate authority signs an ApprovedRequest and nothing else")
        contents, form = _device_contents(approved), self._device_form  # one form: adopt may come between
        _require_inside(contents.validity, form.validity)
        return check_issued(form.sign(contents), approved)

    def issue_service(self, contents: Contents) -> x509.Certificate:
        """Sign the service's own leaf, by the server intermediate; raises CaDates."""
        _require_inside(contents.validity, self._servers.validity)
        return self._service_stamp.certificate(contents)

    def chain_pem(self, der: bytes | None = None) -> str:
        """The device intermediate above a leaf, PEM: what a device sends besides it.

        Without a leaf, that of the next one.
        """
        if der is None or (self._introduced is None and self._outgoing is None):
            return _pem(self._devices.certificate)
        issuer = x509.load_der_x509_certificate(der).issuer
        known = (intermediate for intermediate in self._intermediates() if intermediate.subject == issuer)
        return _pem(next(known, self._devices.certificate))

    def roots_pem(self) -> str:
        """The roots that devices trust for the service and the broker, PEM; the newest first."""
        newer = [] if self._introduced is None else [self._introduced.root]
        older = [] if self._outgoing is None else [self._outgoing.root]
        return "".join(map(_pem, [*newer, self._root, *older]))

    def client_ca_pem(self) -> str:
        """Roots and device intermediates, PEM: what a server trusts for clients, chain sent or not."""
        return self.roots_pem() + "".join(map(_pem, self._intermediates()))

    def intermediates_pem(self) -> tuple[str, ...]:
        """The device intermediates, each as PEM; the one that issues first."""
        return tuple(map(_pem, self._intermediates()))

    def _intermediates(self) -> list[x509.Certificate]:
        """The device intermediates, the one that issues first."""
        others = (self._introduced, self._outgoing)
        return [self._devices.certificate, *(other.devices for other in others if other is not None)]

    def server_chain_pem(self) -> str:
        """The server intermediate, PEM: what the service sends besides its leaf."""
        return _pem(self._servers.certificate)

    def root_fingerprint(self) -> bytes:
        """SHA-256 of the root's DER, 32 bytes: what an enrolment code pins."""
        return hashlib.sha256(self._root.public_bytes(Encoding.DER)).digest()


def _device_contents(approved: ApprovedRequest) -> DeviceContents:
    """Identity, serial and dates from the intent, the key from the request that proved it, and no more."""
    intent = approved.intent
    if key_hash(approved.public_key_der) != intent.key_hash:
        raise ValueError("the approved key is not the intent's")
    if not 0 < intent.serial < 1 << _SERIAL_BITS:
        raise ValueError("the intent's serial number is not positive and at most 20 octets")
    validity = Validity(intent.not_before, intent.not_after)
    return DeviceContents(intent.thing, approved.public_key_der, intent.serial, validity)


def _require_inside(validity: Validity, outer: Validity) -> None:
    if not validity.within(outer):
        begins, ends = outer.not_before.isoformat(), outer.not_after.isoformat()
        raise CaDates(seconds=_RETRY, begins=begins, ends=ends)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
