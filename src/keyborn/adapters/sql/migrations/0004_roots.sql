-- Which set of roots each thing believes, as it says: what a change of the root waits for.
--
-- A thing that never said is not here. The record of a claim that came to nothing takes its row along.

CREATE TABLE beliefs (
    thing TEXT NOT NULL PRIMARY KEY REFERENCES things (name) ON DELETE CASCADE,
    roots TEXT NOT NULL,                            -- domain.roots.RootSet
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
