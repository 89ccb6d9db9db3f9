-- Record what happens

-- Each transaction takes numbers for its events from here after it has locked
-- its rows, and never some that are left of earlier ones: so the events of a
-- resource rise, whichever server records them, and whoever knows that all
-- transactions have ended that had taken numbers knows that below the last one
-- nothing is missing.
CREATE SEQUENCE lock_event_ids INCREMENT BY 4096;

-- What happened: rows are appended and, when they are old, deleted; never
-- changed. previous_id leads to the event before it of the same resource, and
-- resources.last_event_id to the latest, in place of an index on resource.
CREATE TABLE lock_events (
    id            BIGINT PRIMARY KEY,
    previous_id   BIGINT,
    at_us         BIGINT NOT NULL,
    event         TEXT NOT NULL,
    resource      TEXT COLLATE "C" NOT NULL,
    fencing_token BIGINT NOT NULL,
    owner         TEXT,
    label         TEXT,
    ttl           BIGINT,
    expires_at_us BIGINT,
    asked_by      TEXT,
    address       TEXT,
    reason        TEXT
);

-- renewals: how many of the lock there were in a row that said the same, of which
-- the first and the last are events; NULL is none.
ALTER TABLE resources
    ADD COLUMN last_event_id BIGINT,
    ADD COLUMN renewals      BIGINT CHECK (renewals > 0);

-- What happened, for people.
CREATE VIEW lock_history AS
SELECT id,
       TIMESTAMPTZ 'epoch' + at_us * INTERVAL '1 microsecond' AS at,
       resource,
       event,
       fencing_token,
       owner,
       label,
       ttl,
       TIMESTAMPTZ 'epoch' + expires_at_us * INTERVAL '1 microsecond' AS expires_at,
       asked_by,
       address,
       reason
  FROM lock_events;
