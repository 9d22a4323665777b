"""Where the operator's own files are that belong to no data folder."""

import os
from pathlib import Path

from keyborn.domain.errors import HomeUnusable


def state_folder() -> Path:
    """Keyborn's part of the operator's state (XDG base directories: a relative path is to be ignored)."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        return (state if state.is_absolute() else Path("~/.local/state").expanduser()) / "keyborn"
    except RuntimeError:
        detail = "this user has no home folder. Set XDG_STATE_HOME"
        raise HomeUnusable(path="~/.local/state", detail=detail) from None
