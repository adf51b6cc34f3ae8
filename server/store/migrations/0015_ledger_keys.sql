-- The generations of the keys that sign the ledger's checkpoints. Their seeds are secrets
-- of the same generation, until they are destroyed.
CREATE TABLE ledger_keys (
    generation    {{int64}} NOT NULL PRIMARY KEY, -- 1, 2, …
    verifier_keys text      NOT NULL, -- public keys, Ed25519 and ML-DSA-44, one a line
    created_s     {{int64}} NOT NULL, -- made; of the first, perhaps only first seen
    bound_leaf    {{int64}},          -- leaf of class admin that binds it: it signs every checkpoint over that leaf; NULL until then, and for the first; set once
    bound_s       {{int64}},          -- when that was; set with bound_leaf
    statement     {{bytes}},          -- with which the generation before vouches for it from that leaf on, a signed note; set with bound_leaf
    retired_leaf  {{int64}},          -- leaf of class admin that retires it: it signs no checkpoint over that leaf; NULL until then; set once
    retired_s     {{int64}},          -- when that was; set with retired_leaf
    destroyed_s   {{int64}}           -- its seeds are destroyed; NULL until then; set once
) {{table}};
