BEGIN;

WITH locked AS MATERIALIZED (
    SELECT ctid, id, name, has_waiters, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token,
           label, acquire_request, release_request, told_again, owner, broken, client, info, renewals, last_event_id
      FROM resources
     WHERE name = ANY ($1)
     ORDER BY name
       FOR UPDATE
)
SELECT now_us, block, event_blocks,
       id, ctid::text, name, has_waiters, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token,
       label, acquire_request, release_request, told_again, owner, broken, client, info, renewals, last_event_id
  FROM (SELECT clock_us() AS now_us,
               CASE WHEN pg_sequence_last_value('fencing_tokens') = $2
               THEN $3
               ELSE nextval('fencing_tokens') END AS block,
               CASE WHEN $4 > 0 AND pg_advisory_xact_lock_shared($5) IS NOT NULL
               THEN ARRAY(SELECT nextval('lock_event_ids') FROM generate_series(1, $6)) END AS event_blocks
          FROM (SELECT count(*) AS rows FROM locked) AS all_locked
         WHERE rows >= 0) AS moment
  LEFT JOIN locked ON TRUE;

SELECT client, count(*)
  FROM resources
 WHERE client = ANY ($1)
   AND locked_by IS NOT NULL
   AND (expires_at_us IS NULL OR expires_at_us > $2)
 GROUP BY client;

SELECT now_us, number,
       CASE WHEN id IS NULL THEN NULL
            WHEN NOT has_waiters THEN 0
            ELSE (SELECT count(*)
                    FROM waiters
                    JOIN replicas ON replicas.id = waiters.replica
                   WHERE waiters.name = resources.name
                     AND greatest(seen_us, $1) + $2 > now_us) END,
       locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token,
       label, acquire_request, release_request, told_again, owner, broken, client, info, renewals, last_event_id
  FROM unnest($3) WITH ORDINALITY AS wanted (wanted_name, number)
 CROSS JOIN (SELECT clock_us() AS now_us) AS moment
  LEFT JOIN resources ON name = wanted_name;

INSERT INTO resources (name, fencing_token)
SELECT name, 0
  FROM unnest($1) AS missing (name)
 ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO NOTHING;

SELECT number, living.id, place, believed_until_us - $1
  FROM unnest($2) WITH ORDINALITY AS wanted (name, number)
 CROSS JOIN (SELECT id, greatest(seen_us, $3) + $4 AS believed_until_us
               FROM replicas
              WHERE id <> $5
                AND seen_us < $6) AS living
 CROSS JOIN LATERAL (SELECT place
                       FROM waiters
                      WHERE waiters.name = wanted.name
                        AND waiters.replica = living.id
                        AND place <> ALL ($7)
                      ORDER BY place
                      LIMIT 1) AS first
 WHERE believed_until_us > $8
 UNION ALL
SELECT number, $9, place, vacant_until_us - $10
  FROM unnest($11) WITH ORDINALITY AS wanted (name, number)
 CROSS JOIN LATERAL (SELECT place, vacant_until_us
                       FROM waiters
                      WHERE waiters.name = wanted.name
                        AND waiters.replica = $12
                        AND vacant_until_us > $13
                        AND vacant_until_us < $14
                        AND place <> ALL ($15)
                      ORDER BY place
                      LIMIT 1) AS vacant
 ORDER BY number, place;

SELECT number, replica, place
  FROM unnest($1, $2) WITH ORDINALITY AS wanted (name, request, number)
 CROSS JOIN LATERAL (SELECT replica, place
                       FROM waiters
                      WHERE waiters.name = wanted.name
                        AND waiters.request = wanted.request
                        AND waiters.replica <> $3
                        AND (waiters.replica = $4 OR EXISTS (SELECT FROM replicas WHERE replicas.id = waiters.replica))
                      ORDER BY place
                      LIMIT 1) AS found;

UPDATE waiters
   SET replica = $1, vacant_until_us = $2
 WHERE name = ANY ($3)
   AND replica = $4
   AND request IS NOT NULL;

DELETE FROM "waiters" WHERE (("waiters"."replica" = $1) AND ("waiters"."name" = ANY($2)));

DELETE FROM waiters
 USING unnest($1, $2) AS returned (name, place)
 WHERE waiters.name = returned.name
   AND waiters.place = returned.place;

INSERT INTO waiters (name, replica, place, wait_until_us, request)
SELECT name, $1, place, wait_until_us, request
  FROM unnest($2, $3, $4, $5) AS joined (name, place, wait_until_us, request)
    ON CONFLICT DO NOTHING;

DELETE FROM waiters
 USING unnest($1, $2) AS gone (name, place)
 WHERE waiters.name = gone.name
   AND waiters.replica = $3
   AND waiters.place = gone.place;

WITH recorded AS (
INSERT INTO lock_events (id, at_us, fencing_token, event, resource, previous_id, ttl, expires_at_us, owner, label, asked_by, reason, address)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
)
UPDATE resources
   SET fencing_token = $14,
       locked_by = $15,
       label = $16,
       owner = $17,
       client = $18,
       info = $19,
       acquire_request = $20,
       release_request = $21,
       broken = $22,
       ttl = $23,
       acquired_at_us = $24,
       expires_at_us = $25,
       released_at_us = $26,
       told_again = $27,
       renewals = $28,
       last_event_id = $29
 WHERE id = $30;

WITH recorded AS (
INSERT INTO lock_events (id, at_us, fencing_token, event, resource, previous_id, ttl, expires_at_us, owner, label, asked_by, reason, address)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13),
       ($14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)
)
UPDATE resources
   SET fencing_token = $27,
       locked_by = $28,
       label = $29,
       owner = $30,
       client = $31,
       info = $32,
       acquire_request = $33,
       release_request = $34,
       broken = $35,
       ttl = $36,
       acquired_at_us = $37,
       expires_at_us = $38,
       released_at_us = $39,
       told_again = $40,
       renewals = $41,
       last_event_id = $42
 WHERE id = $43;

UPDATE resources
   SET fencing_token = $1,
       locked_by = $2,
       label = $3,
       owner = $4,
       client = $5,
       info = $6,
       acquire_request = $7,
       release_request = $8,
       broken = $9,
       ttl = $10,
       acquired_at_us = $11,
       expires_at_us = $12,
       released_at_us = $13,
       told_again = $14,
       renewals = $15,
       last_event_id = $16
 WHERE id = $17;

WITH recorded AS (
INSERT INTO lock_events (id, at_us, fencing_token, event, resource, previous_id, ttl, expires_at_us, owner, label, asked_by, reason, address)
SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
)
UPDATE resources
   SET fencing_token = changed.fencing_token,
       locked_by = changed.locked_by,
       label = changed.label,
       owner = changed.owner,
       client = changed.client,
       info = changed.info,
       acquire_request = changed.acquire_request,
       release_request = changed.release_request,
       broken = changed.broken,
       ttl = changed.ttl,
       acquired_at_us = changed.acquired_at_us,
       expires_at_us = changed.expires_at_us,
       released_at_us = changed.released_at_us,
       told_again = changed.told_again,
       renewals = changed.renewals,
       last_event_id = changed.last_event_id
  FROM unnest($14, $15::tid[], $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)
    AS changed (id, position, fencing_token, locked_by, label, owner, client, info, acquire_request, release_request, broken,
                ttl, acquired_at_us, expires_at_us, released_at_us, told_again, renewals, last_event_id)
 WHERE resources.ctid = changed.position
   AND resources.id = changed.id;

UPDATE resources
   SET fencing_token = changed.fencing_token,
       locked_by = changed.locked_by,
       label = changed.label,
       owner = changed.owner,
       client = changed.client,
       info = changed.info,
       acquire_request = changed.acquire_request,
       release_request = changed.release_request,
       broken = changed.broken,
       ttl = changed.ttl,
       acquired_at_us = changed.acquired_at_us,
       expires_at_us = changed.expires_at_us,
       released_at_us = changed.released_at_us,
       told_again = changed.told_again,
       renewals = changed.renewals,
       last_event_id = changed.last_event_id
  FROM unnest($1, $2::tid[], $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
    AS changed (id, position, fencing_token, locked_by, label, owner, client, info, acquire_request, release_request, broken,
                ttl, acquired_at_us, expires_at_us, released_at_us, told_again, renewals, last_event_id)
 WHERE resources.ctid = changed.position
   AND resources.id = changed.id;

UPDATE resources
   SET has_waiters = EXISTS (SELECT FROM waiters
                              WHERE waiters.name = resources.name
                                AND (vacant_until_us IS NULL OR vacant_until_us > $1))
 WHERE id = ANY ($2);

SELECT pg_notify($1, text) FROM unnest($2) AS messages (text);

COMMIT;

ROLLBACK;
