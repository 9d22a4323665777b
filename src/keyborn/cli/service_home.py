"""Where services keep their identities on the operator's machine, and how they get them.

``DATA/services/NAME`` is a home like a device's, with a lock of its own: it is the program's folder, not the
server's, though it lies in the same place so that one set of permissions covers both. The
services of a stack on AWS have theirs in a folder of that stack in the operator's state.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyborn.cli.console import Refused, place
from keyborn.cli.desk import Desk
from keyborn.cli.device import surroundings
from keyborn.domain.errors import IdentityTakenAway, NotFound

if TYPE_CHECKING:
    from keyborn.device.home import Home
    from keyborn.device.identity import Identity


def service_home(desk: Desk, home: Path | None, name: str) -> "Home":
    """The folder of a service: ``home``, or its own among the office's."""
    from keyborn.device.home import Home

    return Home(Path(os.path.realpath(home if home is not None else desk.services() / name)))


def enroll_service(desk: Desk, home: Path | None, name: str, code: str, *, quiet: bool) -> dict[str, Any]:
    """Enrol a service into its folder, unless it has its identity; what a person wants to know of it."""
    from keyborn.device.enroll import Wish, enroll
    from keyborn.domain.moment import shown
    from keyborn.domain.token import EnrollmentCode

    folder = service_home(desk, home, name)
    decoded = EnrollmentCode.decode(code)
    outcome = enroll(folder, Wish(name, service=True), lambda: decoded, surroundings(quiet=quiet))
    identity = outcome.identity
    return {
        "certificateId": identity.certificate_id,
        "notAfter": shown(identity.not_after),
        "obtained": outcome.obtained,
        "home": str(folder.path),
        "broker": f"{identity.broker.endpoint}:{identity.broker.port}",
    }


def require_kept(desk: Desk, home: Path | None, name: str, remedy: str) -> None:
    """Raise IdentityTakenAway where the folder's identity is one that has been revoked."""
    from keyborn.adapters.system import SystemClock
    from keyborn.device.identity import assess

    folder = service_home(desk, home, name)
    held = None if folder.missing() else assess(folder, SystemClock().now()).identity
    if held is not None and held.thing == name and held.certificate_id in _revoked(desk, name):
        raise IdentityTakenAway(service=name, path=folder.path, remedy=remedy)


def _revoked(desk: Desk, name: str) -> set[str]:
    """The revoked certificates of a record; none where there is no such record."""
    try:
        rows = desk.ask("GET", f"/v1/things/{place(name)}")["certificates"]
    except Refused as refused:
        if refused.code != NotFound.code:
            raise
        return set()
    return {row["certificateId"] for row in rows if row["status"] == "revoked"}


def watcher(desk: Desk) -> "tuple[Home, Identity]":
    """The identity of ``keyborn watch``, made at first use, and again when it has expired.

    And again after a change of the root: nobody renews it. Raises IdentityTakenAway.
    """
    from keyborn.adapters.system import SystemClock
    from keyborn.device.forget import forget
    from keyborn.device.identity import State, assess, require_identity
    from keyborn.policies import watch_policy

    require_kept(desk, None, desk.watcher, "watch again: it gets a new one")
    home, clock = service_home(desk, None, desk.watcher), SystemClock()
    ready = not home.missing() and assess(home, clock.now()).state is State.READY
    if ready and desk.has_roots and not _follows(home, desk):
        forget(home)
        ready = False
    if not ready:
        wish = {"name": desk.watcher, "document": watch_policy(), "replace": True, "own": True}
        invited = desk.ask("POST", "/v1/services", wish)
        enroll_service(desk, None, desk.watcher, invited["code"], quiet=True)
    return home, require_identity(home, clock.now())


def _follows(home: "Home", desk: Desk) -> bool:
    """Whether the authority that issues now has signed this identity, and is believed by it."""
    from keyborn.device import verify

    known = {row["role"]: verify.read_one(row["pem"]) for row in desk.ask("GET", "/v1/authorities")}
    leaf = verify.read_many(home.certificate.read_text())[0]
    return leaf.issuer == known["devices"].subject and known["root"] in verify.read_many(
        home.roots.read_text()
    )
