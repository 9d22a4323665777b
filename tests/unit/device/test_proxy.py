"""Which proxy, if any: the variables of the environment, and what they must never give away."""

from base64 import b64decode

import pytest
from hypothesis import given, strategies as st

from keyborn.device.proxy import HTTPS, MQTT, Barred, Proxy, proxy_for

FAR = "broker.example"


def found(host: str = FAR, *, variables: tuple[str, ...] = MQTT, **environment: str) -> Proxy | None:
    return proxy_for(variables, host, 8883, environment)


def place(proxy: Proxy | None) -> tuple[str, int] | None:
    return None if proxy is None else (proxy.host, proxy.port)


def test_without_a_variable_the_way_is_direct() -> None:
    assert found() is None
    assert found(http_proxy="http://p:1") is None, "which is for what is not encrypted"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://p.example:3128", ("p.example", 3128)),
        ("http://p.example:3128/", ("p.example", 3128)),
        ("p.example:3128", ("p.example", 3128)),
        ("http://p.example", ("p.example", 80)),
        ("HTTP://10.0.0.1:8080", ("10.0.0.1", 8080)),
        (" http://[fd00::1]:8080 ", ("fd00::1", 8080)),
        ("http://u:p@p.example:3128", ("p.example", 3128)),
    ],
)
def test_a_proxy_is_read_as_people_write_it(value: str, expected: tuple[str, int]) -> None:
    assert place(found(https_proxy=value)) == expected


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("https://p.example:443", "begin with http://"),
        ("socks5://p.example:1080", "begin with http://"),
        ("http://", "does not name a proxy"),
        ("http://p.example:port", "does not name a proxy"),
        ("http://p.example:99999", "does not name a proxy"),
        ("http://[::1", "does not name a proxy"),
        ("http://a b", "does not name a proxy"),
    ],
)
def test_what_is_no_http_proxy_is_said_and_not_passed_over(value: str, why: str) -> None:
    """Going the direct way instead would send elsewhere what somebody wants to go through a proxy."""
    with pytest.raises(Barred, match=why) as caught:
        found(HTTPS_PROXY=value)
    assert str(caught.value.strerror).startswith("HTTPS_PROXY ")


def test_the_first_variable_that_is_set_decides() -> None:
    def among(variables: tuple[str, ...], **more: str) -> tuple[str, int] | None:
        both = {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1", "ALL_PROXY": "http://all:1"}
        return place(proxy_for(variables, FAR, 8883, {**both, **more}))

    assert among(MQTT) == ("lower", 1)
    assert among(MQTT, MQTT_PROXY="http://mqtt:1") == ("mqtt", 1)
    assert among(HTTPS, MQTT_PROXY="http://mqtt:1") == ("lower", 1)
    assert place(found(ALL_PROXY="http://all:1")) == ("all", 1)


def test_a_variable_that_is_set_to_nothing_means_the_direct_way() -> None:
    assert found(mqtt_proxy="", https_proxy="http://p:1") is None
    assert found(https_proxy=" ", ALL_PROXY="http://p:1") is None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    assert found(host, https_proxy="http://p:1") is None


@pytest.mark.parametrize(
    ("entries", "host", "direct"),
    [
        ("*", FAR, True),
        ("broker.example", FAR, True),
        ("BROKER.example", FAR, True),
        ("broker.example", "broker.example.", True),
        ("example", FAR, True),
        (".example", FAR, True),
        ("*.example", FAR, True),
        ("other,  example ,", FAR, True),
        ("other example", FAR, True),
        ("xample", FAR, False),
        ("roker.example", FAR, False),
        ("deep.broker.example", FAR, False),
        ("broker.example:8883", FAR, True),
        ("broker.example:443", FAR, False),
        ("example:8883", FAR, True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.2.3/16", "10.1.9.9", True),
        ("10.2.0.0/16", "10.1.2.3", False),
        ("10.1.2.3:8883", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", False),
        ("10.0.0.0/8", FAR, False),
        ("fd00::/8", "fd00::7", True),
        ("fd00::7", "fd00::7", True),
        ("[fd00::7]:8883", "fd00::7", True),
        ("[fd00::7]:443", "fd00::7", False),
        ("", FAR, False),
        (". .. : :1 /", FAR, False),
    ],
)
def test_no_proxy_names_who_is_reached_without_one(entries: str, host: str, *, direct: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        environment = {"https_proxy": "http://p:1", name: entries}
        assert (proxy_for(MQTT, host, 8883, environment) is None) is direct


SECRETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40).filter(
    lambda text: not set(text) & set("/?#[]@:%\\")
)


@given(SECRETS, SECRETS)
def test_user_and_password_are_for_the_proxy_alone(user: str, password: str) -> None:
    proxy = found(https_proxy=f"http://{user}:{password}@p.example:3128")
    assert proxy is not None
    assert proxy.login is not None
    assert b64decode(proxy.login.removeprefix("Basic ")).decode() == f"{user}:{password}"
    for shown in (repr(proxy), str(proxy), proxy.name):
        assert user not in shown
        assert password not in shown
        assert proxy.login not in shown
    for wrong in (
        f"ftp://{user}:{password}@p",
        f"http://{user}:{password}@p:x",
        f"http://{user}:{password}@",
    ):
        with pytest.raises(Barred) as caught:
            found(https_proxy=wrong)
        assert user not in str(caught.value)
        assert password not in str(caught.value)


def test_what_is_escaped_in_user_and_password_is_meant() -> None:
    proxy = found(https_proxy="http://a%40b:p%3A%2F%20%C3%BC@p.example")
    assert proxy is not None
    assert b64decode(str(proxy.login).removeprefix("Basic ")).decode() == "a@b:p:/ ü"
    alone = found(https_proxy="http://user@p.example")
    assert alone is not None
    assert b64decode(str(alone.login).removeprefix("Basic ")) == b"user:"


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=40))
def test_no_environment_does_anything_but_name_a_proxy_or_be_refused(
    value: str, listed: str, host: str
) -> None:
    try:
        proxy = found(host, https_proxy=value, no_proxy=listed)
    except Barred:
        return
    assert proxy is None or (proxy.host and 0 < proxy.port < 65536)
