-- What the ledger's proofs to households and regulators need.

-- K_hh, the secret by which a household finds its leaves, by generation: it is
-- replaced when a person leaves the home. Private; an erasure deletes the rows.
CREATE TABLE tlog_tag_keys (
    subject      {{id}}    NOT NULL, -- household
    from_seq     {{int64}} NOT NULL, -- the first of its events tagged with the key, counted from 1
    tag_key      {{bytes}} NOT NULL, -- 32 random bytes
    PRIMARY KEY (subject, from_seq)
) {{table}};
INSERT INTO tlog_tag_keys (subject, from_seq, tag_key) SELECT subject, 1, tag_key FROM tlog_subject_keys;
DROP TABLE tlog_subject_keys;

-- What the map of households commits to beside sequence number and leaf hash.
ALTER TABLE tlog_chains ADD COLUMN accesses {{int64}} NOT NULL DEFAULT 0; -- of a household's chain: third parties' accesses in it; only grows
ALTER TABLE tlog_chains ADD COLUMN nonce    {{bytes}};                    -- of a household's chain: that opens its last leaf, 32 bytes; changes with seq, NULL for a recipient's
UPDATE tlog_chains SET
    accesses = (SELECT count(*) FROM tlog_private p WHERE p.subject = tlog_chains.id AND p.kind = 'access' AND p.recipient <> ''),
    nonce = (SELECT p.nonce FROM tlog_private p WHERE p.subject = tlog_chains.id ORDER BY p.idx DESC LIMIT 1)
WHERE kind = 1;

-- Public keys of regulators, to which payloads are sealed while they are valid.
-- Rows are only added.
CREATE TABLE regulator_keys (
    id           {{bytes}} NOT NULL PRIMARY KEY, -- SHA-256 of the public key
    regulator    {{id}}    NOT NULL,             -- who posted it; its client certificate names it
    public_key   {{bytes}} NOT NULL,             -- HPKE with MLKEM768-X25519, 1216 bytes
    from_s       {{int64}} NOT NULL,             -- valid from
    until_s      {{int64}} NOT NULL,             -- the first second it is no longer valid
    leaf_index   {{int64}} NOT NULL,             -- ledger leaf that records it
    CHECK (until_s > from_s)
) {{table}};
CREATE INDEX regulator_keys_until ON regulator_keys (until_s);

-- For each batch of envelopes and each regulator the batch's secret, sealed. The
-- envelopes themselves are in tlog_private. Rows are only added.
CREATE TABLE tlog_envelope_heads (
    first_idx    {{int64}} NOT NULL, -- of the batch's first leaf
    key_id       {{bytes}} NOT NULL, -- regulator_keys.id
    sealed       {{bytes}} NOT NULL, -- HPKE ciphertext of the secret
    PRIMARY KEY (first_idx, key_id)
) {{table}};
