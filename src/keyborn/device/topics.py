"""Topics and filters, checked before they are kept or sent: MQTT 4.7 and the limits of AWS IoT Core.

A topic that no broker takes must not enter a queue that is emptied in order.
"""

from keyborn.domain.errors import InvalidTopic, MessageTooLarge

MAX_TOPIC = 256
"""Bytes of UTF-8 (AWS IoT Core)."""
MAX_SLASHES = 7
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
    """Return a topic filter that can be subscribed to; raises InvalidTopic."""
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
