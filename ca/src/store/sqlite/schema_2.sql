-- Where a certificate comes from that its holder may renew by itself: canonical JSON of what admitted the first certificate
-- of its line, and when that one was issued. Both NULL for every other certificate.
ALTER TABLE issuance ADD COLUMN grounds TEXT;
ALTER TABLE issuance ADD COLUMN line_start INTEGER CHECK ((line_start IS NULL) = (grounds IS NULL));
