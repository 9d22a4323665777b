"""``keyborn key``: this device's key before it has an identity, and the hash by which a key is registered."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import KEY_TYPES, find_home, home_option, surroundings
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show

if TYPE_CHECKING:
    from keyborn.domain.names import KeyHash

_MAX_FILE = 65536


@click.group(cls=Group)
def key() -> None:
    """Keys: make this device's ahead of time, and print a key's hash for `keyborn registered import`.

    Example: keyborn key make
    """


@key.command()
@home_option
@click.option("--key-type", type=click.Choice(KEY_TYPES), help="The key to make.  [default: p256]")
@json_option
def make(*, home: Path | None, key_type: str | None, as_json: bool) -> None:
    """Make this device's key, unless it has one, and print its hash; `keyborn enroll` takes it then.

    Example: keyborn key make --json
    """
    from keyborn.device import files, keys
    from keyborn.device.keystore import FileKeyStore
    from keyborn.domain.errors import KeyExists

    place, around = find_home(home), surroundings(quiet=as_json)
    place.prepare()
    with place.session():
        store = FileKeyStore(place.key)
        if not store.exists():
            files.run_steps(store.creation(key_type or keys.DEFAULT_KEY_TYPE), around.checkpoint)
        facts = store.facts()
    if key_type is not None and facts.key_type != key_type:
        raise KeyExists(path=place.key, detail=f"it is {facts.key_type}, not {key_type}")
    _print(place.key, facts.key_hash, as_json=as_json)


@key.command("hash")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@home_option
@json_option
def hash_key(*, file: Path | None, home: Path | None, as_json: bool) -> None:
    """Print the hash of a key, and the words that an operator compares: of this device's, or of FILE.

    FILE is PEM: a public or a private key, a certificate request, or a certificate. The hash is SHA-256 of
    the public key (DER SubjectPublicKeyInfo), in hexadecimal.

    Example: keyborn key hash

    Example: keyborn key hash device-7.pub.pem
    """
    from keyborn.device.keystore import FileKeyStore

    if file is None:
        place = find_home(home)
        _print(place.key, FileKeyStore(place.key).facts().key_hash, as_json=as_json)
        return
    _print(file, _hash_of(file), as_json=as_json)


def _print(path: Path, found: "KeyHash", *, as_json: bool) -> None:
    from keyborn.domain.approval import key_words

    show({"file": str(path), "keyHash": found, "words": key_words(found)}, as_json=as_json)


def _hash_of(path: Path) -> "KeyHash":
    """Of whatever key a PEM file holds; raises KeyUnusable."""
    from keyborn.device.keys import public_half
    from keyborn.domain.names import key_hash

    with path.open("rb") as file:
        return key_hash(public_half(file.read(_MAX_FILE), path))
