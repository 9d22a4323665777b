"""The audit trail's own use cases: sign where it ends, and write it out so that others can check it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from keyborn.domain.audit import AuditRecord, ChainHead, verify
from keyborn.domain.audit_export import ExportHeader, ExportWriter
from keyborn.domain.checkpoint import Checkpoint, checkpoint_text
from keyborn.domain.errors import AuditBroken, InvalidSetting
from keyborn.ports import MAX_PAGE, AuditTrail, Checkpoints, Clock, Notary

TURN = 10
"""Pages that are looked through before a checkpoint is due: what is left is the next one's."""

_WHOLE = 10**9
_BEGINS = b"keyborn audit export begins\n"


@dataclass(frozen=True, slots=True)
class AuditPorts:
    """Whom the office of the trail asks."""

    trail: AuditTrail
    checkpoints: Checkpoints
    notary: Notary
    clock: Clock


class AuditOffice:
    """Signs checkpoints, and exports. Raises AuditBroken where the trail does not hold."""

    def __init__(self, ports: AuditPorts, url: Callable[[], str] = str) -> None:
        """``url``: where the service is, for who reads an export."""
        self._ports = ports
        self._url = url
        self._lock = asyncio.Lock()

    async def service(self) -> str:
        """See ``Notary.service``."""
        return await self._ports.notary.service()

    async def keys(self) -> Sequence[bytes]:
        """See ``Notary.keys``."""
        return await self._ports.notary.keys()

    async def checkpoints(self, *, after: int = 0, limit: int = 1000) -> Sequence[Checkpoint]:
        """A page of them."""
        return await self._ports.checkpoints.checkpoints(after=after, limit=limit)

    async def vouch(self, turn: int = TURN) -> Checkpoint | None:
        """Sign where the trail ends, unless that is signed; returns the latest checkpoint, None for no trail.

        What came since the last one is checked first: nothing is signed that does not follow from what was.
        With more than ``turn`` pages of it, the checkpoint is about where the last of these ends.
        """
        async with self._lock:
            last = await self._ports.checkpoints.latest_checkpoint()
            head = await self._walked(last, turn)
            if last is not None and head == last.head:
                return last
            return None if head == ChainHead() else await self._signed(head)

    async def _walked(self, last: Checkpoint | None, turn: int) -> ChainHead:
        head = ChainHead() if last is None else await self._still(last.head)
        for _ in range(turn):
            page = await self._ports.trail.records(after=head.sequence, limit=MAX_PAGE)
            head = verify(page, head)
            if len(page) < MAX_PAGE:
                break
        return head

    async def _still(self, head: ChainHead) -> ChainHead:
        """What was signed last is still there."""
        found = await self._ports.trail.records(after=head.sequence - 1, limit=1)
        if [(one.sequence, one.hash) for one in found] != [(head.sequence, head.hash)]:
            raise AuditBroken(sequence=head.sequence, detail="it is not the one that was signed, or is gone")
        return head

    async def _signed(self, head: ChainHead) -> Checkpoint:
        at, service = self._ports.clock.now(), await self.service()
        signed = await self._ports.notary.sign(checkpoint_text(service, head, at))
        checkpoint = Checkpoint(head, at, signed)
        await self._ports.checkpoints.add_checkpoint(checkpoint)
        return checkpoint

    # ── exports ───────────────────────────────────────────────────────────────────────────────────────

    async def export(self, after: int = 0) -> AsyncIterator[bytes]:
        """The lines of an export of what comes behind record ``after``, up to a checkpoint made now.

        What can be refused is refused before the first line: InvalidSetting for a record that is not there.
        """
        signed = await self.vouch(_WHOLE)
        head = ChainHead() if signed is None else signed.head
        start = await self._start(after, head)
        service = await self.service()
        await self._ports.notary.sign(_BEGINS)  # so the key that ends it is there, and is in its first line
        header = ExportHeader(service, self._url(), tuple(await self.keys()), start)
        return self._lines(ExportWriter(header), start, head)

    async def _start(self, after: int, head: ChainHead) -> ChainHead:
        if after == 0:
            return ChainHead()
        if after > head.sequence:
            raise InvalidSetting(setting="--after", detail=f"the last record is {head.sequence}")
        [found] = await self._ports.trail.records(after=after - 1, limit=1)
        return ChainHead(found.sequence, found.hash)

    async def _lines(self, writer: ExportWriter, start: ChainHead, head: ChainHead) -> AsyncIterator[bytes]:
        yield writer.header()
        at = start
        while at.sequence < head.sequence:
            limit = min(MAX_PAGE, head.sequence - at.sequence)
            page = await self._ports.trail.records(after=at.sequence, limit=limit)
            if not page:
                raise AuditBroken(sequence=at.sequence + 1, detail="it is gone")
            end = verify(page, at)
            yield await self._page(writer, page)
            at = end
        end_of_it = writer.end(self._ports.clock.now())
        yield end_of_it.line(await self._ports.notary.sign(end_of_it.text(await self.service())))

    async def _page(self, writer: ExportWriter, page: Sequence[AuditRecord]) -> bytes:
        """The lines of some records, each with its checkpoint."""
        first, last = page[0].sequence, page[-1].sequence
        found = await self._ports.checkpoints.checkpoints(after=first - 1, limit=len(page))
        vouched = {one.head.sequence: one for one in found if one.head.sequence <= last}
        lines: list[bytes] = []
        for record in page:
            lines.append(writer.record(record))
            if record.sequence in vouched:
                lines.append(writer.checkpoint(vouched[record.sequence]))
        return b"".join(lines)
