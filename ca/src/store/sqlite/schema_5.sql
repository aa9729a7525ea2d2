-- The latest time at which anything was issued: a clock that is behind it must not date certificates.
CREATE TABLE issuance_clock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    latest INTEGER NOT NULL
) STRICT;
INSERT INTO issuance_clock (only, latest) SELECT 1, coalesce(max(intended_at), 0) FROM issuance;
