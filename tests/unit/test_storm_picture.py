"""The picture of a storm: well-formed, one column for each storm, nothing outside its frame."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.support import curves, storm_without  # noqa: E402 - the bench is no package of ours

from keyborn.testing.storm import Storm, simulate  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_has_a_column_for_each_storm_and_a_line_for_each_curve() -> None:
    picture = ET.fromstring(curves.picture([simulate(Storm(60)), simulate(Storm(120))]))
    assert len(picture.findall(f"{SVG}polyline")) == 10
    texts = [text.text or "" for text in picture.findall(f"{SVG}text")]
    assert [text for text in texts if re.match(r"(60|120) devices", text)]
    assert sum("enrolled per second" in text for text in texts) == 2


def test_every_point_lies_within_the_picture() -> None:
    picture = ET.fromstring(curves.picture([simulate(Storm(200))]))
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for line in picture.findall(f"{SVG}polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_the_picture_in_the_docs_is_one_of_ours() -> None:
    picture = ET.fromstring((ROOT / "docs" / "storm.svg").read_text())
    heads = [text.text or "" for text in picture.findall(f"{SVG}text") if "devices," in (text.text or "")]
    assert [head.partition(" ")[0] for head in heads] == ["1,000", "100,000", "1,000,000"]


def test_each_part_that_is_left_out_is_missed() -> None:
    whole = simulate(Storm(1000))
    without = {}
    for name in storm_without.PARTS:
        with storm_without.part(name):
            without[name] = simulate(Storm(1000))
    assert without["place"].slowdown > 1.05
    assert without["promise"].requests > 5 * whole.requests
    assert without["hour"].requests >= whole.requests
    with storm_without.part(None):
        assert simulate(Storm(1000)).requests == whole.requests
