-- A million things: what lists and searches go by, counters in the place of counting, what pruning goes by.
--
-- Triggers keep the rest in step, so that no writer can forget it. json_each is among what a schema may call
-- with trusted_schema off.

-- Every attribute of every thing once more, as an index of what it says.
CREATE TABLE thing_attributes (
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    thing TEXT NOT NULL,
    PRIMARY KEY (key, value, thing)
) STRICT, WITHOUT ROWID;

INSERT INTO thing_attributes (key, value, thing)
SELECT j.key, j.value, t.name FROM things t, json_each(t.attributes) j WHERE t.attributes <> '{}' ORDER BY 1, 2, 3;

CREATE TRIGGER attributes_of_new AFTER INSERT ON things WHEN NEW.attributes <> '{}' BEGIN
    INSERT INTO thing_attributes (key, value, thing) SELECT key, value, NEW.name FROM json_each(NEW.attributes);
END;
CREATE TRIGGER attributes_changed AFTER UPDATE OF attributes ON things WHEN NEW.attributes <> OLD.attributes BEGIN
    DELETE FROM thing_attributes
    WHERE thing = OLD.name AND (key, value) IN (SELECT key, value FROM json_each(OLD.attributes));
    INSERT INTO thing_attributes (key, value, thing) SELECT key, value, NEW.name FROM json_each(NEW.attributes);
END;
CREATE TRIGGER attributes_of_gone AFTER DELETE ON things WHEN OLD.attributes <> '{}' BEGIN
    DELETE FROM thing_attributes
    WHERE thing = OLD.name AND (key, value) IN (SELECT key, value FROM json_each(OLD.attributes));
END;

-- Most things are active, and those without a group cost nothing: neither is in these.
CREATE INDEX things_by_status ON things (status, name) WHERE status <> 'active';
CREATE INDEX things_of_group ON things (grp, status, name) WHERE grp IS NOT NULL;

-- What pruning goes by; new certificates end last, so that it grows at its end.
CREATE INDEX certificates_by_end ON certificates (not_after);

-- How many there are, so that nobody counts. What an enrolment passes through is not counted here, and costs it
-- nothing: claimed things are few and indexed above, inactive certificates are those of open intents and of
-- suspended things. An enrolment writes one row of each table, when it becomes active.
CREATE TABLE thing_counts (
    status TEXT NOT NULL PRIMARY KEY CHECK (status <> 'claimed'),
    things INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO thing_counts (status, things)
SELECT status, count(*) FROM things WHERE status <> 'claimed' GROUP BY status;
INSERT INTO thing_counts (status, things)
VALUES ('active', 0), ('suspended', 0), ('revoked', 0), ('retired', 0) ON CONFLICT (status) DO NOTHING;

CREATE TRIGGER thing_counted AFTER INSERT ON things WHEN NEW.status <> 'claimed' BEGIN
    UPDATE thing_counts SET things = things + 1 WHERE status = NEW.status;
END;
CREATE TRIGGER thing_came AFTER UPDATE OF status ON things
WHEN NEW.status <> OLD.status AND NEW.status <> 'claimed' BEGIN
    UPDATE thing_counts SET things = things + 1 WHERE status = NEW.status;
END;
CREATE TRIGGER thing_went AFTER UPDATE OF status ON things
WHEN NEW.status <> OLD.status AND OLD.status <> 'claimed' BEGIN
    UPDATE thing_counts SET things = things - 1 WHERE status = OLD.status;
END;
CREATE TRIGGER thing_uncounted AFTER DELETE ON things WHEN OLD.status <> 'claimed' BEGIN
    UPDATE thing_counts SET things = things - 1 WHERE status = OLD.status;
END;

-- Certificates by status and by the day they end on, in days since 1970-01-01 UTC.
CREATE TABLE certificate_counts (
    status       TEXT NOT NULL CHECK (status <> 'inactive'),
    day          INTEGER NOT NULL,
    certificates INTEGER NOT NULL,
    PRIMARY KEY (status, day)
) STRICT, WITHOUT ROWID;

INSERT INTO certificate_counts (status, day, certificates)
SELECT status, not_after / 86400000, count(*) FROM certificates WHERE status <> 'inactive' GROUP BY 1, 2;

CREATE TRIGGER certificate_counted AFTER INSERT ON certificates WHEN NEW.status <> 'inactive' BEGIN
    INSERT INTO certificate_counts (status, day, certificates) VALUES (NEW.status, NEW.not_after / 86400000, 1)
    ON CONFLICT (status, day) DO UPDATE SET certificates = certificates + 1;
END;
CREATE TRIGGER certificate_came AFTER UPDATE OF status ON certificates
WHEN NEW.status <> OLD.status AND NEW.status <> 'inactive' BEGIN
    INSERT INTO certificate_counts (status, day, certificates) VALUES (NEW.status, NEW.not_after / 86400000, 1)
    ON CONFLICT (status, day) DO UPDATE SET certificates = certificates + 1;
END;
CREATE TRIGGER certificate_went AFTER UPDATE OF status ON certificates
WHEN NEW.status <> OLD.status AND OLD.status <> 'inactive' BEGIN
    UPDATE certificate_counts SET certificates = certificates - 1
    WHERE status = OLD.status AND day = OLD.not_after / 86400000;
END;
CREATE TRIGGER certificate_uncounted AFTER DELETE ON certificates WHEN OLD.status <> 'inactive' BEGIN
    UPDATE certificate_counts SET certificates = certificates - 1
    WHERE status = OLD.status AND day = OLD.not_after / 86400000;
    DELETE FROM certificate_counts
    WHERE status = OLD.status AND day = OLD.not_after / 86400000 AND certificates = 0;
END;
