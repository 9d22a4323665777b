"""The access policies that Keyborn ships, as the documents that an operator could have written.

``device.json`` is what every device has whom nobody gave policies of its own (``keyborn-default``);
``service_watch.json`` is what ``keyborn watch`` connects with. docs/access-policies.md goes through them line
by line. Region and account are ``*``: one service is one region and one account.
"""

import json
from importlib.resources import files

_PREFIX = "certtest"
"""What stands in the document for the first levels of a device's topics."""


def device_policy(prefix: str = _PREFIX) -> str:
    """The default policy, for topics below ``prefix/<thing>``.

    ``prefix`` is one or more topic levels without wildcards, as ``ServerSettings.topic_prefix`` checks them.
    """
    inside_a_string = json.dumps(prefix)[1:-1]
    return _document("device.json").replace(f"/{_PREFIX}/", f"/{inside_a_string}/")


def watch_policy() -> str:
    """What ``keyborn watch`` may do: take every message, send none."""
    return _document("service_watch.json")


def _document(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
