"""The registry as another process reads it: look-ups by key, past the writer, and nothing that writes.

SQLite's write-ahead log lets any number of processes read what has been committed while one writes.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

from keyborn.adapters.sql import grouping, rows
from keyborn.adapters.sql.reads import Reader
from keyborn.domain.approval import Approval, ApprovalId
from keyborn.domain.certificate import Certificate
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import CertificateId, GroupName, KeyHash, ThingName
from keyborn.domain.registered import RegisteredKey
from keyborn.domain.thing import Thing
from keyborn.domain.token import EnrollmentToken, TokenId

_MOST = 256
"""Tokens that are remembered."""
_STANDS = 0.02
"""Seconds for which what is remembered stands without a question: each one takes and gives back a lock of the
file. A token that was withdrawn within them is refused by the claim, which asks in its own transaction."""


class LookingRegistry:
    """What requests of devices read of a registry that somebody else keeps; its connection cannot write."""

    def __init__(self, path: Path, *, seconds: Callable[[], float] = time.monotonic) -> None:
        """Touches no file yet."""
        self._lookups = Reader(path)
        self._seconds = seconds
        self._version, self._until = -1, -math.inf
        self._tokens: dict[TokenId, EnrollmentToken] = {}
        """Those found since somebody else last committed."""

    def open(self) -> None:
        """Connect; raises sqlite3.Error. Whoever keeps the registry has opened it before."""
        self._lookups.open()

    def close(self) -> None:
        """Disconnect. Repeating is harmless."""
        self._lookups.close()

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        """See ``Tokens.find``. A token is read once, as long as nobody commits anything.

        What is remembered may be older than the last commit by a fiftieth of a second.
        """
        self._refresh()
        known = self._tokens.get(token)
        if known is not None:
            return known
        found = self._lookups.one(rows.token_use, rows.TOKENS + "WHERE id = ?", token)
        if found is None:
            return None
        if len(self._tokens) < _MOST:
            self._tokens[token] = found.token
        return found.token

    def _refresh(self) -> None:
        """Forget what is remembered, if anybody has committed since it was read."""
        now = self._seconds()
        if now < self._until:
            return
        version = self._lookups.version()
        if version != self._version:
            self._version = version
            self._tokens.clear()
        self._until = now + _STANDS

    async def thing(self, name: ThingName) -> Thing | None:
        """See ``Fleet.thing``."""
        return self._lookups.one(rows.thing, rows.THINGS + "WHERE name = ?", name)

    async def certificate(self, certificate: CertificateId) -> Certificate | None:
        """See ``DeviceDirectory.certificate``."""
        return self._lookups.one(rows.certificate, rows.CERTIFICATES + "WHERE id = ?", certificate)

    async def group(self, name: GroupName) -> GroupDocument | None:
        """See ``Groups.group``."""
        return self._lookups.one(grouping.group, grouping.GROUPS + "WHERE name = ?", name)

    async def registered(self, key: KeyHash) -> RegisteredKey | None:
        """See ``RegisteredKeys.registered``."""
        return self._lookups.one(grouping.registered, grouping.REGISTERED + "WHERE key_hash = ?", key)

    async def approval(self, approval: ApprovalId) -> Approval | None:
        """See ``Approvals.approval``."""
        return self._lookups.one(grouping.read_approval, grouping.APPROVALS + "WHERE id = ?", approval)
