"""What a broker says, in the words of the outbox: terms of a connection, and how one ended."""

from types import SimpleNamespace

import pytest

from keyborn.device.drain import NEVER, UNEXPLAINING, WINDOW, Ending, Terms
from keyborn.device.reasons import Reason, ending_of, terms

SILENT = SimpleNamespace()
"""A CONNACK without properties."""


def test_a_broker_that_says_nothing_gets_our_own_window_and_no_other_limit() -> None:
    assert terms("broker.example", SILENT, explains=True) == Terms(True, WINDOW)  # noqa: FBT003 - explains


@pytest.mark.parametrize(("said", "kept"), [(1, 1), (20, 20), (65535, WINDOW)])
def test_its_receive_maximum_counts_where_it_is_smaller(said: int, kept: int) -> None:
    assert terms("b", SimpleNamespace(ReceiveMaximum=said), explains=True).in_flight == kept


def test_its_largest_packet_counts() -> None:
    assert terms("b", SimpleNamespace(MaximumPacketSize=149_504), explains=True).packet == 149_504


@pytest.mark.parametrize(
    ("endpoint", "limited"),
    [
        ("a1b2c3-ats.iot.eu-central-1.amazonaws.com", True),
        ("a1b2c3.ats.iot.cn-north-1.amazonaws.com.cn", True),
        ("amazonaws.com.example.org", False),
        ("localhost", False),
    ],
)
def test_aws_gets_no_more_than_its_quotas_for_one_connection(endpoint: str, *, limited: bool) -> None:
    """AWS IoT Core endpoints and quotas: 100 publishes, 512 KiB a second."""
    found = terms(endpoint, SILENT, explains=True)
    assert (found.messages, found.bytes) == ((100, 512 * 1024) if limited else (float("inf"), float("inf")))


@pytest.mark.parametrize("code", sorted(NEVER))
def test_a_goodbye_for_good_is_a_refusal(code: int) -> None:
    assert Reason(code, "").permanent
    assert ending_of(Reason(code, ""), hung_up=True) is Ending.REFUSED


@pytest.mark.parametrize("code", sorted(UNEXPLAINING))
def test_a_goodbye_that_explains_nothing_is_none(code: int) -> None:
    assert ending_of(Reason(code, ""), hung_up=True) is Ending.UNEXPLAINED


@pytest.mark.parametrize("code", [0x00, 0x88, 0x89, 0x8B, 0x8D, 0x8E, 0x93, 0x96, 0x97, 0x98, 0x9C, 0xA0])
def test_every_other_goodbye_is_about_the_connection_and_accuses_no_message(code: int) -> None:
    """Shutting down, taken over, too fast, idle, moved …"""
    assert not Reason(code, "").permanent
    assert ending_of(Reason(code, ""), hung_up=True) is Ending.EXPLAINED


@pytest.mark.parametrize(("hung_up", "ending"), [(True, Ending.UNEXPLAINED), (False, Ending.NETWORK)])
def test_without_a_goodbye_it_counts_whether_anybody_closed(*, hung_up: bool, ending: Ending) -> None:
    assert ending_of(None, hung_up=hung_up) is ending
