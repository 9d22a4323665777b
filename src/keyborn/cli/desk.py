"""Where an operator works: at a data folder on this machine, or at a stack on AWS; the commands do not care.

``desk_options`` gives a command the options that choose, and hands it the desk.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from keyborn.cli.console import DEFAULT_DATA, ask, data_option, fetch, request_of, require_running
from keyborn.cli.output import typed
from keyborn.domain.errors import AwsPartsMissing, KeybornError, ServerStopped

R = TypeVar("R")

_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
"""A stack's name (CloudFormation API Reference, CreateStack)."""


class Desk(Protocol):
    """One office to ask, and what differs between offices for who stands before it."""

    at_once: bool
    """Whether a changed policy, or the end of a service's sessions, is a fact when the command ends."""
    tells_publishers: bool
    """Whether the broker says which thing a message is from."""
    has_roots: bool
    """Whether the roots are the operator's own, to be changed."""
    words: str
    """Options that lead a command to this office, each after a space; empty where none is needed."""

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """Send one request; returns the decoded JSON. Raises Refused, or a leaf of OperatorError."""
        ...

    def services(self) -> Path:
        """The folder on this machine that holds the identities of this office's services."""
        ...

    def require_open(self) -> None:
        """Raise a leaf of OperatorError where nothing can enrol now."""
        ...

    def ended(self, lost: KeybornError) -> KeybornError:
        """What to say where a session with the broker was ``lost``."""
        ...


class Fetching(Protocol):
    """Capability of a desk: long answers, as they come."""

    def fetch(
        self,
        path: str,
        sink: Callable[[bytes], None],
        *,
        passphrase_file: Path | None = None,
        **query: object,
    ) -> None:
        """Give the answer to ``sink``, piece by piece. Raises Refused, or a leaf of OperatorError.

        ``passphrase_file``: of the authority's keys, for where the office works in this process.
        """
        ...


class LocalDesk:
    """The data folder of a server, whether that runs or not."""

    at_once = True
    tells_publishers = True
    has_roots = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.words = "" if folder == DEFAULT_DATA else typed(data=str(folder))

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """See ``Desk.ask``."""
        return ask(self._folder, method, path, body, **query)

    def fetch(
        self,
        path: str,
        sink: Callable[[bytes], None],
        *,
        passphrase_file: Path | None = None,
        **query: object,
    ) -> None:
        """See ``Fetching.fetch``."""
        from keyborn.adapters.ca import read_passphrase

        target, _ = request_of(path, None, query)
        fetch(self._folder, read_passphrase(os.environ, passphrase_file), target, sink)

    def services(self) -> Path:
        """See ``Desk.services``: one backup and one set of permissions cover both."""
        return self._folder / "services"

    def require_open(self) -> None:
        """See ``Desk.require_open``; raises ServerNotRunning."""
        require_running(self._folder)

    def ended(self, lost: KeybornError) -> KeybornError:  # noqa: ARG002 - the folder says it better
        """See ``Desk.ended``."""
        return ServerStopped(path=self._folder)


def pages(desk: Desk, path: str, key: str, limit: int = 1000, **query: object) -> Iterator[dict[str, Any]]:
    """Every row of a paged list, in order; ``key`` is the member that pages continue after.

    ``query``: what else is asked of each page.
    """
    after = None
    while True:
        page = desk.ask("GET", path, None, after=after, limit=limit, **query)
        yield from page
        if len(page) < limit:
            return
        after = page[-1][key]


# ── the options ───────────────────────────────────────────────────────────────────────────────────────

_aws_option = click.option(
    "--aws",
    "stack",
    metavar="STACK",
    envvar="KEYBORN_AWS_STACK",
    help="A stack on AWS, in the place of a data folder.  [env: KEYBORN_AWS_STACK]",
)
_region_option = click.option(
    "--region", metavar="REGION", help="Where the stack is.  [default: as AWS's own tools find it]"
)
_profile_option = click.option(
    "--profile", metavar="NAME", help="Whose credentials: a profile of AWS's tools."
)


def desk_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--data``, ``--aws``, ``--region``, ``--profile``, and call it with ``desk``."""

    @wraps(command)
    def _at_a_desk(
        *,
        data: Path,
        stack: str | None,
        region: str | None,
        profile: str | None,
        **more: Any,  # noqa: ANN401 - click's: whatever other options there are
    ) -> R:
        desk = choose(data, stack, region=region, profile=profile)
        return command(desk=desk, **more)

    return data_option(_aws_option(_region_option(_profile_option(_at_a_desk))))


def choose(data: Path, stack: str | None, *, region: str | None, profile: str | None) -> Desk:
    """The desk of this call; a usage error where the options contradict each other.

    What is typed counts more than what the environment says: an order must not reach another fleet because
    of a forgotten variable.
    """
    typed = {name: _source(name) for name in ("data", "stack")}
    if stack is None or (typed["data"] > typed["stack"]):
        if region is not None or profile is not None:
            raise click.UsageError("--region and --profile go with --aws STACK.")
        return LocalDesk(data)
    if typed["data"] == typed["stack"]:
        way = "--data and --aws" if typed["data"] == _TYPED else "KEYBORN_DATA and KEYBORN_AWS_STACK"
        raise click.UsageError(f"{way} exclude each other: a data folder or a stack, not both.")
    if _STACK.fullmatch(stack) is None:
        shape = "a stack's name begins with a letter and has letters, digits and dashes"
        raise click.BadParameter(shape, param_hint="--aws")
    return _at_the_stack(stack, region, profile)


def _at_the_stack(stack: str, region: str | None, profile: str | None) -> Desk:
    """The desk of a stack; raises AwsPartsMissing on an installation without what it needs."""
    try:
        from keyborn.cli.stack_desk import StackDesk
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "keyborn":
            raise
        raise AwsPartsMissing(package=package) from None
    return StackDesk(stack, region=region, profile=profile)


_NOWHERE, _SET, _TYPED = range(3)


def _source(name: str) -> int:
    """How much the person meant a parameter: typed, set in the environment, or neither."""
    source = click.get_current_context().get_parameter_source(name)
    if source is ParameterSource.COMMANDLINE:
        return _TYPED
    return _SET if source is ParameterSource.ENVIRONMENT else _NOWHERE
