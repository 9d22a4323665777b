"""Topics and filters, checked before they are kept or sent: MQTT 4.7 and the limits of AWS IoT Core.

A topic that no broker takes must not enter a queue that is emptied in order.
"""

from keyborn.domain.errors import InvalidTopic, MessageTooLarge

MAX_TOPIC = 256
"""Bytes of UTF-8 (AWS IoT Core)."""
MAX_SLASHES = 7
SHARED = "$share/"
"""How a filter begins of whose messages each goes to one member of a group (MQTT 5 4.8.2)."""
MAX_PAYLOAD = 131072
"""Bytes (AWS IoT Core: 128 KB)."""


def check_topic(topic: str) -> str:
    """Return a topic name that can be published to; raises InvalidTopic."""
    if set(topic) & {"+", "#"}:
        raise InvalidTopic(detail="a message goes to one topic, without + and #")
    if topic.startswith("$"):
        raise InvalidTopic(detail="topics that start with $ belong to the broker")
    return _check_text(topic)


def check_filter(text: str) -> str:
    """Return a topic filter that can be subscribed to, perhaps a shared one; raises InvalidTopic.

    ``$share/GROUP/FILTER``: the limits are meant for what follows the group.
    """
    if text.startswith(SHARED):
        group, _, shared = text.removeprefix(SHARED).partition("/")
        if not group or not shared or {"+", "#"} & set(group):
            raise InvalidTopic(detail="a shared filter is $share/GROUP/FILTER, with no + and # in the group")
        _check_text(group)
        _check_filter(shared)
        return text
    return _check_filter(text)


def is_shared(topic_filter: str) -> bool:
    """Whether each of its messages goes to one member of a group."""
    return topic_filter.startswith(SHARED)


def unshared(topic_filter: str) -> str:
    """The filter that topics are held against: what follows the group, where there is one."""
    return topic_filter.split("/", 2)[2] if is_shared(topic_filter) else topic_filter


def _check_filter(text: str) -> str:
    levels = text.split("/")
    if any("#" in level and level != "#" for level in levels) or "#" in levels[:-1]:
        raise InvalidTopic(detail="# stands alone, at the end")
    if any("+" in level and level != "+" for level in levels):
        raise InvalidTopic(detail="+ stands for a whole level")
    return _check_text(text)


def check_payload(payload: bytes) -> bytes:
    """Return a payload that a broker takes; raises MessageTooLarge."""
    if len(payload) > MAX_PAYLOAD:
        raise MessageTooLarge(limit=MAX_PAYLOAD)
    return payload


def _check_text(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidTopic(detail="it is not valid text") from None
    if not 1 <= size <= MAX_TOPIC:
        raise InvalidTopic(detail=f"it has {size} bytes, not 1 to {MAX_TOPIC}")
    if text.count("/") > MAX_SLASHES:
        raise InvalidTopic(detail=f"it has more than {MAX_SLASHES} slashes")
    if not text.isprintable():
        raise InvalidTopic(detail="it holds a character that cannot be printed")
    return text
