-- Add table sessions

-- Who has signed in at the operators' page. id_hash is the SHA-256 of the
-- session's id in hexadecimal; the id itself is in the cookie of one browser and
-- nowhere else. A session lets in as its token does, and ends with it.
CREATE TABLE sessions (
    id_hash       TEXT    NOT NULL PRIMARY KEY CHECK (length(id_hash) = 64),
    token_id      INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A trigger and no foreign key, because those are not enforced for everybody who
-- opens the file; and the number of a deleted token may be given to another.
CREATE TRIGGER tokens_deleted_with_sessions AFTER DELETE ON tokens
BEGIN
    DELETE FROM sessions WHERE token_id = old.id;
END;
