BEGIN;

WITH locked AS MATERIALIZED (
    SELECT ctid, id, name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token
      FROM resources
     WHERE name = ANY ($1)
     ORDER BY name
       FOR UPDATE
)
SELECT now_us, block,
       id, ctid::text, name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token
  FROM (SELECT clock_us() AS now_us,
               CASE WHEN pg_sequence_last_value('fencing_tokens') = $2
               THEN $3
               ELSE nextval('fencing_tokens') END AS block
          FROM (SELECT count(*) AS rows FROM locked) AS all_locked
         WHERE rows >= 0) AS moment
  LEFT JOIN locked ON TRUE;

INSERT INTO resources (name, fencing_token)
SELECT name, 0
  FROM unnest($1) AS missing (name)
 ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO NOTHING;

UPDATE resources
   SET locked_by = changed.locked_by,
       ttl = changed.ttl,
       acquired_at_us = changed.acquired_at_us,
       expires_at_us = changed.expires_at_us,
       released_at_us = changed.released_at_us,
       fencing_token = changed.fencing_token
  FROM unnest($1, $2::tid[], $3, $4, $5, $6, $7, $8)
    AS changed (id, place, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)
 WHERE resources.ctid = changed.place
   AND resources.id = changed.id;

COMMIT;
