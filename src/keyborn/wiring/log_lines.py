"""How the log of ``keyborn serve`` is written: a line for people, or a JSON object for programs."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

FORMATS = ("text", "json")


def log_to_stderr(form: str, level: int, *, access: bool) -> None:
    """Write what is logged from ``level`` on, in one of ``FORMATS``; ``access``: each request, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level)
    if access:
        from keyborn.http.observing import ACCESS  # noqa: PLC0415 - for help alone nothing of it is needed

        logging.getLogger(ACCESS).setLevel(logging.INFO)


class TextLines(logging.Formatter):
    """Time, level, logger and message; behind it the id of the request under way."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """See ``logging.Formatter``."""
        request = _request()
        return super().formatMessage(record) + (f" request={request}" if request else "")


class JsonLines(logging.Formatter):
    """One object on one line: time (UTC), level, logger, message, what belongs to it, the request's id."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        moment = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            told = {**fields, **told}
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        if request := _request():
            told["requestId"] = request
        return json.dumps(told, default=str)


def _request() -> str:
    """The id of the request in whose course something is logged; empty outside of one."""
    from keyborn.http.request_mark import current  # noqa: PLC0415 - as above

    mark = current.get()
    return "" if mark is None else mark.id
