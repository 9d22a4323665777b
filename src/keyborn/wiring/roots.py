"""The roots of a data folder's authority: changed in its files, and taken over by a running server."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from keyborn.adapters.ca import (
    EmbeddedAuthority,
    LiveContext,
    Material,
    ServiceIdentity,
    introduce_root,
    retire_root,
    switch_root,
)
from keyborn.adapters.data_folder import DataFolder
from keyborn.domain.errors import KeybornError
from keyborn.domain.roots import root_set
from keyborn.ports import Clock, Entropy
from keyborn.service.roots import RootNames

Rows = Callable[[], Sequence[Mapping[str, Any]]]
_log = logging.getLogger("keyborn.ca")


class Listening:
    """What of a running server depends on the roots: the authority, its certificate, the listeners' trust."""

    def __init__(self, authority: EmbeddedAuthority, identity: ServiceIdentity) -> None:
        self._authority = authority
        self._identity = identity
        self._contexts: list[LiveContext] = []

    @property
    def certificate(self) -> Path:
        """The file of the service's key and chain."""
        return self._identity.server_chain_path

    def client_ca_pem(self) -> str:
        """What listeners trust for clients, PEM."""
        return self._authority.client_ca_pem()

    @property
    def authority(self) -> EmbeddedAuthority:
        """As it is now, whatever it was."""
        return self._authority

    def context(self, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """A listener's context, whose certificate and trust follow; ``make`` may raise OSError."""

        def _served() -> ssl.SSLContext:
            made = make()
            self._identity.serve(made)
            return made

        live = LiveContext(_served)
        self._contexts.append(live)
        return live.context

    def adopt(self, material: Material) -> None:
        """Go on with other roots: new connections see them, open ones stay.

        A certificate that cannot be written is a trouble of the disk, and the one before still serves: it is
        logged, and the next look tries again.
        """
        self._authority.adopt(material)
        try:
            self._identity.renew_if_due()
        except (KeybornError, OSError) as trouble:
            _log.warning("the service certificate is still that of the old root: %s", trouble)
        for context in self._contexts:
            try:
                context.refresh()
            except OSError as trouble:
                _log.warning("a listener trusts what it trusted before, until a restart: %s", trouble)


class FolderRoots:
    """Implements ``ports.RootKeeper``; whoever uses it holds the folder's lock."""

    def __init__(
        self,
        folder: DataFolder,
        clock: Clock,
        entropy: Entropy,
        *,
        passphrase: bytes | None = None,
        adopt: Callable[[Material], Awaitable[None]] | None = None,
    ) -> None:
        """``adopt`` takes over what has changed."""
        self._folder = folder.authority
        self._clock = clock
        self._entropy = entropy
        self._passphrase = passphrase
        self._adopt = adopt
        self._turn = asyncio.Lock()

    async def introduce(self) -> None:
        """See ``RootKeeper.introduce``."""
        await self._change(partial(introduce_root, entropy=self._entropy))

    async def switch(self, *, back: bool) -> None:
        """See ``RootKeeper.switch``."""
        await self._change(partial(switch_root, back=back))

    async def retire(self) -> None:
        """See ``RootKeeper.retire``."""
        await self._change(retire_root)

    async def _change(self, change: Callable[..., Material]) -> None:
        """In a worker thread: a passphrase takes its time, and so may a disk."""
        async with self._turn:
            now, passphrase = self._clock.now(), self._passphrase
            material = await asyncio.to_thread(change, self._folder, now=now, passphrase=passphrase)
            if self._adopt is not None:
                await self._adopt(material)


def root_names(rows: Rows) -> Callable[[], RootNames]:
    """How the authority stands, from the rows of its certificates."""
    return lambda: _names({row["role"]: row for row in rows()})


def _names(known: Mapping[str, Mapping[str, Any]]) -> RootNames:
    roots = [known[role] for role in ("root", "next-root", "old-root") if role in known]
    old = known.get("old-devices")
    issuer = (
        b"" if old is None else x509.load_pem_x509_certificate(old["pem"].encode()).subject.public_bytes()
    )
    return RootNames(
        newest=root_set(ssl.PEM_cert_to_DER_cert(row["pem"]) for row in roots),
        present=known["root"]["name"],
        following=known["next-root"]["name"] if "next-root" in known else None,
        old=known["old-root"]["name"] if "old-root" in known else None,
        old_issuer=issuer,
    )
