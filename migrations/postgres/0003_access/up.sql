-- Add owners, broken locks and table tokens

-- owner: the name of the token that the lock was asked for with; another token
-- cannot release or renew it. NULL where no tokens are asked for (AUTH=off).
-- broken: if the latest lock was broken, when, by the token of which name, why,
-- and a hash of whose it was, as a JSON object.
ALTER TABLE resources
    ADD COLUMN owner  TEXT CHECK (length(owner) BETWEEN 1 AND 100),
    ADD COLUMN broken TEXT;

-- Who may use the servers. key_hash is the SHA-256 of the key in hexadecimal;
-- the key itself is nowhere. prefixes is a JSON list: the token is for the names
-- of resources that begin with one of them. verbs are what it may do, separated
-- by commas: acquire, read, break, admin. Several tokens may have one name: the
-- locks belong to the name. A token whose expires_at_us or revoked_at_us has
-- passed is good for nothing.
CREATE TABLE tokens (
    id            BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          TEXT   NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    key_hash      TEXT   NOT NULL UNIQUE CHECK (length(key_hash) = 64),
    prefixes      TEXT   NOT NULL,
    verbs         TEXT   NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT,
    revoked_at_us BIGINT
);

-- One row: a number that rises whenever a token changes, by whatever means, so
-- that servers look at one row to know that none did.
CREATE TABLE token_changes (
    number BIGINT NOT NULL
);

INSERT INTO token_changes (number)
VALUES (0);

CREATE FUNCTION note_token_change() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE token_changes SET number = number + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER tokens_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tokens
FOR EACH STATEMENT EXECUTE FUNCTION note_token_change();

DROP VIEW held_locks;

-- What is held at this very moment, for people.
CREATE VIEW held_locks AS
SELECT name,
       locked_by,
       owner,
       label,
       TIMESTAMPTZ 'epoch' + acquired_at_us * INTERVAL '1 microsecond' AS acquired_at,
       TIMESTAMPTZ 'epoch' + expires_at_us * INTERVAL '1 microsecond' AS expires_at,
       round((expires_at_us - now_us) / 1000000.0, 3) AS seconds_left,
       fencing_token
  FROM resources,
       (SELECT clock_us() AS now_us) AS clock
 WHERE locked_by IS NOT NULL
   AND (expires_at_us IS NULL OR expires_at_us > now_us);
