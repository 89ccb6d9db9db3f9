-- Add labels, and what a request that is sent again is known by

-- For people: who holds the lock, and why.
ALTER TABLE resources ADD COLUMN label TEXT
    CHECK (length(label) BETWEEN 1 AND 200 AND instr(label, char(0)) = 0);

-- The request that was granted, and the one that released last: a digest of what
-- was asked, and its Idempotency-Key. NULL if it had none.
ALTER TABLE resources ADD COLUMN acquire_request TEXT;
ALTER TABLE resources ADD COLUMN release_request TEXT;

-- 1 if the request that was granted was sent and answered again.
ALTER TABLE resources ADD COLUMN told_again INTEGER CHECK (told_again = 1);

DROP VIEW held_locks;

-- What is held at this very moment, for people.
CREATE VIEW held_locks AS
SELECT name,
       locked_by,
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
