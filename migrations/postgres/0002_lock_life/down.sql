DROP VIEW held_locks;

ALTER TABLE resources
    DROP COLUMN told_again,
    DROP COLUMN release_request,
    DROP COLUMN acquire_request,
    DROP COLUMN label;

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
