-- The ledger: the public log, and beside it, erasable, what its leaves mean.

-- One row: the state from which the next leaf is appended.
CREATE TABLE tlog_head (
    id           {{int16}} NOT NULL PRIMARY KEY CHECK (id = 1), -- keeps the table to one row
    origin       text      NOT NULL,                            -- first line of every checkpoint
    epoch        {{int64}} NOT NULL,                            -- raised to fence off a former writer
    size         {{int64}} NOT NULL,                            -- leaves; only grows
    root         {{bytes}} NOT NULL,                            -- RFC 6962 tree head, 32 bytes; changes with size
    frontier     {{bytes}} NOT NULL                             -- roots of the perfect subtrees, left to right, 32 bytes each; changes with size
) {{table}};

-- Public. Rows are only added; indices have no gaps.
CREATE TABLE tlog_leaves (
    idx          {{int64}} NOT NULL PRIMARY KEY, -- 0, 1, 2, …
    leaf         {{bytes}} NOT NULL              -- 98 bytes, as hashed
) {{table}};

-- Private: what opens the commitment of a leaf. An erasure deletes the row.
CREATE TABLE tlog_private (
    idx          {{int64}} NOT NULL PRIMARY KEY, -- of the leaf
    kind         {{id}}    NOT NULL,             -- ledger.Kind
    time_us      {{int64}} NOT NULL,             -- as in the payload
    subject      {{id}}    NOT NULL,             -- household; empty if there is none
    recipient    {{id}}    NOT NULL,             -- empty if there is none
    request_id   {{id}}    NOT NULL UNIQUE,      -- who asks again is given this leaf; made of the caller's name, so it goes with it
    payload      {{bytes}} NOT NULL,             -- canonical
    nonce        {{bytes}} NOT NULL,             -- 32 random bytes
    envelope     {{bytes}}                       -- sealed copy for the regulator; NULL if there is none
) {{table}};
CREATE INDEX tlog_private_subject   ON tlog_private (subject, idx)   WHERE subject <> '';
CREATE INDEX tlog_private_recipient ON tlog_private (recipient, idx) WHERE recipient <> '';

-- Full tiles of c2sp.org/tlog-tiles. Public. Rows are only added.
CREATE TABLE tlog_tiles (
    level        {{int16}} NOT NULL, -- 0 above the leaves, each level 8 heights higher
    n            {{int64}} NOT NULL, -- number within the level
    data         {{bytes}} NOT NULL, -- 256 hashes of 32 bytes
    PRIMARY KEY (level, n)
) {{table}};
{{- if postgres}}
ALTER TABLE tlog_tiles ALTER COLUMN data SET STORAGE EXTERNAL;
{{- end}}

-- Every checkpoint ever signed. Public.
CREATE TABLE tlog_checkpoints (
    size         {{int64}} NOT NULL PRIMARY KEY, -- leaves it covers
    root         {{bytes}} NOT NULL,             -- 32 bytes
    note         {{bytes}} NOT NULL              -- signed note; replaced when cosignatures are added
) {{table}};

-- Ends of the chains that show a household or recipient that nothing is missing.
CREATE TABLE tlog_chains (
    kind         {{int16}} NOT NULL, -- ledger.ChainKind: 1 household, 2 recipient
    id           {{id}}    NOT NULL, -- household or recipient
    seq          {{int64}} NOT NULL, -- events so far; only grows
    head         {{bytes}} NOT NULL, -- leaf hash of the last, 32 bytes; changes with seq
    PRIMARY KEY (kind, id)
) {{table}};

-- K_hh: lets the household find its leaves. Private; an erasure deletes the row.
CREATE TABLE tlog_subject_keys (
    subject      {{id}}    NOT NULL PRIMARY KEY, -- household
    tag_key      {{bytes}} NOT NULL              -- 32 random bytes
) {{table}};
