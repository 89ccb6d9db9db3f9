DROP TRIGGER tokens_deleted_with_sessions;
DROP TABLE sessions;
