DROP VIEW lock_history;
DROP TABLE lock_events;

ALTER TABLE resources DROP COLUMN renewals;
ALTER TABLE resources DROP COLUMN last_event_id;
