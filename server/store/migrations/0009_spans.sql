-- Products over spans of days: what they cost every day that they could touch, and
-- the sums that one closing hands to the next until their span ends.

-- What one UTC day may spend, as budget_years says of a year. The check holds
-- whatever the program does.
CREATE TABLE budget_days (
    day          {{int32}} NOT NULL PRIMARY KEY, -- whose readings are charged
    cap_nano     {{int64}} NOT NULL,             -- most a household may lose by that day, nano-rho (1e-9 rho); only falls, 9223372036854775807 until one was named
    spent_nano   {{int64}} NOT NULL,             -- spent and reserved, nano-rho; only grows
    CHECK (spent_nano >= 0 AND spent_nano <= cap_nano)
) {{table}};
INSERT INTO budget_days (day, cap_nano, spent_nano)
SELECT block_day, 9223372036854775807, sum(rho_nano) FROM budget_spends GROUP BY block_day;

-- A charge may touch several days, and two years. From here on block_day is the first
-- of its days, year that day's year, and rho_nano what each of its years is charged.
ALTER TABLE budget_spends ADD COLUMN days         {{int32}} NOT NULL DEFAULT 0 CHECK (days >= 0);         -- days charged beside block_day: bit i is set for the day i + 1 days after it
ALTER TABLE budget_spends ADD COLUMN day_rho_nano {{int64}} NOT NULL DEFAULT 1 CHECK (day_rho_nano > 0);  -- nano-rho that each of its days is charged
ALTER TABLE budget_spends ADD COLUMN window_day   {{int32}} NOT NULL DEFAULT 0;                           -- UTC day whose closing pays
UPDATE budget_spends SET day_rho_nano = rho_nano, window_day = block_day;

-- Sets of running sums that count. A row commits together with the publication of
-- from_day, and is deleted with its records when another set replaces it.
CREATE TABLE running_sets (
    id           {{bytes}} NOT NULL PRIMARY KEY, -- seal.RunningID, 16 random bytes
    from_day     {{int32}} NOT NULL,             -- UTC day whose closing made it
    window_day   {{int32}} NOT NULL,             -- UTC day to whose window its key is sealed
    records      {{int64}} NOT NULL,             -- how many records it has
    sealed       {{bytes}} NOT NULL,             -- sealed: X-Wing HPKE of the set's key
    signature    {{bytes}} NOT NULL              -- Ed25519 by the hub's signer of releases, 64 bytes
) {{table}};

-- Their records, and those of sets that are being made. What no set claims is deleted
-- when the closing that made it ends.
CREATE TABLE running_records (
    id           {{bytes}} NOT NULL, -- of the set: running_sets.id, once it counts
    seq          {{int64}} NOT NULL, -- number within the set, which is the nonce
    from_day     {{int32}} NOT NULL, -- UTC day whose closing made it
    ciphertext   {{bytes}} NOT NULL, -- sealed: households and their sums so far, AES-256-GCM
    PRIMARY KEY (id, seq)
) {{table}};
CREATE INDEX running_records_from ON running_records (from_day);
{{- if postgres}}
ALTER TABLE running_records ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
{{- end}}

-- The state of a day's live load, between two intervals: what each household may
-- still add that day. Its records are in running_records. Deleted at closing.
CREATE TABLE live_sets (
    day          {{int32}} NOT NULL PRIMARY KEY, -- UTC day, to whose window its key is sealed
    id           {{bytes}} NOT NULL,             -- seal.RunningID, 16 random bytes
    records      {{int64}} NOT NULL,             -- how many records it has
    sealed       {{bytes}} NOT NULL,             -- sealed: X-Wing HPKE of the set's key
    signature    {{bytes}} NOT NULL              -- Ed25519 by the hub's signer of releases, 64 bytes
) {{table}};
