DROP VIEW waiting_lines;
DROP VIEW held_locks;
DROP FUNCTION clock_us();
DROP SEQUENCE fencing_tokens;
DROP TABLE replicas;
DROP TABLE waiters;
DROP TABLE resources;
