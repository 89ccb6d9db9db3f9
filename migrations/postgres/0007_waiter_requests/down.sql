DELETE FROM waiters
 WHERE replica = 0;
DROP INDEX waiters_request;
ALTER TABLE waiters
    DROP COLUMN vacant_until_us,
    DROP COLUMN request;
