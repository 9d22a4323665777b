"""Waiting for a person: what the device shows, computed from its own key, and a note of it beside the key.

What the service says is only compared with it. Were another key put in the place of this one's on the way,
the operator would see that key's words, and not what stands here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyborn.device import files
from keyborn.device.home import Home
from keyborn.device.https import Answer
from keyborn.device.pace import Deadline, Pace
from keyborn.device.surroundings import Say
from keyborn.domain.approval import approval_code, key_words
from keyborn.domain.errors import ApprovalForeign, ApprovalPending
from keyborn.domain.names import GroupName, KeyHash, ThingName

SOONEST, LATEST, USUAL = 1.0, 300.0, 5.0
"""Seconds between two looks: at least, at most, and where the service names none."""
PATIENCE = 86400.0
"""Seconds for which ``keyborn enroll`` waits for a person where nobody said how long: as long as a request
waits in a group that says nothing else."""
TOLD_EVERY = 60.0
_MAX_NOTE = 4096
_CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}")
_WORDS = re.compile(r"[a-z]{5}(?:-[a-z]{5}){3}")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person compares."""

    words: str
    code: str | None
    """None where the device does not know its group, and the service did not say it either."""


@dataclass(frozen=True, slots=True)
class Request:
    """What this device asks for."""

    url: str
    thing: ThingName
    key: KeyHash
    group: GroupName | None = None
    """None: the credential's own, which only the service knows."""

    def shown(self, answer: Answer) -> Shown:
        """What to show; raises ApprovalForeign where the answer is about another key or request."""
        said = _members(answer.body)
        words, code = said.get("words"), said.get("approval")
        own = key_words(self.key)
        if words is not None and words != own:
            raise self._foreign("key", words, own, _WORDS)
        if self.group is None:
            return Shown(own, code if isinstance(code, str) and _CODE.fullmatch(code) else None)
        mine = approval_code(self.group, self.thing, self.key)
        if code is not None and code != mine:
            raise self._foreign("request", code, mine, _CODE)
        return Shown(own, mine)

    def _foreign(self, what: str, theirs: object, own: str, form: re.Pattern[str]) -> ApprovalForeign:
        fit = isinstance(theirs, str) and form.fullmatch(theirs) is not None
        return ApprovalForeign(
            url=self.url, what=what, theirs=theirs if fit else "something unreadable", own=own
        )


class Waiting:
    """One request that may have to wait: says so, notes it, and knows for how long."""

    def __init__(self, request: Request, home: Home, say: Say, *, patience: float | None = PATIENCE) -> None:
        """``patience``: seconds from the first such answer on; None leaves it to the other limit."""
        self._request = request
        self._home = home
        self._say = say
        self._patience = patience
        self._begun: Deadline | None = None
        self._told_at = 0.0

    def pending(self, answer: Answer, *, once: bool, pace: Pace) -> ApprovalPending:
        """Show what a person compares, the first time; what to raise should the time end now.

        ``once``: somebody else asks again, so it is shown only where it has not been noted before. Raises
        ApprovalForeign.
        """
        shown = self._request.shown(answer)
        news = self._note(shown)
        if (news or not once) and self._begun is None:
            self._show(shown, once=once)
        if self._begun is None and self._patience is not None:
            self._begun = Deadline.after(self._patience, pace)
        self._told_at = self._told_at or pace.monotonic()
        pause = min(max(answer.retry_after or USUAL, SOONEST), LATEST)
        return ApprovalPending(seconds=pause, approval=shown.code, words=shown.words)

    def extended(self, deadline: Deadline) -> Deadline:
        """For how long all of it may take: a person has more time than a service."""
        if self._begun is None or self._begun.at < deadline.at:
            return deadline
        return self._begun

    def tell(self, pace: Pace) -> None:
        """Say now and then that it goes on."""
        now = pace.monotonic()
        if now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            self._say("Still waiting for the operator. The code and the words above are still good.")

    def over(self) -> None:
        """There is an answer: the note goes."""
        files.remove(self._home.waiting)

    def _show(self, shown: Shown, *, once: bool) -> None:
        self._say(f"{self._request.thing} waits for a person. Tell the operator what stands here:")
        if shown.code is not None:
            self._say(f"    code       {shown.code}")
        self._say(f"    key words  {shown.words}")
        self._say(
            "They approve it, if they see the same: keyborn approval approve "
            f"{shown.code or 'CODE'} --words {shown.words}"
        )
        if not once:
            self._say("Interrupted, the same command goes on with the same request.")

    def _note(self, shown: Shown) -> bool:
        """Keep it for ``keyborn status``; whether it was news."""
        request = self._request
        text = json.dumps(
            {
                "service": request.url,
                "thing": request.thing,
                "group": request.group,
                "approval": shown.code,
                "words": shown.words,
            }
        ).encode()
        path = self._home.waiting
        if noted(self._home) == json.loads(text):
            return False
        for step in files.replacement_steps(path, text):
            step.run()
        return True


def noted(home: Home) -> Mapping[str, Any] | None:
    """What a device that waits shows, as it was noted; None where nothing is that can be read."""
    try:
        return _members(files.read_private(home.waiting, _MAX_NOTE)) or None
    except Exception:  # noqa: BLE001 - it is written anew with the next answer
        return None


def _members(body: bytes) -> Mapping[str, Any]:
    """The members of a JSON object; none for anything else: there is nothing to compare then."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
