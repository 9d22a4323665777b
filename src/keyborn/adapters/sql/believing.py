"""What things say of the roots that they believe."""

from datetime import datetime

from keyborn.adapters.sql import renewing, rows
from keyborn.adapters.sql.session import Session
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import require_reporter
from keyborn.domain.roots import Belief, RootSet

_COUNTS = "t.status IN ('active', 'suspended') AND t.name NOT LIKE 'keyborn%' "
"""No thing has such a name but Keyborn's own services (``domain.names.RESERVED_PREFIX``)."""
_HERE = "FROM things t LEFT JOIN beliefs b ON b.thing = t.name WHERE " + _COUNTS
_OF_ISSUER = (
    "AND EXISTS (SELECT 1 FROM attachments a JOIN certificates c ON c.id = a.certificate"
    " WHERE a.thing = t.name AND c.not_after > ? AND instr(c.der, ?)) "
)
"""An issuer's name has a space in it, a thing's has none: so nothing else in the DER is taken for it."""
_HOLDING = "FROM things t WHERE " + _COUNTS + _OF_ISSUER
HOLDERS = "SELECT t.name " + _HOLDING + "AND t.name > ? ORDER BY t.name LIMIT ?"
COUNT_HOLDERS = "SELECT count(*) " + _HOLDING
BELIEF = "SELECT thing, roots, since FROM beliefs WHERE thing = ?"
SETS = "SELECT b.roots, count(*) " + _HERE + "GROUP BY b.roots"
LACKING = (
    "SELECT t.name, b.roots, b.since " + _HERE + "AND b.roots IS NOT ? AND t.name > ? ORDER BY t.name LIMIT ?"
)


def note(session: Session, certificate: CertificateId, roots: RootSet, at: datetime) -> None:
    """See ``TrustReports.note_roots``."""
    signer, thing = renewing.signer_of(session, certificate)
    name = require_reporter(thing, signer, at).name
    session.run(
        "INSERT INTO beliefs (thing, roots, since) VALUES (?, ?, ?) "
        "ON CONFLICT (thing) DO UPDATE SET roots = excluded.roots, since = excluded.since"
        " WHERE roots <> excluded.roots",
        name,
        roots,
        rows.to_ms(at),
    )


def belief(row: rows.Row) -> Belief:
    """Read the columns of BELIEF and LACKING."""
    name, roots, since = row
    return Belief(ThingName(name), roots, rows.maybe_moment(since))


def count(row: rows.Row) -> tuple[RootSet | None, int]:
    """Read the columns of SETS."""
    roots, things = row
    return roots, things


def number(row: rows.Row) -> int:
    """Read COUNT_HOLDERS."""
    [things] = row
    return int(things)
