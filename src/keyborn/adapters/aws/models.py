"""botocore's descriptions of the services in the functions' code, cut to what the functions call.

botocore reads them whole whenever a client is made, and a cold start makes two: most of their text is
documentation, and most of the rest is about operations that Keyborn never calls.
"""

import gzip
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

NOTICE = "Cut by Keyborn to what its functions call; the original is a part of botocore."
"""What a description says of itself; botocore's license (Apache-2.0, section 4b) asks for a notice."""

_MODEL = re.compile(r"botocore/data/([^/]+)/[^/]+/service-2\.json(?:\.gz)?")
_EXAMPLES = re.compile(r"botocore/data/.*/examples-1\.json(?:\.gz)?")
_ENDPOINTS = "botocore/data/endpoints.json"
_WORD = re.compile(rb'"([A-Z][A-Za-z0-9]*)"')


def cut(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """``contents`` of a package by path, with smaller descriptions that botocore's own loader reads alike.

    An operation stays if its name stands in quotes somewhere in Keyborn's own sources. Descriptions come out
    uncompressed, which is the form that the loader reads fastest; the zip compresses them.
    """
    called = _words(contents)
    kept, addressed = {}, set()
    for name, data in contents.items():
        if found := _MODEL.fullmatch(name):
            model = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
            addressed |= {found[1], model.get("metadata", {}).get("endpointPrefix")}
            kept[name.removesuffix(".gz")] = _written(cut_model(model, called))
        elif not _EXAMPLES.fullmatch(name):
            kept[name] = data
    if _ENDPOINTS in kept:
        kept[_ENDPOINTS] = _written(_cut_endpoints(json.loads(kept[_ENDPOINTS]), addressed))
    return kept


def cut_model(model: Mapping[str, Any], called: Collection[str]) -> dict[str, Any]:
    """A service's description with the operations ``called``, the shapes they need, and no documentation.

    An operation by which clients find their endpoints stays too: botocore looks for it by itself.
    """
    operations = {
        name: one
        for name, one in model.get("operations", {}).items()
        if name in called or one.get("endpointoperation")
    }
    needed, shapes = set(_references(list(operations.values()))), model.get("shapes", {})
    fresh = set(needed)
    while fresh:
        fresh = set(_references([shapes[name] for name in fresh])) - needed
        needed |= fresh
    rest = {name: shape for name, shape in shapes.items() if name in needed}
    whole: dict[str, Any] = _undocumented({**model, "operations": operations, "shapes": rest})
    return whole | {"documentation": NOTICE}


def _cut_endpoints(endpoints: Mapping[str, Any], addressed: Collection[str | None]) -> dict[str, Any]:
    """All partitions and regions, with the endpoints of the services that are ``addressed``."""
    partitions = [
        {**one, "services": {name: it for name, it in one["services"].items() if name in addressed}}
        for one in endpoints.get("partitions", ())
    ]
    return {**endpoints, "partitions": partitions}


def _words(contents: Mapping[str, bytes]) -> frozenset[str]:
    """What may be an operation in Keyborn's sources."""
    sources = (
        data for name, data in contents.items() if name.startswith("keyborn/") and name.endswith(".py")
    )
    return frozenset(word.decode() for source in sources for word in _WORD.findall(source))


def _references(part: object) -> Iterator[str]:
    """The names of shapes that a part of a description refers to."""
    if isinstance(part, Mapping):
        if isinstance(part.get("shape"), str):
            yield part["shape"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _undocumented(part: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without texts for people; a member that is called ``documentation`` is no text."""
    if isinstance(part, Mapping):
        return {
            name: _undocumented(value)
            for name, value in part.items()
            if name != "documentation" or not isinstance(value, str)
        }
    return [_undocumented(value) for value in part] if isinstance(part, list) else part


def _written(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
