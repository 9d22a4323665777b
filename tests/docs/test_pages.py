"""The pages are true: their commands run, their links lead somewhere, the reference is what the code says."""

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

import reference
from support.aws_pages import open_account
from support.documents import World, run_page, steps
from support.gateway import open_gateway
from support.outside_pages import open_outside

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BY_NAME = {str(page.relative_to(ROOT)): page for page in PAGES}
NOT_RUN = {"CONTRIBUTING.md"}
"""Its one command is ``make test``: we are in it."""


RUN = {
    "README.md": [],
    "docs/aws.md": [],
    "docs/tutorial.md": ["openssl"],
    "docs/how-to/ask-first.md": [],
    "docs/how-to/back-up-and-restore.md": [],
    "docs/how-to/aws-run-it.md": ["curl"],
    "docs/how-to/board-without-python.md": ["openssl", "curl", "mosquitto_pub"],
    "docs/how-to/change-the-root.md": [],
    "docs/how-to/denied.md": [],
    "docs/how-to/enrolment-groups.md": [],
    "docs/how-to/existing-clients.md": ["openssl", "curl", "mosquitto_pub"],
    "docs/how-to/factory-certificate.md": ["openssl", "curl"],
    "docs/how-to/gateway-from-zero.md": ["systemctl"],
    "docs/how-to/group-key.md": ["openssl", "curl"],
    "docs/how-to/look-and-audit.md": ["openssl"],
    "docs/how-to/oidc.md": [],
    "docs/how-to/openssl-and-curl.md": ["openssl", "curl"],
    "docs/how-to/operate-remotely.md": [],
    "docs/how-to/other-mqtt-clients.md": ["mosquitto_pub"],
    "docs/how-to/python.md": [],
    "docs/how-to/registered-keys.md": ["openssl"],
    "docs/how-to/remote-device.md": ["openssl"],
    "docs/how-to/services.md": [],
    "docs/how-to/shell-completion.md": [],
    "docs/how-to/take-away.md": [],
    "docs/how-to/watch-with-prometheus.md": ["curl"],
    "docs/how-to/webhook.md": ["openssl"],
    "docs/how-to/write-a-policy.md": [],
}
"""Every page with commands, and the programs that it starts beside keyborn."""
ON_AWS = {name for name in RUN if "--aws keyborn" in BY_NAME[name].read_text()}
"""The pages that are given an account of AWS."""
DEPLOYING = {"README.md", "docs/aws.md"}
"""Those of them that begin with nothing in it; others find the stack ``keyborn``."""
LONG = {"docs/aws.md": [pytest.mark.whole], "docs/how-to/aws-run-it.md": [pytest.mark.whole]}
"""A deployment, from nothing to nothing: beside it the whole flow is walked by tests/e2e/aws."""
GATEWAYS = {name for name in RUN if "$ systemctl " in BY_NAME[name].read_text()}
"""The pages that are given a Debian machine."""
OUTSIDE = {"docs/how-to/oidc.md", "docs/how-to/webhook.md"}
"""The pages that are given somebody else: an identity provider, a free port for a receiver."""
BUILDING = {"README.md"}
"""Those whose deployment builds the functions' code; others take what was built once for the run."""


def around(name: str, folders: pytest.TempPathFactory) -> AbstractContextManager[World | None]:
    """What the page is given beside its folder."""
    if name in ON_AWS:
        return open_account(folders, stack=name not in DEPLOYING, builds=name in BUILDING)
    if name in OUTSIDE:
        return open_outside(folders.mktemp("outside"))
    return open_gateway(folders.mktemp("gateway")) if name in GATEWAYS else nullcontext()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.needs(*needs), *LONG.get(name, [])], id=name)
        for name, needs in RUN.items()
    ],
)
def test_every_command_of_the_page_does_what_the_page_says(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with around(name, tmp_path_factory) as world:
        assert sum(step.mode != "not" for step in run_page(BY_NAME[name], tmp_path, world)) >= 5


def test_no_page_has_commands_that_no_test_runs() -> None:
    with_commands = {name for name, page in BY_NAME.items() if any(steps(page.read_text()))}
    assert with_commands - NOT_RUN == set(RUN)


@pytest.mark.parametrize("name", RUN)
def test_a_page_starts_no_program_that_it_does_not_declare(name: str) -> None:
    text = "\n".join(step.line for step in steps(BY_NAME[name].read_text()) if step.mode != "not")
    assert {
        each for each in ("openssl", "curl", "mosquitto_pub", "systemctl") if re.search(rf"\b{each} ", text)
    } == set(RUN[name])


@pytest.mark.parametrize("name", RUN)
def test_no_page_leaves_a_secret_where_others_can_read_it(name: str) -> None:
    lines = [step.line for step in steps(BY_NAME[name].read_text())]
    for line in lines:
        assert not re.search(r"keyborn enroll kb1|Bearer \$", line), (
            f"an argument is in the process list: {line}"
        )
        makes_secret = "token create" in line or "Bearer" in line or "genkey" in line
        keeps_it = re.search(r"\btee \w|> \w|-out \w", line)
        assert not (makes_secret and keeps_it) or line.startswith("(umask 077; "), line


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


def test_every_how_to_is_listed() -> None:
    listed = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").rglob("how-to/*.md"):
        assert f"(how-to/{page.name})" in listed


@pytest.mark.parametrize(("name", "least"), [("docs/architecture.md", 20), ("docs/threats.md", 50)])
def test_tests_that_a_page_names_are_there(name: str, least: int) -> None:
    page = BY_NAME[name]
    named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", page.read_text())
    assert len(named) >= least
    for test, path in named:
        assert f"def {test}(" in (page.parent / path).read_text(), test


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
