from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import InvalidSetting
from keyborn.settings import (
    Address,
    ServerSettings,
    parse_settings,
    read_settings,
    read_settings_text,
    write_settings,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("[::1]:0", "::1", 0),
        ("gateway.example:65535", "gateway.example", 65535),
        ("localhost:1", "localhost", 1),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, host: str, port: int) -> None:
    address = Address.parse(text, "--https")
    assert (address.host, address.port) == (host, port)
    assert Address.parse(str(address), "--https") == address


@pytest.mark.parametrize("text", ["", "8443", ":8443", "host:", "host:x", "host:65536", "host:-1", "host:٣"])
def test_a_bad_address_names_the_setting_and_shows_a_good_one(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"--https .* such as 127\.0\.0\.1:8443"):
        Address.parse(text, "--https")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, *, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback


def test_an_empty_file_is_a_good_configuration(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text("")
    assert read_settings(path) == ServerSettings()


ADDRESSES = st.builds(
    Address, st.sampled_from(["127.0.0.1", "::1", "gw.example", "0.0.0.0"]), st.integers(0, 65535)
)


@given(
    st.builds(
        ServerSettings,
        https=ADDRESSES,
        mqtt=ADDRESSES,
        names=st.lists(st.text(min_size=1, max_size=20).filter(str.isprintable), min_size=1, max_size=4).map(
            tuple
        ),
        url=st.sampled_from(["", "https://devices.example"]),
        topic_prefix=st.sampled_from(["certtest", "a/b"]),
        device_certificate_days=st.integers(1, 3650),
        plain_http=st.sampled_from([None, Address("127.0.0.1", 8080), Path("/run/keyborn/http.sock")]),
        trusted_proxies=st.sampled_from([(), ("127.0.0.1",), ("10.1.0.0/16", "2001:db8::/48")]),
    )
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, settings: ServerSettings
) -> None:
    path = tmp_path_factory.mktemp("settings") / "server.toml"
    path.write_text(write_settings(settings))
    assert read_settings(path) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("https", "nowhere"),
        ("https", 8443),
        ("mqtt", ["127.0.0.1:1"]),
        ("names", []),
        ("names", "localhost"),
        ("names", [1]),
        ("names", [""]),
        ("plain_http", 8080),
        ("plain_http", "8080"),
        ("plain_http", "unix:relative"),
        ("plain_http", "unix:"),
        ("plain_http", "unix:/" + "x" * 107),
        ("trusted_proxies", "127.0.0.1"),
        ("trusted_proxies", [1]),
        ("trusted_proxies", [""]),
        ("trusted_proxies", ["proxy.example"]),
        ("trusted_proxies", ["10.0.0.1/8"]),
        ("trusted_proxies", ["10.0.0.0/33"]),
        ("trusted_proxies", ["0.0.0.0/0"]),
        ("trusted_proxies", ["::/0"]),
        ("trusted_proxies", ["fe80::1%eth0"]),
        ("trusted_proxies", ["::ffff:10.0.0.1"]),
        ("url", 1),
        ("topic_prefix", ""),
        ("topic_prefix", "a/#"),
        ("topic_prefix", "$aws"),
        ("topic_prefix", "/a"),
        ("device_certificate_days", 0),
        ("device_certificate_days", 3651),
        ("device_certificate_days", "90"),
        ("device_certificate_days", True),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=name):
        parse_settings({name: value})


def test_an_unknown_setting_is_refused_not_ignored() -> None:
    with pytest.raises(InvalidSetting, match=r"httsp .* no such setting"):
        parse_settings({"httsp": "127.0.0.1:1"})


@pytest.mark.parametrize("content", [b"https = ", b"\xff\xfe", b"[https"])
def test_a_file_that_is_not_toml_is_said_to_be_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"server\.toml .* not TOML"):
        read_settings(path)


def test_devices_are_told_a_name_they_can_reach() -> None:
    settings = ServerSettings(names=("gateway.example", "127.0.0.1"))
    assert settings.public_host(Address("0.0.0.0", 8443)) == "gateway.example"
    assert settings.public_host(Address("127.0.0.1", 8443)) == "127.0.0.1"
    assert ServerSettings().public_host(Address("::", 8443)) == "127.0.0.1"


def test_the_service_s_own_names_are_reserved() -> None:
    assert {"localhost", "gateway"} <= ServerSettings(names=("Gateway",)).reserved_names


def test_the_profile_lives_as_long_as_the_setting_says() -> None:
    assert ServerSettings(device_certificate_days=7).profile.lifetime == timedelta(days=7)


@pytest.mark.parametrize("number", [0, 1, 64])
def test_the_number_of_workers_is_kept_where_it_is_said(number: int) -> None:
    settings = parse_settings({"workers": number})
    assert settings.workers == number
    assert read_settings_text(write_settings(settings)) == settings
    assert "workers" not in write_settings(ServerSettings())


@pytest.mark.parametrize("number", [-1, 65, 1.0, True, "2"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(number: object) -> None:
    with pytest.raises(InvalidSetting, match="0 to 64 processes"):
        parse_settings({"workers": number})
