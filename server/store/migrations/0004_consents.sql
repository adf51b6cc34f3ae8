-- Agreements, and the keyguard's memory of proofs that were presented.

-- What a third party asked of a household, and what became of it. Every change
-- commits together with its ledger leaf. An erasure deletes the row.
CREATE TABLE consents (
    id           {{id}}    NOT NULL PRIMARY KEY, -- consent.ID, random
    household    {{id}}    NOT NULL,             -- empty where nobody known lives at the point asked about
    recipient    {{id}}    NOT NULL,             -- consent.Recipient
    state        {{int16}} NOT NULL,             -- consent.State; changes as its table of transitions says
    terms        {{bytes}} NOT NULL,             -- canonical terms; replaced by the narrower ones at a grant
    requested_s  {{int64}} NOT NULL,             -- asked
    decided_s    {{int64}} NOT NULL,             -- 0 until granted or denied; set once
    ended_s      {{int64}} NOT NULL,             -- 0 until revoked or expired; set once
    deadline_s   {{int64}} NOT NULL              -- consent.Consent.Deadline: expires then; 0 once it has ended; changes with state
) {{table}};
CREATE INDEX consents_household ON consents (household, requested_s, id) WHERE household <> '';
CREATE INDEX consents_recipient ON consents (recipient, requested_s, id);
CREATE INDEX consents_open      ON consents (recipient) WHERE state = 1; -- consent.Requested
CREATE INDEX consents_deadline  ON consents (deadline_s, id) WHERE deadline_s > 0;

-- Every access leaf opens keys once; a household's own leaf is counted.
CREATE TABLE keyguard_spent (
    leaf_index   {{int64}} NOT NULL PRIMARY KEY, -- of the access leaf that was presented
    uses         {{int64}} NOT NULL              -- grows only for leaves of purpose self
) {{table}};
