DROP VIEW lock_history;
DROP TABLE lock_events;
DROP SEQUENCE lock_event_ids;

ALTER TABLE resources
    DROP COLUMN last_event_id,
    DROP COLUMN renewals;
