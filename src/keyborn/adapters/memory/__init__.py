"""The registry in memory: complete, public, for tests, demonstrations and other people's test suites."""

from keyborn.adapters.memory.registry import MemoryRegistry

__all__ = ["MemoryRegistry"]
