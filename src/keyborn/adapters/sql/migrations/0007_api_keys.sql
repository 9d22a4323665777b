-- API keys of operators elsewhere: digests of secrets, never a secret.
--
-- None is ever removed: the trail names their ids, and who they were made for has to stay known.

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,                   -- a and 16 hex characters of the digest
    digest BLOB NOT NULL,                           -- SHA-256 of the secret
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'approver', 'admin')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    withdrawn_at INTEGER
) STRICT, WITHOUT ROWID;
