-- The leaf that states a consent's terms is looked up for every read: among a household's
-- grants and narrowings, and not among all that it ever did.
CREATE INDEX tlog_private_agreed ON tlog_private (subject, idx) WHERE kind IN ('consent.grant', 'consent.narrow');
