"""Where each kind of item lies: partition key and sort key.

Lists are partitions, so that a page is one strongly consistent query: there is no index to wait for.
"""

from datetime import UTC, datetime, timedelta

from keyborn.adapters.aws.table.draft import Key
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.approval import ApprovalId, ApprovalState
from keyborn.domain.certificate import Certificate
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, GroupName, KeyHash, ThingName, fold_name
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import TokenId

TOKENS, POLICIES, OPEN = "token", "policy", "open"
EVENTS, AUDIT, OWED, DIRT = "event", "audit", "owed", "dirt"
SUCCESSORS = "next"
"""Certificates that wait beside their predecessors, by the first moment of their validity."""
SEEN = "seen"
"""Who has connected, by certificate; the template's ``SeenRule`` writes it."""
GROUPS = "group"
"""Enrolment groups; nobody who enrols writes here, as in every partition of what an operator decides."""
APPROVALS = {
    ApprovalState.PENDING: "asked",
    ApprovalState.APPROVED: "approved",
    ApprovalState.REFUSED: "refused",
}
"""Requests that wait for a person: who asks writes to the first, who decides to the others."""
CHECKPOINTS = "check"
"""Signed checkpoints, by the number of the record that they are about."""
NOTARY: Key = ("notary", "-")
"""The private key that signs them, which no enrolment may read."""
NOTARIES = "notaries"
"""The public keys of all that ever signed them, in the order they were made."""
HEAD: Key = ("head", "-")
"""The end of the audit chain."""
SEAL: Key = ("seal", "-")
"""The key under which the secrets of tokens are sealed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970; what is finer is cut off."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The moment, aware, UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def sortable(moment: datetime) -> str:
    """A moment as 13 digits, which sort."""
    return f"{to_ms(moment):013}"


def thing(kind: ThingKind, name: ThingName) -> Key:
    """A record with all that changes together with it."""
    return (kind.value, name)


def name_guard(name: ThingName) -> Key:
    """Holds a name in every spelling, for both kinds."""
    return (f"name#{fold_name(name)}", "-")


def public_key(key: KeyHash) -> Key:
    """Whose a key is."""
    return (f"key#{key}", "-")


def certificate(certificate_id: CertificateId) -> Key:
    """A certificate."""
    return (f"cert#{certificate_id}", "-")


def certificates_of(name: ThingName) -> str:
    """The partition that lists a thing's certificates in the order they were stored."""
    return f"certs#{name}"


def intent(intent_id: IntentId) -> Key:
    """What an intent was for, open or not."""
    return (f"intent#{intent_id}", "-")


def serial(number: int) -> Key:
    """A serial number that has been used."""
    return (f"serial#{number:040x}", "-")


def waiting(one: Intent) -> Key:
    """An open intent in the list, oldest first."""
    return (OPEN, f"{sortable(one.created_at)}#{one.id}")


def token(token_id: TokenId) -> Key:
    """An enrolment token."""
    return (TOKENS, token_id)


def secret(token_id: TokenId, digest: bytes) -> Key:
    """That an operator made this token of the secret with this SHA-256; it never changes."""
    return (f"secret#{token_id}#{digest.hex()}", "-")


def group_key(token_id: TokenId) -> Key:
    """The key of a group key: apart, so that who reads the list of tokens need not be able to read it."""
    return (f"groupkey#{token_id}", "-")


def redemption(token_id: TokenId, name: ThingName, key: KeyHash) -> Key:
    """That a token, or another account, has been charged with a thing and a key."""
    return (f"paid#{token_id}", f"{name}#{key}")


def account(account_id: TokenId) -> Key:
    """How often an account that is no token has been charged: it is there from its first charge on."""
    return (f"account#{account_id}", "-")


def group(name: GroupName) -> Key:
    """An enrolment group's document."""
    return (GROUPS, name)


def rule(name: GroupName) -> Key:
    """That a group stands: small, for every claim under it demands that, and a document may have 64 KB."""
    return (f"rule#{name}", "-")


def registered(key: KeyHash) -> Key:
    """A key that was announced."""
    return (f"registered#{key}", "-")


def registered_in(name: GroupName) -> str:
    """The partition that lists a group's announced keys."""
    return f"announced#{name}"


def approval(state: ApprovalState, approval_id: ApprovalId) -> Key:
    """A request for a person, in the list of those that stand so."""
    return (APPROVALS[state], approval_id)


def tally(name: GroupName) -> Key:
    """How many requests of a group wait for a person, and until when."""
    return (f"waiting#{name}", "-")


def successor(one: Certificate) -> Key:
    """A certificate that waits to take over, the one valid for longest first."""
    return (SUCCESSORS, f"{sortable(one.not_before)}#{one.id}")


def nonce(word: bytes) -> Key:
    """That a nonce has been spent."""
    return (f"nonce#{word.hex()}", "-")


def policy(name: PolicyName) -> Key:
    """An access policy."""
    return (POLICIES, name)


def users_of(name: PolicyName) -> str:
    """The partition of the things that have a policy by name."""
    return f"users#{name}"


def givers_of(name: PolicyName) -> str:
    """The partition of the tokens that would give a policy."""
    return f"givers#{name}"


def record(sequence: int) -> Key:
    """A record of the audit trail."""
    return (AUDIT, f"{sequence:012}")


def checkpoint(sequence: int) -> Key:
    """A signed checkpoint about a record."""
    return (CHECKPOINTS, f"{sequence:012}")
