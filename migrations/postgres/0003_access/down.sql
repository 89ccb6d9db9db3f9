DROP VIEW held_locks;

DROP TABLE tokens;
DROP TABLE token_changes;
DROP FUNCTION note_token_change();

ALTER TABLE resources
    DROP COLUMN broken,
    DROP COLUMN owner;

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
