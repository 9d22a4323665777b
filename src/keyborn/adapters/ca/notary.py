"""The key that signs the audit trail's checkpoints, beside the authority's own.

``ca/audit.key`` is the private one, under the authority's passphrase if that has one; ``ca/audit.pub`` lists
the public keys of all that ever signed, one a line in hex, the newest last. Where the private one is moved
away, the next signature makes another; the public ones stay, so that older checkpoints still hold.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from keyborn.adapters.ca import files
from keyborn.adapters.ca.keyfile import KeyLockedError, decode_notary_key, encode_key
from keyborn.adapters.ca.material import Role, has_material, read_certificates
from keyborn.domain.checkpoint import KEY_BYTES, Signed, key_id
from keyborn.domain.errors import CaDamaged, CaLocked, CaMissing
from keyborn.ports import Entropy

KEY, PUBLIC = "audit.key", "audit.pub"


class FolderNotary:
    """Implements ``keyborn.ports.Notary`` for one data folder, whose lock the caller holds.

    Files are read when they are first needed. Every method raises CaMissing, CaDamaged, CaExposed or
    CaFileTrouble.
    """

    def __init__(self, folder: Path, entropy: Entropy, *, passphrase: bytes | None = None) -> None:
        """``folder``: the authority's."""
        self._folder = folder
        self._entropy = entropy
        self._passphrase = passphrase
        self._key: Ed25519PrivateKey | None = None
        self._lock = asyncio.Lock()

    async def service(self) -> str:
        """See ``Notary.service``: the fingerprint of its first root, whatever root issues now."""
        if not has_material(self._folder):
            raise CaMissing(folder=self._folder)
        root = read_certificates(self._folder)[Role.ROOT]
        return f"keyborn:{root.fingerprint(SHA256()).hex()}"

    async def sign(self, text: bytes) -> Signed:
        """See ``Notary.sign``. Raises CaLocked, too, where the passphrase does not open the key."""
        key = await self._opened()
        return Signed(key_id(_public(key)), key.sign(text))

    async def keys(self) -> Sequence[bytes]:
        """See ``Notary.keys``."""
        return self._known()

    async def prepare(self) -> None:
        """Have the key open, or made, before there is something to sign; raises as ``sign``."""
        await self._opened()

    async def _opened(self) -> Ed25519PrivateKey:
        async with self._lock:
            if self._key is None:
                self._key = await asyncio.to_thread(self._open)
            return self._key

    def _open(self) -> Ed25519PrivateKey:
        """The key on disk, made if there is none; its public one is known before it signs."""
        files.require_private_folder(self._folder)
        path = self._folder / KEY
        if not _there(path):
            fresh = Ed25519PrivateKey.from_private_bytes(self._entropy.token_bytes(KEY_BYTES))
            files.replace(path, encode_key(fresh, self._passphrase, self._entropy))
        key = self._read(path)
        known = self._known()
        if _public(key) not in known:
            lines = "".join(f"{one.hex()}\n" for one in [*known, _public(key)])
            files.replace(self._folder / PUBLIC, lines.encode())
        return key

    def _read(self, path: Path) -> Ed25519PrivateKey:
        try:
            return decode_notary_key(files.read_private(path), self._passphrase)
        except KeyLockedError as trouble:
            raise CaLocked(folder=self._folder, detail=trouble) from trouble
        except ValueError as trouble:
            raise CaDamaged(folder=self._folder, detail=f"{KEY} is not an Ed25519 private key") from trouble

    def _known(self) -> list[bytes]:
        path = self._folder / PUBLIC
        if not _there(path):
            return []
        try:
            known = [bytes.fromhex(line) for line in files.read_private(path).decode("ascii").splitlines()]
        except ValueError:
            known = [b""]
        if any(len(one) != KEY_BYTES for one in known):
            raise CaDamaged(folder=self._folder, detail=f"{PUBLIC} is not a list of public keys")
        return known


def _there(path: Path) -> bool:
    with files.translated(path):
        return path.is_symlink() or path.exists()


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
