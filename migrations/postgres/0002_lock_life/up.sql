-- Add labels, and what a request that is sent again is known by

-- label, for people: who holds the lock, and why. acquire_request and
-- release_request: the request that was granted, and the one that released
-- last, as a digest of what was asked and its Idempotency-Key; NULL if it had
-- none. told_again is 1 if the request that was granted was sent and answered
-- again.
ALTER TABLE resources
    ADD COLUMN label           TEXT   CHECK (length(label) BETWEEN 1 AND 200),
    ADD COLUMN acquire_request TEXT,
    ADD COLUMN release_request TEXT,
    ADD COLUMN told_again      BIGINT CHECK (told_again = 1);

DROP VIEW held_locks;

-- What is held at this very moment, for people.
CREATE VIEW held_locks AS
SELECT name,
       locked_by,
       label,
       TIMESTAMPTZ 'epoch' + acquired_at_us * INTERVAL '1 microsecond' AS acquired_at,
       TIMESTAMPTZ 'epoch' + expires_at_us * INTERVAL '1 microsecond' AS expires_at,
       round((expires_at_us - now_us) / 1000000.0, 3) AS seconds_left,
       fencing_token
  FROM resources,
       (SELECT clock_us() AS now_us) AS clock
 WHERE locked_by IS NOT NULL
   AND (expires_at_us IS NULL OR expires_at_us > now_us);
