-- What was issued for an entry is found along what has not ended, in place of an index of its own: its pages were written anew for nearly
-- each certificate.
ALTER TABLE leaves ADD COLUMN entry TEXT;
UPDATE leaves SET entry = (
    SELECT substr(issuance.reason, 7) FROM issuance WHERE issuance.position = leaves.position AND issuance.reason LIKE 'entry %'
);
DROP INDEX issuance_by_reason;
