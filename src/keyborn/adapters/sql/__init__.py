"""The registry on SQLite: plain SQL, one writing thread, concurrent enrolments share a commit.

``schema`` opens and migrates, ``writer`` owns the writing connection, ``enrolling``, ``renewing``, ``ending``
and ``policies`` hold the commands that run in it, ``reads`` the questions that do not wait for it, ``rows``
translates. Why so: ``docs/adr/0003-sql-layer.md``.
"""

from keyborn.adapters.sql.registry import SqliteRegistry

__all__ = ["SqliteRegistry"]
