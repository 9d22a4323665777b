"""The page on costs is what is counted: calls on the stand-in, times the prices in one table."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for `bench`

from bench import aws_costs  # noqa: E402 - only now can it be found
from bench.support import counting, pages, prices  # noqa: E402 - the same

from support import ministack  # noqa: E402 - in the order of the rest

PAGE = (ROOT / "docs/aws-costs.md").read_text()
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def numbers(text: str) -> list[float]:
    return [float(one.replace(",", "")) for one in NUMBER.findall(text)]


@pytest.fixture(scope="module")
def counted() -> counting.Counted:
    return counting.count(ministack.shared())


def test_the_page_shows_what_is_counted_now(counted: counting.Counted) -> None:
    """A certificate is a few bytes longer or shorter each time, and a kilobyte begins or does not."""
    begin, end = pages.marks(aws_costs.NAME)
    shown = PAGE.partition(begin)[2].partition(end)[0].strip()
    now = aws_costs.text(counted)
    assert NUMBER.sub("0", shown) == NUMBER.sub("0", now)
    assert numbers(shown) == pytest.approx(numbers(now), rel=0.1, abs=0.02)


def test_an_enrollment_takes_one_call_of_each_kind(counted: counting.Counted) -> None:
    assert counted.enrollment.calls == {
        "TransactWriteItems": 3,
        "UpdateItem": 1,
        "CreateCertificateFromCsr": 1,
        "CreateThing": 1,
        "AttachPolicy": 1,
        "AttachThingPrincipal": 1,
        "UpdateCertificate": 1,
    }


def test_what_is_assumed_of_the_template_is_so() -> None:
    template = (ROOT / "src/keyborn/adapters/aws/stack/template.yaml").read_text()
    assert template.count("AWS::CloudWatch::Alarm") == prices.ALARMS
    assert f"Default: {round(prices.ENROLL_GB * 1024)}" in template
    assert f"MemorySize: {round(prices.SWEEP_GB * 1024)}" in template


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"pk": {"S": "abc"}}, 5),
        ({"n": {"N": "1795497458000"}}, 7),
        ({"b": {"B": b"12345"}}, 6),
        ({"l": {"L": [{"S": "ab"}, {"BOOL": True}]}}, 9),
        ({"m": {"M": {"k": {"S": "v"}}}}, 7),
    ],
)
def test_items_have_the_size_that_dynamodb_documents(item: dict[str, dict[str, object]], size: int) -> None:
    assert counting.size(item) == size


@pytest.mark.parametrize(("count", "blocks"), [(0, 1), (1, 1), (1024, 1), (1025, 2)])
def test_a_begun_kilobyte_is_charged(count: int, blocks: int) -> None:
    assert counting.begun(count, 1024) == blocks
