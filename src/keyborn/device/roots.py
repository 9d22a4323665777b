"""The roots that this device believes, kept as the service's trust bundle is: old and new side by side.

What the service shows on a verified connection is taken over, within bounds. Every member is an authority;
what has expired is left out. A root is dropped only after service and broker have both proved themselves
under those that are kept: a mistake in a bundle does not lock a device out for ever.

Two files change together, ``roots.pem`` and ``device.toml``, which binds it. The new roots are stored as
``roots.next`` first; then the settings name them, and from here the change is finished, not undone; and last
they get their name. ``finish`` does after a crash what is left to do.
"""

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from keyborn.device import files, identity, tls
from keyborn.device.home import Home
from keyborn.domain.errors import FileNotPrivate, WrongAnswer, WrongCertificate

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True, slots=True)
class Change:
    """Another set of roots than the device has."""

    roots_pem: str
    """All of the new set, as the service orders them."""
    kept_pem: str
    """Those of them that the device believes already; empty where it has none of them."""
    added: tuple[str, ...]
    """Names, for people."""
    dropped: tuple[str, ...]

    @property
    def told(self) -> str:
        """What happens, in a sentence."""
        parts = [("new", self.added), ("gone", self.dropped)]
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts if names)


def weigh(bundle: bytes, present_pem: str, moment: datetime, *, url: str) -> Change | None:
    """What a bundle changes in the present roots, at a ``moment`` that is the service's; None is nothing.

    Raises WrongAnswer for a bundle that no device should believe.
    """
    from keyborn.device import verify

    try:
        shown = list(dict.fromkeys(verify.read_many(bundle.decode("ascii", "replace"))))
        present = verify.read_many(present_pem)
        usable = [root for root in shown if verify.is_authority_until(root) > moment]
    except WrongCertificate as wrong:
        raise WrongAnswer(url=url, detail=f"its trust bundle: {wrong.facts['detail']}") from None
    if not usable:
        raise WrongAnswer(url=url, detail="its trust bundle holds no root that is still valid")
    if set(usable) == set(present):
        return None
    roots_pem = verify.to_pem(usable)
    try:
        tls.verifying_context(roots_pem)
    except ssl.SSLError:
        # whatever else reads it: it could not be undone, for nobody would be believed any more
        detail = "its trust bundle: TLS itself cannot read it"
        raise WrongAnswer(url=url, detail=detail) from None
    return Change(
        roots_pem=roots_pem,
        kept_pem=verify.to_pem([root for root in usable if root in present]),
        added=_names([root for root in usable if root not in present]),
        dropped=_names([root for root in present if root not in usable]),
    )


def steps(home: Home, change: Change) -> list[files.Step]:
    """Put the new roots in the place of the present ones; the home is settled, and its lock is held."""
    data = change.roots_pem.encode()
    own = replace(identity.read_settings(home), roots_hash=identity.file_hash(data))
    return [
        *files.replacement_steps(home.next_roots, data),
        *files.replacement_steps(home.settings, identity.to_toml(own).encode()),
        *_naming(home),
    ]


def finish(home: Home) -> list[files.Step]:
    """After a crash: name the new roots, if the settings bind them by now; else forget them."""
    if not os.path.lexists(home.next_roots):
        return []
    if _bound(home):
        return _naming(home)
    return [
        files.Step(f"remove {home.next_roots.name}", partial(files.remove, home.next_roots)),
        files.Step(f"sync the folder of {home.next_roots.name}", partial(files.sync_folder, home.path)),
    ]


def _naming(home: Home) -> list[files.Step]:
    return [
        files.Step(f"rename {home.roots.name}", partial(files.move, home.next_roots, home.roots)),
        files.Step(f"sync the folder of {home.roots.name}", partial(files.sync_folder, home.path)),
    ]


def _bound(home: Home) -> bool:
    try:
        found = identity.file_hash(files.read_private(home.next_roots, identity.MAX_FILE))
        return found == identity.read_settings(home).roots_hash
    except (OSError, ValueError, FileNotPrivate):
        return False


def _names(roots: "Sequence[x509.Certificate]") -> tuple[str, ...]:
    """A name and the beginning of the fingerprint; a bundle's names are not ours: what is odd is left out."""
    from cryptography.hazmat.primitives.hashes import SHA256

    return tuple(f"{_plain(_subject(root))} ({root.fingerprint(SHA256()).hex()[:8]})" for root in roots)


def _subject(root: "x509.Certificate") -> str:
    """Nothing but people reads it: one that cannot be parsed is no reason to distrust what OpenSSL takes."""
    try:
        return root.subject.rfc4514_string()
    except ValueError:
        return "a name that cannot be read"


def _plain(text: str) -> str:
    return "".join(c for c in text[:100] if c.isascii() and c.isprintable())
