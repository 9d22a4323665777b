"""A stack on AWS as an operator's desk: the office works in this process, with the operator's credentials."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keyborn.cli.console import Refused, call_office, decode, request_of
from keyborn.cli.desk import LOOPBACK, WATCH
from keyborn.cli.output import typed
from keyborn.cli.state import state_folder
from keyborn.domain.errors import AwsRefused, KeybornError
from keyborn.http.admin import build_admin
from keyborn.wiring.aws_office import StackDoor


class StackDesk:
    """Implements ``keyborn.cli.desk.Desk``. Everything in AWS is asked for when it is first needed."""

    at_once = False
    tells_publishers = False
    has_roots = False
    reached_at = LOOPBACK
    watcher = WATCH

    def __init__(self, stack: str, *, region: str | None, profile: str | None) -> None:
        """Nothing is asked yet."""
        self._door = StackDoor(stack, region=region, profile=profile)
        self.words = typed(aws=stack, region=region, profile=profile)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """See ``Desk.ask``."""
        target, payload = request_of(path, body, query)
        return self._told(method, target, payload)

    def fetch(
        self,
        path: str,
        sink: Callable[[bytes], None],
        *,
        passphrase_file: Path | None = None,  # noqa: ARG002 - no key here has one
        **query: object,
    ) -> None:
        """See ``Fetching.fetch``."""
        target, payload = request_of(path, None, query)
        self._told("GET", target, payload, sink)

    def _told(
        self, method: str, target: str, payload: bytes, sink: Callable[[bytes], None] | None = None
    ) -> Any:  # noqa: ANN401 - JSON
        try:
            return decode(*asyncio.run(self._call(method, target, payload, sink)))
        except Refused as refused:
            denied = self._door.denied
            if refused.code == AwsRefused.code and denied is not None:
                raise denied from None  # it knows more: which credentials, which permission
            raise

    async def _call(
        self, method: str, target: str, payload: bytes, sink: Callable[[bytes], None] | None
    ) -> tuple[int, bytes]:
        async with self._door.office() as office:
            return await call_office(build_admin(office), method, target, payload, sink)

    def services(self) -> Path:
        """See ``Desk.services``. A stack that was made anew has a new table, and so a new folder."""
        outputs = self._door.outputs
        return state_folder() / "aws" / f"{outputs.account}-{outputs.region}-{outputs.table}" / "services"

    def require_open(self) -> None:
        """See ``Desk.require_open``: a stack that has outputs is open."""
        _ = self._door.outputs

    def ended(self, lost: KeybornError) -> KeybornError:
        """See ``Desk.ended``: what the session says is all there is to say."""
        return lost
