-- The registry of the first release.
--
-- Times are milliseconds since 1970-01-01 UTC. Names compare byte for byte. What must be unique is a PRIMARY KEY
-- or UNIQUE here; nothing relies on code that looks before it writes.

CREATE TABLE things (
    name       TEXT NOT NULL PRIMARY KEY,
    folded     TEXT NOT NULL UNIQUE,                -- two names that differ by case alone cannot both exist
    status     TEXT NOT NULL CHECK (status IN ('claimed', 'active', 'suspended', 'revoked', 'retired')),
    key_hash   TEXT NOT NULL,                       -- the key that owns the name now
    created_at INTEGER NOT NULL,
    attributes TEXT NOT NULL                        -- a JSON object of strings
) STRICT, WITHOUT ROWID;

-- One key belongs to one thing, for ever. The intent that brought a key takes it away again if it is undone.
CREATE TABLE keys (
    key_hash TEXT NOT NULL PRIMARY KEY,
    thing    TEXT NOT NULL REFERENCES things (name),
    intent   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_of_thing ON keys (thing);

-- A certificate outlives its thing: one that was signed for a claim that came to nothing stays known, as revoked.
CREATE TABLE certificates (
    number       INTEGER PRIMARY KEY,               -- the order in which they were stored
    id           TEXT NOT NULL UNIQUE,
    intent       TEXT NOT NULL UNIQUE,              -- one certificate for each intent: the first one stored
    serial       TEXT NOT NULL UNIQUE,
    thing        TEXT NOT NULL,
    key_hash     TEXT NOT NULL,
    der          BLOB NOT NULL,
    not_before   INTEGER NOT NULL,
    not_after    INTEGER NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('inactive', 'active', 'revoked')),
    slot         TEXT NOT NULL CHECK (slot IN ('current', 'successor')),
    connected_at INTEGER
) STRICT;

CREATE INDEX certificates_of_thing ON certificates (thing, number);

-- A thing holds at most one certificate in each slot: activated once, and not revoked since.
CREATE TABLE attachments (
    thing       TEXT NOT NULL REFERENCES things (name),
    slot        TEXT NOT NULL CHECK (slot IN ('current', 'successor')),
    certificate TEXT NOT NULL UNIQUE REFERENCES certificates (id),
    PRIMARY KEY (thing, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id           TEXT NOT NULL PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE,
    pattern      TEXT NOT NULL,
    uses         INTEGER CHECK (uses > 0),          -- NULL is unlimited
    uses_taken   INTEGER NOT NULL CHECK (uses_taken >= 0 AND (uses IS NULL OR uses_taken <= uses)),
    issued_at    INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    replaces     INTEGER NOT NULL CHECK (replaces IN (0, 1)),
    withdrawn_at INTEGER
) STRICT, WITHOUT ROWID;

-- Rows of one token are counted in tokens.uses_taken, in the same transaction.
CREATE TABLE redemptions (
    thing    TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    token    TEXT NOT NULL REFERENCES tokens (id),
    intent   TEXT NOT NULL,                         -- the intent that was paid for
    PRIMARY KEY (thing, key_hash, token)
) STRICT, WITHOUT ROWID;

-- Open ones only: a row goes when its certificate is active, or when it is undone.
CREATE TABLE intents (
    id         TEXT NOT NULL PRIMARY KEY,
    thing      TEXT NOT NULL UNIQUE REFERENCES things (name),
    key_hash   TEXT NOT NULL,
    token      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    serial     TEXT NOT NULL UNIQUE,
    not_before INTEGER NOT NULL,
    not_after  INTEGER NOT NULL,
    slot       TEXT NOT NULL CHECK (slot IN ('current', 'successor'))
) STRICT, WITHOUT ROWID;

CREATE TABLE key_tombstones (
    key_hash TEXT NOT NULL PRIMARY KEY,
    thing    TEXT NOT NULL,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a freed name goes back to if its new claim comes to nothing.
CREATE TABLE name_tombstones (
    name     TEXT NOT NULL PRIMARY KEY,
    status   TEXT NOT NULL CHECK (status IN ('revoked', 'retired')),
    key_hash TEXT NOT NULL,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Written to see whether writing works.
CREATE TABLE pulse (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    at  INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    event    TEXT NOT NULL,                         -- canonical JSON, as it was hashed
    previous TEXT NOT NULL,
    hash     TEXT NOT NULL
) STRICT;
