"""What devices trust on AWS: Amazon's roots, or those of the operator's own domain."""

from importlib.resources import files
from pathlib import Path

ROOTS_NAME = "mqtt-roots.pem"
"""Beside the functions' code, if the broker has a domain of its own: what devices trust there."""


def roots_for(folder: Path) -> str:
    """The roots for functions whose code is in ``folder``, PEM."""
    own = folder / ROOTS_NAME
    return own.read_text("ascii") if own.is_file() else amazon_roots()


def amazon_roots() -> str:
    """Amazon Root CA 1 to 4 (https://www.amazontrust.com/repository), PEM.

    AWS IoT's ATS endpoints and API Gateway have certificates below these (AWS IoT Developer Guide, "Server
    authentication").
    """
    return files(__package__).joinpath("amazon-roots.pem").read_text("ascii")
