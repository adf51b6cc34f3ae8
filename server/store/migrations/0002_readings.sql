-- Readings, sealed, and what it takes to open them.

-- Who sealed: one row each time an ingest process starts.
CREATE TABLE writers (
    writer       {{bytes}} NOT NULL PRIMARY KEY, -- seal.WriterID, 16 random bytes
    public_key   {{bytes}} NOT NULL,             -- Ed25519, 32 bytes: checks what the writer signed
    started_us   {{int64}} NOT NULL,             -- process start
    leaf_index   {{int64}} NOT NULL              -- ledger leaf that names the writer and its key
) {{table}};

-- What a utility sent, by its own batch id: makes a repeated batch harmless.
CREATE TABLE batches (
    utility      {{id}}    NOT NULL, -- meter.Utility
    batch_id     {{id}}    NOT NULL, -- chosen by the utility
    mac          {{bytes}} NOT NULL, -- keyed hash of the content, 32 bytes: tells a repetition from other content
    answer_mac   {{bytes}} NOT NULL, -- keyed hash of what the sender was answered, 32 bytes: a repetition may be answered so again
    accepted_us  {{int64}} NOT NULL, -- taken in by ingest
    intervals    {{int64}} NOT NULL, -- stored
    refused      {{int64}} NOT NULL, -- named to the sender and not stored
    PRIMARY KEY (utility, batch_id)
) {{table}};

-- Sealed series of one usage point, register and UTC day. Rows are only added.
-- The key leads with the household, so that an engine that spreads tables over
-- machines can keep a household together; it also refuses a nonce used twice,
-- since nonce = sequence number and one day key serves (household, day, writer).
CREATE TABLE blocks (
    start_s      {{int64}} NOT NULL, -- start of the first interval
    seq          {{int64}} NOT NULL, -- the writer's sequence number, which is the nonce
    revision     {{int64}} NOT NULL, -- higher replaces lower
    day          {{int32}} NOT NULL, -- in which every interval starts
    length_s     {{int32}} NOT NULL, -- seconds an interval
    intervals    {{int32}} NOT NULL, -- slots in the block, missing ones too
    generation   {{int32}} NOT NULL, -- of the household's key pair
    household    {{id}}    NOT NULL, -- consent.Household; whose key seals it
    usage_point  {{id}}    NOT NULL, -- meter.UsagePoint
    register     {{bytes}} NOT NULL, -- OBIS code A B C D E F, 6 bytes
    writer       {{bytes}} NOT NULL, -- seal.WriterID
    ciphertext   {{bytes}} NOT NULL, -- sealed: values and qualities, AES-256-GCM
    signature    {{bytes}} NOT NULL, -- Ed25519 by the writer, 64 bytes
    PRIMARY KEY (household, day, writer, seq)
) {{partitioned}};

-- Day keys, each wrapped to its household's public key. One key may be carried
-- by several transactions: any row opens it. Rows are only added.
CREATE TABLE day_keys (
    seq          {{int64}} NOT NULL, -- tells apart the copies of one key
    day          {{int32}} NOT NULL, -- whose blocks the key seals
    generation   {{int32}} NOT NULL, -- of the household's key pair
    household    {{id}}    NOT NULL, -- consent.Household; to whose public key it is wrapped
    writer       {{bytes}} NOT NULL, -- seal.WriterID
    sealed       {{bytes}} NOT NULL, -- sealed: X-Wing HPKE of the day key
    signature    {{bytes}} NOT NULL, -- Ed25519 by the writer, 64 bytes
    PRIMARY KEY (household, day, writer, seq)
) {{partitioned}};

{{if postgres -}}
-- Ciphertext does not compress: never try, and move it out of line only where a
-- row would not fit. Partitions take this over.
ALTER TABLE blocks   ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
ALTER TABLE day_keys ALTER COLUMN sealed     SET STORAGE EXTERNAL;

-- Partitions of 32 days are made when a day in them is first written to; days
-- before 2000-01-20 share one, so that absurd dates cannot make tables.
CREATE TABLE blocks_early   PARTITION OF blocks   FOR VALUES FROM (MINVALUE) TO (10976);
CREATE TABLE day_keys_early PARTITION OF day_keys FOR VALUES FROM (MINVALUE) TO (10976);
{{- end}}

-- Intervals on which two batches disagreed at one revision; the first accepted
-- was kept. Found where plaintext is opened, shown to the utility.
CREATE TABLE conflicts (
    usage_point  {{id}}    NOT NULL, -- meter.UsagePoint
    day          {{int32}} NOT NULL, -- in which the intervals start
    intervals    {{int64}} NOT NULL, -- most that were found at once; may grow
    seen_s       {{int64}} NOT NULL, -- first found
    PRIMARY KEY (usage_point, day)
) {{table}};
