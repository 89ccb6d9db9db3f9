-- An operation, as one writes it first: a transaction that locks the row, looks
-- at it and changes it. On rows of the client's own.
\if :held
BEGIN;
SELECT locked_by FROM naive_locks WHERE name = 'bench-' || lpad(:number::text, 6, '0') FOR UPDATE;
UPDATE naive_locks SET locked_by = NULL WHERE name = 'bench-' || lpad(:number::text, 6, '0');
COMMIT;
\set held 0
\else
\set number :client_id * 39 + random(0, 38)
BEGIN;
SELECT locked_by FROM naive_locks WHERE name = 'bench-' || lpad(:number::text, 6, '0') FOR UPDATE;
UPDATE naive_locks
   SET locked_by = 'key-000000', fencing_token = fencing_token + 1
 WHERE name = 'bench-' || lpad(:number::text, 6, '0');
COMMIT;
\set held 1
\endif
