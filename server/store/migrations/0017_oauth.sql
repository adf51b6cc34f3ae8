-- Third parties that come by OAuth 2.0, and what lets them in. Codes and tokens are 256
-- random bits, and their hash is all that is stored; see package server/oauth.

-- Clients. An approved one is a recipient of the same id.
CREATE TABLE oauth_clients (
    id                {{id}}    NOT NULL PRIMARY KEY, -- client_id, and consent.Recipient
    name              text      NOT NULL, -- client_name, shown to households once approved; may change before that
    state             {{int16}} NOT NULL, -- 1 pending, 2 approved, 3 refused, 4 suspended; an operator changes it
    auth_method       text      NOT NULL, -- token_endpoint_auth_method: client_secret_basic, client_secret_post or none; may change before approval
    secret_hash       {{bytes}},          -- hash of client_secret, 32 bytes; NULL for a public client; may be replaced
    registration_hash {{bytes}},          -- hash of the registration access token, 32 bytes; NULL where an operator made the client
    grant_types       text      NOT NULL, -- parted by blanks; may change before approval
    redirect_uris     text      NOT NULL, -- one a line; may change before approval
    notify_uri        text      NOT NULL, -- where the third party is told of changes, or empty; may change before approval
    purpose_code      text      NOT NULL, -- of what it asks without saying why; may change before approval
    purpose_text      text      NOT NULL, -- the very text households are shown; may change before approval
    contacts          text      NOT NULL, -- people to ask, one a line, or empty; may change before approval
    created_s         {{int64}} NOT NULL, -- registered
    decided_s         {{int64}} NOT NULL  -- last approved, refused or suspended; 0 until then
) {{table}};
CREATE INDEX oauth_clients_created ON oauth_clients (created_s, id);

-- Consents that were agreed to on the way of a code, and that code. A row goes when the
-- permission ends, or when its code was never used.
CREATE TABLE oauth_grants (
    consent        {{id}}    NOT NULL PRIMARY KEY, -- consent.ID
    client         {{id}}    NOT NULL, -- whose code it is
    scope          text      NOT NULL, -- as asked for, byte for byte; empty where authorization_details asked
    redirect_uri   text      NOT NULL, -- that the code was sent to
    challenge      text      NOT NULL, -- code_challenge by S256, or empty
    code_hash      {{bytes}} NOT NULL, -- hash of the code, 32 bytes; replaced by a repeated decision while it is not used
    code_expires_s {{int64}} NOT NULL, -- the first second it is no longer good; changes with code_hash
    code_used_s    {{int64}},          -- exchanged; NULL until then; set once
    revoked_s      {{int64}},          -- all its tokens are revoked; NULL until then; set once
    ends_s         {{int64}} NOT NULL  -- the permission ends, as granted
) {{table}};
CREATE UNIQUE INDEX oauth_grants_code ON oauth_grants (code_hash);
CREATE INDEX oauth_grants_ends ON oauth_grants (ends_s);

-- Tokens. Deleted when they have run out.
CREATE TABLE oauth_tokens (
    token_hash   {{bytes}} NOT NULL PRIMARY KEY, -- hash of the token, 32 bytes
    kind         {{int16}} NOT NULL, -- 1 access, 2 refresh, 3 client access
    client       {{id}}    NOT NULL, -- whose it is
    consent      {{id}}    NOT NULL, -- of which it is, and by which its family goes; empty for a client access token
    issued_s     {{int64}} NOT NULL, -- handed out
    expires_s    {{int64}} NOT NULL, -- the first second it is no longer good
    used_s       {{int64}},          -- a refresh token that was exchanged; NULL until then; set once
    revoked_s    {{int64}}           -- NULL until it is revoked; set once
) {{table}};
CREATE INDEX oauth_tokens_expires ON oauth_tokens (expires_s);
CREATE INDEX oauth_tokens_consent ON oauth_tokens (consent) WHERE consent <> '';
CREATE INDEX oauth_tokens_client ON oauth_tokens (client, issued_s);

-- Pushed authorization requests (RFC 9126).
CREATE TABLE oauth_requests (
    request_hash {{bytes}} NOT NULL PRIMARY KEY, -- hash of the reference in request_uri, 32 bytes
    client       {{id}}    NOT NULL, -- who pushed it
    query        text      NOT NULL, -- its parameters, form-encoded
    expires_s    {{int64}} NOT NULL  -- the first second it can no longer be opened; may be decided on for an hour more
) {{table}};
CREATE INDEX oauth_requests_client ON oauth_requests (client);
CREATE INDEX oauth_requests_expires ON oauth_requests (expires_s);
