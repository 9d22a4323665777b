"""What a registry should do, written a second time, as plainly as possible, from PROTOCOL and the ports.

No code of the adapters or of ``domain.enrollment`` is used: the state machine compares this with the real
ones. Certificates are called by the id of the intent they were signed for.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

HORIZON = timedelta(minutes=15)
DEFAULT = "keyborn-default"
MOST = 10


@dataclass
class ModelToken:
    """A permission, and which (thing, key) pairs it has been spent on, by which intent."""

    pattern: str
    uses: int | None
    replaces: bool
    expires: datetime
    kind: str = "device"
    policies: tuple[str, ...] | None = None
    withdrawn: bool = False
    known: bool = True
    """False for a credential that proves itself: no registry lists it."""
    spent: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class ModelGroup:
    """A group, there or removed, and which pairs it has admitted: ever, and in each hour."""

    there: bool = True
    spent: dict[tuple[str, str], str] = field(default_factory=dict)
    hours: dict[int, dict[tuple[str, str], str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRule:
    """Under which group a claim is, and how many that admits: ever, and in an hour."""

    group: str
    limit: int | None
    most: int | None


@dataclass
class ModelThing:
    """A record; ``grave`` is what to fall back to if a freed name's claim comes to nothing."""

    status: str
    key: str
    kind: str = "device"
    policies: tuple[str, ...] | None = None
    grave: "ModelThing | None" = None
    group: str | None = None
    release: datetime | None = None


@dataclass
class ModelCertificate:
    """One certificate; ``attached`` once it was activated, until it is revoked."""

    intent: str
    thing: str
    key: str
    slot: str
    ends: datetime
    status: str = "inactive"
    attached: bool = False
    connected: bool = False


@dataclass
class ModelIntent:
    """An open intent."""

    id: str
    thing: str
    key: str
    slot: str
    made: datetime
    ends: datetime


def _hour(now: datetime) -> int:
    return int(now.timestamp()) // 3600


class Refused(Exception):
    """The code of the refusal that is expected."""


class Model:
    """The whole registry, as small as it can be."""

    def __init__(self) -> None:
        self.tokens: dict[str, ModelToken] = {}
        self.groups: dict[str, ModelGroup] = {}
        self.things: dict[str, ModelThing] = {}
        self.owners: dict[str, tuple[str, str]] = {}
        self.dead_keys: set[str] = set()
        self.certificates: dict[str, ModelCertificate] = {}
        self.intents: dict[str, ModelIntent] = {}
        self.policies: dict[str, tuple[int, str]] = {}
        """Version and text."""
        self.events = 0

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────

    def claim(self, spent: str, fresh: ModelIntent, rule: ModelRule | None = None) -> tuple[str, str]:
        """``("repeat", intent)`` or ``("issue", intent)``; raises Refused. ``fresh`` is what is asked for."""
        thing, key, now = fresh.thing, fresh.key, fresh.made
        token = self.tokens[spent]
        slot = self._slot(token, thing, key, now, rule)
        held = self._held(thing, slot)
        shortage = self._shortage(token, (thing, key), now, rule)
        late = now >= token.expires
        if held and held.key == key and held.status == "active" and now <= held.ends:
            if late and held.connected:
                raise Refused("token_expired")
            if shortage:
                raise Refused(shortage)
            return "repeat", held.intent
        waiting = self._waiting(thing)
        resumable = waiting is not None and waiting.key == key and now < waiting.ends
        if late and not resumable:
            raise Refused("token_expired")
        if shortage:
            raise Refused(shortage)
        if waiting is None or not resumable:
            fresh.slot = slot
            self._record(fresh, waiting, token, rule)
            waiting = fresh
        self._pay(token, (thing, key), waiting.id, now, rule)
        return "issue", waiting.id

    def _shortage(
        self, token: ModelToken, pair: tuple[str, str], now: datetime, rule: ModelRule | None
    ) -> str:
        """What has no place left for a pair that has not paid."""
        if pair not in token.spent and token.uses is not None and len(token.spent) >= token.uses:
            return "token_exhausted"
        if rule is None or pair in self.groups[rule.group].spent:
            return ""
        group = self.groups[rule.group]
        if rule.limit is not None and len(group.spent) >= rule.limit:
            return "group_full"
        if rule.most is not None and len(group.hours.get(_hour(now), ())) >= rule.most:
            return "group_rate"
        return ""

    def _pay(
        self, token: ModelToken, pair: tuple[str, str], intent: str, now: datetime, rule: ModelRule | None
    ) -> None:
        token.spent.setdefault(pair, intent)
        if rule is None or pair in self.groups[rule.group].spent:
            return
        self.groups[rule.group].spent[pair] = intent
        if rule.most is not None:
            self.groups[rule.group].hours.setdefault(_hour(now), {})[pair] = intent

    def _slot(self, token: ModelToken, thing: str, key: str, now: datetime, rule: ModelRule | None) -> str:
        """Everything that is refused whatever has been issued; else the slot that the attempt is about."""
        self._permit(token, thing, key, now, rule)
        record = self.things.get(thing)
        may_replace = token.replaces and token.pattern == thing
        gone = record is not None and record.status in ("revoked", "retired")
        if record and record.kind != token.kind:
            raise Refused("thing_name_taken")
        if record and (record.status == "suspended" or (gone and not may_replace)):
            raise Refused("thing_revoked")
        if record is None or gone or record.key == key:
            return "current"
        successor, waiting = self._held(thing, "successor"), self._waiting(thing)
        pending = {waiting.key} if waiting else set()
        if successor and now <= successor.ends:
            pending.add(successor.key)
        paid = (thing, key) in token.spent or (rule and (thing, key) in self.groups[rule.group].spent)
        released = record.release is not None and now < record.release
        if not (may_replace or released or (paid and key in pending)):
            raise Refused("thing_name_taken")
        if pending - {key}:
            raise Refused("replacement_pending")
        return "successor"

    def _permit(self, token: ModelToken, thing: str, key: str, now: datetime, rule: ModelRule | None) -> None:
        """Rules about the permission, the key and the spelling of the name."""
        if token.withdrawn:
            raise Refused("credential_refused")
        if rule and not self.groups[rule.group].there:
            raise Refused("group_unknown")
        if now >= token.expires and (thing, key) not in token.spent:
            raise Refused("token_expired")
        if not fnmatchcase(thing, token.pattern):
            raise Refused("name_not_permitted")
        if key in self.dead_keys:
            raise Refused("key_revoked")
        if self.owners.get(key, (thing, ""))[0] != thing:
            raise Refused("key_in_use")
        if any(other != thing and other.lower() == thing.lower() for other in self.things):
            raise Refused("thing_name_case")

    def _record(
        self, fresh: ModelIntent, old: ModelIntent | None, token: ModelToken, rule: ModelRule | None
    ) -> None:
        if old:
            del self.intents[old.id]
            self._revoke_staged(old)
            if old.key == fresh.key:
                self._hand_over(old.id, fresh.id)
            else:
                self._take_back(old)
        record = self.things.get(fresh.thing)
        if record is None:
            made = ModelThing("claimed", fresh.key, token.kind, token.policies)
            made.group = rule.group if rule else None
            self.things[fresh.thing] = made
        elif record.status in ("revoked", "retired"):
            grave = ModelThing(record.status, record.key, record.kind, record.policies)
            granted = record.policies if token.policies is None else token.policies
            self.things[fresh.thing] = ModelThing(
                "claimed", fresh.key, token.kind, granted, grave, record.group
            )
        elif fresh.slot == "successor":
            record.release = None
        self.owners.setdefault(fresh.key, (fresh.thing, fresh.id))
        self.intents[fresh.id] = fresh

    def _hand_over(self, old: str, new: str) -> None:
        for spent in self._accounts():
            spent |= {pair: new for pair, by in spent.items() if by == old}
        self.owners = {key: (thing, new if by == old else by) for key, (thing, by) in self.owners.items()}

    def _take_back(self, intent: ModelIntent) -> None:
        for spent in self._accounts():
            for pair in [pair for pair, by in spent.items() if by == intent.id]:
                del spent[pair]
        record = self.things.get(intent.thing)
        owns_the_name = record is not None and record.key == intent.key
        if self.owners.get(intent.key, ("", ""))[1] == intent.id and not owns_the_name:
            del self.owners[intent.key]

    def _accounts(self) -> list[dict[tuple[str, str], str]]:
        tokens, groups = self.tokens.values(), self.groups.values()
        return [
            *(one.spent for one in tokens),
            *(one.spent for one in groups),
            *(hour for one in groups for hour in one.hours.values()),
        ]

    def _revoke_staged(self, intent: ModelIntent) -> None:
        if intent.id in self.certificates:
            self.certificates[intent.id].status = "revoked"

    def store(self, intent: str, thing: str, key: str, slot: str, ends: datetime) -> None:
        """Keep it, or find that somebody did; raises Refused."""
        known = self.certificates.get(intent)
        if known and known.status != "revoked":
            return
        if intent not in self.intents:
            raise self._gone(thing)
        self.certificates[intent] = ModelCertificate(intent, thing, key, slot, ends)

    def activate(self, intent: str, thing: str) -> None:
        """Make it active; raises Refused."""
        known = self.certificates.get(intent)
        if known is None:
            raise Refused("enrollment_interrupted")
        if intent not in self.intents:
            if known.status == "active":
                return
            raise self._gone(thing)
        if self.things[thing].status == "suspended":
            raise Refused("thing_revoked")
        before = self._held(thing, known.slot)
        if before:
            before.status, before.attached = "revoked", False
        known.status, known.attached = "active", True
        record = self.things[thing]
        record.status, record.grave = "active", None
        del self.intents[intent]
        self.events += 1

    def _gone(self, thing: str) -> Refused:
        record = self.things.get(thing)
        stopped = record is not None and record.status in ("suspended", "revoked", "retired")
        return Refused("thing_revoked" if stopped else "enrollment_interrupted")

    # ── afterwards ────────────────────────────────────────────────────────────────────────────────────

    def withdraw(self, token: str) -> None:
        """End a token."""
        self.events += not self.tokens[token].withdrawn
        self.tokens[token].withdrawn = True

    def order(self, thing: str, status: str) -> None:
        """The operator's order; raises Refused."""
        record = self.things.get(thing)
        if record is None:
            raise Refused("not_found")
        if record.status == status:
            return
        ending = status in ("revoked", "retired")
        if (record.status in ("revoked", "retired") and not ending) or (
            status == "active" and record.status != "suspended"
        ):
            raise Refused("thing_revoked")
        self.events += 1
        mine = [one for one in self.certificates.values() if one.thing == thing]
        if ending:
            for one in mine:
                one.status, one.attached = "revoked", False
            self.dead_keys |= {key for key, (owner, _) in self.owners.items() if owner == thing}
            self.intents = {name: one for name, one in self.intents.items() if one.thing != thing}
            record.status, record.grave, record.release = status, None, None
            return
        held = [one for one in mine if one.attached]
        for one in held:
            one.status = "inactive" if status == "suspended" else "active"
        record.status = status if held or status == "suspended" else "claimed"

    # ── groups ────────────────────────────────────────────────────────────────────────────────────────

    def put_group(self, group: str) -> None:
        """Have it; what was counted before it was removed still counts."""
        known = self.groups.setdefault(group, ModelGroup(there=False))
        self.events += not known.there
        known.there = True

    def remove_group(self, group: str) -> None:
        """Forget it; raises Refused."""
        if group not in self.groups or not self.groups[group].there:
            raise Refused("not_found")
        self.groups[group].there = False
        self.events += 1

    def release(self, thing: str, until: datetime | None) -> None:
        """Let another key be brought until then; raises Refused."""
        record = self.things.get(thing)
        if record is None:
            raise Refused("not_found")
        if record.status in ("revoked", "retired"):
            raise Refused("thing_revoked")
        self.events += record.release != until
        record.release = until

    def move(self, thing: str, group: str | None) -> None:
        """Put a thing under another group; raises Refused."""
        record = self.things.get(thing)
        if record is None or (group is not None and not self.groups[group].there):
            raise Refused("not_found")
        self.events += record.group != group
        record.group = group

    # ── access policies ───────────────────────────────────────────────────────────────────────────────

    def put(self, policy: str, text: str) -> None:
        """Keep a text; the same one is no change."""
        version, known = self.policies.get(policy, (0, ""))
        if known != text:
            self.policies[policy] = (version + 1, text)
            self.events += 1

    def remove(self, policy: str, now: datetime) -> None:
        """Forget it; raises Refused."""
        if policy == DEFAULT:
            raise Refused("policy_in_use")
        if policy not in self.policies:
            raise Refused("not_found")
        givers = [one.policies or () for one in self.tokens.values() if self._redeemable(one, now)]
        holders = [one.policies or () for one in self.things.values()]
        if any(policy in names for names in (*givers, *holders)):
            raise Refused("policy_in_use")
        del self.policies[policy]
        self.events += 1

    def _redeemable(self, token: ModelToken, now: datetime) -> bool:
        left = token.uses is None or len(token.spent) < token.uses
        return left and not token.withdrawn and now < token.expires

    def attach(self, thing: str, policy: str) -> None:
        """One more; what was there by default is there by name then. Raises Refused."""
        record = self.things.get(thing)
        if record is None or policy not in self.policies:
            raise Refused("not_found")
        before = self.in_force(thing)
        after = before if policy in before else (*before, policy)
        if len(after) > MOST:
            raise Refused("too_many_policies")
        self.events += after != record.policies
        record.policies = after

    def detach(self, thing: str, policy: str) -> None:
        """One less, or none at all; raises Refused."""
        record = self.things.get(thing)
        if record is None:
            raise Refused("not_found")
        before = self.in_force(thing)
        if policy in before:
            self.events += 1
            record.policies = tuple(name for name in before if name != policy)

    def in_force(self, thing: str) -> tuple[str, ...]:
        """The names of what decides for a thing."""
        names = self.things[thing].policies
        return (DEFAULT,) if names is None else names

    def badge(self, certificate: str) -> tuple[str, list[tuple[str, int]]] | None:
        """Status of the certificate, and names and versions of the policies that are there."""
        known = self.certificates[certificate]
        if known.thing not in self.things:
            return None
        there = [name for name in self.in_force(known.thing) if name in self.policies]
        return known.status, [(name, self.policies[name][0]) for name in there]

    # ── connections, the sweeper ──────────────────────────────────────────────────────────────────────

    def connect(self, certificate: str, now: datetime) -> None:
        """The first connection of a live certificate."""
        met = self.certificates[certificate]
        if met.connected or met.status != "active" or now > met.ends:
            return
        met.connected = True
        if met.slot == "current":
            return
        record = self.things[met.thing]
        waiting = self._waiting(met.thing)
        if waiting and waiting.slot == "current":
            self.drop(waiting.id)
            self.events -= 1
        before = self._held(met.thing, "current")
        if before:
            before.status, before.attached = "revoked", False
        met.slot = "current"
        self.dead_keys.add(record.key)
        record.key = met.key
        self.events += 1

    def drop(self, intent: str) -> None:
        """What the sweeper does to one open intent."""
        dropped = self.intents.pop(intent)
        self.events += 1
        self._revoke_staged(dropped)
        record = self.things[dropped.thing]
        if record.status == "claimed":
            mine = [key for key, (owner, _) in self.owners.items() if owner == dropped.thing]
            for key in set(mine) - self.dead_keys:
                del self.owners[key]
            if record.grave:
                record.grave.group = record.group
                self.things[dropped.thing] = record.grave
            else:
                del self.things[dropped.thing]
        self._take_back(dropped)

    def _held(self, thing: str, slot: str) -> ModelCertificate | None:
        held = [
            one
            for one in self.certificates.values()
            if one.attached and (one.thing, one.slot) == (thing, slot)
        ]
        assert len(held) <= 1
        return held[0] if held else None

    def _waiting(self, thing: str) -> ModelIntent | None:
        return next((one for one in self.intents.values() if one.thing == thing), None)
