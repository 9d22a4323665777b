"""An enrolment code in a file: what a fresh image brings along, and what goes once it has done its work."""

import os
from pathlib import Path

from keyborn.device import files
from keyborn.domain.errors import InvalidCode
from keyborn.domain.token import CODE_PREFIX, EnrollmentCode

MAX_INPUT = 4096
"""Bytes that are looked at: the whole output of ``keyborn token create`` and room to spare."""
_BLANK = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def read_code(path: Path) -> EnrollmentCode:
    """The code in a file that must be ours alone; raises FileNotPrivate, InvalidCode."""
    try:
        text = files.read_private(path, MAX_INPUT).decode("ascii", "replace")
    except OSError as wrong:
        raise InvalidCode(detail=f"{path}: {wrong.strerror}") from None
    return find_code(text)


def remove_code(path: Path) -> None:
    """Remove the file durably, or empty it where its folder does not let us; raises OSError."""
    try:
        files.remove(path)
        files.sync_folder(path.parent)
    except OSError:
        with os.fdopen(os.open(path, _BLANK), "wb") as file:
            os.fsync(file.fileno())


def find_code(text: str) -> EnrollmentCode:
    """The one enrolment code in ``text``, which may be all that ``keyborn token create`` printed.

    Raises InvalidCode where nothing was read, where there is none, or where there are several.
    """
    words = text.split()
    if not words:
        raise InvalidCode(detail="nothing was read")
    found = {word for word in words if word.startswith(CODE_PREFIX)}
    if len(found) > 1:
        raise InvalidCode(detail="several different ones were read")
    if not found and len(words) > 1:
        raise InvalidCode(detail="no word of what was read starts with `kb1.`")
    return EnrollmentCode.decode(found.pop() if found else words[0])
