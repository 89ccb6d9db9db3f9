DROP VIEW held_locks;

DROP TABLE tokens;
DROP TABLE token_changes;

ALTER TABLE resources DROP COLUMN broken;
ALTER TABLE resources DROP COLUMN owner;

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
