-- An operation: what a client holds it releases, else it acquires, on numbers of
-- its own.
\if :held
SELECT pg_advisory_unlock(:number);
\set held 0
\else
\set number :client_id * 39 + random(0, 38)
SELECT pg_advisory_lock(:number);
\set held 1
\endif
