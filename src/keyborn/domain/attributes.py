"""Attributes of a thing: what AWS IoT takes for one without a thing type, refused early on both backends.

Source: AWS IoT Core endpoints and quotas, "Thing registry limits" (3 attributes without a type, names of 128
and values of 800 characters of ``a-z A-Z 0-9 _ . , @ / : # -``).
"""

import re
from collections.abc import Mapping

from keyborn.domain.errors import MalformedRequest

MAX_ATTRIBUTES = 3
OURS = "keyborn."
"""How names begin under which the service itself says something of a thing (group and type, on AWS)."""
_NAME = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#-]{0,800}")


def parse_attributes(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the attributes, or none; raises MalformedRequest."""
    attributes = dict(given or {})
    if len(attributes) > MAX_ATTRIBUTES:
        raise MalformedRequest(detail=f"more than {MAX_ATTRIBUTES} attributes")
    for name, value in attributes.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise MalformedRequest(
                detail="an attribute's name or value is too long or holds another character"
            )
        if name.lower().startswith(OURS):
            raise MalformedRequest(detail=f"an attribute's name begins with {OURS}, as the service's own do")
    return attributes
