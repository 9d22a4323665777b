"""Where figures go: standard output, and a document between two marks."""

from pathlib import Path


def put(text: str, document: Path | None, name: str) -> None:
    """Print ``text``; and write it into ``document``, where there is one, between the marks of ``name``."""
    print(text)
    if document is None:
        return
    begin, end = f"<!-- {name} writes from here -->", f"<!-- {name} writes to here -->"
    before, found, rest = document.read_text().partition(begin)
    assert found, f"{document} has no mark of {name}"
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")
