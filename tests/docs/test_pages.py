"""The pages are true: their commands run, their links lead somewhere, the reference is what the code says."""

import re
from pathlib import Path

import pytest

import reference
from support.documents import run_page, steps

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BY_NAME = {str(page.relative_to(ROOT)): page for page in PAGES}
NOT_RUN = {"CONTRIBUTING.md"}
"""Its one command is ``make test``: we are in it."""


@pytest.mark.timeout(180)
@pytest.mark.needs("openssl", "curl", "mosquitto_pub")
@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md", "docs/how-to/existing-clients.md"])
def test_every_command_of_the_page_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    assert sum(step.mode != "not" for step in run_page(BY_NAME[name], tmp_path)) >= 5


def test_no_page_has_commands_that_no_test_runs() -> None:
    with_commands = {name for name, page in BY_NAME.items() if any(steps(page.read_text()))}
    assert with_commands - NOT_RUN == {"README.md", "docs/tutorial.md", "docs/how-to/existing-clients.md"}


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_reference_is_what_the_code_says(name: str) -> None:
    written = (reference.FOLDER / name).read_text()
    assert written == reference.PAGES[name](), "write it anew with: make docs"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as common renderers make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_link_inside_the_project_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", BY_NAME[name].read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        page = (BY_NAME[name].parent / path).resolve() if path else BY_NAME[name]
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


def test_every_decision_is_listed_numbered_and_says_what_it_costs() -> None:
    listed = (ROOT / "docs" / "README.md").read_text()
    for page in sorted((ROOT / "docs" / "adr").glob("*.md")):
        text = page.read_text()
        assert f"(adr/{page.name})" in listed
        assert text.startswith(f"# {int(page.name[:4])}. ")
        assert re.search(r"^## (Costs|Cost|What it costs)", text, re.MULTILINE), page.name


@pytest.mark.parametrize("name", BY_NAME)
def test_pages_name_no_machine_and_no_package_index(name: str) -> None:
    text = BY_NAME[name].read_text()
    assert not re.search(r"pypi\.org|pythonhosted|npmjs|localhost:\d|file://", text)


def test_the_readme_begins_with_what_it_is_and_two_commands() -> None:
    head = "\n".join((ROOT / "README.md").read_text().splitlines()[:20])
    assert "never leaves it" in head
    assert "$ make demo\n$ make test" in head
