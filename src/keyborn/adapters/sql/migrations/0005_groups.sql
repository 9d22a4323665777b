-- Enrolment groups: their documents, what they count, keys that were announced, requests that wait for a person.

CREATE TABLE groups (
    name           TEXT NOT NULL PRIMARY KEY,
    text           TEXT NOT NULL,                   -- TOML, as the operator wrote it
    version        INTEGER NOT NULL CHECK (version > 0),
    updated_at     INTEGER NOT NULL,
    policies       TEXT,                            -- as things.policies: those that the text names; NULL is none
    webhook_secret BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX groups_with_policies ON groups (name, policies) WHERE policies IS NOT NULL;

-- Where somebody enrolled or was moved to, and until when another key may be brought.
ALTER TABLE things ADD COLUMN grp TEXT;
ALTER TABLE things ADD COLUMN thing_type TEXT;
ALTER TABLE things ADD COLUMN release_until INTEGER;

-- A group key is a token whose secret is kept: the service computes with it.
ALTER TABLE tokens ADD COLUMN grp TEXT;
ALTER TABLE tokens ADD COLUMN key BLOB;

-- How many (thing, key) pairs were charged to what is no token: a group, one period of its rate, a credential that
-- proves itself. Tokens have tokens.uses_taken.
CREATE TABLE accounts (
    id    TEXT NOT NULL PRIMARY KEY,
    taken INTEGER NOT NULL CHECK (taken >= 0)
) STRICT, WITHOUT ROWID;

-- Pairs are charged to accounts, too: `token` is any account's id, and names no row of `tokens` any more. Nothing
-- refers to this table, so that it can be copied and dropped with foreign keys on.
CREATE TABLE redemptions_of_accounts (
    thing    TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    token    TEXT NOT NULL,
    intent   TEXT NOT NULL,                         -- the intent that was paid for
    PRIMARY KEY (thing, key_hash, token)
) STRICT, WITHOUT ROWID;

INSERT INTO redemptions_of_accounts SELECT thing, key_hash, token, intent FROM redemptions;
DROP TABLE redemptions;
ALTER TABLE redemptions_of_accounts RENAME TO redemptions;

CREATE TABLE registered (
    key_hash TEXT NOT NULL PRIMARY KEY,
    thing    TEXT NOT NULL,
    grp      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX registered_in_group ON registered (grp, key_hash);

CREATE TABLE approvals (
    id         TEXT NOT NULL PRIMARY KEY,
    grp        TEXT NOT NULL,
    thing      TEXT NOT NULL,
    key_hash   TEXT NOT NULL,
    source     TEXT NOT NULL,
    asked_at   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    replaces   INTEGER NOT NULL CHECK (replaces IN (0, 1)),
    state      TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'refused')),
    decided_by TEXT NOT NULL,
    decided_at INTEGER
) STRICT, WITHOUT ROWID;

-- How many of a group wait is counted by this; a page of one state, and what may be forgotten, by the others.
CREATE INDEX approvals_that_wait ON approvals (grp, expires_at, state) WHERE state = 'pending';
CREATE INDEX approvals_by_state ON approvals (state, id);
CREATE INDEX approvals_by_end ON approvals (expires_at, id);
