"""The service's own certificate: made on start, kept while it is good, renewed while the service runs.

Key and chain live in one file, ``ca/service.pem`` (0600), so that one rename replaces both: no reader, in
this process or another, ever sees a key beside another key's certificate.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keyborn.adapters.ca import files
from keyborn.adapters.ca.authority import EmbeddedAuthority
from keyborn.adapters.ca.certificates import Contents, random_serial, validity_of
from keyborn.adapters.ca.service_names import ServiceName
from keyborn.adapters.ca.tls import ReloadedContexts
from keyborn.domain.errors import KeybornError
from keyborn.domain.profile import SERVICE, SERVICE_LIFETIME
from keyborn.ports import Clock, Entropy

COMMON_NAME = "Keyborn Service"
CHECK_EVERY = 60.0
"""Seconds between two looks at the clock: the wall clock may jump, so nothing sleeps for days."""

_log = logging.getLogger("keyborn.ca")


@dataclass(frozen=True, slots=True)
class _Held:
    """A service certificate on disk, whose key is beside it, and its chain."""

    leaf: x509.Certificate
    chain: bytes


class ServiceIdentity:
    """The service's certificate and the TLS contexts that serve it.

    ``prepare`` once, ``serve`` for each context, ``keep_fresh`` as a task. One writer: only the process that
    holds the data folder does this; workers follow the file with ``ReloadedContexts``.
    """

    def __init__(
        self,
        folder: Path,
        authority: EmbeddedAuthority,
        *,
        names: tuple[ServiceName, ...],
        clock: Clock,
        entropy: Entropy,
        lifetime: timedelta = SERVICE_LIFETIME,
    ) -> None:
        self._path = folder / "service.pem"
        self._authority = authority
        self._names = names
        self._clock = clock
        self._entropy = entropy
        self._profile = replace(SERVICE, lifetime=lifetime)
        self._contexts = ReloadedContexts(self._path)

    @property
    def server_chain_path(self) -> Path:
        """Leaf and server intermediate, PEM (the file also holds the key)."""
        return self._path

    @property
    def server_key_path(self) -> Path:
        """The private key, PEM, 0600: the same file."""
        return self._path

    def prepare(self) -> None:
        """Have a certificate on disk: the one there if it is good, else a new one (see ``renew_if_due``)."""
        self.renew_if_due()

    def serve(self, context: ssl.SSLContext) -> None:
        """Serve the certificate with ``context``, now and after every renewal."""
        self._contexts.add(context)

    def renew_if_due(self) -> bool:
        """Make a new certificate where the one on disk cannot serve or has a third of its time left.

        Then reload the contexts if the file has changed. Says whether a certificate was made. One that still
        holds survives a failed renewal, which is logged; else raises CaDates or CaFileTrouble.
        """
        renewed = self._ensure(self._clock.now())
        self._contexts.reload_if_replaced()
        return renewed

    async def keep_fresh(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Renew and reload for ever; troubles are logged, and the next look tries again."""
        while True:
            await sleep(CHECK_EVERY)
            try:
                self.renew_if_due()
            except (KeybornError, OSError) as trouble:
                _log.warning("the service certificate is not fresh: %s", trouble)

    def _ensure(self, now: datetime) -> bool:
        held = self._held()
        if held is not None and not _due(held.leaf, now):
            return False
        try:
            self._renew(now)
        except KeybornError as trouble:
            if held is None or not validity_of(held.leaf).holds(now):
                raise
            _log.warning("the service certificate was not renewed: %s", trouble)
            return False
        return True

    def _renew(self, now: datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        contents = Contents(
            common_name=COMMON_NAME,
            public_key=key.public_key(),
            serial=random_serial(self._entropy),
            validity=self._profile.validity(now),
            names=self._names,
        )
        leaf = self._authority.issue_service(contents)
        parts = (
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            leaf.public_bytes(Encoding.PEM),
            self._authority.server_chain_pem().encode(),
        )
        files.replace(self._path, b"".join(parts))
        _log.info("service certificate valid until %s", leaf.not_valid_after_utc.isoformat())

    def _held(self) -> _Held | None:
        """What is on disk, if it can be served under our names; anything else is made anew."""
        try:
            held = _parse(files.read_private(self._path))
        except (KeybornError, ValueError):
            return None
        chain = self._authority.server_chain_pem().encode()
        return held if held.chain == chain and _names_of(held.leaf) == set(self._names) else None


def _parse(pem: bytes) -> _Held:
    """Read key, leaf and chain; raises ValueError where they are not all there or not of one another."""
    key = load_pem_private_key(pem, None)
    leaf, chain = x509.load_pem_x509_certificates(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != leaf.public_key():
        raise ValueError("not the key of the certificate")
    return _Held(leaf, chain.public_bytes(Encoding.PEM))


def _names_of(leaf: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _due(leaf: x509.Certificate, now: datetime) -> bool:
    validity = validity_of(leaf)
    lifetime: timedelta = validity.not_after - validity.not_before
    return now < validity.not_before or now >= validity.not_after - lifetime / 3
