"""Keyborn gives IoT devices their identity: the key is born on the device and never leaves it.

Importing this package costs nothing; every room is imported where it is used.
"""

__version__ = "0.1.0"
