-- Add table sessions

-- Who has signed in at the operators' page. id_hash is the SHA-256 of the
-- session's id in hexadecimal; the id itself is in the cookie of one browser and
-- nowhere else. A session lets in as its token does, and ends with it.
CREATE TABLE sessions (
    id_hash       TEXT   NOT NULL PRIMARY KEY CHECK (length(id_hash) = 64),
    token_id      BIGINT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL
);
