"""The way out: what counts as an answer, what is bounded, who is believed."""

import asyncio
import contextlib
import time
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters import asking
from keyborn.adapters.asking import Asker
from keyborn.adapters.outbound import HttpsOutbound
from keyborn.ports import NotAnswered, OutboundAnswer, OutboundRequest
from support.device_home import eventually, now
from support.pki import CLIENT, SERVER, new_pki
from support.rude_service import (
    Exchange,
    Reply,
    RudeService,
    dripping,
    endless,
    plain,
    rude_service,
    silent,
)

MOST = 1000


async def ask(server: RudeService, path: str = "/x", **changes: object) -> OutboundAnswer:
    fields = {"seconds": 5.0, "most": MOST, "roots_pem": server.pki.root_pem, "url": server.url + path}
    return await HttpsOutbound().fetch(OutboundRequest("GET", **{**fields, **changes}))  # type: ignore[arg-type]


async def refused(server: RudeService, **changes: object) -> str:
    with pytest.raises(NotAnswered) as caught:
        await ask(server, **changes)  # type: ignore[arg-type]
    return str(caught.value)


async def test_status_body_and_headers_come_back(server: RudeService) -> None:
    server.script("/x?a=b", plain(200, b"hello", Cache_Control="max-age=60"))
    answer = await ask(server, "/x?a=b")
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["cache-control"] == "max-age=60"


async def test_method_body_and_headers_go_out_on_a_connection_of_their_own(server: RudeService) -> None:
    server.script("/x", plain(200))
    request = OutboundRequest(
        "POST", f"{server.url}/x", 5, MOST, b"{}", {"webhook-id": "m"}, server.pki.root_pem
    )
    client = HttpsOutbound()
    await client.fetch(request)
    await client.fetch(request)
    first, second = server.seen
    assert (first.method, first.body, first.headers["webhook-id"]) == ("POST", b"{}", "m")
    assert first.headers["Host"] == server.url.removeprefix("https://")
    assert first.headers["Connection"] == "close"
    assert first.connection != second.connection


def redirect(exchange: Exchange) -> None:
    exchange.send(302, b"", Location=exchange.service.url + "/elsewhere")


async def test_a_redirect_is_an_answer_and_never_followed(server: RudeService) -> None:
    server.script("/x", redirect)
    assert (await ask(server)).status == 302
    assert server.asked("/elsewhere") == []


@pytest.mark.parametrize("size", [MOST, MOST + 1])
async def test_the_body_is_bounded_to_the_byte(server: RudeService, size: int) -> None:
    server.script("/x", plain(200, b"x" * size))
    if size == MOST:
        assert len((await ask(server)).body) == size
    else:
        assert "more than 1000 bytes" in await refused(server)


async def test_an_endless_answer_is_left(server: RudeService) -> None:
    server.script("/x", endless)
    assert "more than 1000 bytes" in await refused(server)


def many_headers(exchange: Exchange) -> None:
    with contextlib.suppress(OSError):
        exchange.send(200, b"", **{f"X-{number}": "y" * 900 for number in range(40)})


async def test_endless_headers_are_left(server: RudeService) -> None:
    server.script("/x", many_headers)
    assert await refused(server) == "its answer is not HTTP, or was cut short"


def interim(exchange: Exchange) -> None:
    with contextlib.suppress(OSError):
        while not exchange.service.release.is_set():
            exchange.handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nX: " + b"y" * 4000 + b"\r\n\r\n")


async def test_interim_answers_without_an_end_are_left(server: RudeService) -> None:
    server.script("/x", interim)
    assert "bytes" in await refused(server)


@pytest.mark.parametrize("reply", [silent, dripping], ids=["silent", "dripping"])
async def test_time_bounds_the_whole_of_it(server: RudeService, reply: Reply) -> None:
    server.script("/x", reply)
    began = time.monotonic()
    assert await refused(server, seconds=0.3) == "it took too long"
    assert time.monotonic() - began < 2


def cut(exchange: Exchange) -> None:
    exchange.send(200, b"{", content_length="100")
    exchange.hang_up()


def nothing(exchange: Exchange) -> None:
    exchange.hang_up()


def rubbish(exchange: Exchange) -> None:
    exchange.handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    exchange.hang_up()


@pytest.mark.parametrize("reply", [cut, nothing, rubbish], ids=lambda reply: str(reply.__name__))
async def test_what_is_no_whole_answer_is_none(server: RudeService, reply: Reply) -> None:
    server.script("/x", reply)
    assert await refused(server) == "its answer is not HTTP, or was cut short"


async def test_a_server_of_another_root_gets_no_request(server: RudeService) -> None:
    assert "certificate" in await refused(server, roots_pem=new_pki().root_pem)
    assert "certificate" in await refused(server, roots_pem=None), "the public roots do not know it either"
    assert server.seen == []


async def test_a_server_of_another_name_gets_no_request(tmp_path: Path) -> None:
    with rude_service(tmp_path, address="127.0.0.2") as other:
        assert "certificate" in await refused(other)
        assert other.seen == []


@pytest.mark.parametrize("kind", ["expired", "of a device"])
async def test_a_server_with_a_certificate_that_is_not_good_gets_no_request(
    tmp_path: Path, kind: str
) -> None:
    pki = new_pki()
    past = now() - timedelta(days=1)
    leaf = (
        pki.servers.leaf("x", usage=SERVER, start=past - timedelta(days=9), end=past, between=True)
        if kind == "expired"
        else pki.devices.leaf("localhost", usage=CLIENT, between=True)
    )
    with rude_service(tmp_path, pki=pki, leaf=leaf) as other:
        assert "certificate" in await refused(other)
        assert other.seen == []


async def test_a_server_without_tls_gets_no_request(tmp_path: Path) -> None:
    with rude_service(tmp_path, tls=False) as other:
        assert (await refused(other)).startswith("TLS")
        assert other.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x",
        "HTTP://localhost",
        "ftp://localhost/",
        "https://user:word@localhost/",
        "https:///x",
        "https://localhost:99999/",
        "https://localhost/#x",
        "https://local host/",
        "https://localhost/a b",
        "https://localhost/\r\nX: y",
        "https://localhost\\@evil.example/",
        "//localhost/x",
        "",
        "https://[::1/",
        "https://localhost/" + "x" * 3000,
    ],
)
async def test_an_address_that_is_not_plain_https_is_not_asked(server: RudeService, url: str) -> None:
    assert (await refused(server, url=url)).startswith("its address is")


async def test_nobody_there_and_no_such_name_are_told_apart(server: RudeService) -> None:
    assert "connection failed" in await refused(server, url="https://127.0.0.1:1/")
    assert "has no address" in await refused(server, url="https://nobody.invalid/")


async def test_where_only_public_addresses_are_allowed_a_private_one_gets_no_byte(
    server: RudeService,
) -> None:
    server.script("/x", plain(200))
    assert "private network" in await refused(server, public_only=True)
    assert server.seen == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("fe80::1%lo", False),
        ("fd00:ec2::254", False),
    ],
)
def test_which_addresses_everybody_can_reach(address: str, public: bool) -> None:  # noqa: FBT001 - a table
    assert asking._is_public(address) is public


async def test_no_proxy_of_the_environment_is_asked(
    server: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.script("/x", plain(200))
    assert (await ask(server)).status == 200


async def test_roots_that_are_none_are_a_refusal(server: RudeService) -> None:
    assert "roots" in await refused(server, roots_pem="no PEM")


async def test_only_so_many_sets_of_roots_are_kept(
    server: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MOST_CONTEXTS", 2)
    server.script("/x", plain(200))
    client = Asker()
    for roots in (server.pki.root_pem + "\n" * number for number in range(5)):
        await client.fetch(OutboundRequest("GET", f"{server.url}/x", 5, MOST, roots_pem=roots))
    assert len(client._contexts) == 2


async def test_who_is_told_to_stop_leaves_no_connection_behind(server: RudeService) -> None:
    server.script("/x", silent)
    task = asyncio.create_task(ask(server))
    await asyncio.to_thread(eventually, lambda: bool(server.seen))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_second_address_is_tried_where_the_first_does_not_answer(
    server: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``localhost`` may be ::1 and 127.0.0.1; nothing listens on the first."""
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def two(host: str, port: int, **words: int) -> list[tuple[object, ...]]:
        (found, *_) = await resolve("127.0.0.1", port, **words)
        return [(*found[:4], ("127.0.0.3", port)), found]

    monkeypatch.setattr(loop, "getaddrinfo", two)
    server.script("/x", plain(200, b"hello"))
    assert (await ask(server)).body == b"hello"
