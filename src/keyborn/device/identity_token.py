"""An identity token that something else on this machine gives and renews: a file, or the environment.

Read anew for each try, for such tokens live for minutes. It is sent over verified TLS and kept nowhere. The
file may be a link and readable by others, as those are that an orchestrator mounts.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from keyborn.domain.errors import IdentityTokenUnusable

VARIABLE = "KEYBORN_JWT"
MAX_TOKEN = 8 * 1024
"""Characters; the service takes no more (``domain.identity_token``, which a device does not load)."""
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class IdentityTokenSource:
    """Where it comes from; one of both is given."""

    file: Path | None = None
    text: str | None = field(default=None, repr=False)

    def read(self) -> str:
        """The token as it is now; raises IdentityTokenUnusable, which never says what was read."""
        word = (self._file() if self.file is not None else self.text or "").strip()
        if not word:
            raise self._unusable("it is empty")
        if len(word) > MAX_TOKEN:
            raise self._unusable(f"it has more than {MAX_TOKEN} characters")
        if not _JWT.fullmatch(word):
            raise self._unusable("it is no JWT, which has three parts of base64url with dots between them")
        return word

    def _file(self) -> str:
        assert self.file is not None
        try:
            with self.file.open("rb") as file:
                return file.read(2 * MAX_TOKEN).decode("ascii", "replace")
        except OSError as wrong:
            raise self._unusable(f"it cannot be read: {wrong.strerror}") from None

    def _unusable(self, detail: str) -> IdentityTokenUnusable:
        return IdentityTokenUnusable(place=self.file or f"${VARIABLE}", detail=detail)
