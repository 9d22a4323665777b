-- Access policies, and services beside the devices.
--
-- Which policies a record has is a column of the record, so that an enrolment needs no further statement. A policy
-- may be named and not be there: it then permits nothing.

CREATE TABLE policies (
    name       TEXT NOT NULL PRIMARY KEY,
    document   TEXT NOT NULL,                       -- as the operator wrote it
    version    INTEGER NOT NULL CHECK (version > 0),
    updated_at INTEGER NOT NULL,
    shipped    INTEGER NOT NULL CHECK (shipped IN (0, 1))
) STRICT, WITHOUT ROWID;

-- `policies` is a JSON list of names, no space in it; NULL is the default policy, [] is none at all.
ALTER TABLE things ADD COLUMN kind TEXT NOT NULL DEFAULT 'device' CHECK (kind IN ('device', 'service'));
ALTER TABLE things ADD COLUMN policies TEXT;
ALTER TABLE name_tombstones ADD COLUMN policies TEXT;
ALTER TABLE tokens ADD COLUMN kind TEXT NOT NULL DEFAULT 'device' CHECK (kind IN ('device', 'service'));
ALTER TABLE tokens ADD COLUMN policies TEXT;

-- Services are few: they are listed by this index, and devices by the primary key.
CREATE INDEX services ON things (name) WHERE kind = 'service';

-- Who has a policy is asked of these, which hold nobody who has the default policy by default.
CREATE INDEX things_with_policies ON things (name, policies) WHERE policies IS NOT NULL;
CREATE INDEX tokens_with_policies ON tokens (id, policies) WHERE policies IS NOT NULL;
