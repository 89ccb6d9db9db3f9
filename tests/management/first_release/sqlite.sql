-- A database of the first release: its schema, as it made it, and locks.

-- Create table resources, table server_state and view held_locks

-- "CLSv": the mark by which the server knows a file as its own.
PRAGMA application_id = 1129075574;

-- One row for each resource that was ever acquired. A row whose locked_by is
-- NULL is free; so is one whose expires_at_us has passed, swept or not.
-- Times are microseconds since 1970-01-01 UTC. The checks are for people who
-- write to the table: the server cannot serve from a row that breaks them.
CREATE TABLE resources (
    id             INTEGER NOT NULL PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100 AND instr(name, char(0)) = 0),
    locked_by      TEXT    CHECK (length(locked_by) BETWEEN 1 AND 100 AND instr(locked_by, char(0)) = 0),
    ttl            INTEGER CHECK (ttl BETWEEN 1 AND 2147483647),
    acquired_at_us INTEGER,
    expires_at_us  INTEGER,
    released_at_us INTEGER,
    fencing_token  INTEGER NOT NULL,
    CHECK ((locked_by IS NULL) = (acquired_at_us IS NULL))
) STRICT;

-- Finds what has expired without looking at what has not.
CREATE INDEX resources_expires_at
    ON resources (expires_at_us)
 WHERE expires_at_us IS NOT NULL;

-- One row. fencing_token is the highest token ever granted, clock_us the latest
-- instant at which one was, clock_offset_us the server's clock minus the
-- machine's wall clock.
CREATE TABLE server_state (
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    fencing_token   INTEGER NOT NULL,
    clock_us        INTEGER NOT NULL,
    clock_offset_us INTEGER NOT NULL
) STRICT;

INSERT INTO server_state (id, fencing_token, clock_us, clock_offset_us)
VALUES (1, 0, 0, 0);

-- What is held at this very moment, for people.
CREATE VIEW held_locks AS
SELECT name,
       locked_by,
       strftime('%Y-%m-%dT%H:%M:%fZ', acquired_at_us / 1000000.0, 'unixepoch') AS acquired_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at_us / 1000000.0, 'unixepoch') AS expires_at,
       round((expires_at_us - now_us) / 1000000.0, 3) AS seconds_left,
       fencing_token
  FROM resources,
       (SELECT CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER) + clock_offset_us AS now_us
          FROM server_state)
 WHERE locked_by IS NOT NULL
   AND (expires_at_us IS NULL OR expires_at_us > now_us);

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

UPDATE server_state SET fencing_token = 17, clock_us = 1784500000000007;
