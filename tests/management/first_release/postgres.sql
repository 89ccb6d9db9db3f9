-- A database of the first release: its schema, as it made it, and locks.

-- Create tables resources, waiters and replicas, their numbers and views

-- One row for each resource that was ever acquired. A row whose locked_by is
-- NULL is free; so is one whose expires_at_us has passed, swept or not.
-- Times are microseconds since 1970-01-01 UTC. The checks are for people who
-- write to the table: the server cannot serve from a row that breaks them.
-- Names compare byte by byte, so that every session locks rows in one order.
-- While somebody waits for it has_waiters is true; and a while longer.
CREATE TABLE resources (
    id             BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           TEXT   NOT NULL COLLATE "C" UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    locked_by      TEXT   CHECK (length(locked_by) BETWEEN 1 AND 100),
    ttl            BIGINT CHECK (ttl BETWEEN 1 AND 2147483647),
    acquired_at_us BIGINT,
    expires_at_us  BIGINT,
    released_at_us BIGINT,
    fencing_token  BIGINT NOT NULL,
    has_waiters    BOOLEAN NOT NULL DEFAULT FALSE,
    CHECK ((locked_by IS NULL) = (acquired_at_us IS NULL))
);

-- Finds what has expired without looking at what has not.
CREATE INDEX resources_expires_at
    ON resources (expires_at_us)
 WHERE expires_at_us IS NOT NULL;

-- Who waits for which resource, at which replica. For each resource the lower
-- place is served first. Rows come only with the row of the resource locked, so
-- whoever has that sees all of them.
CREATE TABLE waiters (
    name           TEXT   NOT NULL COLLATE "C",
    replica        BIGINT NOT NULL,
    place          BIGINT NOT NULL,
    wait_until_us  BIGINT NOT NULL,
    PRIMARY KEY (name, replica, place)
);

-- The servers on this database. One whose seen_us is two seconds old is not
-- waited for any more, and its row goes after a minute.
CREATE TABLE replicas (
    id             BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    description    TEXT   NOT NULL,
    started_at_us  BIGINT NOT NULL,
    seen_us        BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Fencing tokens and places in line, taken 4096 at a time by a session that has
-- the rows locked to which it gives them: the first 3072 are tokens, the others
-- places. It goes on with those for as long as nobody else takes some, and that
-- it asks when it has the next rows locked: so whoever locks a row later gives a
-- later token, and a later place. A row with a counter would do the same, but
-- each transaction would wait for the commit of the one before.
--
-- What is taken from a sequence is not given back by a rollback, and a crash
-- skips up to 32 steps: tokens have gaps. None is granted twice: the commit of
-- a grant is behind the step of the sequence in the log.
CREATE SEQUENCE fencing_tokens AS BIGINT MINVALUE 1 INCREMENT BY 4096 NO CYCLE;

-- Which cluster this is, and which of its histories: the number changes when a
-- standby is promoted, or a backup is restored up to a moment.
CREATE FUNCTION wal_timeline() RETURNS TEXT
LANGUAGE sql VOLATILE
RETURN (SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);

-- One row: the history in which fencing_tokens is known to be beyond every
-- token that was granted. A new history may lack the end of the one before, and
-- steps of the sequence with it; so who serves first in one sets the sequence
-- far ahead, and then notes the history here.
CREATE TABLE token_timeline (
    timeline TEXT NOT NULL
);

INSERT INTO token_timeline (timeline)
VALUES (wal_timeline());

-- The database's clock at the moment of the call: now() is that of the begin
-- of the transaction.
CREATE FUNCTION clock_us() RETURNS BIGINT
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT;

-- What is held at this very moment, for people.
CREATE VIEW held_locks AS
SELECT name,
       locked_by,
       TIMESTAMPTZ 'epoch' + acquired_at_us * INTERVAL '1 microsecond' AS acquired_at,
       TIMESTAMPTZ 'epoch' + expires_at_us * INTERVAL '1 microsecond' AS expires_at,
       round((expires_at_us - now_us) / 1000000.0, 3) AS seconds_left,
       fencing_token
  FROM resources,
       (SELECT clock_us() AS now_us) AS clock
 WHERE locked_by IS NOT NULL
   AND (expires_at_us IS NULL OR expires_at_us > now_us);

-- Who waits at this very moment, in the order in which they will be served.
CREATE VIEW waiting_lines AS
SELECT name,
       place,
       description AS replica,
       TIMESTAMPTZ 'epoch' + wait_until_us * INTERVAL '1 microsecond' AS wait_until
  FROM waiters
  JOIN replicas ON replicas.id = waiters.replica,
       (SELECT clock_us() AS now_us) AS clock
 WHERE wait_until_us > now_us
   AND seen_us > now_us - 2000000
 ORDER BY name, place;

-- What was applied, as the first release noted it.
CREATE TABLE __diesel_schema_migrations (
    version VARCHAR(50) PRIMARY KEY NOT NULL,
    run_on  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

INSERT INTO __diesel_schema_migrations (version)
VALUES ('0001');

-- Held without an end, held until 2100, held with the longest ttl, expired, and
-- free.
INSERT INTO resources
    (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)
VALUES
    ('for-ever', 'key-of-the-first', NULL, 1784500000000001, NULL, NULL, 11),
    ('until-2100', 'key-of-the-second', 86400, 1784500000000002, 4102444800000000, 1784400000000000, 12),
    ('longest', 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk', 2147483647, 1784500000000003, 3931983647000000, NULL, 13),
    ('nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnü', 'key "with" ''quotes'' and é', 1000000000, 1784500000000004, 2784500000000004, NULL, 14),
    ('expired', 'key-of-the-fifth', 60, 1784500000000005, 1784500060000005, NULL, 15),
    ('free', NULL, NULL, NULL, NULL, 1784500000000006, 16),
    ('deploy/prod', NULL, NULL, NULL, NULL, 1784500000000007, 17);

-- Two blocks of numbers were taken.
SELECT nextval('fencing_tokens'), nextval('fencing_tokens');
