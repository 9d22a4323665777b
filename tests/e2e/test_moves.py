"""A device whose key was lost comes back; it moves between groups, and its attributes are set."""

from pathlib import Path

from support.device import enroll, keyborn, keyborn_json
from support.group_stage import text
from support.server import Server


def test_a_device_comes_back_with_another_key_once_it_is_released(
    server: Server, tmp_path: Path, thing: str
) -> None:
    data = ("--data", server.data)
    enroll(tmp_path / "first", server.token(thing=thing)["code"], thing)
    code = server.token(thing=thing)["code"]
    words = ("enroll", "-", "--thing", thing, "--home", tmp_path / "second")
    assert "[thing_name_taken]" in keyborn(*words, typed=code, expect=1).stderr
    said = keyborn("thing", "release-key", thing, "--for", "2h", *data).stdout
    assert said.startswith(f"{thing} may bring another key until 20")
    enroll(tmp_path / "third", code, thing)
    assert keyborn("thing", "release-key", thing, "--end", *data).stdout == f"{thing} keeps its key.\n"
    actions = [row["action"] for row in keyborn_json("audit", "show", *data) if row["subject"] == thing]
    assert "thing.release-key" in actions


def test_a_device_moves_and_its_attributes_are_set(server: Server, tmp_path: Path, thing: str) -> None:
    data = ("--data", server.data)
    enroll(tmp_path / "home", server.token(thing=thing)["code"], thing)
    group = f"group-{thing}"
    keyborn("group", "put", "-", *data, typed=text(name=group, things=f"{thing}*"))
    assert keyborn("thing", "move", thing, "--group", group, *data).stdout == (
        f"{thing} is in the group {group}.\n"
    )
    (row,) = keyborn_json("thing", "list", "--group", group, *data)
    assert (row["thingName"], row["group"]) == (thing, group)
    assert group in keyborn("thing", "list", *data).stdout
    said = keyborn("thing", "set", thing, "line=7", "hall=2", *data).stdout
    assert said == f"{thing} has line=7, hall=2.\n"
    said = keyborn("thing", "set", thing, "line=8", "--unset", "hall", *data).stdout
    assert said == f"{thing} has line=8.\n"
    shown = keyborn("thing", "show", thing, *data).stdout
    assert f"group         {group}\n" in shown
    assert "attributes    line=8\n" in shown
    assert keyborn("thing", "move", thing, "--no-group", *data).stdout == f"{thing} is in no group.\n"
    assert keyborn("thing", "list", "--group", group, *data).stdout == f"No thing is in the group {group}.\n"
