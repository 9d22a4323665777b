-- What must never be undone, in the order in which it was done: written by triggers, in the transaction of the act
-- itself, whoever does it. Copied outside this file as it grows (adapters/backup/mirror).
--
-- `what` is a word of domain.revocation. `id`: the key hash, certificate id, thing name, token or API key. `of`: the
-- thing of a key or certificate, the key hash of a thing. Rows are never changed and never go.

CREATE TABLE lineage (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL                               -- of this registry and everything restored from it
) STRICT;

INSERT INTO lineage (one, id) VALUES (1, lower(hex(randomblob(16))));

CREATE TABLE revocations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    what     TEXT NOT NULL,
    id       TEXT NOT NULL,
    of       TEXT
) STRICT;

INSERT INTO revocations (at, what, id, of) SELECT at, 'key', key_hash, thing FROM key_tombstones ORDER BY at, key_hash;
INSERT INTO revocations (at, what, id, of)
SELECT not_before, 'certificate', id, thing FROM certificates WHERE status = 'revoked' ORDER BY number;
INSERT INTO revocations (at, what, id, of)
SELECT n.at, coalesce(t.kind, 'device') || '-' || n.status, n.name, n.key_hash
FROM name_tombstones n LEFT JOIN things t ON t.name = n.name ORDER BY n.at, n.name;
INSERT INTO revocations (at, what, id)
SELECT withdrawn_at, 'token', id FROM tokens WHERE withdrawn_at IS NOT NULL ORDER BY withdrawn_at, id;
INSERT INTO revocations (at, what, id)
SELECT withdrawn_at, 'api-key', id FROM api_keys WHERE withdrawn_at IS NOT NULL ORDER BY withdrawn_at, id;

CREATE TRIGGER key_buried AFTER INSERT ON key_tombstones BEGIN
    INSERT INTO revocations (at, what, id, of) VALUES (NEW.at, 'key', NEW.key_hash, NEW.thing);
END;

CREATE TRIGGER certificate_revoked AFTER UPDATE OF status ON certificates
WHEN NEW.status = 'revoked' AND OLD.status <> 'revoked' BEGIN
    INSERT INTO revocations (at, what, id, of)
    VALUES (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), 'certificate', NEW.id, NEW.thing);
END;

CREATE TRIGGER name_buried AFTER INSERT ON name_tombstones BEGIN
    INSERT INTO revocations (at, what, id, of)
    VALUES (NEW.at, coalesce((SELECT kind FROM things WHERE name = NEW.name), 'device') || '-' || NEW.status,
            NEW.name, NEW.key_hash);
END;

CREATE TRIGGER name_buried_again AFTER UPDATE OF status, at ON name_tombstones BEGIN
    INSERT INTO revocations (at, what, id, of)
    VALUES (NEW.at, coalesce((SELECT kind FROM things WHERE name = NEW.name), 'device') || '-' || NEW.status,
            NEW.name, NEW.key_hash);
END;

CREATE TRIGGER thing_suspended AFTER UPDATE OF status ON things
WHEN NEW.status = 'suspended' AND OLD.status <> 'suspended' BEGIN
    INSERT INTO revocations (at, what, id, of)
    VALUES (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), 'suspended', NEW.name, NEW.key_hash);
END;

CREATE TRIGGER thing_resumed AFTER UPDATE OF status ON things
WHEN OLD.status = 'suspended' AND NEW.status IN ('claimed', 'active') BEGIN
    INSERT INTO revocations (at, what, id, of)
    VALUES (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), 'resumed', NEW.name, NEW.key_hash);
END;

CREATE TRIGGER token_withdrawn AFTER UPDATE OF withdrawn_at ON tokens
WHEN NEW.withdrawn_at IS NOT NULL AND OLD.withdrawn_at IS NULL BEGIN
    INSERT INTO revocations (at, what, id) VALUES (NEW.withdrawn_at, 'token', NEW.id);
END;

CREATE TRIGGER api_key_withdrawn AFTER UPDATE OF withdrawn_at ON api_keys
WHEN NEW.withdrawn_at IS NOT NULL AND OLD.withdrawn_at IS NULL BEGIN
    INSERT INTO revocations (at, what, id) VALUES (NEW.withdrawn_at, 'api-key', NEW.id);
END;

CREATE TRIGGER key_unregistered AFTER DELETE ON registered BEGIN
    INSERT INTO revocations (at, what, id, of)
    VALUES (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), 'unregistered', OLD.key_hash, OLD.thing);
END;
