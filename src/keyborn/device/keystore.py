"""Key stores: they sign requests and take part in TLS. None of them has a getter for the key.

The file store keeps ``device.key``: PKCS#8 PEM, 0600, created once and never overwritten.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext, SSLError
from typing import TYPE_CHECKING, Protocol

from keyborn.device import files, keys
from keyborn.device.subject import Subject
from keyborn.domain.errors import KeyStoreUnsupported, KeyUnusable
from keyborn.domain.names import KeyHash, key_hash

if TYPE_CHECKING:
    from keyborn.device.keys import PrivateKey
    from keyborn.domain.jws import Algorithm

MAX_KEY_FILE = 65536


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What may be known of a key."""

    key_type: str
    """``p256``, ``p384``, ``p521``, or ``rsa`` and the bits."""
    public_key_der: bytes
    """DER SubjectPublicKeyInfo."""

    @property
    def key_hash(self) -> KeyHash:
        """The hash under which the registry knows the key."""
        return key_hash(self.public_key_der)

    @property
    def algorithm(self) -> "Algorithm":
        """How this kind of key signs requests to the service."""
        from keyborn.domain.jws import Algorithm

        curves = {"p256": Algorithm.ES256, "p384": Algorithm.ES384, "p521": Algorithm.ES512}
        return curves.get(self.key_type, Algorithm.RS256)


class KeyStore(Protocol):
    """Where a private key lives and works."""

    def facts(self) -> KeyFacts:
        """The key's type and public half; raises KeyUnusable."""
        ...

    def sign_request(self, subject: Subject) -> str:
        """A certificate request (PKCS#10, PEM) signed by the key."""
        ...

    def sign(self, signing_input: bytes) -> bytes:
        """A signature by ``facts().algorithm`` in the form of JWS (RFC 7518 3.3, 3.4); raises KeyUnusable."""
        ...

    def authenticate(self, context: SSLContext, certificate: Path) -> None:
        """Let ``context`` prove the key's identity with the certificate file; raises KeyUnusable."""
        ...


@dataclass(frozen=True, slots=True)
class FileKeyStore:
    """A key in a file that only its owner can read."""

    path: Path

    def exists(self) -> bool:
        """Whether anything has the key's name."""
        return os.path.lexists(self.path)

    def creation(self, key_type: str) -> list[files.Step]:
        """Make a key of one of ``keys.KEY_TYPES``: the steps that store it."""
        return files.creation_steps(self.path, keys.key_pem(keys.make_key(key_type)))

    def adoption(self, source: Path) -> list[files.Step]:
        """Take over the key in ``source``, which stays where it is: the steps that store it.

        Raises FileNotPrivate for a file that others could have read, KeyUnusable for anything but one sound,
        unencrypted key of an accepted kind.
        """
        return files.creation_steps(self.path, keys.key_pem(_read(source)))

    def holds(self, source: Path) -> bool:
        """Whether ``source`` holds the same key."""
        return keys.spki(_read(source)) == self.facts().public_key_der

    def facts(self) -> KeyFacts:
        """The key's type and public half; raises KeyUnusable or FileNotPrivate."""
        key = self._own()
        return KeyFacts(keys.name_type(key), keys.spki(key))

    def sign_request(self, subject: Subject) -> str:
        """A certificate request (PKCS#10, PEM) signed by the key."""
        return keys.sign_request(self._own(), subject)

    def sign(self, signing_input: bytes) -> bytes:
        """A signature in the form of JWS; raises KeyUnusable or FileNotPrivate."""
        from keyborn.domain import jws_signature

        return jws_signature.sign(self._own(), signing_input)

    def _own(self) -> "PrivateKey":
        """The key, which was sound when it was stored, in a file that only its owner could change."""
        return _read(self.path, checked=True)

    def authenticate(self, context: SSLContext, certificate: Path) -> None:
        """Let ``context`` prove the key's identity; raises KeyUnusable if key and certificate do not fit.

        TLS reads the very file that was checked: through its descriptor, not through its name again.
        """
        descriptor = _open(self.path)
        try:
            context.load_cert_chain(certificate, f"/proc/self/fd/{descriptor}", password="")
        except (SSLError, OSError):
            raise KeyUnusable(path=self.path, detail=f"it does not fit {certificate.name}") from None
        finally:
            os.close(descriptor)


def require_sound(source: Path, subject: Subject) -> None:
    """Check the key in ``source`` as the service will check it, before anything is stored."""
    keys.sign_request(_read(source), subject)


def open_store(uri: str | None, default: Path) -> FileKeyStore:
    """The store that ``--key`` names: nothing or ``file:`` is the home's own file.

    Raises KeyStoreUnsupported for PKCS#11 and TPM URIs and files elsewhere.
    """
    if uri is None:
        return FileKeyStore(default)
    scheme, separator, rest = uri.partition(":")
    if scheme != "file" or not separator:
        raise KeyStoreUnsupported(scheme=repr(scheme[:20]))
    path = Path(rest.removeprefix("//"))
    if path != default:
        raise KeyStoreUnsupported(
            scheme=f"file outside the home ({default} is the only place; see --adopt-key)"
        )
    return FileKeyStore(default)


def _open(path: Path) -> int:
    try:
        return files.open_private(path)
    except FileNotFoundError:
        raise KeyUnusable(path=path, detail="there is no such file") from None


def _read(path: Path, *, checked: bool = False) -> "PrivateKey":
    try:
        data = files.read_private(path, MAX_KEY_FILE)
    except FileNotFoundError:
        raise KeyUnusable(path=path, detail="there is no such file") from None
    return keys.read_key(data, path, checked=checked)
