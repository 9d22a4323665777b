"""Topic names and filters: validity, matching, and the trees that route (MQTT 5 section 4.7)."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from keyborn.adapters.broker.limits import Limits

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

SHARED_PREFIX = "$share/"


def topic_fault(topic: str) -> str | None:
    """Why ``topic`` is no topic name at all, or None. Such a publish breaks the protocol."""
    if not topic:
        return "the topic is empty"
    if "+" in topic or "#" in topic:
        return "the topic holds a wildcard"
    return None


def size_fault(text: str, limits: Limits) -> str | None:
    """Why a topic or filter is beyond AWS's limits, or None."""
    if len(text) * 4 > limits.topic_bytes and len(text.encode()) > limits.topic_bytes:
        return f"longer than {limits.topic_bytes} bytes"
    if text.count("/") > limits.topic_slashes:
        return f"more than {limits.topic_slashes} slashes"
    return None


def filter_fault(topic_filter: str) -> str | None:
    """Why ``topic_filter`` is no filter at all, or None."""
    if not topic_filter:
        return "the filter is empty"
    if "\0" in topic_filter:
        return "it holds the character U+0000"
    levels = topic_filter.split("/")
    if "#" in topic_filter and (topic_filter.count("#") > 1 or levels[-1] != "#"):
        return "# is not the whole last level"
    if any("+" in level and level != "+" for level in levels):
        return "+ is not a whole level"
    return None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether ``topic_filter`` takes ``topic``; a wildcard at the start does not take ``$`` topics."""
    if topic[:1] == "$" and topic_filter[:1] in {"+", "#"}:
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)


class _Node(Generic[Key, Value]):
    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.below: dict[str, _Node[Key, Value]] = {}
        self.here: dict[Key, Value] = {}


class _Tree(Generic[Key, Value]):
    """Levels of text with values at their ends; empty branches are cut."""

    def __init__(self) -> None:
        self._root: _Node[Key, Value] = _Node()

    def add(self, path: str, key: Key, value: Value) -> None:
        """Put ``value`` at ``path`` under ``key``, over an older one."""
        node = self._root
        for level in path.split("/"):
            node = node.below.setdefault(level, _Node())
        node.here[key] = value

    def remove(self, path: str, key: Key) -> Value | None:
        """Take the value at ``path`` under ``key`` away; None if there was none."""
        trail: list[tuple[_Node[Key, Value], str]] = []
        node = self._root
        for level in path.split("/"):
            trail.append((node, level))
            found = node.below.get(level)
            if found is None:
                return None
            node = found
        value = node.here.pop(key, None)
        for parent, level in reversed(trail):
            child = parent.below[level]
            if child.here or child.below:
                break
            del parent.below[level]
        return value


class FilterTree(_Tree[Key, Value]):
    """Filters are stored; a topic asks who wants it."""

    def match(self, topic: str) -> list[tuple[Key, Value]]:
        """Every (key, value) whose filter takes ``topic``; a key appears once per matching filter."""
        found: list[tuple[Key, Value]] = []
        levels = topic.split("/")
        nodes = [self._root]
        for index, level in enumerate(levels):
            wild = index > 0 or level[:1] != "$"
            after: list[_Node[Key, Value]] = []
            for node in nodes:
                below = node.below
                if level in below:
                    after.append(below[level])
                if wild:
                    if "+" in below:
                        after.append(below["+"])
                    if "#" in below:
                        found += below["#"].here.items()
            nodes = after
        for node in nodes:
            found += node.here.items()
            if "#" in node.below:
                found += node.below["#"].here.items()
        return found


class TopicTree(_Tree[str, Value]):
    """Topics are stored, each as the key of its own value; a filter asks what is there."""

    def put(self, topic: str, value: Value) -> None:
        """Keep ``value`` for ``topic``."""
        self.add(topic, topic, value)

    def drop(self, topic: str) -> Value | None:
        """Forget the value of ``topic``."""
        return self.remove(topic, topic)

    def select(self, topic_filter: str) -> Iterator[Value]:
        """The values whose topics the filter takes."""
        yield from self._select(self._root, topic_filter.split("/"), 0)

    def _select(self, node: _Node[str, Value], wanted: list[str], depth: int) -> Iterator[Value]:
        if depth == len(wanted):
            yield from node.here.values()
            return
        level = wanted[depth]
        if level == "#":
            yield from self._everything(node, top=depth == 0)
        elif level == "+":
            for name, child in node.below.items():
                if depth or name[:1] != "$":
                    yield from self._select(child, wanted, depth + 1)
        elif level in node.below:
            yield from self._select(node.below[level], wanted, depth + 1)

    def _everything(self, node: _Node[str, Value], *, top: bool) -> Iterator[Value]:
        """The node (``sport/#`` takes ``sport``) and all below; at the top ``$`` topics stay out."""
        yield from node.here.values()
        for name, child in node.below.items():
            if not (top and name[:1] == "$"):
                yield from self._everything(child, top=False)
