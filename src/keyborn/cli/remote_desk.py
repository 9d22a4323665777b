"""A service elsewhere as an operator's desk: HTTPS, its root pinned, and an API key.

Trust is made as devices make it: the bundle comes over a connection that carries no credential, is compared
with the fingerprint, and every later connection verifies chain, host name and serverAuth under that root.
"""

import contextlib
import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

from keyborn.cli.console import Refused, decode, request_of
from keyborn.cli.device import printable
from keyborn.cli.output import typed
from keyborn.cli.state import state_folder
from keyborn.device import files, https, tls, trust
from keyborn.device.strangers import stranger_words
from keyborn.domain.api_key import MAX_WORD, ApiKeyWord, api_key_id, find_word
from keyborn.domain.errors import (
    InvalidApiKey,
    KeybornError,
    RemoteAnswer,
    RemoteUnreachable,
    RemoteUntrusted,
    UntrustedService,
    WrongAnswer,
)

_CHUNK = 64 * 1024
MOST = 16 * 1024 * 1024
"""Bytes of one answer: a thousand records and what they say."""
_MAX_FILE = 4 * MAX_WORD
"""The whole output of ``keyborn api-key create`` and room to spare."""
_SECONDS = 30.0


class RemoteDesk:
    """Implements ``keyborn.cli.desk.Desk``. Nothing is read or asked before the first question."""

    at_once = True
    tells_publishers = True
    has_roots = True

    def __init__(self, key_file: Path, url: str | None) -> None:
        """``url`` in the place of the key's own, for a service that is reached by another name."""
        self._file = key_file
        self._url = url
        self.words = typed(url=url, **{"api-key-file": str(key_file)})

    @cached_property
    def _key(self) -> ApiKeyWord:
        """Raises FileNotPrivate, InvalidApiKey."""
        try:
            text = files.read_private(self._file, _MAX_FILE).decode("ascii", "replace")
        except OSError as wrong:
            raise InvalidApiKey(detail=f"{self._file}: {wrong.strerror}") from None
        word = find_word(text)
        return word if self._url is None else replace(word, url=self._url)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Whom to believe: the pinned root, fetched and compared, or the public authorities."""
        if not self._key.fingerprint:
            return tls.verifying_context(None)
        try:
            # its own connection: nothing is verified on it, so nothing that matters may travel on it
            root = trust.fetch_root(
                self._key, lambda request: self._exchange(request, tls.blind_context()), called="the API key"
            )
        except UntrustedService as wrong:
            raise RemoteUntrusted(url=self._key.url, detail=wrong.facts["detail"]) from None
        except WrongAnswer as wrong:
            raise RemoteAnswer(url=self._key.url, detail=wrong.facts["detail"]) from None
        return tls.verifying_context(root)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """See ``Desk.ask``."""
        target, payload = request_of(path, body, query)
        context = self._context
        headers = {"Authorization": f"Bearer {self._key.encode()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = self._exchange(https.Request(method, target, payload or None, headers), context)
        return self._read_told(answer.status, answer.body)

    def fetch(
        self,
        path: str,
        sink: Callable[[bytes], None],
        *,
        passphrase_file: Path | None = None,  # noqa: ARG002 - the service has it
        **query: object,
    ) -> None:
        """See ``Fetching.fetch``."""
        target, _ = request_of(path, None, query)
        context, service = self._context, https.Service(self._key.url)
        connection = http.client.HTTPSConnection(
            service.host, service.port, context=context, timeout=_SECONDS
        )
        try:
            with contextlib.closing(connection):
                self._drain(connection, service.prefix + target, sink)
        except ssl.SSLError as wrong:
            raise RemoteUntrusted(url=self._key.url, detail=str(wrong)) from None
        except (OSError, http.client.HTTPException) as wrong:
            raise RemoteUnreachable(url=self._key.url, detail=str(wrong) or type(wrong).__name__) from None

    def _drain(
        self, connection: http.client.HTTPSConnection, target: str, sink: Callable[[bytes], None]
    ) -> None:
        connection.request("GET", target, headers={"Authorization": f"Bearer {self._key.encode()}"})
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            self._read_told(answer.status, answer.read(MOST))
        while chunk := answer.read1(_CHUNK):
            sink(chunk)

    def _read_told(self, status: int, body: bytes) -> Any:  # noqa: ANN401 - JSON
        """What an answer says; raises Refused, printable, and RemoteAnswer for one of somebody else."""
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            # no Keyborn redirects: who does is somebody else, and is not followed
            raise RemoteAnswer(url=self._key.url, detail=stranger_words(status))
        try:
            return decode(status, body)
        except Refused as refused:
            raise Refused(code=printable(str(refused.code)), detail=printable(str(refused))) from None
        except (ValueError, KeyError, TypeError):  # no JSON, or none of ours
            raise RemoteAnswer(url=self._key.url, detail=stranger_words(status)) from None

    def _exchange(self, request: https.Request, context: ssl.SSLContext) -> https.Answer:
        url = self._key.url
        try:
            return https.exchange(https.Service(url), context, request, seconds=_SECONDS, most=MOST)
        except https.Unanswered as wrong:
            raise RemoteUnreachable(url=url, detail=str(wrong)) from None
        except https.Distrusted as wrong:
            raise RemoteUntrusted(url=url, detail=str(wrong)) from None
        except https.Oversized:
            raise RemoteAnswer(url=url, detail=f"more than {MOST} bytes") from None

    @property
    def reached_at(self) -> str:
        """See ``Desk.reached_at``."""
        return https.Service(self._key.url).host

    @property
    def watcher(self) -> str:
        """See ``Desk.watcher``: each key has one, so that no operator takes another's away."""
        return f"keyborn-watch-{api_key_id(self._key.secret)[1:9]}"

    def services(self) -> Path:
        """See ``Desk.services``: a folder for each root, in the operator's state."""
        known = self._key.fingerprint.hex()[:16] or https.Service(self._key.url).host
        return state_folder() / "remote" / known / "services"

    def require_open(self) -> None:
        """See ``Desk.require_open``: a service that answers is open."""
        self.ask("GET", "/v1/about")

    def ended(self, lost: KeybornError) -> KeybornError:
        """See ``Desk.ended``: what the session says is all there is to say."""
        return lost
