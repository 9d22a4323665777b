"""Where figures go: standard output, and a document between two marks."""

from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """Between which lines of a document the figures of ``name`` stand."""
    return f"<!-- {name} writes from here -->", f"<!-- {name} writes to here -->"


def put(text: str, document: Path | None, name: str) -> None:
    """Print ``text``; and write it into ``document``, where there is one, between the marks of ``name``."""
    print(text)
    if document is not None:
        write(text, document, name)


def write(text: str, document: Path, name: str) -> None:
    """Write ``text`` into ``document``, between the marks of ``name``."""
    begin, end = marks(name)
    before, found, rest = document.read_text().partition(begin)
    assert found, f"{document} has no mark of {name}"
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")
