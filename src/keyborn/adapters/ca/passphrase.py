"""Where the passphrase of the certificate authority's keys comes from."""

from collections.abc import Mapping
from pathlib import Path

from keyborn.adapters.ca.files import read_private
from keyborn.domain.errors import InvalidSetting

VARIABLE = "KEYBORN_CA_PASSPHRASE"


def read_passphrase(environment: Mapping[str, str], file: Path | None = None) -> bytes | None:
    """The passphrase from ``file`` (its first line, the file private), else from the environment, else None.

    Raises InvalidSetting for an empty file or an empty variable, and what ``read_private`` raises.
    """
    if file is not None:
        return _required(read_private(file).split(b"\n", 1)[0].rstrip(b"\r"), f"passphrase file {file}")
    if VARIABLE in environment:
        return _required(environment[VARIABLE].encode(errors="surrogateescape"), VARIABLE)
    return None


def _required(passphrase: bytes, setting: str) -> bytes:
    if not passphrase:
        raise InvalidSetting(
            setting=setting, detail="it is empty; leave it out for keys without a passphrase"
        )
    return passphrase
