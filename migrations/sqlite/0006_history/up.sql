-- Record what happens

-- What happened, in its order: rows are appended and, when they are old, deleted;
-- never changed. previous_id leads to the event before it of the same resource,
-- and resources.last_event_id to the latest: an index on resource would cost each
-- grant and each release a page of its own in the log, which is what they cost
-- without it.
CREATE TABLE lock_events (
    id            INTEGER PRIMARY KEY,
    previous_id   INTEGER,
    at_us         INTEGER NOT NULL,
    event         TEXT NOT NULL,
    resource      TEXT NOT NULL,
    fencing_token INTEGER NOT NULL,
    owner         TEXT,
    label         TEXT,
    ttl           INTEGER,
    expires_at_us INTEGER,
    asked_by      TEXT,
    address       TEXT,
    reason        TEXT
) STRICT;

ALTER TABLE resources ADD COLUMN last_event_id INTEGER;

-- How many renewals of the lock there were in a row that said the same, of which
-- the first and the last are events; NULL is none.
ALTER TABLE resources ADD COLUMN renewals INTEGER CHECK (renewals > 0);

-- What happened, for people.
CREATE VIEW lock_history AS
SELECT id,
       strftime('%Y-%m-%dT%H:%M:%fZ', at_us / 1000000.0, 'unixepoch') AS at,
       resource,
       event,
       fencing_token,
       owner,
       label,
       ttl,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at_us / 1000000.0, 'unixepoch') AS expires_at,
       asked_by,
       address,
       reason
  FROM lock_events;
