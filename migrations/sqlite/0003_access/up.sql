-- Add owners, broken locks and table tokens

-- The name of the token that the lock was asked for with: another token cannot
-- release or renew it. NULL where no tokens are asked for (AUTH=off).
ALTER TABLE resources ADD COLUMN owner TEXT
    CHECK (length(owner) BETWEEN 1 AND 100 AND instr(owner, char(0)) = 0);

-- If the latest lock was broken: when, by the token of which name, why, and a hash
-- of whose it was, as a JSON object.
ALTER TABLE resources ADD COLUMN broken TEXT;

-- Who may use the server. key_hash is the SHA-256 of the key in hexadecimal;
-- the key itself is nowhere. prefixes is a JSON list: the token is for the names
-- of resources that begin with one of them. verbs are what it may do, separated
-- by commas: acquire, read, break, admin. Several tokens may have one name: the
-- locks belong to the name. A token whose expires_at_us or revoked_at_us has
-- passed is good for nothing.
CREATE TABLE tokens (
    id            INTEGER NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 100 AND instr(name, char(0)) = 0),
    key_hash      TEXT    NOT NULL UNIQUE CHECK (length(key_hash) = 64),
    prefixes      TEXT    NOT NULL,
    verbs         TEXT    NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    revoked_at_us INTEGER
) STRICT;

-- One row: a number that rises whenever a token changes, by whatever means, so
-- that servers look at one row to know that none did.
CREATE TABLE token_changes (
    number INTEGER NOT NULL
) STRICT;

INSERT INTO token_changes (number)
VALUES (0);

CREATE TRIGGER tokens_inserted AFTER INSERT ON tokens
BEGIN
    UPDATE token_changes SET number = number + 1;
END;

CREATE TRIGGER tokens_updated AFTER UPDATE ON tokens
BEGIN
    UPDATE token_changes SET number = number + 1;
END;

CREATE TRIGGER tokens_deleted AFTER DELETE ON tokens
BEGIN
    UPDATE token_changes SET number = number + 1;
END;

DROP VIEW held_locks;

-- What is held at this very moment, for people.
CREATE VIEW held_locks AS
SELECT name,
       locked_by,
       owner,
       label,
       strftime('%Y-%m-%dT%H:%M:%fZ', acquired_at_us / 1000000.0, 'unixepoch') AS acquired_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at_us / 1000000.0, 'unixepoch') AS expires_at,
       round((expires_at_us - now_us) / 1000000.0, 3) AS seconds_left,
       fencing_token
  FROM resources,
       (SELECT CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER) + clock_offset_us AS now_us
          FROM server_state)
 WHERE locked_by IS NOT NULL
   AND (expires_at_us IS NULL OR expires_at_us > now_us);
