"""Enrolment on the device: key, request, verification, storage; once, and repaired where interrupted.

Every effect has a name and is announced before it happens. A run that dies at any of them leaves a home in
which the next run continues: with the same key, and without a request once everything is there.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keyborn.device import files, https, identity, keys, slots
from keyborn.device.answer import Enrolled
from keyborn.device.client import EnrollmentClient
from keyborn.device.home import Home
from keyborn.device.identity import Identity, Standing, State
from keyborn.device.identity_token import IdentityTokenSource
from keyborn.device.keystore import FileKeyStore, require_sound
from keyborn.device.pace import Deadline
from keyborn.device.strangers import is_passing
from keyborn.device.subject import Subject, parse_subject, remembered
from keyborn.device.surroundings import Surroundings
from keyborn.device.trust import Trust, check_clock
from keyborn.device.waiting import PATIENCE, Request, Waiting
from keyborn.domain.errors import (
    EnrollmentRefused,
    InvalidSetting,
    KeybornError,
    KeyExists,
    OtherService,
    OtherThing,
    ThingNameMissing,
)
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, ThingName, parse_group_name, parse_thing_name
from keyborn.domain.token import EnrollmentCode

if TYPE_CHECKING:
    from cryptography import x509

    from keyborn.device.proof import FactoryFiles, Proof

DEFAULT_TIMEOUT = 90.0
"""Seconds; what a function on AWS left half done is free again after its lease and a sweep, 17 + 60."""
LOCK_PATIENCE = 5.0
_NOT_A_NAME = frozenset({"localhost"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asked for; None leaves the choice to the device."""

    thing: str | None = None
    key_type: str | None = None
    subject: str = ""
    adopt: Path | None = None
    service: bool = False
    """A service's name may be a reserved one; whether it is granted, the authority decides."""
    group: str | None = None
    """The enrolment group to ask in; None: the credential says."""
    factory: "FactoryFiles | None" = None
    """What the manufacturer gave, to sign the enrolment with."""
    identity_token: IdentityTokenSource | None = None
    """Shown in the place of the code's secret: one in a file always, another one where the code has none."""


@dataclass(frozen=True, slots=True)
class _Patience:
    """Seconds for all tries, or for the only one."""

    seconds: float
    once: bool
    person: float | None = None
    """Seconds for a person to decide; None: within the others."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The identity, and how it came."""

    identity: Identity
    obtained: bool
    """False: it was there, and no request was made."""
    subject: str | None = None
    """The subject of the request, as openssl writes it, where one was made."""


def enroll(
    home: Home,
    wish: Wish,
    code: Callable[[], EnrollmentCode],
    around: Surroundings,
    *,
    timeout: float | None = None,
    offered: Callable[[], EnrollmentCode | None] = lambda: None,
    held: bool = False,
    once: bool = False,
) -> Outcome:
    """Give this device its identity, or say that it has one.

    ``code`` is called only if a request is needed, and before anything is made; ``offered`` only if none is,
    to notice a code of another service. ``timeout`` in seconds; None is ``DEFAULT_TIMEOUT``, and a day where
    a person has to decide. ``held``: the caller holds the home already. ``once``: nothing is tried a second
    time. Raises OtherService for such a code, and other leaves of DeviceError and InputError;
    whatever it raises, nothing but a key has been stored.
    """
    if not home.missing():
        home.check()
        if not held:
            slots.ensure_settled(home)
    present = _present(home, wish, around)
    if present is not None:
        require_own(home, present, offered())
        return Outcome(present, obtained=False)
    asked = code()
    home.prepare()
    with nullcontext() if held else home.session(patience=LOCK_PATIENCE):
        try:
            slots.settle(home, around.checkpoint)
            present = _present(home, wish, around)
            if present is not None:
                require_own(home, present, asked)
                return Outcome(present, obtained=False)
            return _obtain(home, wish, asked, around, _patience(timeout, once=once))
        except OSError as wrong:  # the disk; troubles of the network have their own errors by now
            raise files.trouble(home.path, wrong) from None


def _patience(timeout: float | None, *, once: bool) -> _Patience:
    if timeout is None:
        return _Patience(DEFAULT_TIMEOUT, once, PATIENCE)
    return _Patience(timeout, once)


def _present(home: Home, wish: Wish, around: Surroundings) -> Identity | None:
    standing = identity.assess(home, around.clock.now())
    if standing.state is not State.READY or standing.identity is None:
        return None
    _choose_thing(standing, wish, around)
    _check_key(FileKeyStore(home.key), wish)
    return standing.identity


def _obtain(
    home: Home, wish: Wish, code: EnrollmentCode, around: Surroundings, patience: "_Patience"
) -> Outcome:
    standing = identity.assess(home, around.clock.now())
    if standing.identity is not None:  # expired or damaged, by this device's own lights: it may be neither
        require_own(home, standing.identity, code)
    thing = _choose_thing(standing, wish, around)
    group, bearer = _group(wish, code), _bearer(wish, code)
    subject = _subject(wish, thing, standing.identity)
    proof = _proof(wish, code)
    check_clock(code, around.clock.now())  # before a key is made for nothing
    store = _ensure_key(home, wish, subject, around)
    deadline = Deadline.after(patience.seconds, around.pace)
    request = Request(code.url, thing, store.facts().key_hash, group)
    waiting = Waiting(request, home, around.say, patience=patience.person)
    client = EnrollmentClient(
        code, deadline, around.say, once=patience.once, waiting=waiting, proof=proof, bearer=bearer
    )
    around.checkpoint("ask whom to trust")
    trust = client.establish_trust(around.clock)
    around.checkpoint("send the request")
    around.say(f"Asking {code.url} for a certificate for {thing}.")
    try:
        answer = client.enroll(trust, thing, store.sign_request(subject), group=group)
    except EnrollmentRefused as refused:
        if not is_passing(refused.status):
            waiting.over()
        raise
    stored = _store(home, _Obtained(thing, store, code, trust, answer, subject), around)
    waiting.over()
    return Outcome(stored, obtained=True, subject=subject.text)


def require_own(home: Home, present: Identity, code: EnrollmentCode | None) -> None:
    """An identity is never replaced by another service's, whatever the clock says; raises OtherService."""
    if code is None:
        return
    same_url = _place(code.url) == _place(present.service_url)
    if same_url and code.fingerprint.hex() == present.root_fingerprint:
        return
    asked, current = code.url, present.service_url
    if same_url:
        asked = f"{asked} with {_root(code.fingerprint.hex())}"
        current = f"{current} with {_root(present.root_fingerprint)}"
    raise OtherService(asked=asked, current=current, path=home.path)


def _place(url: str) -> tuple[str, int, str] | str:
    service = https.Service(url)
    try:
        return service.host, service.port, service.prefix
    except ValueError:  # a file that somebody has edited: then it is the text that counts
        return url


def _root(fingerprint: str) -> str:
    return f"the root {fingerprint[:16]}…" if fingerprint else "a certificate of a public authority"


@dataclass(frozen=True, slots=True)
class _Obtained:
    """Everything that one successful exchange brought together."""

    thing: ThingName
    store: FileKeyStore
    code: EnrollmentCode
    trust: Trust
    answer: Enrolled
    subject: Subject


def _store(home: Home, obtained: _Obtained, around: Surroundings) -> Identity:
    """Verify, then write: certificate and roots first, and last the file that binds them."""
    from keyborn.device import verify

    answer, trust = obtained.answer, obtained.trust
    facts = obtained.store.facts()
    roots = _roots(answer, trust)
    pinned = [verify.read_one(trust.root_pem)] if trust.root_pem else roots
    leaf = verify.verify_enrolled(
        answer, thing=obtained.thing, public_key_der=facts.public_key_der, anchors=pinned, window=trust.window
    )
    certificate_pem = verify.to_pem([leaf, *verify.read_many(answer.chain_pem)])
    roots_pem = verify.to_pem(roots)
    made = Identity(
        thing=obtained.thing,
        certificate_id=answer.certificate_id,
        key_type=facts.key_type,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        certificate_hash=identity.file_hash(certificate_pem.encode()),
        roots_hash=identity.file_hash(roots_pem.encode()),
        service_url=obtained.code.url,
        root_fingerprint=obtained.code.fingerprint.hex(),
        proved_time=max(leaf.not_valid_before_utc, obtained.code.issued_at),
        broker=answer.broker,
        subject=obtained.subject.text if len(obtained.subject.attributes) > 1 else "",
    )
    files.run_steps(identity.storage_steps(home, certificate_pem, roots_pem, made), around.checkpoint)
    around.checkpoint("done")
    return made


def _roots(answer: Enrolled, trust: Trust) -> "list[x509.Certificate]":
    """What the device will believe from now on: the answer's roots and the pinned one, each once."""
    from keyborn.device import verify
    from keyborn.domain.errors import WrongCertificate

    roots = verify.read_many(answer.roots_pem) + verify.read_many(trust.root_pem or "")
    if not roots:
        raise WrongCertificate(detail="no root came with it")
    return list(dict.fromkeys(roots))


def _choose_thing(standing: Standing, wish: Wish, around: Surroundings) -> ThingName:
    """The name asked for, the one this home has, or the host name; raises OtherThing, ThingNameMissing."""
    granted = ThingName(wish.thing) if wish.thing is not None and wish.service else None
    asked = parse_thing_name(wish.thing, granted=granted) if wish.thing is not None else None
    current = standing.identity.thing if standing.identity else None
    if current is not None:
        if asked not in (None, current):
            raise OtherThing(current=current, asked=asked)
        return current
    return asked if asked is not None else _from_hostname(around)


def _group(wish: Wish, code: EnrollmentCode) -> GroupName | None:
    """The code's group, or the one asked for; raises InvalidGroupName, and InvalidSetting for two."""
    asked = None if wish.group is None else parse_group_name(wish.group)
    if asked is not None and code.group not in (None, asked):
        raise InvalidSetting(setting="--group", detail=f"the code is for the group {code.group}")
    return asked or code.group


def _proof(wish: Wish, code: EnrollmentCode) -> "Proof | None":
    """What signs the enrolment, where something does; raises as ``proof_of``."""
    if wish.factory is None and code.method not in (Method.GROUP_KEY, Method.FACTORY):
        return None
    from keyborn.device.proof import proof_of

    return proof_of(code, wish.factory, wish.adopt)


def _bearer(wish: Wish, code: EnrollmentCode) -> Callable[[], str] | None:
    """What gives the identity token, if one is to be shown; raises InvalidSetting, IdentityTokenUnusable."""
    source = wish.identity_token or IdentityTokenSource()
    if source.file is None and code.method is not Method.OIDC:
        return None  # what stands in the environment may be for somebody else
    if source.file is None and not source.text:
        raise InvalidSetting(
            setting="--jwt-file", detail="this code needs an identity token; say where it is"
        )
    source.read()  # unusable? said before anybody is asked
    return source.read


def _subject(wish: Wish, thing: ThingName, present: Identity | None) -> Subject:
    """The subject asked for, or else the one of the identity before; raises InvalidSubject."""
    if wish.subject or present is None:
        return parse_subject(wish.subject, thing)
    return remembered(present.subject, thing)


def _from_hostname(around: Surroundings) -> ThingName:
    label = around.hostname.partition(".")[0]
    try:
        name = parse_thing_name(label)
    except KeybornError:
        raise ThingNameMissing(hostname=repr(around.hostname[:80])) from None
    if label.lower() in _NOT_A_NAME:
        raise ThingNameMissing(hostname=repr(around.hostname[:80]))
    around.say(f"No --thing given: the thing name is this machine's host name, {name}.")
    return name


def _ensure_key(home: Home, wish: Wish, subject: Subject, around: Surroundings) -> FileKeyStore:
    """The home's key: the one that is there, the adopted one, or a new one."""
    store = FileKeyStore(home.key)
    if store.exists():
        require_sound(home.key, subject)  # unusable? said before anybody is asked
        _check_key(store, wish)
        return store
    if wish.adopt is not None:
        require_sound(wish.adopt, subject)
        steps = store.adoption(wish.adopt)
        around.say(f"Taking over the key in {wish.adopt}; that file stays where it is.")
    else:
        key_type = wish.key_type or keys.DEFAULT_KEY_TYPE
        around.say(_making(key_type, home.key))
        steps = store.creation(key_type)
    files.run_steps(steps, around.checkpoint)
    return store


def _making(key_type: str, path: Path) -> str:
    if key_type.startswith("rsa"):
        bits = key_type.removeprefix("rsa")
        return f"Making an RSA-{bits} key in {path}; this takes some seconds, on a small device minutes."
    return f"Making a {key_type} key in {path}."


def _check_key(store: FileKeyStore, wish: Wish) -> None:
    """An existing key stays; a wish for another one is refused, with KeyExists."""
    if wish.adopt is not None and not store.holds(wish.adopt):
        raise KeyExists(path=store.path, detail=f"it is not the one in {wish.adopt}")
    if wish.key_type is not None and store.facts().key_type != wish.key_type:
        raise KeyExists(path=store.path, detail=f"it is {store.facts().key_type}, not {wish.key_type}")
