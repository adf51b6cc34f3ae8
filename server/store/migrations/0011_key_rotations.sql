-- When the key service's named keys were rotated. The newest row of a key says from when
-- its next rotation is counted.
CREATE TABLE key_rotations (
    name         {{id}}    NOT NULL, -- of the key service's key
    version      {{int64}} NOT NULL, -- that the rotation made, or that the key had when it was first looked at
    rotated_s    {{int64}} NOT NULL, -- made
    retiring_s   {{int64}},          -- from here on nothing is stored that is wrapped under an older version; NULL until then; set once
    retired_s    {{int64}},          -- all older versions destroyed; NULL until then; set once
    PRIMARY KEY (name, version)
) {{table}};
