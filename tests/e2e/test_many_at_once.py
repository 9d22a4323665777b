"""Many requests at one moment, against a running server over TLS."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from support.csr_make import make_csr
from support.figures import Figure
from support.server import Answer, Server

MANY = 50


def at_once(send: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(send, range(MANY)))


def test_fifty_equal_enrolments_give_one_certificate_and_fifty_equal_bodies(
    server: Server, figure: Figure
) -> None:
    secret, (_, csr) = server.token(thing="equal")["secret"], make_csr("equal")
    answers = at_once(lambda _: server.enroll("equal", csr, secret))
    bodies = {answer.body for answer in answers}
    certificates = server.thing("equal")["certificates"]
    figure(
        f"equal enrolments: {len(answers)}, distinct bodies {len(bodies)}, certificates {len(certificates)}"
    )
    assert {answer.status for answer in answers} <= {200, 201}
    assert len(bodies) == 1
    assert [row["status"] for row in certificates] == ["active"]


def test_fifty_equal_requests_at_the_compatibility_door_give_one_certificate(server: Server) -> None:
    secret, (_, csr) = server.token(thing="door")["secret"], make_csr("AWS IoT Certificate")
    answers = at_once(lambda _: server.post("/getCertificate", {"thingName": "door", "csr": csr}, secret))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(server.thing("door")["certificates"]) == 1


def test_fifty_keys_for_one_name_have_one_winner(server: Server, figure: Figure) -> None:
    secret = server.token(thing="contested", uses=0)["secret"]
    requests = [make_csr("contested")[1] for _ in range(MANY)]
    answers = at_once(lambda number: server.enroll("contested", requests[number], secret))
    won = [answer for answer in answers if answer.status == 201]
    lost = [answer for answer in answers if answer.status == 409]
    figure(f"keys for one name: {MANY}, winners {len(won)}, refused {len(lost)}")
    assert (len(won), len(lost)) == (1, MANY - 1)
    assert {answer.json["code"] for answer in lost} == {"thing_name_taken"}
    assert [row["certificateId"] for row in server.thing("contested")["certificates"]] == [
        won[0].json["certificateId"]
    ]


def test_a_token_of_ten_uses_serves_ten_of_fifty(server: Server) -> None:
    secret = server.token(match="ten-*", uses=10)["secret"]
    requests = [make_csr(f"ten-{number}")[1] for number in range(MANY)]
    answers = at_once(lambda number: server.enroll(f"ten-{number}", requests[number], secret))
    assert sorted(answer.status for answer in answers) == [201] * 10 + [403] * 40


def test_fifty_names_for_one_key_have_one_winner(server: Server) -> None:
    from support.csr_make import csr_for, make_key

    key, secret = make_key(), server.token(match="twin-*", uses=0)["secret"]
    requests = [csr_for(key, f"twin-{number}") for number in range(MANY)]
    answers = at_once(lambda number: server.enroll(f"twin-{number}", requests[number], secret))
    assert sorted(answer.status for answer in answers) == [201] + [409] * (MANY - 1)
