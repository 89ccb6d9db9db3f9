-- One acquire, as each client of a database would do it by itself. pgbench
-- runs it beside the server.
\set number random(0, 9999)
BEGIN;
SELECT id, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token
  FROM resources
 WHERE name = 'bench-' || lpad(:number::text, 6, '0')
   FOR UPDATE;
UPDATE resources
   SET locked_by = 'key-000000', acquired_at_us = clock_us(), fencing_token = fencing_token + 1
 WHERE name = 'bench-' || lpad(:number::text, 6, '0');
COMMIT;
