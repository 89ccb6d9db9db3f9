DROP TABLE token_timeline;
DROP FUNCTION wal_timeline();
