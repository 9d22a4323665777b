"""The alerts of the page on Prometheus ask for figures and labels that there are."""

import re
from pathlib import Path

import pytest

from keyborn.service.figures import FIGURES, Kind

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "watch-with-prometheus.md").read_text()
EXPRESSIONS = [*re.findall(r"expr: (.+)", PAGE), *re.findall(r"`(rate\(.+?)`", PAGE)]
NAMES = {
    f"{each.name}{suffix}": each
    for each in FIGURES
    for suffix in (("_bucket", "_sum", "_count") if each.kind is Kind.HISTOGRAM else ("",))
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_what_is_told(expression: str) -> None:
    asked = re.findall(r"(keyborn_\w+)(?:\{(.*?)\})?", expression)
    assert asked or "up{" in expression
    for name, matchers in asked:
        labels = {label.name: label.values for label in NAMES[name].labels}
        for label, _, values in re.findall(r'(\w+)(=|!~|=~)"(.*?)"', matchers):
            assert set(values.split("|")) <= labels[label]


def test_a_rate_is_asked_of_counters_alone() -> None:
    rated = {name for each in EXPRESSIONS for name in re.findall(r"rate\((keyborn_\w+)", each)}
    assert len(rated) >= 4
    assert all(NAMES[name].kind in (Kind.COUNTER, Kind.HISTOGRAM) for name in rated)
