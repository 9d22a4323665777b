"""What another process reads of a registry: what it remembers is never older than what has been committed."""

from pathlib import Path

from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.sql.looking import LookingRegistry
from keyborn.domain.names import NameScope
from keyborn.domain.token import EnrollmentToken, digest, token_id
from support.registry_cases import LIFETIME, START, event

SECRET = bytes(range(32))
TOKEN = EnrollmentToken(token_id(SECRET), digest(SECRET), NameScope("lamp-*"), None, START, START + LIFETIME)


async def test_a_token_that_was_found_before_is_known_as_withdrawn_at_once(tmp_path: Path) -> None:
    looking = LookingRegistry(tmp_path / "registry.db")
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        looking.open()
        assert await looking.find(TOKEN.id) is None
        await registry.add(TOKEN, event())
        found = await looking.find(TOKEN.id)
        assert found == TOKEN
        assert await looking.find(TOKEN.id) is found, "nobody has committed anything"
        withdrawn = await registry.withdraw(TOKEN.id, event())
        assert withdrawn.withdrawn_at is not None
        assert await looking.find(TOKEN.id) == withdrawn
        looking.close()
