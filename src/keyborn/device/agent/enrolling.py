"""An agent that enrolls by itself: a fresh device finds a code in its home, and needs nobody.

One try each; when to try again, the journey decides. The code is removed once the identity is on disk: a
device that loses its power in between does so at its next start.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import FileNotPrivate, InvalidCode, OtherService

FILE = "enroll.code"
"""In the home; 0600, as everything there."""
SECONDS = 30.0
"""For one try."""


@dataclass(frozen=True, slots=True)
class FirstWish:
    """What the first identity shall be; None leaves it to the device."""

    code: Path | None = None
    """The file with the enrolment code; None is ``FILE`` in the home."""
    thing: str | None = None
    key_type: str | None = None
    subject: str = ""
    group: str | None = None


class Enroller:
    """Implements ``keyborn.device.journey.Enrollment`` for the code in a file."""

    def __init__(self, home: Home, around: Surroundings, wish: FirstWish) -> None:
        self._home = home
        self._around = around
        self._wish = wish
        self._left = ""
        self.path = wish.code or home.path / FILE

    def has_code(self) -> bool:
        """Whether there is something to enroll with; an empty file is nothing."""
        try:
            return self.path.lstat().st_size > 0
        except OSError as wrong:
            return not isinstance(wrong, FileNotFoundError | NotADirectoryError)

    def __call__(self) -> object:
        """Enroll, with one try; raises as ``keyborn.device.enroll.enroll`` does."""
        from keyborn.device.code_file import read_code
        from keyborn.device.enroll import Wish, enroll

        first = self._wish
        wish = Wish(first.thing, first.key_type, first.subject, group=first.group)
        code = read_code(self.path)
        return enroll(self._home, wish, lambda: code, self._around, timeout=SECONDS, held=True, once=True)

    def spend(self, own: Identity, now: datetime) -> None:
        """Remove the code, once this device has an identity of the service that it is for.

        An identity that has expired keeps it: a person may have put it there for that.
        """
        if not self.has_code() or not own.in_dates(own.time(now)):
            return
        from keyborn.device.code_file import read_code, remove_code
        from keyborn.device.enroll import require_own

        try:
            require_own(self._home, own, read_code(self.path))
            self._around.checkpoint("remove the enrolment code")
            remove_code(self.path)
        except (OtherService, InvalidCode, FileNotPrivate) as wrong:
            self._say(f"The file {self.path} is left alone. {wrong}")
        except OSError as wrong:
            self._say(
                f"The enrolment code in {self.path} is of no use any more. Remove it: {wrong.strerror}."
            )
        else:
            self._say("The enrolment code has done its work and is removed.")

    def _say(self, text: str) -> None:
        """Once."""
        if text != self._left:
            self._left = text
            self._around.say(text)
