"""What another process reads of a registry, and how long it remembers that."""

from pathlib import Path

from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.sql.looking import LookingRegistry
from keyborn.domain.names import NameScope
from keyborn.domain.token import EnrollmentToken, digest, token_id
from support.registry_cases import LIFETIME, START, event

SECRET = bytes(range(32))
TOKEN = EnrollmentToken(token_id(SECRET), digest(SECRET), NameScope("lamp-*"), None, START, START + LIFETIME)


async def test_a_token_that_was_found_before_is_soon_known_as_withdrawn(tmp_path: Path) -> None:
    clock = [0.0]
    looking = LookingRegistry(tmp_path / "registry.db", seconds=lambda: clock[0])
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        looking.open()
        assert await looking.find(TOKEN.id) is None
        await registry.add(TOKEN, event())
        clock[0] += 0.02
        found = await looking.find(TOKEN.id)
        assert found == TOKEN
        clock[0] += 3600
        assert await looking.find(TOKEN.id) is found, "nobody has committed anything"
        withdrawn = await registry.withdraw(TOKEN.id, event())
        assert withdrawn.withdrawn_at is not None
        clock[0] += 0.02
        assert await looking.find(TOKEN.id) == withdrawn
        looking.close()
