"""One exchange on a real connection: what counts as whole, what is bounded, who is believed."""

import contextlib
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyborn.device import https, tls
from support.device_home import eventually, now
from support.pki import new_pki
from support.rude_service import Exchange, Reply, RudeService, endless, plain, silent

GET = https.Request("GET", "/x")


def ask(service: RudeService, request: https.Request = GET, *, seconds: float = 5) -> https.Answer:
    context = tls.verifying_context(service.pki.root_pem)
    return https.exchange(https.Service(service.url), context, request, seconds=seconds)


def test_status_body_type_and_retry_after_come_back(service: RudeService) -> None:
    service.script("/x", plain(429, b"hello", Content_Type="text/plain; charset=utf-8", Retry_After="5"))
    assert ask(service) == https.Answer(429, b"hello", "text/plain", 5.0)


@pytest.mark.parametrize(
    ("shown", "nonce"),
    [("abc_DEF-123", "abc_DEF-123"), ("x" * 128, "x" * 128), ("x" * 129, None), ("a b", None), ("a=", None)],
)
def test_a_nonce_comes_back_where_it_can_be_one(service: RudeService, shown: str, nonce: str | None) -> None:
    service.script("/x", plain(200, Replay_Nonce=shown))
    assert ask(service).nonce == nonce


def test_the_service_s_own_time_comes_back(service: RudeService) -> None:
    service.script("/x", plain(200))
    said = ask(service).sent_at
    assert said is not None
    assert abs(said - now()) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "shown", ["", "yesterday", "Mon, 99 Nov 2026 00:00:00 GMT", "Mon, 01 Jan 10000 00:00:00 GMT"]
)
def test_a_time_that_is_none_is_none(shown: str) -> None:
    assert https._moment(shown) is None
    assert https._moment(None) is None


def test_a_time_in_another_zone_is_the_same_time() -> None:
    assert https._moment("Mon, 23 Nov 2026 02:00:00 +0200") == datetime(2026, 11, 23, tzinfo=UTC)


def test_method_body_and_headers_go_out(service: RudeService) -> None:
    service.script("/x", plain(200))
    ask(service, https.Request("POST", "/x", b"body", {"X-Test": "1"}))
    [seen] = service.seen
    assert (seen.method, seen.body, seen.headers["X-Test"]) == ("POST", b"body", "1")
    assert seen.headers["User-Agent"].startswith("keyborn/")
    assert seen.headers["Connection"] == "close"


def test_a_request_never_shows_its_headers() -> None:
    assert "s3cret" not in repr(https.Request("GET", "/x", None, {"Authorization": "Bearer s3cret"}))


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix"),
    [
        ("https://example.net", "example.net", 443, ""),
        ("https://example.net:8443/", "example.net", 8443, ""),
        ("https://example.net/iot/", "example.net", 443, "/iot"),
        ("https://[::1]:8443", "::1", 8443, ""),
        ("https://127.0.0.1:1/a/b", "127.0.0.1", 1, "/a/b"),
    ],
)
def test_a_url_is_host_port_and_prefix(url: str, host: str, port: int, prefix: str) -> None:
    service = https.Service(url)
    assert (service.host, service.port, service.prefix) == (host, port, prefix)


def test_exactly_the_limit_is_read(service: RudeService) -> None:
    service.script("/x", plain(200, b"x" * https.MAX_ANSWER))
    assert len(ask(service).body) == https.MAX_ANSWER


def test_a_byte_more_is_not(service: RudeService) -> None:
    service.script("/x", plain(200, b"x" * (https.MAX_ANSWER + 1)))
    with pytest.raises(https.Oversized):
        ask(service)


def test_an_announced_size_is_believed_before_a_byte_is_read(service: RudeService) -> None:
    service.script("/x", plain(200, b"", content_length=str(2**40)))
    with pytest.raises(https.Oversized):
        ask(service)


def test_an_endless_answer_is_cut(service: RudeService) -> None:
    service.script("/x", endless)
    with pytest.raises(https.Oversized):
        ask(service)


def test_an_answer_cut_short_is_none(service: RudeService) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.send(200, b"half", content_length="8")
        exchange.hang_up()

    service.script("/x", cut)
    with pytest.raises(https.Unanswered, match="cut short"):
        ask(service)


def test_no_answer_at_all_is_none(service: RudeService) -> None:
    service.script("/x", lambda exchange: exchange.hang_up())
    with pytest.raises(https.Unanswered):
        ask(service)


def test_a_chunked_answer_is_read_and_a_torn_one_is_none(service: RudeService) -> None:
    def chunked(end: bytes) -> Reply:
        def reply(exchange: Exchange) -> None:
            exchange.handler.send_response(200)
            exchange.handler.send_header("Transfer-Encoding", "chunked")
            exchange.handler.end_headers()
            exchange.handler.wfile.write(b"5\r\nhello\r\n" + end)
            exchange.handler.wfile.flush()
            exchange.hang_up()

        return reply

    service.script("/x", chunked(b"0\r\n\r\n"))
    assert ask(service).body == b"hello"
    service.script("/x", chunked(b"5\r\nhe"))
    with pytest.raises(https.Unanswered):
        ask(service)


def test_headers_without_end_are_refused(service: RudeService) -> None:
    def flood(exchange: Exchange) -> None:
        exchange.handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500)
        exchange.hang_up()

    service.script("/x", flood)
    with pytest.raises(https.Unanswered):
        ask(service)


@pytest.mark.parametrize(
    "line", [b"hello\r\n\r\n", b"HTTP/1.1 banana\r\n\r\n", b"\x00" * 99, b"SSH-2.0-x\r\n"]
)
def test_what_is_not_http_is_no_answer(service: RudeService, line: bytes) -> None:
    def reply(exchange: Exchange) -> None:
        exchange.handler.wfile.write(line)
        exchange.hang_up()

    service.script("/x", reply)
    with pytest.raises(https.Unanswered):
        ask(service)


def test_silence_ends_at_the_limit(service: RudeService) -> None:
    service.script("/x", silent)
    begun = time.monotonic()
    with pytest.raises(https.Unanswered, match="too long"):
        ask(service, seconds=0.3)
    assert time.monotonic() - begun < 3


def test_a_port_that_accepts_and_says_nothing_ends_at_the_limit() -> None:
    """The TLS handshake is bounded as well."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        service = https.Service(f"https://127.0.0.1:{mute.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(https.Unanswered, match="too long"):
            https.exchange(service, tls.blind_context(), GET, seconds=0.3)
        assert time.monotonic() - begun < 3


def test_a_peer_that_breaks_off_the_handshake_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def accept() -> None:
            connection, _ = rude.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=accept)
        thread.start()
        service = https.Service(f"https://127.0.0.1:{rude.getsockname()[1]}")
        with pytest.raises(https.Unanswered, match="TLS"):
            https.exchange(service, tls.blind_context(), GET, seconds=5)
        thread.join()


def test_tls_1_1_is_not_spoken(tmp_path: Path) -> None:
    assert tls.blind_context().minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls.verifying_context(new_pki().root_pem).minimum_version is ssl.TLSVersion.TLSv1_2


def test_another_root_is_not_believed(service: RudeService) -> None:
    context = tls.verifying_context(new_pki().root_pem)
    with pytest.raises(https.Distrusted):
        https.exchange(https.Service(service.url), context, GET, seconds=5)
    assert service.seen == []


def test_a_blind_context_believes_anybody_and_that_is_its_name(service: RudeService) -> None:
    service.script("/x", plain(200, b"hi"))
    assert https.exchange(https.Service(service.url), tls.blind_context(), GET, seconds=5).body == b"hi"


def test_a_text_without_a_certificate_is_no_root() -> None:
    with pytest.raises(ssl.SSLError):
        tls.verifying_context("nothing")


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        b"\r\n",
        b"X: ",
    ],
)
def test_no_lie_about_lengths_makes_a_device_keep_what_comes(service: RudeService, lines: bytes) -> None:
    """http.client reads a chunk of -1 bytes to the end of the connection, whenever that is."""
    sent = 0

    def flood(exchange: Exchange) -> None:
        nonlocal sent
        exchange.handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + lines)
        with contextlib.suppress(OSError):
            for _ in range(4096):
                sent += exchange.handler.wfile.write(b"x" * 16382 + b"\r\n")
        exchange.hang_up()

    service.script("/x", flood)
    with pytest.raises((https.Oversized, https.Unanswered)):
        ask(service)
    eventually(lambda: bool(service.faults) or sent > 0)
    assert sent < 16 << 20  # what fits into the buffers between the two; not the 64 MiB on offer


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints"])
def test_interim_answers_without_end_are_oversized(service: RudeService, status: bytes) -> None:
    def flood(exchange: Exchange) -> None:
        with contextlib.suppress(OSError):
            for _ in range(4096):
                exchange.handler.wfile.write((b"HTTP/1.1 " + status + b"\r\n\r\n") * 100)
        exchange.hang_up()

    service.script("/x", flood)
    with pytest.raises(https.Oversized):
        ask(service)


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_interim_answers_are_passed_over(service: RudeService, status: bytes) -> None:
    def reply(exchange: Exchange) -> None:
        exchange.handler.wfile.write(b"HTTP/1.1 " + status + b"\r\nLink: </x>\r\n\r\n")
        exchange.handler.wfile.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        exchange.send(200, b"final")

    service.script("/x", reply)
    answer = ask(service)
    assert (answer.status, answer.body) == (200, b"final")
