"""The write-ahead log: folded beside the writer, bounded under load, gone when the registry is closed."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry, backfill, schema
from keyborn.adapters.sql.backfill import Backfill, fold
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import verify
from support.registry_cases import event

PAGE = 4096
PAGES = 60


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold about every 60 pages, or 40 rows at least."""
    monkeypatch.setattr(backfill, "_FEWEST", 40)
    monkeypatch.setattr(backfill, "PAGES", PAGES)


def log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


async def write(registry: SqliteRegistry, count: int) -> None:
    """So many commits, each of a page or two."""
    for number in range(count):
        await registry.append(event(f"{number}"))


async def test_a_writer_that_never_rests_keeps_a_short_log(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        await write(registry, 500)
        folds = registry._backfill.folds
        assert folds > 3
        assert log(path).stat().st_size < 5 * PAGES * PAGE
    assert not log(path).exists()
    async with SqliteRegistry(path) as registry:
        assert verify(await registry.records()).sequence == 500


async def test_a_reader_that_lingers_makes_the_log_grow_for_as_long_as_it_does(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        await write(registry, 10)
        with closing(schema.connect_reader(path)) as lingering:
            lingering.execute("BEGIN")
            assert lingering.execute("SELECT count(*) FROM audit").fetchall() == [(10,)]
            await write(registry, 250)
            grown = log(path).stat().st_size
            assert grown > 250 * PAGE, "what it reads stays where it is"
            assert lingering.execute("SELECT count(*) FROM audit").fetchall() == [(10,)]
        await write(registry, 400)
        assert log(path).stat().st_size < 2 * grown, "then it begins again"


async def test_no_commit_folds_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path)
    with closing(schema.connect_writer(path)) as writer:
        assert writer.execute("PRAGMA wal_autocheckpoint").fetchall() == [(0,)]
        session = Session(writer)
        for number in range(50):
            session.begin().chain(event(f"{number}"))
            session.commit()
        assert fold(writer) >= 50, "all of it still is in the log"


async def test_a_fold_that_fails_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path)

    def unable() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    with closing(schema.connect_writer(path)) as writer:
        folding = Backfill(unable, pages=PAGES)
        session = Session(writer)
        for number in range(2000):
            session.begin().chain(event(f"{number}"))
            session.commit()
            folding.after_batch(writer)
            if folding.folds > 2:
                break
            await asyncio.sleep(0)
        assert folding.folds > 2, "the writer does alone what the thread cannot"
        folding.close(writer)
    with closing(schema.connect_writer(path)) as broken:
        broken.close()
        assert fold(broken) == 0
    assert "could not be folded" in caplog.text
