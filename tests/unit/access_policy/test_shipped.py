"""The shipped policies: they parse, lint says of them what the pages say, and they decide as promised."""

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.access import Action, ConnectAttribute
from keyborn.domain.access_policy.document import MAX_DOCUMENT, AccessPolicy, PolicyName
from keyborn.domain.access_policy.evaluate import rights_of
from keyborn.domain.access_policy.lint import Severity, lint, size
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.thing import ThingKind
from keyborn.policies import device_policy, watch_policy
from support.policy_stage import NOW, badge, connected

ROOT = Path(__file__).resolve().parents[3]
WILL, PERSISTENT = ConnectAttribute.WILL, ConnectAttribute.PERSISTENT


def kept(text: str) -> AccessPolicy:
    return AccessPolicy(PolicyName("shipped"), parse_document(text), NOW)


def test_the_default_policy_lints_clean() -> None:
    assert lint(parse_document(device_policy("certtest"))) == ()


def test_of_the_watcher_s_policy_lint_says_that_it_is_wide_and_nothing_else() -> None:
    found = [(each.code, each.severity, each.where) for each in lint(parse_document(watch_policy()))]
    assert found == [
        ("wide_resource", Severity.WARNING, "statement 2, Resource"),
        ("wide_resource", Severity.WARNING, "statement 3, Resource"),
    ]


@pytest.mark.parametrize("text", [device_policy("certtest"), watch_policy()])
def test_shipped_policies_fit_aws_s_size(text: str) -> None:
    assert size(text) <= MAX_DOCUMENT / 2


def test_every_shipped_document_is_packed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "policies/*.json" in declared["keyborn"]
    shipped = {entry.name for entry in files("keyborn.policies").iterdir() if entry.name.endswith(".json")}
    assert shipped == {"device.json", "service_watch.json"}


# ── the default policy ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        (Action.CONNECT, "lamp", True),
        (Action.CONNECT, "other", False),
        (Action.PUBLISH, "certtest/lamp", True),
        (Action.PUBLISH, "certtest/lamp/a/b", True),
        (Action.PUBLISH, "certtest/lamp2", False),
        (Action.PUBLISH, "certtest/other", False),
        (Action.PUBLISH, "certtest", False),
        (Action.PUBLISH, "lamp", False),
        (Action.RETAIN, "certtest/lamp/state", True),
        (Action.RETAIN, "certtest/other/state", False),
        (Action.RECEIVE, "certtest/lamp/cmd", True),
        (Action.RECEIVE, "certtest/other/cmd", False),
        (Action.SUBSCRIBE, "certtest/lamp", True),
        (Action.SUBSCRIBE, "certtest/lamp/#", True),
        (Action.SUBSCRIBE, "certtest/lamp/+/a", True),
        (Action.SUBSCRIBE, "certtest/+", False),
        (Action.SUBSCRIBE, "certtest/#", False),
        (Action.SUBSCRIBE, "#", False),
    ],
)
def test_a_device_has_its_own_topics_and_no_other(action: Action, resource: str, *, allowed: bool) -> None:
    rights = rights_of(badge(kept(device_policy("certtest"))), connected("lamp"))
    assert rights.decide(action, resource).allowed is allowed


@pytest.mark.parametrize("asks", [(), (WILL,), (PERSISTENT,), (WILL, PERSISTENT)])
def test_a_device_may_have_a_will_and_a_persistent_session(asks: tuple[ConnectAttribute, ...]) -> None:
    rights = rights_of(badge(kept(device_policy("certtest"))), connected("lamp", *asks))
    assert rights.decide(Action.CONNECT, "lamp").allowed


def test_under_another_client_id_nothing_is_allowed() -> None:
    rights = rights_of(badge(kept(device_policy("certtest"))), connected("other"))
    for action in Action:
        for resource in ("other", "lamp", "certtest/lamp", "certtest/other"):
            assert not rights.decide(action, resource).allowed


def test_a_service_gets_nothing_from_the_default_policy() -> None:
    holder = badge(kept(device_policy("certtest")), kind=ThingKind.SERVICE)
    rights = rights_of(holder, connected("lamp"))
    assert not any(rights.decide(action, "certtest/lamp").allowed for action in Action)
    assert not rights.decide(Action.CONNECT, "lamp").allowed


@pytest.mark.parametrize(
    "prefix", ["fleet", "a/b", "with space", 'a"b', "a\\b", "é", "certtest2", "x/certtest"]
)
def test_the_prefix_is_the_operator_s(prefix: str) -> None:
    rights = rights_of(badge(kept(device_policy(prefix))), connected("lamp"))
    assert rights.decide(Action.PUBLISH, f"{prefix}/lamp").allowed
    assert rights.decide(Action.SUBSCRIBE, f"{prefix}/lamp/#").allowed
    assert not rights.decide(Action.PUBLISH, "certtest/lamp").allowed


@given(
    st.text(
        st.characters(blacklist_characters="+#$*?/", blacklist_categories=["Cs"]), min_size=1, max_size=60
    )
)
def test_any_prefix_that_the_settings_take_gives_a_policy_of_the_same_shape(prefix: str) -> None:
    plain = parse_document(device_policy("certtest"))
    written = parse_document(device_policy(prefix))
    assert [(each.effect, each.actions, each.conditions) for each in written.statements] == [
        (each.effect, each.actions, each.conditions) for each in plain.statements
    ]
    for ours, theirs in zip(plain.statements, written.statements, strict=True):
        assert theirs.resources == tuple(text.replace("/certtest/", f"/{prefix}/") for text in ours.resources)


def test_the_default_policy_is_what_stands_in_its_file() -> None:
    assert device_policy() == files("keyborn.policies").joinpath("device.json").read_text()
    assert json.loads(device_policy())["Version"] == "2012-10-17"


# ── the watcher's policy ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        (Action.CONNECT, "keyborn-watch-1", True),
        (Action.CONNECT, "keyborn-watch", False),
        (Action.CONNECT, "lamp", False),
        (Action.SUBSCRIBE, "#", True),
        (Action.SUBSCRIBE, "certtest/#", True),
        (Action.RECEIVE, "certtest/lamp", True),
        (Action.PUBLISH, "certtest/lamp", False),
        (Action.RETAIN, "certtest/lamp", False),
    ],
)
def test_the_watcher_listens_and_never_speaks(action: Action, resource: str, *, allowed: bool) -> None:
    holder = badge(kept(watch_policy()), name="keyborn-watch", kind=ThingKind.SERVICE)
    rights = rights_of(holder, connected("keyborn-watch-1"))
    assert rights.decide(action, resource).allowed is allowed


@pytest.mark.parametrize("asks", [WILL, PERSISTENT])
def test_the_watcher_leaves_nothing_behind(asks: ConnectAttribute) -> None:
    holder = badge(kept(watch_policy()), name="keyborn-watch", kind=ThingKind.SERVICE)
    rights = rights_of(holder, connected("keyborn-watch-1", asks))
    assert not rights.decide(Action.CONNECT, "keyborn-watch-1").allowed
