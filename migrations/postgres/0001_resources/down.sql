DROP VIEW held_locks;
DROP FUNCTION clock_us();
DROP SEQUENCE fencing_tokens;
DROP TABLE resources;
