from pathlib import Path

import pytest

from support.office import OfficeWorld, folder


@pytest.fixture
def world(tmp_path: Path) -> OfficeWorld:
    return OfficeWorld(folder(tmp_path))
