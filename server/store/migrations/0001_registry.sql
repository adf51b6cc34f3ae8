-- Who is connected, what hangs where, who lives there, who may come in.
--
-- How to read these files. One text serves both engines: a word in double braces
-- stands for the engine's own, mostly the name of a type (schemaWords in postgres.go
-- and sqlite.go). Every column says what it holds and in which unit. It is plain
-- unless it says sealed, wrapped or hash, and never changes once written unless it
-- says so. Columns that end in _s are unix seconds UTC, in _us unix microseconds
-- UTC; day is the UTC day, counted from 1970-01-01. Identifiers compare byte by byte.

-- The hub's own secrets, wrapped by the key service.
CREATE TABLE hub_secrets (
    name         {{id}}    NOT NULL, -- what it is for, such as "ledger-signing"
    generation   {{int64}} NOT NULL, -- 1, 2, …: a rotated secret gets a new row
    wrapped      {{bytes}} NOT NULL, -- wrapped secret; replaced when it is wrapped anew
    created_s    {{int64}} NOT NULL, -- first stored
    PRIMARY KEY (name, generation)
) {{table}};

-- Who sends readings.
CREATE TABLE utilities (
    id           {{id}}    NOT NULL PRIMARY KEY, -- meter.Utility; its client certificate names it
    name         text      NOT NULL              -- shown to people; may change
) {{table}};

-- Third parties, who ask to read.
CREATE TABLE recipients (
    id           {{id}}    NOT NULL PRIMARY KEY, -- consent.Recipient; its client certificate names it
    name         text      NOT NULL              -- shown to households; may change
) {{table}};

-- The public grid tree. Nodes are added, never moved or removed: releases of all
-- years name them.
CREATE TABLE grid_nodes (
    id           {{id}}    NOT NULL PRIMARY KEY,       -- public
    parent       {{id}}    REFERENCES grid_nodes (id), -- NULL for a root
    level        {{int32}} NOT NULL,                   -- steps below the root; 0 for a root
    kind         text      NOT NULL,                   -- name of the level, such as "feeder"
    CHECK ((parent IS NULL) = (level = 0))
) {{table}};

-- Places of metering.
CREATE TABLE usage_points (
    id           {{id}}    NOT NULL PRIMARY KEY,                -- meter.UsagePoint
    utility      {{id}}    NOT NULL REFERENCES utilities (id),  -- who meters it
    node         {{id}}    NOT NULL REFERENCES grid_nodes (id), -- leaf of the tree that feeds it
    cap_watts    {{int64}} NOT NULL CHECK (cap_watts > 0),      -- physical limit, W; may change
    zone         text      NOT NULL                             -- IANA zone of its days and months; may change
) {{table}};
CREATE INDEX usage_points_node ON usage_points (node);

-- One home's people at one place, all its usage points together.
CREATE TABLE households (
    id           {{id}}    NOT NULL PRIMARY KEY, -- consent.Household, random
    generation   {{int64}} NOT NULL,             -- of the key pair in use; grows when it is replaced
    public_key   {{bytes}},                      -- X-Wing public key of that generation, 1216 bytes; changes with it, NULL once erased
    created_s    {{int64}} NOT NULL              -- registered
) {{table}};

-- Private halves, in a table of their own: backed up apart, erased by DELETE.
CREATE TABLE household_keys (
    household       {{id}}    NOT NULL, -- consent.Household
    generation      {{int64}} NOT NULL, -- of the key pair
    wrapped_private {{bytes}} NOT NULL, -- seed, wrapped by the key service; replaced when it is wrapped anew
    PRIMARY KEY (household, generation)
) {{table}};

-- An interval belongs to whoever lives at its usage point at its start.
-- Occupancies of one point do not overlap: whoever adds one holds the registry's lock.
CREATE TABLE occupancies (
    usage_point  {{id}}    NOT NULL REFERENCES usage_points (id), -- meter.UsagePoint
    from_s       {{int64}} NOT NULL,                              -- moved in
    household    {{id}}    NOT NULL REFERENCES households (id),   -- consent.Household
    until_s      {{int64}},                                       -- moved out, the first second that is not theirs; NULL while they live there; set once
    PRIMARY KEY (usage_point, from_s),
    CHECK (until_s > from_s)
) {{table}};
CREATE INDEX occupancies_household ON occupancies (household);

-- Letters that let a household in for the first time.
CREATE TABLE letter_codes (
    code_hash    {{bytes}} NOT NULL PRIMARY KEY,                -- hash of the code in the letter, 32 bytes
    household    {{id}}    NOT NULL REFERENCES households (id), -- whom it lets in
    used_s       {{int64}}                                      -- NULL until the code is used; set once
) {{table}};

-- Households that are logged in. Deleted some time after they ran out.
CREATE TABLE sessions (
    token_hash   {{bytes}} NOT NULL PRIMARY KEY,                -- hash of the bearer token, 32 bytes
    household    {{id}}    NOT NULL REFERENCES households (id), -- whom it speaks for
    created_s    {{int64}} NOT NULL,                            -- opened
    expires_s    {{int64}} NOT NULL,                            -- the first second it is no longer good
    ended_s      {{int64}}                                      -- closed before that; NULL until then; set once
) {{table}};
CREATE INDEX sessions_expires ON sessions (expires_s);
