"""Where services keep their identities on the server's machine, and how they get them.

``DATA/services/NAME`` is a home like a device's, with a lock of its own: it is the program's folder, not the
server's, though it lies in the same place so that one backup and one set of permissions cover both.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyborn.cli.console import ask
from keyborn.cli.device import surroundings

if TYPE_CHECKING:
    from keyborn.device.home import Home
    from keyborn.device.identity import Identity

WATCH = "keyborn-watch"


def service_home(data: Path, home: Path | None, name: str) -> "Home":
    """The folder of a service: ``home``, or the one in the data folder."""
    from keyborn.device.home import Home

    return Home(Path(os.path.realpath(home if home is not None else data / "services" / name)))


def enroll_service(data: Path, home: Path | None, name: str, code: str, *, quiet: bool) -> dict[str, Any]:
    """Enrol a service into its folder, unless it has its identity; what a person wants to know of it."""
    from keyborn.device.enroll import Wish, enroll
    from keyborn.domain.moment import shown
    from keyborn.domain.token import EnrollmentCode

    place = service_home(data, home, name)
    decoded = EnrollmentCode.decode(code)
    outcome = enroll(place, Wish(name, service=True), lambda: decoded, surroundings(quiet=quiet))
    identity = outcome.identity
    return {
        "certificateId": identity.certificate_id,
        "notAfter": shown(identity.not_after),
        "obtained": outcome.obtained,
        "home": str(place.path),
        "broker": f"{identity.broker.endpoint}:{identity.broker.port}",
    }


def watcher(data: Path) -> "tuple[Home, Identity]":
    """The identity of ``keyborn watch``, made at first use and again when it has expired."""
    from keyborn.adapters.system import SystemClock
    from keyborn.device.identity import State, assess, require_identity
    from keyborn.policies import watch_policy

    home, clock = service_home(data, None, WATCH), SystemClock()
    if home.missing() or assess(home, clock.now()).state is not State.READY:
        wish = {"name": WATCH, "document": watch_policy(), "replace": True, "own": True}
        invited = ask(data, "POST", "/v1/services", wish)
        enroll_service(data, None, WATCH, invited["code"], quiet=True)
    return home, require_identity(home, clock.now())
