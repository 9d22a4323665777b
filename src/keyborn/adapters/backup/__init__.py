"""Backups of a data folder, putting one back, and the copy of revocations that no backup undoes."""

from keyborn.adapters.backup.mirror import RevocationMirror as RevocationMirror
