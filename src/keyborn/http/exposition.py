"""Figures as Prometheus reads them: the text format, version 0.0.4.

Source: Prometheus documentation, "Exposition formats". A figure's help and a label's value escape what would
end their line; a family is one block, its ``HELP`` and ``TYPE`` first.
"""

from collections.abc import Iterable, Iterator

from keyborn.service.watching import Family, Sample

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(families: Iterable[Family]) -> str:
    """All of them as text."""
    return "".join(line for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    says = family.says.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {family.name} {says}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for sample in family.samples:
        yield f"{family.name}{sample.suffix}{_labels(sample)} {_number(sample.value)}\n"


def _labels(sample: Sample) -> str:
    if not sample.labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items()) + "}"


def _number(value: float) -> str:
    """A whole number is written as one: counts are exact (a double holds them up to 2**53)."""
    return str(int(value)) if float(value).is_integer() else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
