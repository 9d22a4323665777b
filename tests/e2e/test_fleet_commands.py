"""A fleet as an operator searches and prunes it: at a running service, and at a data folder without one."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keyborn.adapters.sql import SqliteRegistry
from keyborn.cli.main import cli
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from support import registry_cases
from support.registry_cases import LIFETIME, event
from support.server import running

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=["running", "stopped"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - yields
    folder = tmp_path_factory.mktemp("served")
    with running(folder) as server:
        server.stop()
        asyncio.run(_populate(server.data / "registry.db"))
        if request.param == "running":
            server.start()
        yield Desk(server.data)


async def _populate(path: Path) -> None:
    """Six pumps that enrolled years ago, one of them revoked since."""
    async with SqliteRegistry(path) as registry:
        ages = registry_cases.Desk(registry, LONG_AGO)
        token = await ages.token("secret", ttl=LIFETIME)
        for number in range(6):
            name = ThingName(f"pump-{number}")
            await ages.enroll(token, name, f"key {number}")
            site = {"site": "north" if number % 2 else "south"}
            await registry.set_attributes(name, site, event())
        await ages.order("pump-5", ThingStatus.REVOKED)


class Desk:
    """Commands at one data folder, in this process."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def run(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, (*words, "--data", str(self._data)))
        assert done.exit_code == code, f"{words}: {done.output} {done.exception!r}"
        return done

    def found(self, *words: str) -> list[str]:
        rows = json.loads(self.run("thing", "list", *words, "--json").stdout)
        return [row["thingName"] for row in rows]


def test_a_fleet_is_searched_by_what_its_things_are(desk: Desk) -> None:
    everything = [f"pump-{number}" for number in range(6)]
    assert desk.found() == everything
    assert desk.found("--limit", "2") == everything[:2]
    assert desk.found("--prefix", "pump-3") == ["pump-3"]
    assert desk.found("--where", "site=north") == ["pump-1", "pump-3", "pump-5"]
    assert desk.found("--where", "site=north", "--status", "active") == ["pump-1", "pump-3"]
    assert desk.found("--where", "site=north", "--where", "model=x") == []
    assert desk.found("--status", "revoked") == ["pump-5"]
    assert desk.found("--group", "line-7") == []
    assert "pump-2" in desk.run("thing", "list", "--prefix", "pump-2").stdout
    assert desk.run("thing", "list", "--prefix", "valve").stdout == "No thing is like that.\n"
    assert desk.run("thing", "list", "--group", "line-7").stdout == "No thing is in the group line-7.\n"


def test_json_of_many_things_is_one_array_with_a_line_for_each(desk: Desk) -> None:
    printed = desk.run("thing", "list", "--json").stdout
    assert len(printed.splitlines()) == len(json.loads(printed)) == 6
    assert desk.run("thing", "list", "--prefix", "valve", "--json").stdout == "[]\n"


def test_a_search_that_no_thing_could_match_is_refused(desk: Desk) -> None:
    refused = desk.run("thing", "list", "--where", "site", code=1)
    assert "KEY=VALUE" in str(refused.exception)
    refused = desk.run("thing", "list", "--prefix", "a b", code=1)
    assert "--prefix" in str(refused.exception)


def test_what_ended_long_ago_is_forgotten_once(desk: Desk) -> None:
    refused = desk.run("prune", code=1)
    assert "retention_days" in str(refused.exception)
    told = "1 certificates, 6 redemptions, 0 approvals.\n"
    assert desk.run("prune", "--older-than", "365", "--dry-run").stdout == f"It would forget: {told}"
    done = json.loads(desk.run("prune", "--older-than", "365", "--json").stdout)
    assert done == {"certificates": 1, "redemptions": 6, "approvals": 0, "dryRun": False}
    again = desk.run("prune", "--older-than", "365").stdout
    assert again == "Forgotten: 0 certificates, 0 redemptions, 0 approvals.\n"
    assert "prune" in desk.run("audit", "show", "--action", "prune").stdout
    assert "It has no certificate." in desk.run("thing", "show", "pump-5").stdout
