-- Signed checkpoints: where the audit trail ended at a time, under a key that does not lie in this file.

CREATE TABLE checkpoints (
    sequence INTEGER NOT NULL PRIMARY KEY,          -- of the record that was the last one
    hash TEXT NOT NULL,
    at INTEGER NOT NULL,
    key TEXT NOT NULL,                              -- domain.checkpoint.key_id
    signature BLOB NOT NULL
) STRICT;
