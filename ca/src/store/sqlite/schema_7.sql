-- What becomes of an intent stands in tables of its own, so that its row is written once and never made larger.
CREATE TABLE issuance_anew (
    position INTEGER PRIMARY KEY,
    serial BLOB NOT NULL UNIQUE,
    tbs_der BLOB NOT NULL,
    subject TEXT NOT NULL,
    caller TEXT NOT NULL,
    reason TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    intended_at INTEGER NOT NULL,
    -- Where a certificate comes from that its holder may renew by itself, and when the first one of its line was issued.
    grounds TEXT,
    line_start INTEGER,
    CHECK ((line_start IS NULL) = (grounds IS NULL))
) STRICT;
INSERT INTO issuance_anew
    (position, serial, tbs_der, subject, caller, reason, not_after, intended_at, grounds, line_start)
    SELECT rowid, serial, tbs_der, subject, caller, reason, not_after, intended_at, grounds, line_start FROM issuance;

CREATE TABLE issuance_results (
    -- Of its intent.
    position INTEGER PRIMARY KEY,
    certificate_der BLOB NOT NULL,
    answered_at INTEGER NOT NULL
) STRICT;
INSERT INTO issuance_results (position, certificate_der, answered_at)
    SELECT rowid, certificate_der, answered_at FROM issuance WHERE answered_at IS NOT NULL;

-- Intents without a result: they may or may not have been signed.
DROP INDEX issuance_unanswered;
CREATE TABLE issuance_unanswered (
    intended_at INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (intended_at, position)
) STRICT, WITHOUT ROWID;
INSERT INTO issuance_unanswered (intended_at, position)
    SELECT intended_at, rowid FROM issuance WHERE answered_at IS NULL;

DROP TABLE issuance;
ALTER TABLE issuance_anew RENAME TO issuance;
CREATE INDEX issuance_by_reason ON issuance (reason, not_after);

-- Counts the changes of what nodes may have, whoever makes them: what is remembered of it is good for one generation.
CREATE TABLE entries_generation (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO entries_generation (only, generation) VALUES (1, 1);
CREATE TRIGGER entry_made AFTER INSERT ON entries BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER entry_changed AFTER UPDATE ON entries BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER entry_gone AFTER DELETE ON entries BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER alias_made AFTER INSERT ON aliases BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER alias_changed AFTER UPDATE ON aliases BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER alias_gone AFTER DELETE ON aliases BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER member_made AFTER INSERT ON alias_members BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER member_changed AFTER UPDATE ON alias_members BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER member_gone AFTER DELETE ON alias_members BEGIN UPDATE entries_generation SET generation = generation + 1; END;
