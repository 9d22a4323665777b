"""The device's home: one folder, 0700, ours, one session at a time (design PROTOCOL "One writer")."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from keyborn.device import files
from keyborn.domain.errors import HomeBusy, HomeUnusable
from keyborn.domain.slots import Slot

PRIVATE_FOLDER = 0o700
SYSTEM_HOME = Path("/var/lib/keyborn")
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one device's identity; the constructor touches nothing."""

    path: Path
    slot: Slot = Slot.CURRENT
    """Which identity is meant by key, certificate and settings. Everything else there is once."""

    def of(self, slot: Slot) -> "Home":
        """The same home, with another of its identities meant."""
        return replace(self, slot=slot)

    @property
    def key(self) -> Path:
        """The private key, PKCS#8 PEM, 0600."""
        return self.path / f"{self.slot}.key"

    @property
    def certificate(self) -> Path:
        """The leaf, then its chain, PEM."""
        return self.path / f"{self.slot}.crt"

    @property
    def roots(self) -> Path:
        """The roots that service and broker must lead to, PEM."""
        return self.path / "roots.pem"

    @property
    def next_roots(self) -> Path:
        """The roots that take the place of the others in a moment."""
        return self.path / "roots.next"

    @property
    def settings(self) -> Path:
        """What the identity is and where it is used; written last."""
        return self.path / f"{self.slot}.toml"

    @property
    def waiting(self) -> Path:
        """What this device shows while a person has to decide about it."""
        return self.path / "waiting.json"

    @property
    def outbox(self) -> Path:
        """Messages that have not been acknowledged."""
        return self.path / "outbox.db"

    def prepare(self) -> None:
        """Make the folder, durably, or check the one that is there; raises HomeUnusable."""
        try:
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            for folder in reversed(missing):  # 0700 each (XDG base directories), whatever the umask
                folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
                files.sync_folder(folder.parent)
        except OSError as wrong:
            raise files.trouble(self.path, wrong) from None
        self.check()

    def missing(self) -> bool:
        """Whether there is nothing of that name; a place that cannot be looked at is not missing."""
        try:
            self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    def check(self) -> None:
        """Raise HomeUnusable unless the folder is there, is ours, and nobody else can enter it."""
        try:
            status = self.path.stat()
        except OSError as wrong:
            raise files.trouble(self.path, wrong) from None
        if not stat.S_ISDIR(status.st_mode):
            raise HomeUnusable(path=self.path, detail="it is not a folder")
        if status.st_uid != os.geteuid():
            owner = _name_of(status.st_uid)
            detail = f"it belongs to the user {owner}, not to you: run this as {owner}"
            raise HomeUnusable(path=self.path, detail=detail)
        if status.st_mode & files.OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise HomeUnusable(path=self.path, detail=f"its mode is {mode:04o}. Run: chmod 700 {self.path}")

    def clean(self) -> None:
        """Remove what a crash left half written; only with the session held."""
        for slot in Slot:
            for leftover in self.path.glob(f"{slot}.*{files.TEMPORARY}"):
                files.remove(leftover)
        for path in (self.roots, self.next_roots, self.waiting):
            files.remove(files.temporary_of(path))

    @contextmanager
    def session(self, *, patience: float = 0.0) -> Iterator[None]:
        """Hold the home; raises HomeBusy if another command still holds it after ``patience`` seconds."""
        descriptor = self._open_lock()
        try:
            self._lock(descriptor, time.monotonic() + patience)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self.path / "lock", flags, files.PRIVATE_FILE)
        except OSError as wrong:
            raise files.trouble(self.path, wrong) from None

    def _lock(self, descriptor: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise HomeBusy(path=self.path) from None
                time.sleep(_POLL)
            else:
                return


def locate_home(chosen: Path | None, environment: Mapping[str, str], *, root: bool) -> Home:
    """The home: ``--home``, ``$KEYBORN_HOME``, /var/lib/keyborn for root, else the XDG state folder."""
    if chosen is None and environment.get("KEYBORN_HOME"):
        chosen = Path(environment["KEYBORN_HOME"])
    if chosen is None:
        chosen = SYSTEM_HOME if root else _state_folder(environment) / "keyborn"
    try:
        return Home(Path(os.path.realpath(chosen.expanduser())))
    except RuntimeError:  # a user without a home folder, as containers have
        raise HomeUnusable(path=chosen, detail="this user has no home folder. Use --home DIR") from None


def _name_of(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # containers have users without a name
        return str(user)


def _state_folder(environment: Mapping[str, str]) -> Path:
    # XDG base directories: a relative path is to be ignored
    state = Path(environment.get("XDG_STATE_HOME", ""))
    return state if state.is_absolute() else Path("~/.local/state")
