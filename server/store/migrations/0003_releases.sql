-- Days on their way to a release, the budget they spend, and what was published.

-- One row a UTC day. A closed window's private key is gone for good.
CREATE TABLE windows (
    day             {{int32}} NOT NULL PRIMARY KEY,                   -- whose readings it collects
    state           {{int16}} NOT NULL CHECK (state BETWEEN 1 AND 4), -- release.WindowState: 1 open, 2 closing, 3 published, 4 closed; only grows
    public_key      {{bytes}} NOT NULL,                               -- X-Wing public key that contributions are sealed to, 1216 bytes
    wrapped_private {{bytes}},                                        -- seed, wrapped under the window's own key of the key service; NULL once closed
    attempts        {{int32}} NOT NULL,                               -- reservations made for it; only grows
    CHECK ((wrapped_private IS NULL) = (state = 4))
) {{table}};
CREATE INDEX windows_live ON windows (day) WHERE state < 4;

-- Spool keys, each sealed to its window. One key may be carried by several
-- transactions: any row opens it. Deleted at closing.
CREATE TABLE spool_keys (
    day          {{int32}} NOT NULL, -- of the window
    writer       {{bytes}} NOT NULL, -- seal.WriterID
    seq          {{int64}} NOT NULL, -- tells apart the copies of one key
    sealed       {{bytes}} NOT NULL, -- sealed: X-Wing HPKE of the spool key
    signature    {{bytes}} NOT NULL, -- Ed25519 by the writer, 64 bytes
    PRIMARY KEY (day, writer, seq)
) {{table}};

-- Contributions of one batch to one window. Deleted at closing.
CREATE TABLE spool (
    day          {{int32}} NOT NULL, -- of the window
    writer       {{bytes}} NOT NULL, -- seal.WriterID
    seq          {{int64}} NOT NULL, -- the writer's sequence number, which is the nonce
    ciphertext   {{bytes}} NOT NULL, -- sealed: households and their values, AES-256-GCM
    PRIMARY KEY (day, writer, seq)
) {{table}};
{{- if postgres}}
ALTER TABLE spool ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
{{- end}}

-- What one calendar year may spend. The check holds whatever the program does.
CREATE TABLE budget_years (
    year         {{int32}} NOT NULL PRIMARY KEY, -- of the UTC day that is charged
    cap_nano     {{int64}} NOT NULL,             -- most a household may lose, nano-rho (1e-9 rho)
    spent_nano   {{int64}} NOT NULL,             -- spent and reserved, nano-rho; only grows
    CHECK (spent_nano >= 0 AND spent_nano <= cap_nano)
) {{table}};

-- One row per charge. A reservation that was never used stays spent.
CREATE TABLE budget_spends (
    id           {{id}}    NOT NULL PRIMARY KEY,                    -- release.Reservation.ID: product, day and attempt
    year         {{int32}} NOT NULL REFERENCES budget_years (year), -- of block_day
    block_day    {{int32}} NOT NULL,                                -- UTC day whose readings are charged
    product      {{id}}    NOT NULL,                                -- such as "day-curve"
    rho_nano     {{int64}} NOT NULL CHECK (rho_nano > 0)            -- nano-rho (1e-9 rho)
) {{table}};
CREATE INDEX budget_spends_year ON budget_spends (year, product);

-- What was published. Rows are only added: a day is never published again.
CREATE TABLE releases (
    id           {{id}}    NOT NULL PRIMARY KEY, -- product and day, such as "day-curve/2018-11-05"
    product      {{id}}    NOT NULL,             -- such as "day-curve"
    day          {{int32}} NOT NULL,             -- whose readings it sums
    body         {{bytes}} NOT NULL,             -- canonical JSON as published
    signature    {{bytes}} NOT NULL,             -- Ed25519 over label and body, 64 bytes
    public_key   {{bytes}} NOT NULL,             -- of the signature, 32 bytes
    leaf_index   {{int64}} NOT NULL              -- ledger leaf; its payload and nonce, public for releases, are in tlog_private
) {{table}};
CREATE INDEX releases_day ON releases (day, id);
