"""A number that one process counts and another one reads: eight bytes of memory that both have."""

import mmap
import os
import struct

_NUMBER = struct.Struct("<Q")


class Tally:
    """The number; begins with 0."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor`` of ``make``, or inherited; it stays the caller's."""
        self._memory = mmap.mmap(descriptor, _NUMBER.size)

    @staticmethod
    def make() -> int:
        """A descriptor of new memory, which a child process may inherit."""
        descriptor = os.memfd_create("keyborn-tally", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _NUMBER.size)
        return descriptor

    @property
    def value(self) -> int:
        """The number now."""
        number: int = _NUMBER.unpack_from(self._memory)[0]
        return number

    @value.setter
    def value(self, number: int) -> None:
        """Count."""
        _NUMBER.pack_into(self._memory, 0, number)
