-- What third parties are told, and how that fares. See package server/notify.

-- Where a third party wants to be told. When it removes that, the row stays and counts on:
-- its numbers are never used again.
CREATE TABLE notify_endpoints (
    recipient     {{id}}    NOT NULL PRIMARY KEY, -- consent.Recipient
    url           text      NOT NULL, -- that is called; empty where nothing is; may change
    form          {{int16}} NOT NULL, -- notify.Form; may change
    state         {{int16}} NOT NULL, -- notify.State; changes
    put_s         {{int64}} NOT NULL, -- last put by the third party
    last_seq      {{int64}} NOT NULL, -- of the newest notification; grows
    pruned_seq    {{int64}} NOT NULL, -- of the newest that is no longer kept, 0 if all are; grows
    due_s         {{int64}} NOT NULL, -- not to be called before; 0 while there is nothing to send; changes
    failures      {{int64}} NOT NULL, -- calls without success, in a row; changes
    failing_s     {{int64}} NOT NULL, -- first of them; 0 for none; changes
    tried_s       {{int64}} NOT NULL, -- last called; 0 for never; changes
    taken_s       {{int64}} NOT NULL, -- last called with success; 0 for never; changes
    status        {{int32}} NOT NULL, -- HTTP, of the last call; 0 if it was not answered; changes
    problem       text      NOT NULL, -- notify.Problem of the last call; changes
    slow          {{int16}} NOT NULL, -- 1 if the last call took its time, else 0; changes
    dropped       {{int64}} NOT NULL, -- notifications that were refused for so long that they are sent no more, since it was put; changes
    lease         {{bytes}},          -- drawn by who calls at this moment, 16 random bytes; NULL while nobody does; changes
    lease_until_s {{int64}} NOT NULL, -- from here on somebody else may call; changes
    swept_s       {{int64}} NOT NULL  -- last looked for new readings; 0 for never; grows
) {{table}};
CREATE INDEX notify_endpoints_due     ON notify_endpoints (due_s) WHERE due_s > 0 AND failures = 0 AND slow = 0;
CREATE INDEX notify_endpoints_slow    ON notify_endpoints (due_s) WHERE due_s > 0 AND failures = 0 AND slow = 1;
CREATE INDEX notify_endpoints_failing ON notify_endpoints (due_s) WHERE due_s > 0 AND failures > 0;
CREATE INDEX notify_endpoints_sweep   ON notify_endpoints (swept_s) WHERE state <> 4; -- notify.Removed

-- What happened, numbered for each third party in the order of commits. Each is written in
-- the transaction that makes it true. An erasure deletes those of the household's consents.
CREATE TABLE notifications (
    recipient     {{id}}    NOT NULL, -- consent.Recipient
    seq           {{int64}} NOT NULL, -- 1, 2, …; some are missing
    consent       {{id}}    NOT NULL, -- consent.ID
    kind          text      NOT NULL, -- notify.Kind
    cause         text      NOT NULL, -- consent.Cause of the end, or of the hold, that it tells of; else empty
    created_s     {{int64}} NOT NULL, -- when it happened, by the ledger; 0 until its leaf is written, in the same transaction; set once
    leaf_idx      {{int64}},          -- of the ledger, that records it; NULL for none; set once, with created_s
    from_s        {{int64}} NOT NULL, -- of readings.available: first start of an interval that came; else 0
    until_s       {{int64}} NOT NULL, -- of readings.available: end of the last of their days; else 0
    state         {{int16}} NOT NULL, -- notify.EventState; changes
    due_s         {{int64}} NOT NULL, -- not to be sent before; never before a lower number of the consent that waits; changes
    tried_s       {{int64}} NOT NULL, -- first refused; 0 for never; set once
    attempts      {{int64}} NOT NULL, -- how often it was refused; grows
    PRIMARY KEY (recipient, seq)
) {{table}};
CREATE INDEX notifications_due     ON notifications (recipient, due_s) WHERE state = 1; -- notify.Waiting
CREATE INDEX notifications_order   ON notifications (recipient, seq) WHERE state = 1;
CREATE INDEX notifications_consent ON notifications (consent, seq);
CREATE INDEX notifications_new     ON notifications (consent, seq) WHERE created_s = 0;

-- How many blocks each day of a live consent had when its recipient was last told of them.
CREATE TABLE notify_marks (
    consent       {{id}}    NOT NULL PRIMARY KEY, -- consent.ID
    version       {{int64}} NOT NULL, -- 1, 2, …; grows with each change
    terms         {{bytes}} NOT NULL, -- hash of the terms it was counted under, 32 bytes; changes
    days          {{bytes}} NOT NULL  -- UTC days and their blocks, as notify.Mark encodes them; changes
) {{table}};

-- The generations of the key that signs what is sent. Their seeds are the secrets
-- notify-signing of the same generation.
CREATE TABLE notify_keys (
    generation    {{int64}} NOT NULL PRIMARY KEY, -- 1, 2, …
    created_s     {{int64}} NOT NULL, -- made, and published
    signs_s       {{int64}} NOT NULL, -- signs from here on, until the next does
    withdrawn_s   {{int64}}           -- not to be believed from here on; NULL for one that simply grows old; set once
) {{table}};
