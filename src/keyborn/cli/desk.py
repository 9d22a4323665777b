"""Where an operator works: at a data folder here, at a service elsewhere, or at a stack on AWS.

The commands do not care. ``desk_options`` gives a command the options that choose, and hands it the desk.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from keyborn.cli.console import DEFAULT_DATA, ask, data_option, fetch, request_of, require_running
from keyborn.cli.output import typed
from keyborn.domain.errors import AwsPartsMissing, InvalidCode, KeybornError, NotRemote, ServerStopped

R = TypeVar("R")

LOOPBACK = "127.0.0.1"
WATCH = "keyborn-watch"
"""The service that ``keyborn watch`` connects as."""

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

    @property
    def reached_at(self) -> str:
        """The host where a listener on all addresses of the service's machine is reached from here."""
        ...

    @property
    def watcher(self) -> str:
        """The name of the service that watches from here."""
        ...

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
    reached_at = LOOPBACK
    watcher = WATCH

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
        """See ``Desk.services``: one set of permissions covers both."""
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


_url_option = click.option(
    "--url",
    metavar="URL",
    envvar="KEYBORN_URL",
    help="A service elsewhere.  [default: the one that the API key names; env: KEYBORN_URL]",
)
_key_option = click.option(
    "--api-key-file",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KEYBORN_API_KEY_FILE",
    help="Work at a service elsewhere, with the API key in it.  [env: KEYBORN_API_KEY_FILE]",
)


def desk_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that choose a desk, and call it with ``desk``."""
    at_a_desk = _with_desk(command)
    return data_option(_url_option(_key_option(_aws_option(_region_option(_profile_option(at_a_desk))))))


def service_options(command: Callable[..., R]) -> Callable[..., R]:
    """As ``desk_options``, for what a stack on AWS does not have."""
    return data_option(_url_option(_key_option(_with_desk(command))))


def _with_desk(command: Callable[..., R]) -> Callable[..., R]:
    @wraps(command)
    def _at_a_desk(
        *,
        data: Path,
        url: str | None,
        key_file: Path | None,
        stack: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        **more: Any,  # noqa: ANN401 - click's: whatever other options there are
    ) -> R:
        elsewhere = Elsewhere(key_file, url)
        return command(desk=choose(data, stack, elsewhere, region=region, profile=profile), **more)

    return _at_a_desk


def folder_option(name: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command ``--data`` alone: it says that it works there where a service elsewhere is meant."""

    def _decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def _in_the_folder(*, url: str | None, key_file: Path | None, **more: Any) -> R:  # noqa: ANN401 - click's
            meant = Elsewhere(key_file, url).meant
            if meant and meant >= _source("data"):
                raise NotRemote(command=name)
            return command(**more)

        hidden = (
            click.option("--url", hidden=True, envvar="KEYBORN_URL"),
            click.option("--api-key-file", "key_file", hidden=True, envvar="KEYBORN_API_KEY_FILE"),
        )
        return data_option(hidden[0](hidden[1](_in_the_folder)))

    return _decorate


def no_stack(refusal: Callable[[], KeybornError]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """For a command with ``--data``, or at a desk: it refuses where a stack on AWS is meant."""

    def _decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def _here(*, stack: str | None, **more: Any) -> R:  # noqa: ANN401 - click's
            elsewhere = Elsewhere(more.get("key_file"), more.get("url"))
            if stack is not None and _source("stack") >= max(_source("data"), elsewhere.meant):
                raise refusal()
            return command(**more)

        hidden = click.option("--aws", "stack", hidden=True, envvar="KEYBORN_AWS_STACK")
        return hidden(_here)

    return _decorate


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the command line says of a service elsewhere."""

    key_file: Path | None = None
    url: str | None = None

    @property
    def meant(self) -> int:
        """How much the person meant it."""
        return max(
            _NOWHERE if self.url is None else _source("url"),
            _NOWHERE if self.key_file is None else _source("key_file"),
        )


def choose(
    data: Path,
    stack: str | None,
    elsewhere: Elsewhere = Elsewhere(),
    *,
    region: str | None = None,
    profile: str | None = None,
) -> Desk:
    """The desk of this call; a usage error where the options contradict each other.

    What is typed counts more than what the environment says: an order must not reach another fleet because
    of a forgotten variable.
    """
    ways = {"data": _source("data"), "elsewhere": elsewhere.meant}
    ways["stack"] = _NOWHERE if stack is None else _source("stack")
    most = max(ways.values())
    chosen = [way for way, meant in ways.items() if meant == most] if most else ["data"]
    if len(chosen) > 1:
        first, second = (_NAMES[way][most == _TYPED] for way in chosen[:2])
        raise click.UsageError(
            f"{first} and {second} exclude each other: a data folder, a service elsewhere or a stack."
        )
    if chosen == ["stack"] and stack is not None:
        return _at_a_named_stack(stack, region, profile)
    if region is not None or profile is not None:
        raise click.UsageError("--region and --profile go with --aws STACK.")
    return LocalDesk(data) if chosen == ["data"] else _at_a_distance(elsewhere)


def _at_a_distance(elsewhere: Elsewhere) -> Desk:
    from keyborn.cli.remote_desk import RemoteDesk
    from keyborn.domain.token import require_service_url

    if elsewhere.key_file is None:
        raise click.UsageError("--url needs the API key: --api-key-file FILE, or KEYBORN_API_KEY_FILE.")
    try:
        url = None if elsewhere.url is None else require_service_url(elsewhere.url)
    except InvalidCode:
        raise click.BadParameter("it takes https://host[:port]", param_hint="--url") from None
    return RemoteDesk(elsewhere.key_file, url)


def _at_a_named_stack(stack: str, region: str | None, profile: str | None) -> Desk:
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
_NAMES = {
    "data": ("KEYBORN_DATA", "--data"),
    "elsewhere": ("KEYBORN_URL or KEYBORN_API_KEY_FILE", "--url or --api-key-file"),
    "stack": ("KEYBORN_AWS_STACK", "--aws"),
}
"""How each place is set, and how it is typed."""


def _source(name: str) -> int:
    """How much the person meant a parameter: typed, set in the environment, or neither."""
    source = click.get_current_context().get_parameter_source(name)
    if source is ParameterSource.COMMANDLINE:
        return _TYPED
    return _SET if source is ParameterSource.ENVIRONMENT else _NOWHERE
