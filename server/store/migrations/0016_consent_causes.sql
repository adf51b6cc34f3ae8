-- What a consent says beside its terms in force: what was asked, who ended it or holds
-- it, and the instants that end it early.

ALTER TABLE consents ADD COLUMN asked {{bytes}};                          -- canonical terms as asked; null where they are what holds
ALTER TABLE consents ADD COLUMN cause {{id}} NOT NULL DEFAULT '';         -- consent.Cause of its end, or of the hold; changes with state
ALTER TABLE consents ADD COLUMN first_read_s {{int64}} NOT NULL DEFAULT 0; -- first access, of one for one reading; set once
ALTER TABLE consents ADD COLUMN vacated_s {{int64}} NOT NULL DEFAULT 0;   -- the household's last day at its usage points, from when it is known

UPDATE consents SET cause = 'household' WHERE state IN (3, 4); -- consent.Denied, consent.Revoked
UPDATE consents SET cause = 'expiry'    WHERE state = 5;       -- consent.Expired

-- An extension states terms too.
DROP INDEX tlog_private_agreed;
CREATE INDEX tlog_private_agreed ON tlog_private (subject, idx) WHERE kind IN ('consent.grant', 'consent.narrow', 'consent.extend');
