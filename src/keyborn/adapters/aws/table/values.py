"""Plain values to DynamoDB's typed ones and back: text, whole numbers, bytes, booleans, lists and maps.

Other numbers are never written here, and come as their text: AWS IoT's rule might put down one.
"""

from collections.abc import Mapping
from typing import Any

Item = Mapping[str, Any]
"""One row, its two keys included; an attribute that is None is not there."""
Wire = dict[str, Any]


def to_wire(item: Item) -> dict[str, Wire]:
    """An item as the API takes it."""
    return {name: value_to_wire(value) for name, value in item.items() if value is not None}


def from_wire(item: Mapping[str, Wire]) -> dict[str, Any]:
    """An item as the API gave it."""
    return {name: _from_wire(value) for name, value in item.items()}


def value_to_wire(value: object) -> Wire:
    """One value. Raises TypeError for what no item of ours holds."""
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [value_to_wire(one) for one in value]}
        case Mapping():
            return {"M": to_wire(value)}
        case _:
            raise TypeError(type(value).__name__)


def _from_wire(value: Wire) -> object:
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return int(content) if content.lstrip("-").isdecimal() else content
        case "L":
            return [_from_wire(one) for one in content]
        case "M":
            return from_wire(content)
        case "B":
            return bytes(content)
        case _:
            return content
